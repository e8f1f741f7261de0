"""contract/lifecycle.md section 9: what listeners hear of a change, and in which order."""

from dataclasses import replace
from typing import Any

import pytest

from diego.bbs.core import evacuation, events, lifecycle
from diego.bbs.core.events import Event
from diego.bbs.core.lifecycle import Change, Outcome, Rows
from diego.models import ActualLRP, Presence
from diego.models.entries import list_entry
from diego.wire import events_pb2
from support.records import (
    ELSEWHERE,
    HERE,
    KEY,
    NOW,
    a_desired_lrp,
    a_task,
    claimed,
    crashed,
    evacuating,
    rows,
    running,
    suspect,
    told,
    unclaimed,
)


def heard(outcome: Outcome) -> list[str]:
    return [event.name for event in events.instance_events(outcome.changes, outcome.crash)]


def heard_by_groups(records: Rows, outcome: Outcome) -> list[str]:
    return [event.name for event in events.group_events(records, outcome.changes, outcome.crash)]


def changed(before: ActualLRP | None, after: ActualLRP | None) -> Outcome:
    return Outcome((Change(before, after),))


CREATED, CHANGED, REMOVED = (f"actual_lrp_instance_{kind}" for kind in ("created", "changed", "removed"))
CRASHED = "actual_lrp_crashed"


class TestInstanceListeners:
    def test_a_new_record_is_created_and_a_deleted_one_removed(self) -> None:
        assert heard(changed(None, unclaimed())) == [CREATED]
        assert heard(changed(running(), None)) == [REMOVED]

    def test_a_claim_a_start_and_a_failure_are_changes(self) -> None:
        assert heard(changed(unclaimed(), claimed())) == [CHANGED]
        assert heard(changed(claimed(), running())) == [CHANGED]
        assert heard(changed(unclaimed(), unclaimed(placement_error="no room"))) == [CHANGED]

    def test_an_unclaim_is_a_new_record_and_the_removal_of_the_old_instance(self) -> None:
        row = running()

        assert heard(changed(row, lifecycle.unclaim(row, now=NOW))) == [CREATED, REMOVED]

    def test_a_restart_after_a_back_off_is_so_as_well(self) -> None:
        row = crashed()

        assert heard(changed(row, lifecycle.unclaim(row, now=NOW))) == [CREATED, REMOVED]

    def test_another_instance_in_the_same_place_is_a_new_one(self) -> None:
        row = claimed()
        other = replace(running(), instance_guid=ELSEWHERE.instance_guid, cell_id=ELSEWHERE.cell_id)

        assert heard(changed(row, other)) == [CREATED, REMOVED]

    def test_a_crash_that_restarts_is_heard_before_what_it_changes(self) -> None:
        assert heard(lifecycle.crash(rows(running()), HERE, "exit 1", now=NOW)) == [CRASHED, CREATED, REMOVED]

    def test_a_crash_for_good_changes_the_instance(self) -> None:
        outcome = lifecycle.crash(rows(running(crash_count=2)), HERE, "exit 1", now=NOW)

        assert heard(outcome) == [CRASHED, CHANGED]

    def test_the_change_of_a_crash_names_the_instance_that_crashed(self) -> None:
        outcome = lifecycle.crash(rows(running(crash_count=2)), HERE, "exit 1", now=NOW)

        change = events_pb2.ActualLRPInstanceChangedEvent.FromString(
            events.instance_events(outcome.changes, outcome.crash)[1].data
        )
        assert change.actual_lrp_instance_key.instance_guid == HERE.instance_guid

    def test_a_crash_tells_count_reason_and_time(self) -> None:
        outcome = lifecycle.crash(rows(running(crash_count=2)), HERE, "x" * 2000, now=NOW)

        crash = events_pb2.ActualLRPCrashedEvent.FromString(
            events.instance_events(outcome.changes, outcome.crash)[0].data
        )
        assert (crash.crash_count, crash.crash_reason, crash.since) == (3, "x" * 2000, NOW)
        assert crash.actual_lrp_key.process_guid == KEY.process_guid
        assert crash.actual_lrp_instance_key.cell_id == HERE.cell_id

    def test_what_runs_is_heard_before_what_ends(self) -> None:
        outcome = lifecycle.start(
            rows(claimed(), suspect(instance_guid="old", cell_id="old-cell")), told(), now=NOW, epoch="e"
        )
        ending_first = Outcome(outcome.changes[::-1])

        assert heard(outcome) == heard(ending_first) == [CHANGED, REMOVED]

    def test_a_change_of_presence_is_a_change(self) -> None:
        row = running()

        assert heard(changed(row, lifecycle.moved(row, Presence.SUSPECT))) == [CHANGED]

    def test_an_evacuation_changes_the_instance_and_creates_its_replacement(self) -> None:
        outcome = evacuation.still_running(
            rows(running()), told(), a_desired_lrp(), running_ordinary=1, now=NOW, epoch="e"
        ).outcome

        assert heard(outcome) == [CHANGED, CREATED]

    def test_before_and_after_are_both_told(self) -> None:
        (event,) = events.instance_events(changed(unclaimed(), claimed()).changes, trace_id="trace")

        change = events_pb2.ActualLRPInstanceChangedEvent.FromString(event.data)
        assert (change.before.state, change.after.state) == ("UNCLAIMED", "CLAIMED")
        assert change.before.HasField("Routable")
        assert change.trace_id == "trace"


class TestCells:
    def cell_of(self, outcome: Outcome) -> list[str | None]:
        return [event.cell_id for event in events.instance_events(outcome.changes, outcome.crash)]

    def test_an_event_concerns_the_cell_of_its_record(self) -> None:
        assert self.cell_of(changed(None, running())) == ["cell"]
        assert self.cell_of(changed(running(), None)) == ["cell"]

    def test_a_record_without_cell_is_no_cells_concern(self) -> None:
        assert self.cell_of(changed(unclaimed(), None)) == [""]

    def test_a_crash_concerns_the_cell_where_it_happened(self) -> None:
        outcome = lifecycle.crash(rows(running(crash_count=2)), HERE, "exit 1", now=NOW)

        assert self.cell_of(outcome) == ["cell", "cell"]

    def test_what_is_wanted_concerns_everybody(self) -> None:
        assert events.desired_created(a_desired_lrp().frame).cell_id is None


class TestGroupListeners:
    def test_a_record_that_comes_changes_or_goes_is_heard_as_a_group(self) -> None:
        assert heard_by_groups(rows(), changed(None, unclaimed())) == ["actual_lrp_created"]
        assert heard_by_groups(rows(unclaimed()), changed(unclaimed(), claimed())) == ["actual_lrp_changed"]
        assert heard_by_groups(rows(running()), changed(running(), None)) == ["actual_lrp_removed"]

    def test_a_crash_that_restarts_is_a_change_of_the_group(self) -> None:
        outcome = lifecycle.crash(rows(running()), HERE, "exit 1", now=NOW)

        assert heard_by_groups(rows(running()), outcome) == [CRASHED, "actual_lrp_changed"]

    def test_a_suspect_record_that_comes_is_not_heard(self) -> None:
        row = running()
        outcome = Outcome((Change(row, lifecycle.moved(row, Presence.SUSPECT)), Change(None, unclaimed())))

        assert heard_by_groups(rows(row), outcome) == []

    def test_nor_a_claim_beside_it(self) -> None:
        assert heard_by_groups(rows(unclaimed(), suspect()), changed(unclaimed(), claimed())) == []

    def test_nor_that_it_counts_again(self) -> None:
        doubtful = suspect()
        outcome = changed(doubtful, lifecycle.moved(doubtful, Presence.ORDINARY))

        assert heard_by_groups(rows(doubtful), outcome) == []

    def test_a_replacement_that_runs_is_created_and_the_suspect_removed(self) -> None:
        records = rows(claimed(), suspect(instance_guid="old", cell_id="old-cell"))
        outcome = lifecycle.start(records, told(), now=NOW, epoch="e")

        assert heard_by_groups(records, outcome) == ["actual_lrp_created", "actual_lrp_removed"]

    def test_what_runs_is_heard_before_what_ends(self) -> None:
        records = rows(claimed(), evacuating(instance_guid="old", cell_id="old-cell"))
        outcome = lifecycle.start(records, told(), now=NOW, epoch="e")
        ending_first = Outcome(outcome.changes[::-1])

        for each in (outcome, ending_first):
            assert heard_by_groups(records, each) == ["actual_lrp_changed", "actual_lrp_removed"]

    def test_an_evacuating_record_is_the_other_side_of_its_group(self) -> None:
        (event,) = events.group_events(rows(), changed(None, evacuating()).changes)

        group = events_pb2.ActualLRPCreatedEvent.FromString(event.data).actual_lrp_group
        assert (group.HasField("instance"), group.HasField("evacuating")) == (False, True)

    def test_an_evacuation_creates_the_evacuating_side_and_changes_the_other(self) -> None:
        records = rows(running())
        outcome = evacuation.still_running(
            records, told(), a_desired_lrp(), running_ordinary=1, now=NOW, epoch="e"
        ).outcome

        assert heard_by_groups(records, outcome) == ["actual_lrp_created", "actual_lrp_changed"]


class TestGroups:
    @pytest.mark.parametrize(
        ("records", "instance", "leaving"),
        [
            (rows(), None, None),
            (rows(running()), Presence.ORDINARY, None),
            (rows(unclaimed(), suspect()), Presence.SUSPECT, None),
            (rows(running(), suspect()), Presence.ORDINARY, None),
            (rows(unclaimed(), evacuating()), Presence.ORDINARY, Presence.EVACUATING),
            (rows(suspect()), Presence.SUSPECT, None),
            (rows(evacuating()), None, Presence.EVACUATING),
        ],
    )
    def test_a_suspect_record_stands_for_an_ordinary_one_that_does_not_run(
        self, records: Rows, instance: Presence | None, leaving: Presence | None
    ) -> None:
        group = events.resolved_group(records)

        if group is None:
            assert (instance, leaving) == (None, None)
            return
        assert (Presence(group.instance.presence) if group.HasField("instance") else None) == instance
        assert (Presence(group.evacuating.presence) if group.HasField("evacuating") else None) == leaving


class TestDefinitions:
    def decoded(self, event: Event) -> Any:
        kinds = {
            "desired_lrp_created": events_pb2.DesiredLRPCreatedEvent,
            "desired_lrp_changed": events_pb2.DesiredLRPChangedEvent,
            "desired_lrp_removed": events_pb2.DesiredLRPRemovedEvent,
            "task_created": events_pb2.TaskCreatedEvent,
            "task_changed": events_pb2.TaskChangedEvent,
            "task_removed": events_pb2.TaskRemovedEvent,
        }
        return kinds[event.name].FromString(event.data)  # type: ignore[attr-defined]  # each is a message

    def test_events_of_what_is_wanted_are_made_of_the_kept_frames(self) -> None:
        lrp, other = a_desired_lrp(), a_desired_lrp(instances=2)

        assert self.decoded(events.desired_created(lrp.frame, "trace")) == events_pb2.DesiredLRPCreatedEvent(
            desired_lrp=lrp.message(), trace_id="trace"
        )
        assert self.decoded(
            events.desired_changed(lrp.frame, other.frame)
        ) == events_pb2.DesiredLRPChangedEvent(before=lrp.message(), after=other.message())
        assert self.decoded(events.desired_removed(lrp.frame)).desired_lrp == lrp.message()

    def test_events_of_tasks_as_well(self) -> None:
        one, two = a_task(), a_task(cell_id="cell")
        frames = [list_entry(task.message().SerializeToString()) for task in (one, two)]

        assert self.decoded(events.task_created(frames[0])).task == one.message()
        assert self.decoded(events.task_changed(*frames)) == events_pb2.TaskChangedEvent(
            before=one.message(), after=two.message()
        )
        assert self.decoded(events.task_removed(frames[1])).task == two.message()
