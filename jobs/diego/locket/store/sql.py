"""Locks in MariaDB (contract/locket.md sections 3 and 7)."""

from collections.abc import Callable
from typing import Any

from diego.database import Connection, Deadlock, Duplicate, Pool
from diego.locket.core.locks import Row

CREATE = """
CREATE TABLE IF NOT EXISTS locks (
  path VARCHAR(255) NOT NULL,
  owner VARCHAR(255),
  value VARCHAR(4096),
  type VARCHAR(255) DEFAULT '',
  modified_index BIGINT DEFAULT 0,
  modified_id VARCHAR(255) DEFAULT '',
  ttl BIGINT DEFAULT 0,
  PRIMARY KEY (path)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin
"""
COLUMNS = "path, owner, value, type, modified_index, modified_id, ttl"
SELECT = f"SELECT {COLUMNS} FROM locks"  # noqa: S608 - constants
INSERT = f"INSERT INTO locks ({COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s)"  # noqa: S608 - constants
UPDATE = (
    "UPDATE locks SET owner = %s, value = %s, type = %s, modified_index = %s, modified_id = %s, ttl = %s"
    " WHERE path = %s"
)
REPLACE = f"{UPDATE} AND owner = %s AND modified_id = %s AND modified_index = %s"
DELETE = "DELETE FROM locks WHERE path = %s"
COMMIT = b"COMMIT"


class SqlLockStore:
    """The table `locks`. Its pool reads what is committed, so that a wait for a row sees what it waited for."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def create_table(self) -> None:
        self._pool.transact(lambda connection: connection.run(CREATE))

    def ping(self) -> None:
        self._pool.transact(lambda connection: connection.row("SELECT 1"))

    def change(
        self, path: str, decide: Callable[[Row | None], Row | None], *, guess: Row | None = None
    ) -> Row | None:
        guessed = None if guess is None or not guess.modified_id else decide(guess)

        def work(connection: Connection) -> Row | None:
            if guess is not None and guessed is not None and _replaced(connection, guess, guessed):
                return guessed
            found = connection.row(f"{SELECT} WHERE path = %s FOR UPDATE", (path,))
            before = _row(found) if found else None
            after = decide(before)
            try:
                connection.run_all([*_writes(connection, before, after), COMMIT])
            except Duplicate as error:
                # Somebody made the row in between: the same as a deadlock, one of the two begins again.
                raise Deadlock("sql-deadlock", error.code, error.cause) from error
            return after

        return self._pool.transact(work, commits=False)

    def fetch(self, path: str) -> Row | None:
        found = self._pool.transact(lambda c: c.row(f"{SELECT} WHERE path = %s", (path,)))
        return _row(found) if found else None

    def fetch_all(self, type_text: str) -> list[Row]:
        found = self._pool.transact(lambda c: c.rows(f"{SELECT} WHERE type = %s", (type_text,)))
        return [_row(columns) for columns in found]

    def rows(self) -> list[Row]:
        return [_row(columns) for columns in self._pool.transact(lambda c: c.rows(SELECT))]


def _row(columns: tuple[Any, ...]) -> Row:
    path, owner, value, type_text, modified_index, modified_id, ttl = columns
    return Row(
        path, owner or "", value or "", type_text or "", modified_index or 0, modified_id or "", ttl or 0
    )


def _replaced(connection: Connection, before: Row, after: Row) -> bool:
    """Write the row in one exchange, if it still is what it was: each life of a row has an id, each change an index."""
    arguments = (*_content(after), before.path, before.owner, before.modified_id, before.modified_index)
    return connection.run_all([_statement(connection, REPLACE, arguments), COMMIT])[0] == 1


def _writes(connection: Connection, before: Row | None, after: Row | None) -> list[bytes]:
    if after == before:
        return []
    if after is None:
        return [] if before is None else [_statement(connection, DELETE, (before.path,))]
    if before is None:
        return [_statement(connection, INSERT, (after.path, *_content(after)))]
    return [_statement(connection, UPDATE, (*_content(after), before.path))]


def _content(row: Row) -> tuple[Any, ...]:
    return row.owner, row.value, row.type, row.modified_index, row.modified_id, row.ttl


def _statement(connection: Connection, query: str, arguments: tuple[Any, ...]) -> bytes:
    """A statement to be sent with others, as the driver encodes one that is sent alone."""
    return connection.cursor().mogrify(query, arguments).encode("utf-8", "surrogateescape")
