"""The bulletin board system: what is wanted, and what runs where.

The Cloud Controller and operators tell it what they want; cells and the auctioneer tell it what happens. It calls
the auctioneer to have cells found, cells to have instances stopped, Locket for its lock and for the cells that
are there, and whoever waits for a task.

One BBS is active, the one that holds the lock. It holds the whole state in memory, and the truth is in the
database: a decision is made on memory, by the pure functions of `core`, and becomes visible once the
database has it.
"""
