"""The auctioneer: chooses a cell for every instance and task that the BBS wants started.

Called by the BBS (`POST /v1/lrps`, `/v1/tasks`; answered 202 when queued). It asks the BBS for the cells, each cell
for its state and later to take its work, and tells the BBS what found no place. One auctioneer of several is
active: the one that holds the lock in Locket. contract/auction.md is its law.
"""
