"""Locks in MariaDB (contract/locket.md sections 3 and 7)."""

from collections.abc import Callable
from functools import partial
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


class SqlLockStore:
    """The table `locks`.

    Its pool commits each statement by itself, reads what is committed, so that a wait for a row sees what it waited for,
    and on a cluster what the lockets beside it have written.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def create_table(self) -> None:
        self._pool.outright(lambda connection: connection.run(CREATE))

    def ping(self) -> None:
        self._pool.outright(lambda connection: connection.row("SELECT 1"))

    def change(
        self, path: str, decide: Callable[[Row | None], Row | None], *, guess: Row | None = None
    ) -> Row | None:
        if guess is not None and guess.modified_id:
            after = decide(guess)
            if after is not None and self._pool.outright(partial(_replaced, before=guess, after=after)):
                return after
        return self._pool.transact(partial(_changed, path=path, decide=decide))

    def fetch(self, path: str) -> Row | None:
        found = self._pool.outright(lambda c: c.row(f"{SELECT} WHERE path = %s", (path,)))
        return _row(found) if found else None

    def fetch_all(self, type_text: str) -> list[Row]:
        found = self._pool.outright(lambda c: c.rows(f"{SELECT} WHERE type = %s", (type_text,)))
        return [_row(columns) for columns in found]

    def rows(self) -> list[Row]:
        return [_row(columns) for columns in self._pool.outright(lambda c: c.rows(SELECT))]


def _replaced(connection: Connection, before: Row, after: Row) -> bool:
    """Write the row, if it still is what it was: each life of a row has an id, each change of it an index."""
    arguments = (*_content(after), before.path, before.owner, before.modified_id, before.modified_index)
    statement = connection.cursor().mogrify(REPLACE, arguments)
    return connection.run_all([statement.encode("utf-8", "surrogateescape")]) == [1]  # less work than `run`


def _changed(connection: Connection, path: str, decide: Callable[[Row | None], Row | None]) -> Row | None:
    found = connection.row(f"{SELECT} WHERE path = %s FOR UPDATE", (path,))
    before = _row(found) if found else None
    after = decide(before)
    try:
        _write(connection, before, after)
    except Duplicate as error:
        # Somebody made the row in between: the same as a deadlock, one of the two begins again.
        raise Deadlock("sql-deadlock", error.code, error.cause) from error
    return after


def _row(columns: tuple[Any, ...]) -> Row:
    path, owner, value, type_text, modified_index, modified_id, ttl = columns
    return Row(
        path, owner or "", value or "", type_text or "", modified_index or 0, modified_id or "", ttl or 0
    )


def _write(connection: Connection, before: Row | None, after: Row | None) -> None:
    if after == before:
        return
    if after is None:
        if before is not None:
            connection.run(DELETE, (before.path,))
    elif before is None:
        connection.run(INSERT, (after.path, *_content(after)))
    else:
        connection.run(UPDATE, (*_content(after), before.path))


def _content(row: Row) -> tuple[Any, ...]:
    return row.owner, row.value, row.type, row.modified_index, row.modified_id, row.ttl
