"""A desired LRP: what somebody wants to run, and how many of it (contract/lifecycle.md section 3).

The record keeps the whole protobuf message as encoded bytes, in the form of a list entry, so that a list of
many is a join and nothing is copied twice. What decisions need often stands beside it, derived once.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from diego.models.actual_lrp import ModificationTag
from diego.wire import desired_lrp_pb2, volume_mount_pb2

INTERNAL_ROUTER = "internal-router"
LIST_ENTRY = b"\x12"


MetricTag = tuple[str, str, int]
"""Name, static text, dynamic value: the wanted value of a metric tag is a text, or each instance has its own."""

INDEX, INSTANCE_GUID = 1, 2


@dataclass(frozen=True, slots=True)
class DesiredLRP:
    """One record.

    For the store: `message()` has every column's content except `created_at`, which belongs into the run
    info, and `volume_drivers(message)` is the volume placement. `DesiredLRP.of(message, created_at)` makes
    the record again from the columns.

    Attributes:
        served: the message as list and get tell it, framed as an entry of field 2 (tag, length, bytes), with
            metrics guid and source id completed from each other (contract/bbs-api.md section 3). It always
            has `routes` and `modification_tag`, no unknown fields, and no port twice. Equal messages have
            equal bytes, here and in the short forms.
        completed: how many bytes at the end of `served` are not stored but only told.
        scheduling, routing: the two short forms, framed in the same way.
        internal_routes: the host names of the `internal-router` entry; None without such an entry.
        created_at: Unix nanoseconds.
        update_strategy: the number of DesiredLRP.UpdateStrategy; what an evacuation does with what runs.
        layered: it has image layers, which older clients must be told of in another way.
    """

    process_guid: str
    domain: str
    instances: int
    tag: ModificationTag
    created_at: int
    served: bytes
    completed: int
    scheduling: bytes
    routing: bytes
    internal_routes: tuple[str, ...] | None
    metric_tags: tuple[MetricTag, ...]
    update_strategy: int = 0
    layered: bool = False

    @classmethod
    def of(cls, message: desired_lrp_pb2.DesiredLRP, created_at: int) -> "DesiredLRP":
        """The record of a message, which is brought into the stored form on the way (it is changed)."""
        message.routes.SetInParent()
        message.modification_tag.SetInParent()
        if len(message.ports) > 1:
            unique = list(dict.fromkeys(message.ports))
            if len(unique) != len(message.ports):
                del message.ports[:]
                message.ports.extend(unique)
        completion = _completion(message)
        return cls(
            process_guid=message.process_guid,
            domain=message.domain,
            instances=message.instances,
            tag=ModificationTag(message.modification_tag.epoch, message.modification_tag.index),
            created_at=created_at,
            served=list_entry(message.SerializeToString(deterministic=True) + completion),
            completed=len(completion),
            scheduling=list_entry(_scheduling(message).SerializeToString(deterministic=True)),
            routing=list_entry(_routing(message).SerializeToString(deterministic=True)),
            internal_routes=internal_routes(message.routes),
            metric_tags=_metric_tags(message),
            update_strategy=message.update_strategy,
            layered=bool(message.image_layers),
        )

    @property
    def frame(self) -> bytes:
        """The message as stored, framed in the same way; events tell this one."""
        return self.served if not self.completed else list_entry(self._stored)

    @property
    def _stored(self) -> bytes:
        content = entry_content(self.served)
        return content[: len(content) - self.completed]

    def message(self) -> desired_lrp_pb2.DesiredLRP:
        """The stored message decoded, a new one each time."""
        return desired_lrp_pb2.DesiredLRP.FromString(self._stored)

    def served_message(self) -> desired_lrp_pb2.DesiredLRP:
        """The message as list and get tell it, a new one each time."""
        return desired_lrp_pb2.DesiredLRP.FromString(entry_content(self.served))

    def resolved_tags(self, index: int, instance_guid: str) -> dict[str, str]:
        """The metric tags that one instance ought to have."""
        own = {INDEX: str(index), INSTANCE_GUID: instance_guid}
        return {name: own.get(dynamic, static) for name, static, dynamic in self.metric_tags}


def internal_routes(routes: desired_lrp_pb2.ProtoRoutes) -> tuple[str, ...] | None:
    """The host names of the `internal-router` entry, or None without one (or with one that says nothing).

    The entry's value is a JSON list of objects with a `hostname`; what is not one counts as no host name.
    """
    if INTERNAL_ROUTER not in routes.routes:
        return None
    try:
        entries = orjson.loads(routes.routes[INTERNAL_ROUTER])
    except ValueError:
        return None
    if not isinstance(entries, list):
        return None
    return tuple(str(entry.get("hostname", "")) for entry in entries if isinstance(entry, dict))


def volume_drivers(mounts: Iterable[volume_mount_pb2.VolumeMount]) -> list[str]:
    """The drivers that a cell must have: the volume placement of a desired LRP."""
    return [mount.driver for mount in mounts]


def list_entry(encoded: bytes) -> bytes:
    """An encoded message as an entry of field 2, which is where every list answer of the BBS has its entries."""
    return LIST_ENTRY + varint(len(encoded)) + encoded


def entry_content(entry: bytes) -> bytes:
    """The encoded message inside an entry made by `list_entry`."""
    start = 1
    while entry[start] & 0x80:
        start += 1
    return entry[start + 1 :]


def varint(number: int) -> bytes:
    """A non-negative number in protobuf's base-128 form."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _metric_tags(message: desired_lrp_pb2.DesiredLRP) -> tuple[MetricTag, ...]:
    tags = message.metric_tags
    return tuple(sorted([(name, (tag := tags[name]).static, tag.dynamic) for name in tags]))


def _scheduling(message: desired_lrp_pb2.DesiredLRP) -> desired_lrp_pb2.DesiredLRPSchedulingInfo:
    info = desired_lrp_pb2.DesiredLRPSchedulingInfo(
        desired_lrp_key=desired_lrp_pb2.DesiredLRPKey(
            process_guid=message.process_guid, domain=message.domain, log_guid=message.log_guid
        ),
        annotation=message.annotation,
        instances=message.instances,
        desired_lrp_resource=desired_lrp_pb2.DesiredLRPResource(
            memory_mb=message.memory_mb,
            disk_mb=message.disk_mb,
            root_fs=message.root_fs,
            max_pids=message.max_pids,
        ),
        routes=message.routes,
        modification_tag=message.modification_tag,
        PlacementTags=message.PlacementTags,
    )
    info.volume_placement.SetInParent()
    if message.volume_mounts:
        info.volume_placement.driver_names.extend(volume_drivers(message.volume_mounts))
    return info


def _routing(message: desired_lrp_pb2.DesiredLRP) -> desired_lrp_pb2.DesiredLRP:
    told = desired_lrp_pb2.DesiredLRP(
        process_guid=message.process_guid,
        domain=message.domain,
        log_guid=message.log_guid,
        instances=message.instances,
        routes=message.routes,
        modification_tag=message.modification_tag,
    )
    told.metric_tags.MergeFrom(message.metric_tags)
    return told


def _completion(message: desired_lrp_pb2.DesiredLRP) -> bytes:
    """What completes metrics guid and source id from each other, as bytes that follow the encoded message."""
    source = "source_id" in message.metric_tags
    if source == bool(message.metrics_guid):
        return b""
    if source:
        return desired_lrp_pb2.DesiredLRP(
            metrics_guid=message.metric_tags["source_id"].static
        ).SerializeToString()
    told = desired_lrp_pb2.DesiredLRP()
    told.metric_tags["source_id"].static = message.metrics_guid
    return told.SerializeToString()
