"""How the jobs talk to MariaDB: the connection string, connections that keep a deadline, a small pool.

Used by locket's store and the BBS's store. It knows nothing of either.
"""

from diego.database.connections import Connection, Settings
from diego.database.dsn import DataSource, InvalidDataSource, parse_data_source
from diego.database.errors import (
    BadValue,
    ConnectionLost,
    DatabaseError,
    DeadlineExceeded,
    Deadlock,
    Duplicate,
    MissingTable,
    translated,
)
from diego.database.in_loop import Conversation
from diego.database.pool import Pool, PoolStatistics

__all__ = [
    "BadValue",
    "Connection",
    "ConnectionLost",
    "Conversation",
    "DataSource",
    "DatabaseError",
    "DeadlineExceeded",
    "Deadlock",
    "Duplicate",
    "InvalidDataSource",
    "MissingTable",
    "Pool",
    "PoolStatistics",
    "Settings",
    "parse_data_source",
    "translated",
]
