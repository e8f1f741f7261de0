"""A batch of writes as SQL: one statement per kind, for as many rows as there are."""

from collections.abc import Iterable
from dataclasses import dataclass, field
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
from diego.database import Connection

DELETE_AT_ONCE = 500


@dataclass(frozen=True)
class Table:
    """How a table's rows are written, removed and read."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]

    @property
    def put(self) -> str:
        names = ", ".join(self.columns)
        marks = ", ".join(["%s"] * len(self.columns))
        changes = ", ".join(f"{name} = VALUES({name})" for name in self.columns if name not in self.key)
        return (
            f"INSERT INTO {self.name} ({names}) VALUES ({marks})"  # noqa: S608 - names of columns
            f" ON DUPLICATE KEY UPDATE {changes}"
        )

    @property
    def select(self) -> str:
        """Every row as one JSON list of its columns."""
        return f"SELECT JSON_ARRAY({', '.join(self.columns)}) FROM {self.name}"  # noqa: S608 - names of columns

    def delete(self, count: int) -> str:
        return f"DELETE FROM {self.name} WHERE {self.among(count)}"  # noqa: S608 - names of columns

    def among(self, count: int) -> str:
        """The condition that a row's key is one of `count` keys."""
        marks = "(" + ", ".join(["%s"] * len(self.key)) + ")"
        return f"({', '.join(self.key)}) IN ({', '.join([marks] * count)})"


DOMAINS = Table("domains", ("domain", "expire_time"), ("domain",))
DESIRED = Table("desired_lrps", rows.DESIRED_COLUMNS, ("process_guid",))
ACTUAL = Table("actual_lrps", rows.ACTUAL_COLUMNS, ("process_guid", "instance_index", "presence"))
TASKS = Table("tasks", rows.TASK_COLUMNS, ("guid",))
TABLES = (DOMAINS, DESIRED, ACTUAL, TASKS)

TASK_WITHOUT_DEFINITION = (
    f"UPDATE tasks SET {', '.join(f'{name} = %s' for name in rows.TASK_COLUMNS[1:-1])} WHERE guid = %s"  # noqa: S608
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

    def run(self, connection: Connection) -> None:
        for table, keys in self.deletes.items():
            for start in range(0, len(keys), DELETE_AT_ONCE):
                some = keys[start : start + DELETE_AT_ONCE]
                connection.run(table.delete(len(some)), [part for key in some for part in key])
        for table, columns in self.puts.items():
            if columns:
                connection.run_many(table.put, columns)
        if self.undefined_tasks:
            connection.run_many(TASK_WITHOUT_DEFINITION, self.undefined_tasks)

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
