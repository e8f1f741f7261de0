"""What listeners hear of a change (contract/lifecycle.md section 9), and in which order.

There are three kinds of listener. *Instance* listeners hear of each record; *group* listeners (the older form)
of an index as a whole, in which a SUSPECT record stands for the ORDINARY one until that runs; *task* listeners
of tasks. An event carries its encoded message, so that one encoding serves all who listen, and the cell that it
concerns, by which streams are filtered.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from diego.bbs.core.lifecycle import Change, Crash, Rows
from diego.models import ActualLRP, ActualLRPState, Presence
from diego.models.actual_lrp import Identity
from diego.models.entries import varint
from diego.wire import actual_lrp_pb2, events_pb2, modification_tag_pb2

RUNNING, UNCLAIMED = ActualLRPState.RUNNING, ActualLRPState.UNCLAIMED
CRASHED = ActualLRPState.CRASHED
ORDINARY, EVACUATING, SUSPECT = Presence.ORDINARY, Presence.EVACUATING, Presence.SUSPECT


class Event(NamedTuple):
    """One event: its type name, its encoded message, and the cell it concerns (None: everybody's concern)."""

    name: str
    data: bytes
    cell_id: str | None = None


def desired_created(frame: bytes, trace_id: str = "") -> Event:
    """`frame` is the desired LRP as a list entry (field 2), here and below."""
    return Event("desired_lrp_created", _first(frame) + _text(2, trace_id))


def desired_changed(before: bytes, after: bytes, trace_id: str = "") -> Event:
    return Event("desired_lrp_changed", _first(before) + after + _text(3, trace_id))


def desired_removed(frame: bytes, trace_id: str = "") -> Event:
    return Event("desired_lrp_removed", _first(frame) + _text(2, trace_id))


def task_created(frame: bytes) -> Event:
    """`frame` is the task as a list entry, here and below."""
    return Event("task_created", _first(frame))


def task_changed(before: bytes, after: bytes) -> Event:
    return Event("task_changed", _first(before) + after)


def task_removed(frame: bytes) -> Event:
    return Event("task_removed", _first(frame))


def instance_events(changes: Iterable[Change], crash: Crash | None = None, trace_id: str = "") -> list[Event]:
    """What instance listeners hear of one change: the crash, then what runs now, then the rest."""
    running: list[Event] = []
    others: list[Event] = []
    for before, after in changes:
        if after is None:
            if before is not None:
                others.append(_removed(before, trace_id))
            continue
        (running if after.state is RUNNING else others).append(
            _created(after, trace_id)
            if before is None or _other_instance(before, after)
            else _changed(before, after, trace_id)
        )
        if before is not None and _other_instance(before, after):
            others.append(_removed(before, trace_id))
    return [*_crashed(crash), *running, *others]


def group_events(rows: Rows, changes: Sequence[Change], crash: Crash | None = None) -> list[Event]:
    """What group listeners hear of one change to the records of a key, which before it were `rows`.

    A SUSPECT record that comes, or that becomes ORDINARY again, changes nothing for them.
    """
    befores: dict[Identity, ActualLRP] = {}
    afters: dict[Identity, ActualLRP] = {}
    for before, after in changes:
        if before is not None:
            befores[before.identity] = before
        if after is not None:
            afters[after.identity] = after
    came_back = any(
        before is not None and after is not None and before.presence is SUSPECT and after.presence is ORDINARY
        for before, after in changes
    )
    shadowed = rows.suspect is not None or any(identity[2] is SUSPECT for identity in afters)
    running: list[Event] = []
    others: list[Event] = []
    for identity in dict.fromkeys([*afters, *befores]):
        row_before, row_after = befores.get(identity), afters.get(identity)
        event = _group_event(row_before, row_after, shadowed=shadowed, came_back=came_back)
        if event is not None:
            runs = row_after is not None and row_after.state is RUNNING
            (running if runs else others).append(event)
    return [*_crashed(crash), *running, *others]


def _group_event(
    before: ActualLRP | None, after: ActualLRP | None, *, shadowed: bool, came_back: bool
) -> Event | None:
    if after is None:
        if before is None or (came_back and before.presence is SUSPECT):
            return None
        return Event(
            "actual_lrp_removed",
            events_pb2.ActualLRPRemovedEvent(actual_lrp_group=group_of(before)).SerializeToString(),
            before.cell_id,
        )
    if after.presence is SUSPECT or came_back:
        return None
    if after.presence is ORDINARY and shadowed and after.state is not RUNNING:
        return None
    if before is None or (after.presence is ORDINARY and shadowed):
        return Event(
            "actual_lrp_created",
            events_pb2.ActualLRPCreatedEvent(actual_lrp_group=group_of(after)).SerializeToString(),
            after.cell_id,
        )
    return Event(
        "actual_lrp_changed",
        events_pb2.ActualLRPChangedEvent(before=group_of(before), after=group_of(after)).SerializeToString(),
        after.cell_id or before.cell_id,
    )


def group_of(row: ActualLRP) -> actual_lrp_pb2.ActualLRPGroup:
    """The group that has only this record."""
    if row.presence is EVACUATING:
        return actual_lrp_pb2.ActualLRPGroup(evacuating=row.message())
    return actual_lrp_pb2.ActualLRPGroup(instance=row.message())


def resolved_group(rows: Rows) -> actual_lrp_pb2.ActualLRPGroup | None:
    """The records of a key as the group routes tell them; None without any.

    The ORDINARY record is the instance when it runs; otherwise a SUSPECT one stands for it.
    """
    if not rows:
        return None
    instance = rows.ordinary
    if rows.suspect is not None and (instance is None or instance.state is not RUNNING):
        instance = rows.suspect
    return actual_lrp_pb2.ActualLRPGroup(
        instance=instance.message() if instance is not None else None,
        evacuating=rows.evacuating.message() if rows.evacuating is not None else None,
    )


def _other_instance(before: ActualLRP, after: ActualLRP) -> bool:
    """Whether the record stands for another instance than before: then the old one is gone and a new one is there.

    An instance that crashed for good stays the same one, so that its record tells how it ended; a
    record that nobody held yet becomes its first holder.
    """
    if after.state is UNCLAIMED:
        return before.state is not UNCLAIMED
    if after.state is CRASHED or not before.instance_guid:
        return False
    return not before.held_by(after.instance_guid, after.cell_id)


def _created(row: ActualLRP, trace_id: str) -> Event:
    return Event(
        "actual_lrp_instance_created",
        events_pb2.ActualLRPInstanceCreatedEvent(
            actual_lrp=row.message(), trace_id=trace_id
        ).SerializeToString(),
        row.cell_id,
    )


def _removed(row: ActualLRP, trace_id: str) -> Event:
    return Event(
        "actual_lrp_instance_removed",
        events_pb2.ActualLRPInstanceRemovedEvent(
            actual_lrp=row.message(), trace_id=trace_id
        ).SerializeToString(),
        row.cell_id,
    )


def _changed(before: ActualLRP, after: ActualLRP, trace_id: str) -> Event:
    holder = after if after.instance_guid else before
    event = events_pb2.ActualLRPInstanceChangedEvent(
        actual_lrp_key=actual_lrp_pb2.ActualLRPKey(
            process_guid=after.process_guid, index=after.index, domain=after.domain
        ),
        actual_lrp_instance_key=actual_lrp_pb2.ActualLRPInstanceKey(
            instance_guid=holder.instance_guid, cell_id=holder.cell_id
        ),
        before=_info(before),
        after=_info(after),
        trace_id=trace_id,
    )
    return Event("actual_lrp_instance_changed", event.SerializeToString(), holder.cell_id)


def _info(row: ActualLRP) -> events_pb2.ActualLRPInfo:
    info = events_pb2.ActualLRPInfo(
        crash_count=row.crash_count,
        crash_reason=row.crash_reason,
        state=row.state,
        placement_error=row.placement_error,
        since=row.since,
        modification_tag=modification_tag_pb2.ModificationTag(epoch=row.tag.epoch, index=row.tag.index),
        presence=int(row.presence),  # type: ignore[arg-type]  # the stubs want the enum's own int type
        Routable=row.routable,
        availability_zone=row.availability_zone,
    )
    info.actual_lrp_net_info.SetInParent()
    if row.net_info:
        info.actual_lrp_net_info.MergeFromString(row.net_info)
    return info


def _crashed(crash: Crash | None) -> list[Event]:
    if crash is None:
        return []
    event = events_pb2.ActualLRPCrashedEvent(
        actual_lrp_key=actual_lrp_pb2.ActualLRPKey(
            process_guid=crash.key.process_guid, index=crash.key.index, domain=crash.key.domain
        ),
        actual_lrp_instance_key=actual_lrp_pb2.ActualLRPInstanceKey(
            instance_guid=crash.instance.instance_guid, cell_id=crash.instance.cell_id
        ),
        crash_count=crash.count,
        crash_reason=crash.reason,
        since=crash.since,
    )
    return [Event("actual_lrp_crashed", event.SerializeToString(), crash.instance.cell_id)]


def _first(frame: bytes) -> bytes:
    """A list entry (field 2) as field 1 of an event."""
    return b"\x0a" + frame[1:]


def _text(number: int, text: str) -> bytes:
    """A text field of a message; nothing when it is empty."""
    if not text:
        return b""
    encoded = text.encode()
    return bytes([number << 3 | 2]) + varint(len(encoded)) + encoded
