"""Events in a sentence each."""

from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

from diego.wire import events_pb2
from diego.wire.actual_lrp_pb2 import ActualLRP, ActualLRPInstanceKey, ActualLRPKey
from diego.wire.task_pb2 import Task


def story(message: Message) -> str:
    """What happened, for a person who watches."""
    for kind, tell in _TELLERS.items():
        if isinstance(message, kind):
            return tell(message)
    return ""


def _instance(key: ActualLRPKey, instance: ActualLRPInstanceKey) -> str:
    where = f" on {instance.cell_id}" if instance.cell_id else ""
    return f"{key.process_guid}/{key.index}{where}"


def _lrp(lrp: ActualLRP) -> str:
    return f"{_instance(lrp.actual_lrp_key, lrp.actual_lrp_instance_key)} {lrp.state}"


def _instance_changed(event: events_pb2.ActualLRPInstanceChangedEvent) -> str:
    who = _instance(event.actual_lrp_key, event.actual_lrp_instance_key)
    before, after = event.before, event.after
    if before.state != after.state:
        text = f"{who} {before.state} → {after.state}"
    elif before.presence != after.presence:
        names = ActualLRP.Presence.Name
        text = f"{who} {names(before.presence)} → {names(after.presence)}"
    else:
        text = f"{who} {after.state}, changed"
    return f"{text}: {after.placement_error}" if after.placement_error else text


def _desired_changed(event: events_pb2.DesiredLRPChangedEvent) -> str:
    before, after = event.before, event.after
    if before.instances != after.instances:
        return f"{after.process_guid} {before.instances} → {after.instances} instances"
    return f"{after.process_guid} changed"


def _task_changed(event: events_pb2.TaskChangedEvent) -> str:
    names = Task.State.Name
    text = f"{event.after.task_guid} {names(event.before.state)} → {names(event.after.state)}"
    return f"{text}, failed: {event.after.failure_reason}" if event.after.failed else text


_TELLERS: dict[type[Message], Callable[[Any], str]] = {
    events_pb2.DesiredLRPCreatedEvent: lambda event: (
        f"{event.desired_lrp.process_guid} × {event.desired_lrp.instances}"
    ),
    events_pb2.DesiredLRPChangedEvent: _desired_changed,
    events_pb2.DesiredLRPRemovedEvent: lambda event: event.desired_lrp.process_guid,
    events_pb2.ActualLRPInstanceCreatedEvent: lambda event: _lrp(event.actual_lrp),
    events_pb2.ActualLRPInstanceChangedEvent: _instance_changed,
    events_pb2.ActualLRPInstanceRemovedEvent: lambda event: _lrp(event.actual_lrp),
    events_pb2.ActualLRPCrashedEvent: lambda event: (
        f"{_instance(event.actual_lrp_key, event.actual_lrp_instance_key)}"
        f" for the {event.crash_count}. time: {event.crash_reason}"
    ),
    events_pb2.ActualLRPCreatedEvent: lambda event: _lrp(event.actual_lrp_group.instance),
    events_pb2.ActualLRPChangedEvent: lambda event: _lrp(event.after.instance),
    events_pb2.ActualLRPRemovedEvent: lambda event: _lrp(event.actual_lrp_group.instance),
    events_pb2.TaskCreatedEvent: lambda event: event.task.task_guid,
    events_pb2.TaskChangedEvent: _task_changed,
    events_pb2.TaskRemovedEvent: lambda event: event.task.task_guid,
}
