"""The router: brings the apps' routes from the bus to nginx, which carries the requests.

Route emitters tell the bus which endpoint serves which route; this control job keeps the table of them
(core/table) and hands every change to nginx's Lua code (lua/), which looks routes up in memory it shares between
its workers. nginx is a supervised program of its own: it goes on serving while this job is away, and this job
fills it again when it comes back empty.

Called by: route emitters, over the bus; operators, on the loopback listeners. Calls: nginx, over a Unix socket.
"""
