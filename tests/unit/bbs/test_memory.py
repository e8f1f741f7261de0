"""The BBS's memory: two views of the same records, and indexes that are always right."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from diego.bbs.core.convergence import Circumstances, converge_index, outdated
from diego.bbs.core.lifecycle import Key, Rows
from diego.bbs.memory import Memory
from diego.models import ActualLRP, ActualLRPState, DesiredLRP, Domain, Presence, TaskState
from diego.models.entries import list_entry
from support.records import (
    NOW,
    a_desired_lrp,
    a_task,
    an_actual_lrp,
    claimed,
    evacuating,
    running,
    unclaimed,
    with_internal_routes,
)

READER, WRITER = 1, 2


def listed(memory: Memory) -> list[bytes]:
    return [row.frame for row in memory.actual]


def frame(row: ActualLRP) -> bytes:
    return list_entry(row.message().SerializeToString())


class TestTwoViews:
    def test_what_is_on_its_way_is_newest_but_not_visible(self) -> None:
        memory, row = Memory(), unclaimed()

        memory.actual_ahead(row.identity, row, WRITER)

        assert memory.newest_rows("process", 0) == Rows(ordinary=row)
        assert memory.newest_rows_of("process") == [row]
        assert listed(memory) == []

    def test_what_arrived_is_both(self) -> None:
        memory, row = Memory(), unclaimed()
        memory.actual_ahead(row.identity, row, WRITER)

        memory.put_actual(row.identity, row, WRITER)

        assert memory.newest_rows("process", 0) == Rows(ordinary=row)
        assert listed(memory) == [frame(row)]

    def test_an_arrival_does_not_hide_what_was_decided_after_it(self) -> None:
        memory, first, second = Memory(), unclaimed(), claimed()
        memory.actual_ahead(first.identity, first, 1)
        memory.actual_ahead(second.identity, second, 2)

        memory.put_actual(first.identity, first, 1)

        assert memory.newest_rows("process", 0) == Rows(ordinary=second)
        assert listed(memory) == [frame(first)]

    def test_a_deletion_on_its_way_hides_the_record_only_from_decisions(self) -> None:
        memory, row = Memory(), running()
        memory.put_actual(row.identity, row)

        memory.actual_ahead(row.identity, None, WRITER)

        assert not memory.newest_rows("process", 0)
        assert memory.newest_rows_of("process") == []
        assert listed(memory) == [frame(row)]

    def test_what_fell_is_forgotten_as_a_whole(self) -> None:
        memory, row, task = Memory(), unclaimed(), a_task()
        memory.actual_ahead(row.identity, row, WRITER)
        memory.task_ahead(task.guid, task, WRITER)
        memory.desired_ahead("process", a_desired_lrp(), WRITER)
        memory.domain_ahead("domain", Domain("domain", 1), WRITER)

        memory.forget_ahead()

        assert not memory.newest_rows("process", 0)
        assert memory.newest_task(task.guid) is None
        assert memory.newest_desired("process") is None
        assert memory.newest_domain("domain") is None

    def test_a_record_of_another_presence_is_another_record(self) -> None:
        memory, row, leaving = Memory(), unclaimed(), evacuating()
        memory.put_actual(row.identity, row)
        memory.actual_ahead(leaving.identity, leaving, WRITER)

        assert memory.newest_rows("process", 0) == Rows(ordinary=row, evacuating=leaving)


class TestTasks:
    def test_a_task_is_found_by_cell_and_state_as_it_is_now(self) -> None:
        memory = Memory()
        memory.put_task("task", a_task(state=TaskState.RUNNING))
        memory.put_task("task", a_task(state=TaskState.COMPLETED, cell_id=""))

        assert memory.tasks.by_cell.of("cell") == {}
        assert not memory.tasks.by_state[TaskState.RUNNING]
        assert list(memory.tasks.by_state[TaskState.COMPLETED]) == ["task"]

    def test_one_that_cannot_be_read_is_kept_but_never_listed(self) -> None:
        memory = Memory()

        memory.put_task("task", a_task(definition=None))

        assert memory.tasks.by_domain.by_group == {}
        assert list(memory.tasks.unreadable) == ["task"]


class TestDesired:
    def test_a_domain_has_what_is_wanted_in_it_now(self) -> None:
        memory = Memory()
        for guid in ("a", "b"):
            memory.put_desired(guid, a_desired_lrp(guid))

        memory.put_desired("a", a_desired_lrp("a", domain="other"))

        assert list(memory.desired.by_domain.of("domain")) == ["b"]
        assert list(memory.desired.by_domain.of("other")) == ["a"]


# Histories: whatever is written and removed, indexes say the same as a look at everything.

GUIDS = ["one", "two"]
CELLS = ["cell-a", "cell-b"]


@st.composite
def records(draw: Callable[..., Any]) -> ActualLRP:
    state = draw(st.sampled_from(list(ActualLRPState)))
    presence = Presence.ORDINARY
    if state in {ActualLRPState.CLAIMED, ActualLRPState.RUNNING}:
        presence = draw(st.sampled_from(list(Presence)))
    row = an_actual_lrp(
        process_guid=draw(st.sampled_from(GUIDS)),
        index=draw(st.integers(0, 3)),
        state=state,
        presence=presence,
        domain=draw(st.sampled_from(["d1", "d2"])),
        internal_routes=draw(st.sampled_from([None, (), ("a",)])),
        metric_tags=draw(st.sampled_from([None, {"source_id": "source"}, {"source_id": "old"}])),
        since=draw(st.sampled_from([NOW, 0])),
        crash_count=draw(st.sampled_from([1, 3, 200])),
    )
    return replace(row, cell_id=draw(st.sampled_from(CELLS))) if row.cell_id else row


def desired_records() -> st.SearchStrategy[DesiredLRP]:
    return st.builds(
        lambda guid, instances, routes: with_internal_routes(*routes, process_guid=guid, instances=instances),
        st.sampled_from(GUIDS),
        st.integers(0, 4),
        st.sampled_from([[], ["a"]]),
    )


class MemoryHistory(RuleBasedStateMachine):
    """Writes and removals in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = Memory()
        self.rows: dict[Any, ActualLRP] = {}
        self.desired: dict[str, DesiredLRP] = {}

    @rule(row=records())
    def put(self, row: ActualLRP) -> None:
        self.rows[row.identity] = row
        self.memory.put_actual(row.identity, row)

    @rule(row=records())
    def drop(self, row: ActualLRP) -> None:
        self.rows.pop(row.identity, None)
        self.memory.put_actual(row.identity, None)

    @rule(lrp=desired_records())
    def want(self, lrp: DesiredLRP) -> None:
        self.desired[lrp.process_guid] = lrp
        self.memory.put_desired(lrp.process_guid, lrp)

    @rule(guid=st.sampled_from(GUIDS))
    def unwant(self, guid: str) -> None:
        self.desired.pop(guid, None)
        self.memory.put_desired(guid, None)

    @invariant()
    def lists_are_complete(self) -> None:
        table = self.memory.actual
        assert sorted(listed(self.memory)) == sorted(frame(row) for row in self.rows.values())
        for cell in CELLS:
            assert set(table.by_cell.of(cell)) == {i for i, row in self.rows.items() if row.cell_id == cell}
        for domain in ("d1", "d2"):
            assert set(table.by_domain.of(domain)) == {
                i for i, row in self.rows.items() if row.domain == domain
            }

    @invariant()
    def attention_is_where_it_belongs(self) -> None:
        for guid in GUIDS:
            lrp = self.desired.get(guid)
            wanted = set(range(lrp.instances)) if lrp else set()
            there = {
                row.index
                for row in self.rows.values()
                if row.process_guid == guid and row.presence is Presence.ORDINARY
            }
            assert (guid in self.memory.attention.irregular) is (there != wanted)
        outdated_rows = {
            identity
            for identity, row in self.rows.items()
            if row.process_guid in self.desired and outdated(row, self.desired[row.process_guid])
        }
        assert set(self.memory.attention.outdated) == outdated_rows

    @invariant()
    def nothing_that_convergence_would_act_on_is_overlooked(self) -> None:
        by_key: dict[Key, Rows] = {}
        for guid, index, _ in self.rows:
            by_key[Key(guid, index, "")] = self.memory.newest_rows(guid, index)
        for lrp in self.desired.values():
            for index in range(lrp.instances):
                by_key.setdefault(Key(lrp.process_guid, index, ""), Rows())
        for cells in (frozenset(), frozenset(CELLS), frozenset(CELLS[:1])):
            looked_at = {(key.process_guid, key.index) for key in self.memory.indices_to_converge(cells)}
            around = Circumstances(cells, listed=True, fresh=True, now=NOW)
            for key, found in by_key.items():
                decision = converge_index(
                    key, found, self.desired.get(key.process_guid), around, epoch="epoch"
                )
                needs = decision.units or decision.start or decision.retire or decision.update
                assert not needs or (key.process_guid, key.index) in looked_at


TestMemoryHistories = MemoryHistory.TestCase
TestMemoryHistories.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
