"""The table of the history: ours, beside the original's tables (docs/operations/history.md).

Only the active BBS writes it, in the transactions that it tells of, and numbers the rows itself: a higher number
is later, and two servers of a cluster need not agree on who counts. An original BBS does not look at the table.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar

from diego.bbs.core.history import TOOK_OVER, Row, numbered, took_over
from diego.bbs.store import StoreUnavailable, schema
from diego.database import Connection, DatabaseError, Pool, Settings
from diego.database.pool import READ_COMMITTED

TABLE = f"""
CREATE TABLE IF NOT EXISTS diego_history (
  id BIGINT PRIMARY KEY,
  at BIGINT NOT NULL,
  event VARCHAR(32) NOT NULL,
  guid VARCHAR(255) NOT NULL,
  instance_index INT,
  touched TINYINT NOT NULL,
  instance_guid VARCHAR(255) NOT NULL,
  detail MEDIUMTEXT NOT NULL,
  KEY diego_history_guid_idx (guid, id),
  KEY diego_history_instance_idx (instance_guid, id),
  KEY diego_history_at_idx (at)
) {schema.TABLE}
"""
COLUMNS = "id, at, event, guid, instance_index, touched, instance_guid, detail"
APPEND = f"INSERT INTO diego_history ({COLUMNS}) VALUES "  # noqa: S608 - names of columns
STATEMENT_CHARACTERS = 1 << 20
READERS = 2
ONE_DECISION = 8
ONE_BEGINNING = 1000
"""How many takeovers are looked at to find where an unbroken history begins."""

T = TypeVar("T")


class Position(NamedTuple):
    """The newest row's number and time."""

    id: int = 0
    at: int = 0


def begin(connection: Connection, epoch: int, now: int) -> Position:
    """Note that a BBS takes over, in the transaction in which it does."""
    newest = connection.row("SELECT id, at FROM diego_history ORDER BY id DESC LIMIT 1")
    number, at = (0, 0) if newest is None else (int(newest[0]), int(newest[1]))
    position = Position(number + 1, max(at, now))
    append(connection, [numbered(took_over(epoch), *position)])
    return position


def append(connection: Connection, rows: Sequence[Row]) -> None:
    """Write rows, in as few statements as fit."""
    for statement in statements(rows):
        connection.run(statement)


def statements(rows: Sequence[Row]) -> Iterator[str]:
    """The driver's own way to fill in values costs several times as much as all the rest of a row."""
    values: list[str] = []
    length = 0
    for number, at, event, guid, index, touched, instance_guid, detail in rows:
        text = (
            f"({number},{at},'{event}','{_quoted(guid)}',{'NULL' if index is None else index},{touched},"
            f"'{_quoted(instance_guid)}','{_quoted(detail)}')"
        )
        values.append(text)
        length += len(text)
        if length > STATEMENT_CHARACTERS:
            yield APPEND + ",".join(values)
            values, length = [], 0
    if values:
        yield APPEND + ",".join(values)


def _quoted(text: str) -> str:
    """For between quotes: in the connections' SQL mode a backslash escapes."""
    return text.replace("\\", "\\\\").replace("'", "\\'")


def trim(connection: Connection, before: int, most: int, at_once: int) -> int:
    """Delete some of the oldest rows: those from before a time, and those beyond `most`; how many.

    The newest of those from before that time stays: it tells since when nothing is missing.
    """
    newest = connection.row("SELECT MAX(id) FROM diego_history")
    aged = connection.row(
        "SELECT id FROM diego_history WHERE at <= %s ORDER BY at DESC, id DESC LIMIT 1", (before,)
    )
    first_kept = max(int(newest[0] or 0) - most + 1 if newest else 0, int(aged[0]) if aged else 0)
    return connection.run(
        "DELETE FROM diego_history WHERE id < %s ORDER BY id LIMIT %s", (first_kept, at_once)
    )


class HistoryReader:
    """Answers questions about the history, on connections of its own."""

    def __init__(self, settings: Settings) -> None:
        self._pool = Pool(settings, size=READERS, isolation=READ_COMMITTED)

    def close(self) -> None:
        self._pool.close()

    def page(
        self,
        *,
        guid: str = "",
        since: int | None = None,
        until: int | None = None,
        after: int = 0,
        limit: int = 100,
        newest: bool = False,
    ) -> list[Row]:
        """At most `limit` rows in order: the first after row `after`, or the newest.

        `guid` is a process's, a task's or an instance's; `since` and `until` are inclusive. Raises StoreUnavailable.
        """

        def work(connection: Connection) -> list[Row]:
            low = max(after + 1, 0 if since is None else _first_at(connection, since))
            high = None if until is None else _first_at(connection, until + 1) - 1
            between = f"id >= {low:d}" + ("" if high is None else f" AND id <= {high:d}")
            order = "DESC" if newest else "ASC"
            some = f"SELECT {COLUMNS} FROM diego_history"  # noqa: S608 - names of columns
            end = f"ORDER BY id {order} LIMIT {limit:d}"
            if guid:
                query = (
                    f"({some} WHERE guid = %s AND {between} {end}) UNION ALL"
                    f" ({some} WHERE instance_guid = %s AND {between} {end}) {end}"
                )
                found = connection.rows(query, (guid, guid))
            else:
                found = connection.rows(f"{some} WHERE {between} {end}")
            return [Row(*columns) for columns in (reversed(found) if newest else found)]

        return self._read(work)

    def following(self, number: int) -> list[Row]:
        """A few rows after one: as many as one decision may have."""
        return self.page(after=number, limit=ONE_DECISION)

    def first_changes(self, time: int, guid: str = "") -> list[Row]:
        """Of each key and each way to touch its places the first row after a time, in order."""
        chosen = "guid = %s AND" if guid else ""

        def work(connection: Connection) -> list[Row]:
            found = connection.rows(
                f"SELECT {COLUMNS} FROM diego_history JOIN"  # noqa: S608 - names of columns
                f" (SELECT MIN(id) AS first FROM diego_history WHERE {chosen} id >= %s AND touched > 0"
                " GROUP BY guid, instance_index, touched) AS firsts ON id = first ORDER BY id",
                (*([guid] if guid else []), _first_at(connection, time + 1)),
            )
            return [Row(*columns) for columns in found]

        return self._read(work)

    def begins(self) -> int | None:
        """Since when nothing is missing, as far as this BBS and others like it wrote; None without any row."""

        def work(connection: Connection) -> int | None:
            oldest = connection.row("SELECT at FROM diego_history ORDER BY id LIMIT 1")
            if oldest is None:
                return None
            takeovers = connection.rows(
                "SELECT at, JSON_VALUE(detail, '$.epoch') FROM diego_history"
                " WHERE guid = '' AND event = %s ORDER BY id DESC LIMIT %s",
                (TOOK_OVER, ONE_BEGINNING),
            )
            begins = int(oldest[0])
            for (at, epoch), (_, epoch_before) in pairwise(takeovers):
                if int(epoch) != int(epoch_before) + 1:
                    return max(begins, int(at))
            return begins

        return self._read(work)

    def _read(self, work: Callable[[Connection], T]) -> T:
        try:
            return self._pool.transact(work)
        except DatabaseError as error:
            raise StoreUnavailable(error.text) from error


def _first_at(connection: Connection, time: int) -> int:
    """The number of the first row of a time or later; one more than the newest when there is none."""
    found = connection.row("SELECT id FROM diego_history WHERE at >= %s ORDER BY at, id LIMIT 1", (time,))
    if found is None:
        found = connection.row("SELECT COALESCE(MAX(id), 0) + 1 FROM diego_history")
    return int(found[0]) if found else 1
