"""Memory against the database: what is told, and what is not."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

from diego.bbs.comparison import Comparison, Difference
from diego.bbs.memory import Memory
from diego.bbs.store.pages import Stored, TablePages
from diego.models import Domain, Presence
from diego.runtime.process import Runtime
from support.records import a_desired_lrp, a_task, running
from support.worker import running as running_job

Tables = dict[str, dict[tuple[Any, ...], Any]]


class Pages:
    """A database that is a dict per table; `meanwhile` is called at each closer look."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.meanwhile: Callable[[], None] = lambda: None

    def after(self, table: str, key: tuple[Any, ...] | None, limit: int) -> list[Stored]:
        rows = self.tables.get(table, {})
        return [Stored(each, rows[each]) for each in sorted(rows) if key is None or each > key][:limit]

    def one(self, table: str, key: tuple[Any, ...]) -> Stored | None:
        self.meanwhile()
        rows = self.tables.get(table, {})
        return Stored(key, rows[key]) if key in rows else None


def a_memory() -> Memory:
    memory = Memory()
    memory.put_domain("domain", Domain("domain", 5))
    memory.put_desired("process", a_desired_lrp())
    memory.put_actual(running().identity, running())
    memory.put_task("task", a_task())
    return memory


def its_tables() -> Tables:
    return {
        "domains": {("domain",): Domain("domain", 5)},
        "desired_lrps": {("process",): a_desired_lrp()},
        "actual_lrps": {("process", 0, Presence.ORDINARY): running()},
        "tasks": {("task",): a_task()},
    }


@contextmanager
def comparing(memory: Memory, pages: Pages, *, mine: bool = True) -> Iterator[tuple[Runtime, Comparison]]:
    with running_job(job="bbs") as runtime:
        yield (
            runtime,
            Comparison(runtime, memory, cast(TablePages, pages), lambda: mine, share=1.0, pause=0.01),
        )


def found(memory: Memory, pages: Pages, *, mine: bool = True) -> list[Difference]:
    with comparing(memory, pages, mine=mine) as (_, comparison):
        return comparison.round()


def test_the_same_is_no_difference() -> None:
    assert found(a_memory(), Pages(its_tables())) == []


def test_fields_that_differ_are_named() -> None:
    tables = its_tables()
    tables["desired_lrps"]["process",] = a_desired_lrp(instances=4, annotation="other")
    tables["actual_lrps"]["process", 0, Presence.ORDINARY] = replace(running(), cell_id="other")
    tables["tasks"]["task",] = a_task(failed=True)
    tables["domains"]["domain",] = Domain("domain", 6)

    assert found(a_memory(), Pages(tables)) == [
        Difference("domains", ("domain",), ["expires_at"]),
        Difference("desired_lrps", ("process",), ["instances", "annotation"]),
        Difference("actual_lrps", ("process", 0, Presence.ORDINARY), ["cell_id"]),
        Difference("tasks", ("task",), ["failed"]),
    ]


def test_a_row_that_only_one_of_the_two_has_is_a_difference() -> None:
    tables = its_tables()
    del tables["tasks"]["task",]
    tables["domains"]["stranger",] = Domain("stranger", 0)

    assert found(a_memory(), Pages(tables)) == [
        Difference("domains", ("stranger",), ["row"]),
        Difference("tasks", ("task",), ["row"]),
    ]


def test_a_row_that_cannot_be_read_is_a_difference_if_memory_has_it() -> None:
    tables = its_tables()
    tables["desired_lrps"]["process",] = None
    tables["desired_lrps"]["unreadable-from-the-start",] = None

    assert found(a_memory(), Pages(tables)) == [Difference("desired_lrps", ("process",), ["unreadable"])]


def test_what_is_on_its_way_is_not_compared() -> None:
    memory = a_memory()
    memory.task_ahead("task", None, 1)
    memory.actual_ahead(running().identity, replace(running(), cell_id="another"), 2)
    tables = its_tables()
    del tables["tasks"]["task",]
    tables["actual_lrps"]["process", 0, Presence.ORDINARY] = replace(running(), cell_id="another")

    assert found(memory, Pages(tables)) == []


def test_what_changed_between_two_looks_is_not_told() -> None:
    memory, tables = a_memory(), its_tables()
    tables["tasks"]["task",] = a_task(failed=True)
    pages = Pages(tables)

    with comparing(memory, pages) as (runtime, comparison):
        pages.meanwhile = lambda: runtime.call_in_loop(lambda: memory.put_task("task", a_task(failed=True)))
        told = comparison.round()

    assert told == []


def test_nothing_is_told_once_another_bbs_has_taken_over() -> None:
    tables = its_tables()
    del tables["tasks"]["task",]

    assert found(a_memory(), Pages(tables), mine=False) == []


def test_long_tables_are_read_to_their_end() -> None:
    memory, tables = a_memory(), its_tables()
    for number in range(250):
        guid = f"task-{number}"
        memory.put_task(guid, a_task(guid=guid))
        tables["tasks"][guid,] = a_task(guid=guid, failed=number == 249)

    assert found(memory, Pages(tables)) == [Difference("tasks", ("task-249",), ["failed"])]
