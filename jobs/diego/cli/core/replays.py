"""Events from the history followed by those that come, without one of them twice.

Whoever wants both listens first and then asks for the history: what happens between is in both. The two forms of
an event differ (the history has no addresses, for one), but what makes it one of its kind is in both: whose record
it is about, and which change of it.
"""

from collections import Counter, deque
from collections.abc import Hashable

from google.protobuf.message import Message

from diego.wire import events_pb2
from diego.wire.actual_lrp_pb2 import ActualLRP
from diego.wire.desired_lrp_pb2 import DesiredLRP
from diego.wire.task_pb2 import Task

REMEMBERED = 50_000
"""Replayed events that are remembered: more than happen between listening and the end of the replay."""


class Replayed:
    """What was shown from the history, and need not be shown again."""

    def __init__(self) -> None:
        self._order: deque[Hashable] = deque()
        self._shown: Counter[Hashable] = Counter()

    def add(self, message: Message) -> None:
        key = same(message)
        self._order.append(key)
        self._shown[key] += 1
        if len(self._order) > REMEMBERED:
            self._forget(self._order.popleft())

    def again(self, message: Message) -> bool:
        """Whether an event that comes was shown already; each counts once."""
        key = same(message)
        if not self._shown.get(key):
            return False
        self._forget(key)
        return True

    def _forget(self, key: Hashable) -> None:
        if self._shown[key] <= 1:
            del self._shown[key]
        else:
            self._shown[key] -= 1


def same(message: Message) -> Hashable:
    """What two tellings of one event have in common, and no other event has."""
    kind = type(message).__name__
    if isinstance(
        message, events_pb2.ActualLRPInstanceCreatedEvent | events_pb2.ActualLRPInstanceRemovedEvent
    ):
        return kind, *_lrp(message.actual_lrp)
    if isinstance(message, events_pb2.ActualLRPInstanceChangedEvent):
        before, after, key = message.before, message.after, message.actual_lrp_key
        return (
            kind, key.process_guid, key.index, before.presence, before.modification_tag.index, after.presence,
            after.modification_tag.epoch, after.modification_tag.index,
        )  # fmt: skip
    if isinstance(message, events_pb2.ActualLRPCrashedEvent):
        key, instance = message.actual_lrp_key, message.actual_lrp_instance_key
        return kind, key.process_guid, key.index, instance.instance_guid, message.crash_count, message.since
    if isinstance(message, events_pb2.DesiredLRPCreatedEvent | events_pb2.DesiredLRPRemovedEvent):
        return kind, *_desired(message.desired_lrp)
    if isinstance(message, events_pb2.DesiredLRPChangedEvent):
        return kind, *_desired(message.before), *_desired(message.after)
    if isinstance(message, events_pb2.TaskCreatedEvent | events_pb2.TaskRemovedEvent):
        return kind, *_task(message.task)
    if isinstance(message, events_pb2.TaskChangedEvent):
        return kind, *_task(message.before), *_task(message.after)
    return kind, message.SerializeToString(deterministic=True)


def concerns(message: Message, cell_id: str) -> bool:
    """Whether a stream of one cell's events has it: those of the cell, and those that concern everybody."""
    if isinstance(
        message, events_pb2.ActualLRPInstanceCreatedEvent | events_pb2.ActualLRPInstanceRemovedEvent
    ):
        return message.actual_lrp.actual_lrp_instance_key.cell_id == cell_id
    if isinstance(message, events_pb2.ActualLRPInstanceChangedEvent | events_pb2.ActualLRPCrashedEvent):
        return message.actual_lrp_instance_key.cell_id == cell_id
    return True


def _lrp(lrp: ActualLRP) -> tuple[Hashable, ...]:
    key, tag = lrp.actual_lrp_key, lrp.modification_tag
    instance_guid = lrp.actual_lrp_instance_key.instance_guid
    return key.process_guid, key.index, lrp.presence, instance_guid, lrp.state, tag.epoch, tag.index


def _desired(lrp: DesiredLRP) -> tuple[Hashable, ...]:
    tag = lrp.modification_tag
    return lrp.process_guid, lrp.instances, tag.epoch, tag.index


def _task(task: Task) -> tuple[Hashable, ...]:
    return task.task_guid, task.created_at, task.state, task.updated_at, task.rejection_count
