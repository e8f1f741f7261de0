"""What happened, in rows: how a change becomes one, and how the rows tell what was (docs/operations/history.md).

A row tells of one change of one record. The changes of one decision about a key stand in consecutive rows, of
which each knows its `part`; what leaves a place and what takes it may stand in any order among them.

A row has what the record was before and after, but only what stands unencrypted in the original's tables: no
addresses, no routes and tags, no definitions and results. From the present state and the rows since some moment
follows what was at that moment: of each record that was touched since, the first row since tells what it was.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import orjson

from diego.bbs.core import events as told
from diego.bbs.core.lifecycle import Change, Crash, Instance, Key
from diego.bbs.core.texts import cut_reason
from diego.models import ActualLRP, ActualLRPState, DesiredLRP, ModificationTag, Presence, Task, TaskState
from diego.models.actual_lrp import Identity
from diego.models.entries import list_entry
from diego.wire import desired_lrp_pb2

TOOK_OVER = "bbs_took_over"
CREATED, CHANGED, REMOVED, CRASHED = "created", "changed", "removed", "crashed"
LONGEST_TRACE = 255

Json = dict[str, Any]


class Row(NamedTuple):
    """One row of the table.

    Attributes:
        at: Unix nanoseconds; never less than that of a row before.
        guid: of the process or the task.
        touched: which presences the change is about, by `touched`; 0 for what is no actual LRP.
        detail: a JSON object with all that nobody searches for.
    """

    id: int
    at: int
    event: str
    guid: str
    instance_index: int | None
    touched: int
    instance_guid: str
    detail: str


class Recorded(NamedTuple):
    """A row before it has its number and its time."""

    event: str
    guid: str
    instance_index: int | None
    touched: int
    instance_guid: str
    detail: str


def numbered(recorded: Recorded, number: int, at: int) -> Row:
    """The row, with what tells it from all others."""
    return Row(number, at, *recorded)


# ---- changes as rows


def actual(changes: Iterable[Change], crash: Crash | None, trace_id: str) -> list[Recorded]:
    """The rows of one decision about a key. A record that one instance hands to another gives two."""
    rows = []
    for part, (before, after) in enumerate(_single(changes)):
        known = before or after
        if known is None:
            continue
        kind = (
            CRASHED
            if crash and not part
            else CREATED
            if before is None
            else REMOVED
            if after is None
            else CHANGED
        )
        detail: Json = {
            "domain": known.domain,
            "before": None if before is None else _packed(before),
            "after": None if after is None else _packed(after),
        }
        if part:
            detail["part"] = part
        if crash and not part:
            detail["crash"] = [
                crash.count, cut_reason(crash.reason), crash.since, crash.instance.instance_guid, crash.instance.cell_id,
            ]  # fmt: skip
        if trace_id:
            detail["trace_id"] = trace_id[:LONGEST_TRACE]
        instance_guid = (after.instance_guid if after else "") or (before.instance_guid if before else "")
        rows.append(
            Recorded(
                f"actual_lrp_{kind}",
                known.process_guid,
                known.index,
                touched(before, after),
                instance_guid,
                _json(detail),
            )
        )
    return rows


def desired(kind: str, before: DesiredLRP | None, after: DesiredLRP | None, trace_id: str) -> Recorded:
    """Somebody wants something, wants it otherwise, or no longer."""
    known = after or before
    detail: Json = {
        "domain": known.domain if known else "",
        "before": before and [before.instances, before.tag.epoch, before.tag.index],
        "after": after and [after.instances, after.tag.epoch, after.tag.index],
    }
    if trace_id:
        detail["trace_id"] = trace_id[:LONGEST_TRACE]
    return Recorded(f"desired_lrp_{kind}", known.process_guid if known else "", None, 0, "", _json(detail))


def task(kind: str, before: Task | None, after: Task | None) -> Recorded:
    """A step in the life of a task."""
    known = after or before
    detail = {
        "domain": known.domain if known else "",
        "before": before and _packed_task(before),
        "after": after and _packed_task(after),
    }
    return Recorded(f"task_{kind}", known.guid if known else "", None, 0, "", _json(detail))


def took_over(epoch: int) -> Recorded:
    """A BBS begins to write history. Epochs without such a row were without history."""
    return Recorded(TOOK_OVER, "", None, 0, "", _json({"epoch": epoch}))


def touched(before: ActualLRP | None, after: ActualLRP | None) -> int:
    """Which places of a key a change is about: a number for each pair of presences."""
    return 4 * (0 if before is None else before.presence + 1) + (0 if after is None else after.presence + 1)


def _single(changes: Iterable[Change]) -> Iterable[Change]:
    for change in changes:
        before, after = change
        if before and after and _handed_over(before, after):
            yield Change(None, after)
            yield Change(before, None)
        else:
            yield change


def _handed_over(before: ActualLRP, after: ActualLRP) -> bool:
    return bool(before.instance_guid and after.instance_guid and before.instance_guid != after.instance_guid)


def _packed(row: ActualLRP) -> list[Any]:
    tag = row.tag
    return [
        row.presence, row.state, row.instance_guid, row.cell_id, row.availability_zone, row.routable,
        row.crash_count, row.crash_reason, row.placement_error, row.since, tag.epoch, tag.index,
    ]  # fmt: skip


def _packed_task(row: Task) -> list[Any]:
    return [
        row.state, row.cell_id, row.failed, row.failure_reason, row.rejection_count, row.rejection_reason,
        row.created_at, row.updated_at, row.first_completed_at,
    ]  # fmt: skip


def _json(value: Json) -> str:
    return orjson.dumps(value).decode()


# ---- rows as changes


class Told(NamedTuple):
    """An actual LRP's row, read."""

    group: int
    change: Change
    crash: Crash | None
    trace_id: str


def read(row: Row) -> Told:
    """The change that a row of an actual LRP tells of."""
    detail = orjson.loads(row.detail)
    domain = detail["domain"]
    before, after = detail["before"], detail["after"]
    crash = None
    if "crash" in detail:
        count, reason, since, instance_guid, cell_id = detail["crash"]
        crash = Crash(
            Key(row.guid, row.instance_index or 0, domain),
            Instance(instance_guid, cell_id),
            count,
            reason,
            since,
        )
    change = Change(
        before and _unpacked(row.guid, row.instance_index or 0, domain, before),
        after and _unpacked(row.guid, row.instance_index or 0, domain, after),
    )
    return Told(row.id - detail.get("part", 0), change, crash, detail.get("trace_id", ""))


def _unpacked(guid: str, index: int, domain: str, packed: Sequence[Any]) -> ActualLRP:
    (
        presence, state, instance_guid, cell_id, zone, routable, crash_count, crash_reason, placement_error,
        since, tag_epoch, tag_index,
    ) = packed  # fmt: skip
    return ActualLRP(
        process_guid=guid,
        index=index,
        domain=domain,
        presence=Presence(presence),
        state=ActualLRPState(state),
        instance_guid=instance_guid,
        cell_id=cell_id,
        availability_zone=zone,
        routable=routable,
        crash_count=crash_count,
        crash_reason=crash_reason,
        placement_error=placement_error,
        since=since,
        tag=ModificationTag(tag_epoch, tag_index),
    )


def _unpacked_task(guid: str, domain: str, packed: Sequence[Any]) -> Task:
    (
        state, cell_id, failed, failure_reason, rejection_count, rejection_reason, created_at, updated_at,
        first_completed_at,
    ) = packed  # fmt: skip
    return Task(
        guid=guid,
        domain=domain,
        definition=b"",
        state=TaskState(state),
        cell_id=cell_id,
        failed=failed,
        failure_reason=failure_reason,
        rejection_count=rejection_count,
        rejection_reason=rejection_reason,
        created_at=created_at,
        updated_at=updated_at,
        first_completed_at=first_completed_at,
    )


# ---- what was


def as_of(present: Iterable[ActualLRP], since: Iterable[Row]) -> dict[Identity, ActualLRP]:
    """The actual LRPs of an earlier moment, from those of the present and the rows since, in order.

    Of the rows of a key that touch the same places only the first is needed.
    """
    state = {row.identity: row for row in present}
    seen: set[Identity] = set()
    for _, group in groupby(map(read, since), key=lambda each: each.group):
        changes = [each.change for each in group]
        left = {change.before.identity: change.before for change in changes if change.before is not None}
        come = {change.after.identity for change in changes if change.after is not None}
        state.update((identity, row) for identity, row in left.items() if identity not in seen)
        for identity in come - left.keys() - seen:
            state.pop(identity, None)
        seen |= left.keys() | come
    return state


# ---- as the API tells it


def actual_lrp_json(row: ActualLRP) -> Json:
    """A record in cfdot's keys, without what the history does not have."""
    shown: Json = {
        "process_guid": row.process_guid,
        "index": row.index,
        "domain": row.domain,
        "instance_guid": row.instance_guid,
        "cell_id": row.cell_id,
        "crash_count": row.crash_count,
    }
    if row.crash_reason:
        shown["crash_reason"] = row.crash_reason
    shown["state"] = row.state.value
    if row.placement_error:
        shown["placement_error"] = row.placement_error
    return shown | {
        "since": row.since,
        "modification_tag": {"epoch": row.tag.epoch, "index": row.tag.index},
        "presence": row.presence.name,
        "OptionalRoutable": {"routable": row.routable},
        "availability_zone": row.availability_zone,
    }


def task_json(row: Task) -> Json:
    """A task in cfdot's keys, without its definition and its result."""
    return {
        "task_guid": row.guid,
        "domain": row.domain,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "first_completed_at": row.first_completed_at,
        "state": row.state.wire_name,
        "cell_id": row.cell_id,
        "failed": row.failed,
        "failure_reason": row.failure_reason,
        "rejection_count": row.rejection_count,
        "rejection_reason": row.rejection_reason,
    }


def entry_json(row: Row) -> Json:
    """A row for people and programs."""
    shown: Json = {"id": row.id, "at": row.at, "event": row.event}
    if row.event == TOOK_OVER:
        return {**shown, **orjson.loads(row.detail)}
    if _is_actual(row):
        _, (before, after), crash, trace_id = read(row)
        shown |= {
            "process_guid": row.guid,
            "index": row.instance_index,
            "instance_guid": row.instance_guid,
            "before": before and actual_lrp_json(before),
            "after": after and actual_lrp_json(after),
        }
        if crash is not None:
            shown["crash"] = {
                "crash_count": crash.count,
                "crash_reason": crash.reason,
                "since": crash.since,
                "instance_guid": crash.instance.instance_guid,
                "cell_id": crash.instance.cell_id,
            }
        return shown | ({"trace_id": trace_id} if trace_id else {})
    detail = orjson.loads(row.detail)
    domain, before, after = detail["domain"], detail["before"], detail["after"]
    if row.event.startswith("task_"):
        return shown | {
            "task_guid": row.guid,
            "before": before and task_json(_unpacked_task(row.guid, domain, before)),
            "after": after and task_json(_unpacked_task(row.guid, domain, after)),
        }
    shown |= {
        "process_guid": row.guid,
        "before": before and _desired_json(row.guid, domain, before),
        "after": after and _desired_json(row.guid, domain, after),
    }
    return shown | ({"trace_id": detail["trace_id"]} if "trace_id" in detail else {})


def _desired_json(guid: str, domain: str, packed: Sequence[Any]) -> Json:
    instances, epoch, index = packed
    return {
        "process_guid": guid,
        "domain": domain,
        "instances": instances,
        "modification_tag": {"epoch": epoch, "index": index},
    }


# ---- as listeners heard it


def events(rows: Sequence[Row]) -> dict[int, list[told.Event]]:
    """What listeners were told, by the number of the row at which they were told it; in short messages."""
    heard: dict[int, list[told.Event]] = {}
    for _, decision in groupby(rows, key=_decision):
        first, *rest = decision
        if _is_actual(first):
            each = [read(first), *map(read, rest)]
            heard[first.id] = told.instance_events(
                [part.change for part in each], each[0].crash, each[0].trace_id
            )
        elif first.event != TOOK_OVER:
            heard[first.id] = [_event(first)]
    return heard


def continuation(last: Row, following: Iterable[Row]) -> list[Row]:
    """The rest of the decision that a row is part of."""
    return [row for row in following if _decision(row) == _decision(last)]


def event_json(event: told.Event) -> Json:
    """An event as its stream has it."""
    return {"type": event.name, "data": base64.b64encode(event.data).decode()}


def _decision(row: Row) -> int:
    """What the rows of one decision have in common."""
    return read(row).group if _is_actual(row) else row.id


def _is_actual(row: Row) -> bool:
    return row.touched > 0


def _event(row: Row) -> told.Event:
    detail: Mapping[str, Any] = orjson.loads(row.detail)
    form = _task_frame if row.event.startswith("task_") else _desired_frame
    before, after = (
        detail[name] and form(row.guid, detail["domain"], detail[name]) for name in ("before", "after")
    )
    trace_id = detail.get("trace_id", "")
    match row.event:
        case "task_created":
            return told.task_created(after)
        case "task_changed":
            return told.task_changed(before, after)
        case "task_removed":
            return told.task_removed(before)
        case "desired_lrp_created":
            return told.desired_created(after, trace_id)
        case "desired_lrp_changed":
            return told.desired_changed(before, after, trace_id)
    return told.desired_removed(before, trace_id)


def _task_frame(guid: str, domain: str, packed: Sequence[Any]) -> bytes:
    return list_entry(_unpacked_task(guid, domain, packed).message().SerializeToString())


def _desired_frame(guid: str, domain: str, packed: Sequence[Any]) -> bytes:
    instances, epoch, index = packed
    message = desired_lrp_pb2.DesiredLRP(process_guid=guid, domain=domain, instances=instances)
    message.modification_tag.epoch, message.modification_tag.index = epoch, index
    return list_entry(message.SerializeToString())
