"""The rows of the original's tables a page at a time, on a connection of their own, for who compares them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from diego.bbs.store import StoreUnavailable, UnreadableDesired, rows
from diego.bbs.store.encryption import Encryption
from diego.bbs.store.statements import ACTUAL, DESIRED, DOMAINS, TASKS, Table
from diego.database import Connection, DatabaseError, Pool, Settings
from diego.database.pool import READ_COMMITTED
from diego.models import ActualLRP, DesiredLRP, Domain, Presence, Task

Key = tuple[Any, ...]
Record = Domain | DesiredLRP | ActualLRP | Task
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stored:
    """A row: its key and its record, None where it cannot be read."""

    key: Key
    record: Record | None


TABLES = {"domains": DOMAINS, "desired_lrps": DESIRED, "actual_lrps": ACTUAL, "tasks": TASKS}


class TablePages:
    """Reads rows in the order of their keys."""

    def __init__(self, settings: Settings, encryption: Encryption) -> None:
        self._encryption = encryption
        self._pool = Pool(settings, size=1, isolation=READ_COMMITTED, sees_all=True)

    def close(self) -> None:
        self._pool.close()

    def after(self, table: str, key: Key | None, limit: int) -> list[Stored]:
        """The rows whose keys follow `key`, or the first ones. Raises StoreUnavailable."""
        columns = TABLES[table].key
        condition, arguments = ("", ()) if key is None else _beyond(columns, key)
        order = f"ORDER BY {', '.join(columns)} LIMIT {limit:d}"
        return self._read(
            lambda connection: self._stored(connection, table, f"{condition} {order}", arguments)
        )

    def one(self, table: str, key: Key) -> Stored | None:
        """One row, None where there is none. Raises StoreUnavailable."""
        condition = f"WHERE {TABLES[table].among(1)}"
        found = self._read(lambda connection: self._stored(connection, table, condition, key))
        return found[0] if found else None

    def _stored(self, connection: Connection, table: str, rest: str, arguments: Key) -> list[Stored]:
        found = connection.rows(f"{TABLES[table].select} {rest}", arguments or None)
        return [self._record(TABLES[table], columns) for columns in found]

    def _record(self, table: Table, columns: Sequence[Any]) -> Stored:
        if table is DOMAINS:
            return Stored((columns[0],), Domain(columns[0], columns[1] or 0))
        if table is DESIRED:
            desired = rows.desired_record(columns, self._encryption)
            return Stored((columns[0],), None if isinstance(desired, UnreadableDesired) else desired)
        if table is ACTUAL:
            actual = rows.actual_record(columns, self._encryption)
            key = (columns[0], columns[1], Presence(columns[2]))
            return Stored(key, actual if isinstance(actual, ActualLRP) else None)
        return Stored((columns[0],), rows.task_record(columns, self._encryption))

    def _read(self, work: Callable[[Connection], T]) -> T:
        try:
            return self._pool.transact(work)
        except DatabaseError as error:
            raise StoreUnavailable(error.text) from error


def _beyond(columns: tuple[str, ...], key: Key) -> tuple[str, Key]:
    """The condition that a row's key follows `key`, in the form that the database finds by its index."""
    condition, arguments = f"{columns[-1]} > %s", key[-1:]
    for name, part in zip(reversed(columns[:-1]), reversed(key[:-1]), strict=True):
        condition = f"{name} > %s OR ({name} = %s AND ({condition}))"
        arguments = (part, part, *arguments)
    return f"WHERE {condition}", arguments
