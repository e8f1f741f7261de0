"""The table of the history: ours, beside the original's tables (docs/operations/history.md).

Only the active BBS writes it, in the transactions that it tells of, and numbers the rows itself: a higher number
is later, and two servers of a cluster need not agree on who counts. An original BBS does not look at the table.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import orjson

from diego.bbs.core.history import TOOK_OVER, Row, numbered, took_over
from diego.bbs.store import StoreUnavailable, schema
from diego.bbs.store.statements import text_literal
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
  KEY diego_history_instance_idx (instance_guid, id)
) {schema.TABLE}
"""
COLUMNS = "id, at, event, guid, instance_index, touched, instance_guid, detail"
APPEND = f"INSERT INTO diego_history ({COLUMNS}) VALUES "  # noqa: S608 - names of columns
STATEMENT_CHARACTERS = 1 << 20
READERS = 2
PIECE = 2000
"""Rows that are looked at in one question."""

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
            f"({number},{at},{text_literal(event)},{text_literal(guid)},{'NULL' if index is None else index},{touched},"
            f"{text_literal(instance_guid)},{text_literal(detail)})"
        )
        values.append(text)
        length += len(text)
        if length > STATEMENT_CHARACTERS:
            yield APPEND + ",".join(values)
            values, length = [], 0
    if values:
        yield APPEND + ",".join(values)


def trim(connection: Connection, first_kept: int, at_once: int) -> int:
    """Delete at most `at_once` of the rows before one; how many."""
    return connection.run(
        "DELETE FROM diego_history WHERE id < %s ORDER BY id LIMIT %s", (first_kept, at_once)
    )


class HistoryReader:
    """Answers questions about the history, on connections of its own."""

    def __init__(self, settings: Settings) -> None:
        self._pool = Pool(settings, size=READERS, isolation=READ_COMMITTED, sees_all=True)

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

    def first_changes(self, time: int, guid: str = "") -> Iterator[Row]:
        """Of each key and each way to touch its places the first row after a time, in order.

        In pieces, of which each is short: neither the database nor this process is held up by a long history.
        """
        if guid:
            yield from _firsts(self._all_of(guid, time))
            return
        low, beyond = self._read(lambda connection: (_first_at(connection, time + 1), _beyond(connection)))
        seen: set[tuple[object, ...]] = set()
        for start in range(low, beyond, PIECE):
            found = self._read(partial(_keys, start=start, end=min(start + PIECE, beyond)))
            numbers = []
            for number, *key in found:
                place = tuple(key)
                if place not in seen:
                    seen.add(place)
                    numbers.append(number)
            if numbers:
                yield from self._read(partial(_numbered, numbers=numbers))

    def _all_of(self, guid: str, time: int) -> Iterator[Row]:
        after = 0
        while rows := self.page(guid=guid, since=time + 1, after=after, limit=PIECE):
            yield from (row for row in rows if row.guid == guid and row.touched)
            after = rows[-1].id

    def surplus(self, before: int, most: int) -> int:
        """The number of the first row to keep, when rows from before a time, or beyond `most`, are to go; else 0.

        The newest of those from before that time is kept: it tells since when nothing is missing.
        """

        def work(connection: Connection) -> int:
            oldest = connection.row("SELECT id FROM diego_history ORDER BY id LIMIT 1")
            aged = connection.row(
                "SELECT id FROM diego_history WHERE id < %s ORDER BY id DESC LIMIT 1",
                (_first_at(connection, before + 1),),
            )
            first_kept = max(_beyond(connection) - most, int(aged[0]) if aged else 0)
            return first_kept if oldest and int(oldest[0]) < first_kept else 0

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
    """The number of the first row of a time or later; one more than the newest when there is none.

    Times grow with the numbers, so that they need no index, which would cost every row that is written.
    """
    oldest = connection.row("SELECT id FROM diego_history ORDER BY id LIMIT 1")
    low, high = int(oldest[0]) if oldest else 1, _beyond(connection)
    while low < high:
        middle = (low + high) // 2
        found = connection.row(
            "SELECT id, at FROM diego_history WHERE id >= %s ORDER BY id LIMIT 1", (middle,)
        )
        if found is None or int(found[1]) >= time:
            high = middle
        else:
            low = int(found[0]) + 1
    return low


def _beyond(connection: Connection) -> int:
    """One more than the newest row's number."""
    found = connection.row("SELECT COALESCE(MAX(id), 0) + 1 FROM diego_history")
    return int(found[0]) if found else 1


def _keys(connection: Connection, *, start: int, end: int) -> list[list[Any]]:
    """The numbers of some rows, and what each touches: one text, which is read much faster than rows are."""
    found = connection.row(
        "SELECT JSON_ARRAYAGG(JSON_ARRAY(id, guid, instance_index, touched)) FROM diego_history"
        " WHERE id >= %s AND id < %s AND touched > 0",
        (start, end),
    )
    keys: list[list[Any]] = orjson.loads(found[0]) if found and found[0] else []
    keys.sort(key=lambda each: int(each[0]))
    return keys


def _numbered(connection: Connection, *, numbers: Sequence[int]) -> list[Row]:
    marks = ", ".join(f"{number:d}" for number in numbers)
    query = f"SELECT {COLUMNS} FROM diego_history WHERE id IN ({marks}) ORDER BY id"  # noqa: S608 - numbers
    return [Row(*columns) for columns in connection.rows(query)]


def _firsts(rows: Iterable[Row]) -> Iterator[Row]:
    seen: set[tuple[object, ...]] = set()
    for row in rows:
        place = (row.guid, row.instance_index, row.touched)
        if place not in seen:
            seen.add(place)
            yield row
