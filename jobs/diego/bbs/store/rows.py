"""Records as columns and back (contract/lifecycle.md sections 10 and 11).

A desired LRP is spread over columns of its own and the encrypted run info; an actual LRP and a task are their
columns. JSON columns hold what the original writes: compact, names in order.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from sys import intern
from typing import Any

import orjson
from google.protobuf.message import DecodeError

from diego.bbs.store import UnreadableDesired
from diego.bbs.store.encryption import Encryption, Undecodable
from diego.models import ActualLRP, ActualLRPState, DesiredLRP, ModificationTag, Presence, Task, TaskState
from diego.models.actual_lrp import Identity
from diego.models.desired_lrp import (
    DesiredParts,
    MetricTag,
    Rest,
    internal_routes,
    part_drivers,
    wanted_metric_tags,
)
from diego.models.entries import map_entry, map_order, varint
from diego.wire import (
    actual_lrp_pb2,
    desired_lrp_pb2,
    metric_tags_pb2,
    modification_tag_pb2,
    task_pb2,
    volume_mount_pb2,
)
from diego.wire.shallow import shallow

HEADER = b"\x02\x00"
"""Before a protobuf message in an encrypted column; both bytes are ignored on reading."""

EMPTY = frozenset({HEADER, b"null", b"{}", b"[]"})
"""What encrypted columns hold where there is nothing to tell."""

DESIRED_COLUMNS = (
    "process_guid", "domain", "log_guid", "annotation", "instances", "memory_mb", "disk_mb", "rootfs", "routes",
    "volume_placement", "modification_tag_epoch", "modification_tag_index", "run_info", "placement_tags",
    "max_pids", "metric_tags", "update_strategy",
)  # fmt: skip
ACTUAL_COLUMNS = (
    "process_guid", "instance_index", "presence", "domain", "state", "instance_guid", "cell_id",
    "placement_error", "since", "net_info", "modification_tag_epoch", "modification_tag_index", "crash_count",
    "crash_reason", "internal_routes", "metric_tags", "routable", "availability_zone",
)  # fmt: skip
TASK_COLUMNS = (
    "guid", "domain", "updated_at", "created_at", "first_completed_at", "state", "cell_id", "result", "failed",
    "failure_reason", "rejection_count", "rejection_reason", "task_definition",
)  # fmt: skip

DESIRED_NUMBERS = frozenset(
    {"instances", "memory_mb", "disk_mb", "modification_tag_index", "max_pids", "update_strategy"}
)
ACTUAL_NUMBERS = frozenset(
    {"instance_index", "presence", "since", "modification_tag_index", "crash_count", "routable"}
)
TASK_NUMBERS = frozenset(
    {"updated_at", "created_at", "first_completed_at", "state", "failed", "rejection_count"}
)
"""The columns that are numbers; the others are texts."""

RunInfoParts = shallow(desired_lrp_pb2.DesiredLRPRunInfo)

_SHARED = {
    each: each.name
    for twin in (RunInfoParts.DESCRIPTOR, DesiredParts.DESCRIPTOR)
    for each in twin.fields
    if each.name in desired_lrp_pb2.DesiredLRP.DESCRIPTOR.fields_by_name
    and each.name in desired_lrp_pb2.DesiredLRPRunInfo.DESCRIPTOR.fields_by_name
    and each.name != "metric_tags"
}
"""The fields that the run info holds for the desired LRP, in both twins: their names."""

_DYNAMIC: dict[str, int] = dict(metric_tags_pb2.MetricTagValue.DynamicValue.items())
LARGEST_ENUM = 2**31 - 1

_decoder = json.JSONDecoder()


def desired_columns(record: DesiredLRP, encryption: Encryption) -> tuple[Any, ...]:
    """The row of a desired LRP, in the order of DESIRED_COLUMNS."""
    parts = record.parts()
    drivers = part_drivers(parts)
    placement = volume_mount_pb2.VolumePlacement(driver_names=drivers).SerializeToString() if drivers else b""
    routes = desired_lrp_pb2.ProtoRoutes.FromString(parts.routes).routes
    return (
        parts.process_guid,
        parts.domain,
        parts.log_guid,
        parts.annotation,
        parts.instances,
        parts.memory_mb,
        parts.disk_mb,
        parts.root_fs,
        _encrypted(routes_json(routes), encryption),
        _encrypted(HEADER + placement, encryption),
        record.tag.epoch,
        record.tag.index,
        encryption.encrypt(HEADER + _run_info(parts, record.created_at)),
        json_list(parts.PlacementTags),
        parts.max_pids,
        _encrypted(wanted_tags_json(record.metric_tags), encryption),
        parts.update_strategy,
    )


def _run_info(parts: Any, created_at: int) -> bytes:
    """The encoded run info of a desired LRP: the same parts under other numbers, and nothing looked into."""
    key = desired_lrp_pb2.DesiredLRPKey(
        process_guid=parts.process_guid, domain=parts.domain, log_guid=parts.log_guid
    )
    info = RunInfoParts(desired_lrp_key=key.SerializeToString(), created_at=created_at, **_shared(parts))
    encoded: bytes = info.SerializeToString()
    return encoded


def _shared(source: Any) -> dict[str, Any]:
    """What the run info holds for the desired LRP, by name, from either twin."""
    return {_SHARED[each]: value for each, value in source.ListFields() if each in _SHARED}


def desired_record(columns: Sequence[Any], encryption: Encryption) -> DesiredLRP | UnreadableDesired:
    """The record of a row with DESIRED_COLUMNS.

    All that may be unreadable is read now; what lists and answers tell of it is made when they first do. A takeover
    has to read everything before it may serve anything, and most of the work is in that form.
    """
    (
        process_guid, domain, log_guid, annotation, instances, memory_mb, disk_mb, rootfs, routes,
        _placement, epoch, index, run_info_text, placement_tags, max_pids, metric_tags, strategy,
    ) = columns  # fmt: skip
    try:
        content = _message(run_info_text, encryption)
        run_info = desired_lrp_pb2.DesiredLRPRunInfo.FromString(content)
    except (Undecodable, DecodeError):
        return UnreadableDesired(process_guid, domain, deletable=True)
    try:
        by_router = routes_of(encryption.decrypt(routes).decode())
        if metric_tags:
            wanted = read_wanted_tags(encryption.decrypt(metric_tags))
        else:
            wanted = wanted_metric_tags(run_info.metric_tags)
        tag = ModificationTag(epoch, index or 0)
        plain = {
            "process_guid": process_guid,
            "domain": domain,
            "log_guid": log_guid,
            "annotation": annotation or "",
            "instances": instances,
            "memory_mb": memory_mb,
            "disk_mb": disk_mb,
            "root_fs": rootfs,
            "max_pids": max_pids or 0,
            "update_strategy": strategy or 0,
            "PlacementTags": orjson.loads(placement_tags or "null") or (),
        }
        DesiredParts(**plain)
    except (Undecodable, ValueError, TypeError, AttributeError):
        return UnreadableDesired(process_guid, domain, deletable=False)
    return DesiredLRP.later(
        partial(_told, content, plain, by_router, wanted, tag),
        process_guid=process_guid,
        domain=domain,
        instances=instances,
        tag=tag,
        internal_routes=internal_routes(by_router),
        metric_tags=wanted,
        update_strategy=strategy or 0,
    )


def _told(
    content: bytes,
    plain: Mapping[str, Any],
    by_router: Mapping[str, bytes],
    tags: tuple[MetricTag, ...],
    tag: ModificationTag,
) -> Rest:
    """What a row's record is told as."""
    run_info = desired_lrp_pb2.DesiredLRPRunInfo.FromString(content)
    run_info.DiscardUnknownFields()
    info = RunInfoParts.FromString(run_info.SerializeToString(deterministic=True))
    parts = DesiredParts(
        modification_tag=modification_tag_pb2.ModificationTag(
            epoch=tag.epoch, index=tag.index
        ).SerializeToString(),
        routes=encoded_routes(by_router),
        metric_tags=encoded_tags(tags),
        **plain,
        **_shared(info),
    )
    return Rest(
        parts.SerializeToString(),
        created_at=info.created_at,
        metrics_guid=info.metrics_guid,
        layered=bool(info.image_layers),
    )


def actual_columns(lrp: ActualLRP, encryption: Encryption) -> tuple[Any, ...]:
    """The row of an actual LRP, in the order of ACTUAL_COLUMNS."""
    routes = lrp.internal_routes
    return (
        lrp.process_guid,
        lrp.index,
        int(lrp.presence),
        lrp.domain,
        str(lrp.state),
        lrp.instance_guid,
        lrp.cell_id,
        lrp.placement_error,
        lrp.since,
        _encrypted(HEADER + lrp.net_info, encryption),
        lrp.tag.epoch,
        lrp.tag.index,
        lrp.crash_count,
        lrp.crash_reason,
        _encrypted(_json(None if routes is None else [{"hostname": name} for name in routes]), encryption),
        _encrypted(_json(lrp.metric_tags if lrp.metric_tags is None else dict(lrp.metric_tags)), encryption),
        int(lrp.routable),
        lrp.availability_zone,
    )


def actual_record(columns: Sequence[Any], encryption: Encryption) -> ActualLRP | Identity:
    """The record of a row with ACTUAL_COLUMNS; the identity alone if it cannot be read."""
    (
        process_guid, index, presence, domain, state, instance_guid, cell_id, placement_error, since, net_info,
        epoch, tag_index, crash_count, crash_reason, internal_routes, metric_tags, routable, zone,
    ) = columns  # fmt: skip
    identity = (process_guid, index, Presence(presence))
    try:
        return ActualLRP(
            process_guid=intern(process_guid),
            index=index,
            domain=intern(domain),
            presence=identity[2],
            state=ActualLRPState(state),
            instance_guid=instance_guid,
            cell_id=intern(cell_id),
            net_info=_net_info(_message(net_info, encryption)),
            internal_routes=_hostnames(internal_routes, encryption),
            metric_tags=_tags(metric_tags, encryption),
            routable=bool(routable),
            availability_zone=intern(zone),
            crash_count=crash_count,
            crash_reason=crash_reason,
            placement_error=placement_error,
            since=since or 0,
            tag=ModificationTag(epoch, tag_index or 0),
        )
    except (Undecodable, DecodeError, ValueError, TypeError, KeyError, AttributeError):
        return identity


def task_columns(task: Task, encryption: Encryption) -> tuple[Any, ...]:
    """The row of a task, in the order of TASK_COLUMNS; the definition is None if it was not readable."""
    return (
        task.guid,
        task.domain,
        task.updated_at,
        task.created_at,
        task.first_completed_at,
        int(task.state),
        task.cell_id,
        task.result,
        int(task.failed),
        task.failure_reason,
        task.rejection_count,
        task.rejection_reason,
        None if task.definition is None else encryption.encrypt(HEADER + task.definition),
    )


def task_record(columns: Sequence[Any], encryption: Encryption) -> Task:
    """The record of a row with TASK_COLUMNS."""
    (
        guid, domain, updated_at, created_at, first_completed_at, state, cell_id, result, failed, failure_reason,
        rejection_count, rejection_reason, definition,
    ) = columns  # fmt: skip
    return Task(
        guid=guid,
        domain=domain,
        definition=_definition(definition, encryption),
        created_at=created_at or 0,
        updated_at=updated_at or 0,
        first_completed_at=first_completed_at or 0,
        state=TaskState(state or 0),
        cell_id=cell_id,
        result=result or "",
        failed=bool(failed),
        failure_reason=failure_reason,
        rejection_count=rejection_count,
        rejection_reason=rejection_reason,
    )


def routes_json(routes: Mapping[str, bytes]) -> bytes:
    """Router name → value as one JSON object. The values are JSON texts already and stand in it as they are."""
    return b"{" + b",".join([_json(name) + b":" + routes[name] for name in sorted(routes)]) + b"}"


def routes_of(text: str) -> dict[str, bytes]:
    """The inverse of `routes_json`: every value is the very text that stands in the object.

    Raises:
        ValueError: not an object.
    """
    at = _skip_space(text, 0)
    if text.startswith("null", at):
        return {}
    if not text.startswith("{", at):
        raise ValueError("routes are not an object")
    at = _skip_space(text, at + 1)
    found: dict[str, bytes] = {}
    if text.startswith("}", at):
        return found
    while True:
        name, at = _decoder.raw_decode(text, at)
        at = _expect(text, at, ":")
        _, end = _decoder.raw_decode(text, at)
        found[str(name)] = text[at:end].encode()
        at = _skip_space(text, end)
        if text.startswith("}", at):
            return found
        at = _expect(text, at, ",")


def json_list(items: Iterable[str]) -> str:
    """A JSON list of texts; `null` for an empty one, as the original has it."""
    return _json(list(items) or None).decode()


def wanted_tags_json(tags: Iterable[MetricTag]) -> bytes:
    """Wanted metric tags: name → `{"static": …}` or `{"dynamic": "INDEX"}`."""
    told: dict[str, dict[str, str]] = {}
    for name, static, dynamic in tags:
        value = told[name] = {}
        if static:
            value["static"] = static
        if dynamic:
            # the stubs want the enum's own int
            value["dynamic"] = metric_tags_pb2.MetricTagValue.DynamicValue.Name(dynamic)  # type: ignore[arg-type]
    return _json(told)


def read_wanted_tags(content: bytes) -> tuple[MetricTag, ...]:
    """The inverse of `wanted_tags_json`.

    Raises:
        ValueError, TypeError, AttributeError: something else.
    """
    wanted: list[MetricTag] = []
    for name, value in (orjson.loads(content) or {}).items():
        static, dynamic = value.get("static", ""), value.get("dynamic", 0)
        number = _DYNAMIC.get(dynamic, -1) if isinstance(dynamic, str) else dynamic
        if not isinstance(number, int) or not 0 <= number <= LARGEST_ENUM:
            raise ValueError(f"no dynamic value: {number}")
        wanted.append((intern(name), intern(static), number))
    wanted.sort()
    return tuple(wanted)


def encoded_tags(tags: Iterable[MetricTag]) -> list[bytes]:
    """The entries of a desired LRP's map of metric tags, as protobuf writes them."""
    return [
        map_entry(
            name,
            (b"\x0a%b%b" % (varint(len(text := static.encode())), text) if static else b"")
            + (b"\x10%b" % varint(dynamic) if dynamic else b""),
        )
        for name, static, dynamic in sorted(tags, key=lambda tag: map_order(tag[0]))
    ]


def encoded_routes(routes: Mapping[str, bytes]) -> bytes:
    """A message ProtoRoutes, as protobuf writes it."""
    entries = [map_entry(name, routes[name]) for name in sorted(routes, key=map_order)]
    return b"".join([b"\x0a%b%b" % (varint(len(entry)), entry) for entry in entries])


def _encrypted(content: bytes, encryption: Encryption) -> str:
    return encryption.encrypt_empty(content) if content in EMPTY else encryption.encrypt(content)


def _message(text: str, encryption: Encryption) -> bytes:
    """The protobuf message in an encrypted column."""
    content = encryption.decrypt(text)
    if len(content) < len(HEADER):
        raise Undecodable("no header")
    return content[len(HEADER) :]


def _net_info(content: bytes) -> bytes:
    """In the form that equal content has equal bytes, whoever wrote it."""
    return actual_lrp_pb2.ActualLRPNetInfo.FromString(content).SerializeToString(deterministic=True)


def _hostnames(text: str | None, encryption: Encryption) -> tuple[str, ...] | None:
    entries = orjson.loads(encryption.decrypt(text)) if text else None
    return None if entries is None else tuple(entry["hostname"] for entry in entries)


def _tags(text: str | None, encryption: Encryption) -> dict[str, str] | None:
    tags = orjson.loads(encryption.decrypt(text)) if text else None
    return None if tags is None else {intern(str(name)): intern(str(value)) for name, value in tags.items()}


def _definition(text: str, encryption: Encryption) -> bytes | None:
    try:
        message = task_pb2.TaskDefinition.FromString(_message(text, encryption))
    except (Undecodable, DecodeError):
        return None
    message.DiscardUnknownFields()
    return message.SerializeToString(deterministic=True)


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _expect(text: str, at: int, sign: str) -> int:
    at = _skip_space(text, at)
    if not text.startswith(sign, at):
        raise ValueError(f"no {sign!r} in the routes at {at}")
    return _skip_space(text, at + 1)
