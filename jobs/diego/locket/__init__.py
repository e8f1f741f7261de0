"""Locket: named locks and presences with a time to live, served over gRPC (contract/locket.md).

Called by whoever must be the only one (the BBS, the auctioneer) and by whoever must be seen (the cells),
through `client`. It calls nobody but MariaDB, which serialises all calls: every instance is active.

    server ─▶ service ─▶ core/{requests,locks} ─▶ store        lock, release, fetch
              expiry ──▶ core/expiry ─▶ store                  rows whose time to live is over
    client ─▶ core/holding                                     who holds, for how long, and who lost
"""
