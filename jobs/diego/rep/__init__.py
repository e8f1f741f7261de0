"""The cell's agent: offers room to the auctioneer, runs what it is given, and tells the BBS what became of it.

The auctioneer and the BBS call its API on 1801, an operator's drain calls the
admin listener on 1800. It calls the BBS, Locket for its presence, and, through
the executor, the container engine.
"""
