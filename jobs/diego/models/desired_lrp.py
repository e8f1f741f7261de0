"""A desired LRP: what somebody wants to run, and how many of it (contract/lifecycle.md section 3).

The record keeps the whole protobuf message as encoded bytes, in the form of a list entry, so that a list of
many is a join and nothing is copied twice. What decisions need often stands beside it, derived once.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from sys import intern
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from diego.models.actual_lrp import ModificationTag
from diego.models.entries import entry_content, list_entry
from diego.wire import desired_lrp_pb2, metric_tags_pb2, volume_mount_pb2
from diego.wire.shallow import shallow

INTERNAL_ROUTER, HTTP_ROUTER = "internal-router", "cf-router"

DesiredParts = shallow(desired_lrp_pb2.DesiredLRP)
SchedulingParts = shallow(desired_lrp_pb2.DesiredLRPSchedulingInfo)
"""Shallow twins: to hand parts on without a look into them."""

MetricTag = tuple[str, str, int]
"""Name, static text, dynamic value: the wanted value of a metric tag is a text, or each instance has its own."""

INDEX, INSTANCE_GUID = 1, 2


class Rest(NamedTuple):
    """What is not known yet of a record that was made by `DesiredLRP.later`.

    `encoded` is the message in the stored form.
    """

    encoded: bytes
    created_at: int
    metrics_guid: str
    layered: bool


LATER = frozenset({"created_at", "served", "completed", "layered"})


@dataclass(frozen=True, slots=True)
class DesiredLRP:
    """One record.

    For the store: `message()` (or `parts()`) has every column's content except `created_at`, which belongs into the
    run info, and `part_drivers` of it is the volume placement. `DesiredLRP.of(message, created_at)` makes the record
    again from the columns.

    Attributes:
        served: the message as list and get tell it, framed as an entry of field 2 (tag, length, bytes), with
            metrics guid and source id completed from each other (contract/bbs-api.md section 3). It always
            has `routes` and `modification_tag`, no unknown fields, and no port twice. Equal messages have
            equal bytes, here and in the short forms.
        completed: how many bytes at the end of `served` are not stored but only told.
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
    internal_routes: tuple[str, ...] | None
    metric_tags: tuple[MetricTag, ...]
    update_strategy: int = 0
    layered: bool = False
    _scheduling: bytes = field(default=b"", init=False, compare=False, repr=False)
    _routing: bytes = field(default=b"", init=False, compare=False, repr=False)
    _rest: Callable[[], Rest] | None = field(default=None, init=False, compare=False, repr=False)

    @classmethod
    def of(
        cls,
        message: desired_lrp_pb2.DesiredLRP,
        created_at: int,
        metric_tags: "tuple[MetricTag, ...] | None" = None,
    ) -> "DesiredLRP":
        """The record of a message, which is brought into the stored form on the way (it is changed).

        `metric_tags` are those of the message, where the caller has them already.
        """
        message.routes.SetInParent()
        message.modification_tag.SetInParent()
        if len(message.ports) > 1:
            unique = list(dict.fromkeys(message.ports))
            if len(unique) != len(message.ports):
                del message.ports[:]
                message.ports.extend(unique)
        if metric_tags is None:
            metric_tags = wanted_metric_tags(message.metric_tags)
        return cls.stored(
            message.SerializeToString(deterministic=True),
            created_at,
            process_guid=message.process_guid,
            domain=message.domain,
            instances=message.instances,
            tag=ModificationTag(message.modification_tag.epoch, message.modification_tag.index),
            metrics_guid=message.metrics_guid,
            internal_routes=internal_routes(message.routes.routes),
            metric_tags=metric_tags,
            update_strategy=message.update_strategy,
            layered=bool(message.image_layers),
        )

    @classmethod
    def stored(
        cls,
        encoded: bytes,
        created_at: int,
        *,
        process_guid: str,
        domain: str,
        instances: int,
        tag: ModificationTag,
        metrics_guid: str,
        internal_routes: tuple[str, ...] | None,
        metric_tags: tuple[MetricTag, ...],
        update_strategy: int,
        layered: bool,
    ) -> "DesiredLRP":
        """The record of an encoded message in the stored form, by one who knows what stands in it."""
        completion = _completion(metrics_guid, metric_tags)
        return cls(
            process_guid=intern(process_guid),
            domain=intern(domain),
            instances=instances,
            tag=tag,
            created_at=created_at,
            served=list_entry(encoded + completion),
            completed=len(completion),
            internal_routes=internal_routes,
            metric_tags=metric_tags,
            update_strategy=update_strategy,
            layered=layered,
        )

    @classmethod
    def later(
        cls,
        rest: Callable[[], Rest],
        *,
        process_guid: str,
        domain: str,
        instances: int,
        tag: ModificationTag,
        internal_routes: tuple[str, ...] | None,
        metric_tags: tuple[MetricTag, ...],
        update_strategy: int,
    ) -> "DesiredLRP":
        """A record of which only this is known; `rest` is asked for the others when one of them is wanted."""
        record = object.__new__(cls)
        put = object.__setattr__
        put(record, "process_guid", intern(process_guid))
        put(record, "domain", intern(domain))
        put(record, "instances", instances)
        put(record, "tag", tag)
        put(record, "internal_routes", internal_routes)
        put(record, "metric_tags", metric_tags)
        put(record, "update_strategy", update_strategy)
        put(record, "_scheduling", b"")
        put(record, "_routing", b"")
        put(record, "_rest", rest)
        return record

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left to be made when it is wanted."""
        return self._rest is None

    def make_whole(self) -> None:
        """Make what is left. From any thread, and nothing happens twice."""
        rest = self._rest
        if rest is None:
            return
        made = rest()
        completion = _completion(made.metrics_guid, self.metric_tags)
        put = object.__setattr__
        put(self, "created_at", made.created_at)
        put(self, "completed", len(completion))
        put(self, "layered", made.layered)
        put(self, "served", list_entry(made.encoded + completion))
        put(self, "_rest", None)

    if not TYPE_CHECKING:  # a checker would take every name for one of these

        def __getattr__(self, name: str) -> Any:
            """Called for what has no value yet."""
            if name not in LATER:
                raise AttributeError(f"a DesiredLRP has no {name!r}")
            self.make_whole()
            return object.__getattribute__(self, name)

    @property
    def scheduling(self) -> bytes:
        """The form for who places instances, framed in the same way; made when first asked for."""
        if not self._scheduling:
            object.__setattr__(self, "_scheduling", list_entry(_scheduling(self.parts())))
        return self._scheduling

    @property
    def routing(self) -> bytes:
        """The form for who routes, framed in the same way; made when first asked for."""
        if not self._routing:
            object.__setattr__(self, "_routing", list_entry(_routing(self.parts())))
        return self._routing

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

    def parts(self) -> Any:
        """The stored message read one level deep, a new one each time."""
        return DesiredParts.FromString(self._stored)

    def served_message(self) -> desired_lrp_pb2.DesiredLRP:
        """The message as list and get tell it, a new one each time."""
        return desired_lrp_pb2.DesiredLRP.FromString(entry_content(self.served))

    def resolved_tags(self, index: int, instance_guid: str) -> dict[str, str]:
        """The metric tags that one instance ought to have."""
        own = {INDEX: str(index), INSTANCE_GUID: instance_guid}
        return {name: own.get(dynamic, static) for name, static, dynamic in self.metric_tags}


def internal_routes(routes: Mapping[str, bytes]) -> tuple[str, ...] | None:
    """The host names of the `internal-router` entry, or None without one (or with one that says nothing).

    The entry's value is a JSON list of objects with a `hostname`; what is not one counts as no host name.
    """
    if INTERNAL_ROUTER not in routes:
        return None
    try:
        entries = orjson.loads(routes[INTERNAL_ROUTER])
    except ValueError:
        return None
    if not isinstance(entries, list):
        return None
    return tuple(str(entry.get("hostname", "")) for entry in entries if isinstance(entry, dict))


def hostnames(routes: Mapping[str, bytes]) -> list[str]:
    """The names under which the HTTP router serves an LRP; none where its `cf-router` entry cannot be read."""
    raw = routes.get(HTTP_ROUTER, b"")
    try:
        entries = orjson.loads(raw) if raw else []
    except ValueError:
        return []
    if not isinstance(entries, list):
        return []
    names = [entry.get("hostnames") for entry in entries if isinstance(entry, dict)]
    return [str(name) for listed in names if isinstance(listed, list) for name in listed]


def wanted_metric_tags(tags: Mapping[str, metric_tags_pb2.MetricTagValue]) -> tuple[MetricTag, ...]:
    """Wanted metric tags in the order of their names.

    The texts are shared with whoever has the same: other LRPs of the app's space, the instances.
    """
    return tuple(sorted([(intern(name), intern((tag := tags[name]).static), tag.dynamic) for name in tags]))


def volume_drivers(mounts: Iterable[volume_mount_pb2.VolumeMount]) -> list[str]:
    """The drivers that a cell must have: the volume placement of a desired LRP."""
    return [mount.driver for mount in mounts]


def part_drivers(parts: Any) -> list[str]:
    """The same from a shallow twin."""
    if not parts.volume_mounts:
        return []
    return volume_drivers(map(volume_mount_pb2.VolumeMount.FromString, parts.volume_mounts))


def _scheduling(parts: Any) -> bytes:
    key = desired_lrp_pb2.DesiredLRPKey(
        process_guid=parts.process_guid, domain=parts.domain, log_guid=parts.log_guid
    )
    resource = desired_lrp_pb2.DesiredLRPResource(
        memory_mb=parts.memory_mb, disk_mb=parts.disk_mb, root_fs=parts.root_fs, max_pids=parts.max_pids
    )
    drivers = part_drivers(parts)
    placement = volume_mount_pb2.VolumePlacement(driver_names=drivers).SerializeToString() if drivers else b""
    encoded: bytes = SchedulingParts(
        desired_lrp_key=key.SerializeToString(),
        annotation=parts.annotation,
        instances=parts.instances,
        desired_lrp_resource=resource.SerializeToString(),
        routes=parts.routes,
        modification_tag=parts.modification_tag,
        volume_placement=placement,
        PlacementTags=parts.PlacementTags,
    ).SerializeToString()
    return encoded


def _routing(parts: Any) -> bytes:
    encoded: bytes = DesiredParts(
        process_guid=parts.process_guid,
        domain=parts.domain,
        log_guid=parts.log_guid,
        instances=parts.instances,
        routes=parts.routes,
        modification_tag=parts.modification_tag,
        metric_tags=parts.metric_tags,
    ).SerializeToString()
    return encoded


def _completion(metrics_guid: str, metric_tags: Iterable[MetricTag]) -> bytes:
    """What completes metrics guid and source id from each other, as bytes that follow the encoded message."""
    source = next((static for name, static, _ in metric_tags if name == "source_id"), None)
    if (source is not None) == bool(metrics_guid):
        return b""
    if source is not None:
        return desired_lrp_pb2.DesiredLRP(metrics_guid=source).SerializeToString()
    told = desired_lrp_pb2.DesiredLRP()
    told.metric_tags["source_id"].static = metrics_guid
    return told.SerializeToString()
