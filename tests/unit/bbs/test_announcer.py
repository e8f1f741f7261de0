"""contract/lifecycle.md section 9: the kinds of streams, the older forms of what they tell, and the filter of cells."""

from typing import Any

import pytest

from diego.bbs.core.deprecated import oldest_desired_lrp
from diego.bbs.core.lifecycle import Change
from diego.bbs.events import Announcer, wants_cell
from diego.models import ActualLRPState
from diego.runtime.hub import Hub
from diego.wire import actions_pb2, actual_lrp_pb2, desired_lrp_pb2, events_pb2, image_layer_pb2
from support.records import (
    HERE,
    KEY,
    NET_INFO,
    a_definition,
    a_desired_lrp,
    a_desired_message,
    a_run_action,
    a_task,
    claimed,
    rows,
    running,
    unclaimed,
)

Action: Any = actions_pb2.Action
"""Any: protobuf takes a dict for a message, its stubs do not."""

LAYER = image_layer_pb2.ImageLayer(
    name="layer", url="u", destination_path="/x", layer_type=image_layer_pb2.ImageLayer.SHARED,
    media_type=image_layer_pb2.ImageLayer.TGZ,
)  # fmt: skip


class Listening(Hub):
    """A stream with a listener that remembers what is published."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[str, bytes, str | None]] = []

    @property
    def subscribers(self) -> int:
        return 1

    def publish(self, event: str, data: bytes, *, tag: str | None = None) -> None:
        self.heard.append((event, data, tag))

    @property
    def names(self) -> list[str]:
        return [name for name, _, _ in self.heard]


@pytest.fixture
def announcer() -> Announcer:
    announcer = Announcer()
    for name in ("instances", "old_instances", "groups", "old_groups", "tasks", "old_tasks"):
        setattr(announcer, name, Listening())
    return announcer


def hub(found: Hub) -> Listening:
    assert isinstance(found, Listening)
    return found


class TestStreams:
    def test_instances_and_groups_are_told_apart_and_both_hear_what_is_wanted(
        self, announcer: Announcer
    ) -> None:
        announcer.desired_created(a_desired_lrp(), "")
        announcer.actual(rows(), (Change(None, unclaimed()),))

        instances = ["desired_lrp_created", "actual_lrp_instance_created"]
        groups = ["desired_lrp_created", "actual_lrp_created"]
        assert hub(announcer.instances).names == hub(announcer.old_instances).names == instances
        assert hub(announcer.groups).names == hub(announcer.old_groups).names == groups
        assert hub(announcer.tasks).names == []

    def test_tasks_are_told_to_those_who_listen_to_tasks(self, announcer: Announcer) -> None:
        announcer.task_created(a_task())
        announcer.task_changed(a_task(), a_task(cell_id="cell"))
        announcer.task_removed(a_task())

        told = ["task_created", "task_changed", "task_removed"]
        assert hub(announcer.tasks).names == hub(announcer.old_tasks).names == told
        assert hub(announcer.instances).names == []

    def test_what_is_wanted_is_told_before_and_after(self, announcer: Announcer) -> None:
        before, after = a_desired_lrp(), a_desired_lrp(instances=2)
        announcer.desired_changed(before, after, "trace")

        ((name, data, cell_id),) = hub(announcer.instances).heard
        event = events_pb2.DesiredLRPChangedEvent.FromString(data)
        assert (name, cell_id) == ("desired_lrp_changed", None)
        assert (event.before, event.after) == (before.message(), after.message())

    def test_the_older_streams_know_no_layers_and_old_timeouts_only(self, announcer: Announcer) -> None:
        announcer.desired_created(a_desired_lrp(image_layers=[LAYER], start_timeout_ms=60_000), "")
        announcer.task_created(
            a_task(definition=a_definition(image_layers=[LAYER]).SerializeToString(deterministic=True))
        )

        lrps = [
            events_pb2.DesiredLRPCreatedEvent.FromString(hub(each).heard[0][1]).desired_lrp
            for each in (announcer.instances, announcer.old_instances)
        ]
        assert [len(lrp.image_layers) for lrp in lrps] == [1, 0]
        assert [lrp.deprecated_start_timeout_s for lrp in lrps] == [0, 60]
        tasks = [
            events_pb2.TaskCreatedEvent.FromString(hub(each).heard[0][1]).task
            for each in (announcer.tasks, announcer.old_tasks)
        ]
        assert [len(task.task_definition.image_layers) for task in tasks] == [1, 0]


class TestOldestForm:
    def of(self, **fields: Any) -> desired_lrp_pb2.DesiredLRP:
        message = a_desired_message(**fields)
        oldest_desired_lrp(message)
        return message

    def test_timeouts_are_told_in_their_old_units(self) -> None:
        timeout = Action(timeout_action={"action": a_run_action(), "timeout_ms": 5})

        told = self.of(action=timeout, start_timeout_ms=61_500)

        assert told.action.timeout_action.deprecated_timeout_ns == 5_000_000
        assert told.deprecated_start_timeout_s == 61

    def test_cached_dependencies_become_downloads_before_everything_else(self) -> None:
        told = self.of(cached_dependencies=[{"from": "u", "to": "/x", "name": "n"}], setup=a_run_action())

        downloads, setup = told.setup.serial_action.actions
        assert downloads.parallel_action.actions[0].download_action.to == "/x"
        assert setup == a_run_action()
        assert not told.cached_dependencies


class TestCellFilter:
    def test_a_stream_of_a_cell_hears_of_that_cell_and_of_what_concerns_everybody(self) -> None:
        wanted = wants_cell("cell")

        assert wanted is not None
        assert [wanted(tag) for tag in ("cell", "other", "", None)] == [True, False, False, True]

    def test_a_stream_without_a_cell_hears_everything(self) -> None:
        assert wants_cell("") is None

    def test_events_of_groups_concern_the_cell_of_their_record(self, announcer: Announcer) -> None:
        announcer.actual(rows(), (Change(None, running()),))
        announcer.actual(rows(claimed()), (Change(claimed(), running()),))
        announcer.actual(rows(running()), (Change(running(), None),))

        assert [cell for _, _, cell in hub(announcer.groups).heard] == ["cell"] * 3


class TestContents:
    def test_a_record_that_comes_or_goes_is_told_whole(self, announcer: Announcer) -> None:
        row = running(internal_routes=("a",), metric_tags={"b": "c"}, availability_zone="z1")
        announcer.actual(rows(), (Change(None, row),), trace_id="trace")
        announcer.actual(rows(row), (Change(row, None),), trace_id="trace")

        created, removed = [data for _, data, _ in hub(announcer.instances).heard]
        for event in (
            events_pb2.ActualLRPInstanceCreatedEvent.FromString(created),
            events_pb2.ActualLRPInstanceRemovedEvent.FromString(removed),
        ):
            assert (event.actual_lrp, event.trace_id) == (row.message(), "trace")

    def test_a_change_tells_everything_that_may_have_changed(self, announcer: Announcer) -> None:
        row = running(crash_count=2, crash_reason="exit 1", placement_error="no room", availability_zone="z1")
        announcer.actual(rows(claimed()), (Change(claimed(), row),))

        ((_, data, _),) = hub(announcer.instances).heard
        event = events_pb2.ActualLRPInstanceChangedEvent.FromString(data)
        after = event.after
        assert (event.actual_lrp_key.process_guid, event.actual_lrp_key.index) == (
            KEY.process_guid,
            KEY.index,
        )
        assert event.actual_lrp_key.domain == KEY.domain
        assert event.actual_lrp_instance_key == actual_lrp_pb2.ActualLRPInstanceKey(
            instance_guid=HERE.instance_guid, cell_id=HERE.cell_id
        )
        assert after.actual_lrp_net_info.SerializeToString(deterministic=True) == NET_INFO
        assert (after.state, after.since, after.presence) == (ActualLRPState.RUNNING, row.since, 0)
        assert (after.crash_count, after.crash_reason) == (2, "exit 1")
        assert (after.placement_error, after.availability_zone, after.Routable) == ("no room", "z1", True)
        assert (after.modification_tag.epoch, after.modification_tag.index) == ("epoch", 7)
