"""The route emitter: tells the routers, over the bus, which instances serve which routes.

On every cell (local mode) it watches that cell's instances in the BBS, by events and by a whole look each minute,
keeps the table of what follows for the routers (core/table), and says the differences at once and everything
again at the interval the routers ask for. When it stops or dies it takes nothing back: the apps still run.

Called by: nobody. Calls: the BBS, the bus, and Locket where one emitter serves all cells (global mode).
"""
