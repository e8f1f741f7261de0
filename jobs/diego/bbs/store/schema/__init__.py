"""The original's schema, by its numbered migrations (contract/lifecycle.md section 11).

A migration is a list of statements, or a function where rows have to be rewritten. MariaDB commits each change
of a table by itself, so that a migration may be met half done: every one of them can be run again. Keys are
compared byte for byte, as the BBS's memory compares them.
"""

from diego.bbs.store.schema.migrations import MIGRATIONS, NEWEST, TABLE
from diego.bbs.store.schema.runner import (
    ENCRYPTION_KEY_LABEL,
    VERSION,
    configuration,
    migrate,
    put_configuration,
    version_of,
)

__all__ = [
    "ENCRYPTION_KEY_LABEL",
    "MIGRATIONS",
    "NEWEST",
    "TABLE",
    "VERSION",
    "configuration",
    "migrate",
    "put_configuration",
    "version_of",
]
