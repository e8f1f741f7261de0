"""A batch of writes as SQL: one statement per kind, for as many rows as there are."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import NoneType
from typing import Any

from diego.bbs.store import (
    DeleteActual,
    DeleteDesired,
    DeleteDomain,
    DeleteTask,
    PutActual,
    PutDesired,
    PutDomain,
    PutTask,
    Write,
    latest,
    rows,
)
from diego.bbs.store.encryption import Encryption

DELETE_AT_ONCE = 500
STATEMENT_CHARACTERS = 1 << 20
"""A statement is ended when it is longer; one row may be longer still."""


def text_literal(text: str) -> str:
    """A text as SQL reads it back: in the connections' SQL mode only these two need an escape."""
    if "\\" in text or "'" in text:
        text = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"


_LITERALS: dict[type, Callable[[Any], str]] = {
    str: text_literal,
    int: int.__repr__,
    NoneType: lambda _: "NULL",
}


def literal(value: str | int | None) -> str:
    """A column's value in SQL; the driver's own way costs several times as much as the rest of a write."""
    return _LITERALS[type(value)](value)


def values(columns: Iterable[str | int | None]) -> str:
    """A row in SQL."""
    return "(" + ",".join([_LITERALS[type(value)](value) for value in columns]) + ")"


def encoded(statement: str) -> bytes:
    return statement.encode("utf-8", "surrogateescape")


def _pieces(rows_of_sql: Iterable[str]) -> Iterator[list[str]]:
    """Some rows at a time, as many as a statement takes."""
    some: list[str] = []
    length = 0
    for row in rows_of_sql:
        some.append(row)
        length += len(row)
        if length > STATEMENT_CHARACTERS:
            yield some
            some, length = [], 0
    if some:
        yield some


@dataclass(frozen=True)
class Table:
    """How a table's rows are written, removed and read."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    numbers: frozenset[str]

    @cached_property
    def put(self) -> tuple[str, str]:
        """What stands before the rows, and what after them."""
        names = ", ".join(self.columns)
        changes = ", ".join(f"{name} = VALUES({name})" for name in self.columns if name not in self.key)
        before = f"INSERT INTO {self.name} ({names}) VALUES "  # noqa: S608 - names of columns
        return before, f" ON DUPLICATE KEY UPDATE {changes}"

    @property
    def select(self) -> str:
        """Every row."""
        return f"SELECT {', '.join(self.columns)} FROM {self.name}"  # noqa: S608 - names of columns

    @cached_property
    def number_places(self) -> tuple[int, ...]:
        """Which columns hold numbers."""
        return tuple(at for at, name in enumerate(self.columns) if name in self.numbers)

    def delete(self, keys: Sequence[tuple[Any, ...]]) -> str:
        some = ",".join(map(values, keys))
        return f"DELETE FROM {self.name} WHERE ({', '.join(self.key)}) IN ({some})"  # noqa: S608 - escaped

    def among(self, count: int) -> str:
        """The condition that a row's key is one of `count` keys."""
        marks = "(" + ", ".join(["%s"] * len(self.key)) + ")"
        return f"({', '.join(self.key)}) IN ({', '.join([marks] * count)})"


DOMAINS = Table("domains", ("domain", "expire_time"), ("domain",), frozenset({"expire_time"}))
DESIRED = Table("desired_lrps", rows.DESIRED_COLUMNS, ("process_guid",), rows.DESIRED_NUMBERS)
ACTUAL = Table(
    "actual_lrps", rows.ACTUAL_COLUMNS, ("process_guid", "instance_index", "presence"), rows.ACTUAL_NUMBERS
)
TASKS = Table("tasks", rows.TASK_COLUMNS, ("guid",), rows.TASK_NUMBERS)
TABLES = (DOMAINS, DESIRED, ACTUAL, TASKS)

TASK_WITHOUT_DEFINITION = (
    # names of columns; the values are literals
    f"UPDATE tasks SET {', '.join(f'{name} = {{}}' for name in rows.TASK_COLUMNS[1:-1])} WHERE guid = {{}}"  # noqa: S608
)
"""A definition that could not be read stays as it is."""

ENCRYPTED = (
    (DESIRED, ("run_info", "volume_placement", "routes", "metric_tags")),
    (ACTUAL, ("net_info", "internal_routes", "metric_tags")),
    (TASKS, ("task_definition",)),
)


@dataclass
class Statements:
    """The rows to put and the keys to delete, by table; encrypted already."""

    puts: dict[Table, list[tuple[Any, ...]]] = field(default_factory=lambda: {table: [] for table in TABLES})
    deletes: dict[Table, list[tuple[Any, ...]]] = field(
        default_factory=lambda: {table: [] for table in TABLES}
    )
    undefined_tasks: list[tuple[Any, ...]] = field(default_factory=list)

    @classmethod
    def of(cls, writes: Iterable[Write], encryption: Encryption) -> "Statements":
        statements = cls()
        for write in latest(writes):
            statements._add(write, encryption)
        return statements

    def texts(self) -> Iterator[bytes]:
        """The statements, in their order."""
        for table, keys in self.deletes.items():
            for start in range(0, len(keys), DELETE_AT_ONCE):
                yield encoded(table.delete(keys[start : start + DELETE_AT_ONCE]))
        for table, columns in self.puts.items():
            before, after = table.put
            for some in _pieces(map(values, columns)):
                yield encoded(before + ",".join(some) + after)
        for task in self.undefined_tasks:
            yield encoded(TASK_WITHOUT_DEFINITION.format(*map(literal, task)))

    def _add(self, write: Write, encryption: Encryption) -> None:
        match write:
            case PutDomain(domain, expires_at_ns):
                self.puts[DOMAINS].append((domain, expires_at_ns))
            case DeleteDomain(domain):
                self.deletes[DOMAINS].append((domain,))
            case PutDesired(record):
                self.puts[DESIRED].append(rows.desired_columns(record, encryption))
            case DeleteDesired(process_guid):
                self.deletes[DESIRED].append((process_guid,))
            case PutActual(lrp):
                self.puts[ACTUAL].append(rows.actual_columns(lrp, encryption))
            case DeleteActual(process_guid, index, presence):
                self.deletes[ACTUAL].append((process_guid, index, int(presence)))
            case PutTask(task):
                columns = rows.task_columns(task, encryption)
                if task.definition is None:
                    self.undefined_tasks.append((*columns[1:-1], task.guid))
                else:
                    self.puts[TASKS].append(columns)
            case DeleteTask(guid):
                self.deletes[TASKS].append((guid,))
