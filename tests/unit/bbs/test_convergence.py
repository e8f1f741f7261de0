"""contract/lifecycle.md section 7 and 8: what convergence does, row by row of the two tables."""

from typing import Any

import pytest

from diego.bbs.core import lifecycle
from diego.bbs.core.convergence import (
    Circumstances,
    Decision,
    TaskDecision,
    TaskLimits,
    converge_index,
    converge_task,
)
from diego.bbs.core.lifecycle import Change, Key, Rows
from diego.models import ActualLRP, ActualLRPState, DesiredLRP, ModificationTag, Presence, Task, TaskState
from support.records import (
    HERE,
    KEY,
    MINUTE,
    NOW,
    SECOND,
    a_desired_lrp,
    a_task,
    claimed,
    crashed,
    evacuating,
    rows,
    running,
    suspect,
    unclaimed,
    with_internal_routes,
)

EPOCH = "new-epoch"
GONE = "cell-gone"


def converge(
    records: Rows,
    desired: DesiredLRP | None = a_desired_lrp(),  # noqa: B008 (a frozen value)
    key: Key = KEY,
    **around: Any,
) -> Decision:
    circumstances = Circumstances(
        **{"cells": frozenset({HERE.cell_id}), "listed": True, "fresh": True, "now": NOW, **around}
    )
    return converge_index(key, records, desired, circumstances, epoch=EPOCH)


def after(decision: Decision) -> Rows:
    found = Rows()
    for unit in decision.units:
        found = lifecycle.applied(found, unit)
    return found


class TestNothing:
    @pytest.mark.parametrize(
        "row", [running(metric_tags=None), claimed(), unclaimed(since=NOW), crashed(since=NOW)]
    )
    def test_an_index_in_good_order_needs_nothing(self, row: ActualLRP) -> None:
        assert converge(rows(row)) == Decision()


class TestRow2Evacuating:
    def test_an_evacuating_record_of_an_absent_cell_is_deleted(self) -> None:
        leaving = evacuating(cell_id=GONE)

        assert converge(rows(running(metric_tags=None), leaving)).units == [(Change(leaving, None),)]

    def test_one_of_a_present_cell_stays(self) -> None:
        assert converge(rows(running(metric_tags=None), evacuating())).units == []

    def test_without_any_cell_all_are_deleted(self) -> None:
        leaving = evacuating()

        assert converge(rows(unclaimed(since=NOW), leaving), cells=frozenset()).units == [
            (Change(leaving, None),)
        ]


class TestRow3StaleUnclaimed:
    def test_an_index_unclaimed_for_more_than_thirty_seconds_is_auctioned_again(self) -> None:
        decision = converge(rows(unclaimed(since=NOW - 30 * SECOND - 1)))

        assert decision == Decision(start=True)

    def test_one_of_thirty_seconds_is_not(self) -> None:
        assert not converge(rows(unclaimed(since=NOW - 30 * SECOND))).start

    def test_one_that_nobody_wants_is_not(self) -> None:
        assert not converge(rows(unclaimed()), None).start


class TestRow4CellLost:
    @pytest.mark.parametrize("row", [claimed(cell_id=GONE), running(cell_id=GONE)])
    def test_an_instance_of_an_absent_cell_becomes_suspect_and_is_replaced(self, row: ActualLRP) -> None:
        decision = converge(rows(row))

        replacement = lifecycle.unclaimed(KEY, now=NOW, epoch=EPOCH)
        moved = lifecycle.moved(row, Presence.SUSPECT)
        assert decision.units == [(Change(row, moved), Change(None, replacement))]
        assert decision.start

    def test_with_a_suspect_record_already_there_it_is_only_unclaimed(self) -> None:
        row = running(cell_id=GONE)
        doubtful = suspect(instance_guid="older", cell_id="also-gone", state=ActualLRPState.CLAIMED)

        decision = converge(rows(row, doubtful))

        assert decision.units == [(Change(row, lifecycle.unclaim(row, now=NOW)),)]
        assert not decision.start

    def test_without_any_cell_every_instance_is_lost(self) -> None:
        assert after(converge(rows(running()), cells=frozenset())).suspect is not None

    def test_an_instance_that_nobody_wants_does_not_become_suspect(self) -> None:
        assert converge(rows(running(cell_id=GONE)), None, listed=False).units == []


class TestRow5WrongNumber:
    def test_a_missing_index_is_made_and_auctioned(self) -> None:
        decision = converge(rows())

        assert decision.units == [(Change(None, lifecycle.unclaimed(KEY, now=NOW, epoch=EPOCH)),)]
        assert decision.start

    def test_it_is_made_in_a_domain_that_is_not_fresh_too(self) -> None:
        assert converge(rows(), listed=False, fresh=False).start

    def test_an_index_too_many_is_retired(self) -> None:
        row = running(index=1, metric_tags=None)

        assert converge(rows(row), key=Key("process", 1, "domain")).retire is row

    def test_but_not_in_a_domain_that_is_not_fresh(self) -> None:
        row = running(index=1, metric_tags=None)

        assert converge(rows(row), key=Key("process", 1, "domain"), fresh=False).retire is None

    def test_an_index_that_nobody_wants_is_not_made(self) -> None:
        assert converge(rows(), key=Key("process", 1, "domain")) == Decision()


class TestRow6Orphans:
    @pytest.mark.parametrize("row", [running(), unclaimed(), crashed()])
    def test_an_instance_that_nobody_wants_is_retired(self, row: ActualLRP) -> None:
        assert converge(rows(row), None).retire is row

    def test_but_not_when_its_domain_has_expired(self) -> None:
        assert converge(rows(running()), None, listed=False).retire is None


class TestRow7SuspectOrphans:
    def test_a_suspect_record_that_nobody_wants_is_deleted(self) -> None:
        doubtful = suspect(cell_id=GONE)

        assert converge(rows(doubtful), None).units == [(Change(doubtful, None),)]

    def test_but_not_when_its_domain_has_expired(self) -> None:
        assert converge(rows(suspect(cell_id=GONE)), None, listed=False).units == []

    def test_one_of_an_index_that_is_too_many_goes_when_its_cell_cannot_be_asked(self) -> None:
        """Found by a generated history: scaled down while its cell was away, it stayed for ever."""
        doubtful = suspect(index=3, cell_id=GONE)

        decision = converge(rows(doubtful), a_desired_lrp(instances=3), Key(KEY.process_guid, 3, KEY.domain))

        assert decision.units == [(Change(doubtful, None),)]

    def test_but_not_in_a_domain_that_is_not_fresh(self) -> None:
        key = Key(KEY.process_guid, 3, KEY.domain)

        assert (
            converge(rows(suspect(index=3, cell_id=GONE)), a_desired_lrp(instances=3), key, fresh=False).units
            == []
        )


class TestRow8SuspectReplaced:
    def test_a_suspect_record_ends_once_its_replacement_runs(self) -> None:
        doubtful = suspect(instance_guid="old", cell_id=GONE)

        assert converge(rows(running(metric_tags=None), doubtful)).units == [(Change(doubtful, None),)]

    def test_but_not_while_the_replacement_is_only_claimed(self) -> None:
        assert converge(rows(claimed(), suspect(instance_guid="old", cell_id=GONE))).units == []


class TestRow9CellIsBack:
    def test_a_suspect_instance_whose_cell_is_back_counts_again_and_its_replacement_goes(self) -> None:
        doubtful, replacement = suspect(metric_tags=None), unclaimed(since=NOW)

        decision = converge(rows(replacement, doubtful))

        back = lifecycle.moved(doubtful, Presence.ORDINARY)
        assert decision.units == [(Change(replacement, None),), (Change(doubtful, back),)]
        assert not decision.start

    def test_but_not_while_no_cell_is_there(self) -> None:
        assert converge(rows(unclaimed(since=NOW), suspect()), cells=frozenset()).units == []


class TestRow10Crashed:
    def test_a_crashed_index_starts_again_when_its_back_off_is_over(self) -> None:
        row = crashed(since=NOW - 30 * SECOND)

        decision = converge(rows(row))

        assert decision.units == [(Change(row, lifecycle.unclaim(row, now=NOW)),)]
        assert decision.start

    def test_but_not_before(self) -> None:
        assert converge(rows(crashed(since=NOW - 30 * SECOND + 1))) == Decision()

    def test_nor_when_nobody_wants_it(self) -> None:
        assert converge(rows(crashed(since=0)), None, listed=False) == Decision()

    def test_nor_when_it_crashed_two_hundred_times(self) -> None:
        assert converge(rows(crashed(since=0, crash_count=200))) == Decision()


class TestRow11InternalRoutes:
    def test_a_cell_is_told_of_other_internal_routes(self) -> None:
        row = running(internal_routes=("old.internal",), metric_tags=None)

        update = converge(rows(row), with_internal_routes("new.internal")).update

        assert update is not None
        assert (update.lrp, update.internal_routes, update.metric_tags) == (row, ("new.internal",), None)

    def test_their_order_does_not_matter(self) -> None:
        row = running(internal_routes=("a", "b"), metric_tags=None)

        assert converge(rows(row), with_internal_routes("b", "a")).update is None

    def test_only_a_running_instance_is_told(self) -> None:
        assert converge(rows(claimed()), with_internal_routes("new.internal")).update is None


class TestRow12MetricTags:
    def test_a_cell_is_told_of_other_metric_tags(self) -> None:
        row = running(metric_tags={"source_id": "old"})

        update = converge(rows(row)).update

        assert update is not None
        assert (update.internal_routes, update.metric_tags) == (None, {"source_id": "source"})

    def test_dynamic_tags_are_compared_as_each_instance_has_them(self) -> None:
        desired = a_desired_lrp(metric_tags={"index": {"dynamic": 1}, "guid": {"dynamic": 2}})

        assert converge(rows(running(metric_tags={"index": "0", "guid": "instance"})), desired).update is None

    def test_an_instance_that_never_told_its_tags_is_left_alone(self) -> None:
        assert converge(rows(running(metric_tags=None))).update is None


class TestTasks:
    LIMITS = TaskLimits()

    def converge(self, task: Task, *cells: str) -> TaskDecision:
        return converge_task(task, frozenset(cells), now=NOW, limits=self.LIMITS)

    def ended(self, decision: TaskDecision) -> Task:
        assert decision.after is not None
        return decision.after

    def test_row1_a_task_that_nobody_started_within_half_an_hour_fails(self) -> None:
        task = self.ended(self.converge(a_task(created_at=NOW - 1800 * SECOND - 1)))

        assert (task.state, task.failed) == (TaskState.COMPLETED, True)
        assert task.failure_reason == "not started within time limit"
        assert task.first_completed_at == NOW

    def test_row2_a_younger_one_is_auctioned_in_every_run(self) -> None:
        task = a_task(created_at=NOW - 1800 * SECOND)

        assert self.converge(task) == TaskDecision(task, auction=True)

    def test_row3_a_task_on_an_absent_cell_fails_and_keeps_its_cell(self) -> None:
        task = self.ended(self.converge(a_task(state=TaskState.RUNNING, result="old"), "other-cell"))

        assert (task.state, task.failed) == (TaskState.COMPLETED, True)
        assert task.failure_reason == "cell disappeared before completion"
        assert (task.result, task.cell_id) == ("", "cell")

    def test_row3_one_on_a_present_cell_runs_on(self) -> None:
        task = a_task(state=TaskState.RUNNING, created_at=0, updated_at=0)

        assert self.converge(task, "cell") == TaskDecision(task)

    def test_row3_without_any_cell_every_running_task_fails(self) -> None:
        assert self.ended(self.converge(a_task(state=TaskState.RUNNING))).failed

    def test_row4_a_task_resolving_for_too_long_is_completed_again(self) -> None:
        task = a_task(state=TaskState.RESOLVING, updated_at=NOW - 30 * SECOND - 1)

        again = self.ended(self.converge(task))

        assert again.state is TaskState.COMPLETED
        assert (again.updated_at, again.first_completed_at) == (task.updated_at, task.first_completed_at)

    def test_row4_one_that_has_just_begun_is_left_alone(self) -> None:
        task = a_task(state=TaskState.RESOLVING, updated_at=NOW - 30 * SECOND)

        assert self.converge(task) == TaskDecision(task)

    def test_row5_a_task_completed_for_two_minutes_is_deleted(self) -> None:
        task = a_task(state=TaskState.COMPLETED, first_completed_at=NOW - 120 * SECOND - 1)

        assert self.converge(task) == TaskDecision(None)

    def test_row6_a_task_completed_for_thirty_seconds_is_told_of_again(self) -> None:
        task = a_task(state=TaskState.COMPLETED, updated_at=NOW - 30 * SECOND - 1)

        assert self.converge(task) == TaskDecision(task, callback=True)

    def test_row6_not_before(self) -> None:
        task = a_task(state=TaskState.COMPLETED, updated_at=NOW - 30 * SECOND)

        assert self.converge(task) == TaskDecision(task)

    def test_rows_4_and_6_follow_each_other_in_one_run(self) -> None:
        assert self.converge(a_task(state=TaskState.RESOLVING, updated_at=NOW - MINUTE)).callback

    def test_a_task_that_cannot_be_read_is_deleted(self) -> None:
        assert self.converge(a_task(definition=None)) == TaskDecision(None)


def test_a_new_record_has_a_new_epoch() -> None:
    made = after(converge(rows())).ordinary

    assert made is not None
    assert made.tag == ModificationTag(EPOCH, 0)
