"""The rows of the history, and what follows from them."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diego.bbs.core import history
from diego.bbs.core.events import instance_events
from diego.bbs.core.history import Row
from diego.bbs.core.lifecycle import Change, Crash, Key, Rows, applied
from diego.bbs.events import Heard
from diego.bbs.recorder import Recorder
from diego.models import ActualLRP, ActualLRPState, ModificationTag, Presence, TaskState
from diego.models.actual_lrp import Identity
from support.records import (
    HERE,
    KEY,
    NOW,
    SECOND,
    a_desired_lrp,
    a_task,
    an_actual_lrp,
    claimed,
    running,
    unclaimed,
)

State = dict[Identity, ActualLRP]


def bare(row: ActualLRP) -> ActualLRP:
    """A record as the history knows it."""
    return replace(row, net_info=b"", internal_routes=(), metric_tags=None)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


# ---- what was, from what is and what happened


presences = st.sampled_from(list(Presence))
small = st.integers(0, 1)


@st.composite
def decisions(draw: st.DrawFn) -> list[tuple[int, list[tuple[Presence | None, Presence | None, int]]]]:
    """For each decision its key, and for each of its changes where it takes from, where to, and which instance."""
    places = st.one_of(st.none(), presences)
    change = st.tuples(places, places, st.integers(0, 3))
    return draw(st.lists(st.tuples(small, st.lists(change, min_size=1, max_size=3)), max_size=25))


def carried_out(
    state: State, index: int, wanted: Sequence[tuple[Presence | None, Presence | None, int]], count: int
) -> tuple[Rows, list[Change]]:
    """A decision that the state allows: each record is left once, and each place is taken once."""
    rows = Rows(*(state.get((KEY.process_guid, index, presence)) for presence in Presence))
    changes: list[Change] = []
    left: set[Presence] = set()
    taken: set[Presence] = set()
    for source, target, instance in wanted:
        before = None if source is None or source in left else state.get((KEY.process_guid, index, source))
        if target in taken or (before is None and target is None):
            continue
        after = None
        if target is not None:
            made = an_actual_lrp(
                index=index,
                presence=target,
                instance_guid=f"instance-{instance}" if instance else "",
                cell_id=f"cell-{instance}",
                state=ActualLRPState.RUNNING if instance else ActualLRPState.UNCLAIMED,
                crash_count=count,
                tag=ModificationTag("epoch", count),
            )
            after = replace(before, presence=target) if before is not None and instance == 3 else made
        if before is not None:
            left.add(before.presence)
        if target is not None:
            taken.add(target)
        changes.append(Change(before, after))
    there = {presence for presence in Presence if (KEY.process_guid, index, presence) in state}
    if taken & (there - left):  # a place that nobody left is not free
        return rows, []
    return rows, changes


def tell(decision: tuple[Rows, list[Change]], heard: Heard) -> None:
    heard.actual(*decision)


@settings(deadline=None)
@given(decisions(), st.lists(st.booleans(), min_size=25, max_size=25), st.data())
def test_what_was_follows_from_what_is_and_the_rows_since(
    wanted: list[tuple[int, list[tuple[Presence | None, Presence | None, int]]]],
    together: list[bool],
    data: st.DataObject,
) -> None:
    clock = Clock()
    recorder = Recorder(clock)
    state: State = {}
    states: list[tuple[int, State]] = [(clock.now, {})]
    rows: list[Row] = []
    batch: list[tuple[Rows, list[Change]]] = []
    for count, (index, changes) in enumerate(wanted):
        before, decided = carried_out(state, index, changes, count)
        after = applied(before, decided)
        for presence, row in zip(Presence, (after.ordinary, after.evacuating, after.suspect), strict=True):
            if row is None:
                state.pop((KEY.process_guid, index, presence), None)
            else:
                state[row.identity] = row
        batch.append((before, decided))
        if together[count % len(together)]:  # several decisions share a commit, and its time
            continue
        clock.now += SECOND
        rows += recorder.rows_of([partial(tell, one) for one in batch])
        batch = []
        states.append((clock.now, dict(state)))
    clock.now += SECOND
    rows += recorder.rows_of([partial(tell, one) for one in batch])
    states.append((clock.now, dict(state)))

    moment, truth = data.draw(st.sampled_from(states))
    since = [row for row in rows if row.at > moment]
    if data.draw(st.booleans(), label="only the first rows"):
        firsts: dict[tuple[int | None, int], Row] = {}
        for each in since:
            firsts.setdefault((each.instance_index, each.touched), each)
        since = sorted(firsts.values())

    was = history.as_of(state.values(), since)

    assert {key: bare(row) for key, row in was.items()} == {key: bare(row) for key, row in truth.items()}


def test_an_instance_that_has_not_changed_for_longer_than_the_history_is_there() -> None:
    row = running(since=1)

    assert history.as_of([row], []) == {row.identity: row}


# ---- rows


def recorded(*told: object) -> list[Row]:
    clock = Clock()
    return Recorder(clock).rows_of(told)  # type: ignore[arg-type]  # lambdas of one argument


def test_rows_are_numbered_on_and_time_does_not_go_backwards() -> None:
    clock = Clock()
    recorder = Recorder(clock)
    recorder.begin(41, NOW + SECOND)

    first = recorder.rows_of(
        [lambda heard: heard.task_created(a_task()), lambda heard: heard.task_removed(a_task())]
    )
    clock.now = NOW + 2 * SECOND
    second = recorder.rows_of([lambda heard: heard.task_created(a_task())])

    assert [(row.id, row.at) for row in first + second] == [
        (42, NOW + SECOND),
        (43, NOW + SECOND),
        (44, NOW + 2 * SECOND),
    ]


def test_nothing_that_stands_encrypted_in_the_tables_stands_in_the_history() -> None:
    secret = running(internal_routes=("secret.internal",), metric_tags={"secret": "secret"})
    [row] = recorded(lambda heard: heard.actual(Rows(), [Change(None, secret)]))
    [task] = recorded(
        lambda heard: heard.task_changed(a_task(), a_task(state=TaskState.COMPLETED, result="secret"))
    )

    assert "secret" not in row.detail
    assert "10.0.0.1" not in row.detail
    assert "secret" not in task.detail
    assert "/bin/app" not in task.detail


def test_a_crash_is_told_with_its_count_its_reason_and_who_it_was() -> None:
    crash = Crash(Key("process", 0, "domain"), HERE, 2, "x" * 5000, NOW)
    change = Change(running(), unclaimed(crash_count=2))

    [row] = recorded(lambda heard: heard.actual(Rows(), [change], crash))
    shown = history.entry_json(row)

    assert row.event == "actual_lrp_crashed"
    assert row.instance_guid == HERE.instance_guid
    assert shown["crash"]["crash_count"] == 2
    assert shown["crash"]["cell_id"] == HERE.cell_id
    assert len(shown["crash"]["crash_reason"]) < 1100
    assert (shown["before"]["state"], shown["after"]["state"]) == ("RUNNING", "UNCLAIMED")


def test_an_instance_that_takes_anothers_place_is_found_by_its_guid_and_so_is_the_other() -> None:
    change = Change(claimed(), running(instance_guid="another"))

    rows = recorded(lambda heard: heard.actual(Rows(), [change]))

    assert [(row.event, row.instance_guid) for row in rows] == [
        ("actual_lrp_created", "another"),
        ("actual_lrp_removed", HERE.instance_guid),
    ]


def test_a_desired_lrp_is_told_with_how_many_are_wanted() -> None:
    before, after = a_desired_lrp(instances=1), a_desired_lrp(instances=5)

    [row] = recorded(lambda heard: heard.desired_changed(before, after, "request-1"))
    shown = history.entry_json(row)

    assert (shown["before"]["instances"], shown["after"]["instances"]) == (1, 5)
    assert shown["trace_id"] == "request-1"


@pytest.mark.parametrize(
    "changes",
    [
        [Change(None, unclaimed())],
        [Change(unclaimed(), claimed())],
        [Change(claimed(), running(instance_guid="another"))],
        [Change(running(), None)],
        [Change(running(), replace(running(), presence=Presence.SUSPECT)), Change(None, unclaimed())],
        [Change(None, unclaimed()), Change(running(), running(presence=Presence.EVACUATING))],
    ],
)
def test_listeners_events_are_told_again_as_they_were(changes: list[Change]) -> None:
    rows = recorded(lambda heard: heard.actual(Rows(), changes, None, "trace"))

    again = history.events(rows)[rows[0].id]

    bare_changes = [Change(*(row and bare(row) for row in change)) for change in changes]
    assert again == instance_events(bare_changes, None, "trace")


def test_the_detail_is_short() -> None:
    [row] = recorded(lambda heard: heard.actual(Rows(), [Change(claimed(), running())]))

    assert len(row.detail) < 300
    assert set(orjson.loads(row.detail)) == {"domain", "before", "after"}
