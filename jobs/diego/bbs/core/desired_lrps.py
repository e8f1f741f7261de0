"""What is wanted, and what changes of it ask for (contract/lifecycle.md section 3)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from diego.bbs.core import validation
from diego.models import ActualLRP, ActualLRPState, BbsError, DesiredLRP, ModificationTag, Presence
from diego.models.desired_lrp import MetricTag, part_drivers
from diego.wire import desired_lrp_pb2

HELD = frozenset({ActualLRPState.CLAIMED, ActualLRPState.RUNNING})


class StartRequest(NamedTuple):
    """What the auctioneer needs to find cells for some indices of a process.

    `placement_tags` and `volume_drivers` are None where the original sends null rather than an empty list.
    """

    process_guid: str
    domain: str
    indices: tuple[int, ...]
    placement_tags: tuple[str, ...] | None
    volume_drivers: tuple[str, ...] | None
    root_fs: str
    memory_mb: int
    disk_mb: int
    max_pids: int


@dataclass(frozen=True, slots=True)
class RepUpdate:
    """What a cell is to be told of one of its running instances; None leaves a part as it is."""

    lrp: ActualLRP
    internal_routes: tuple[str, ...] | None
    metric_tags: dict[str, str] | None


class ScaleDown(NamedTuple):
    """Instances that are no longer wanted: records to delete, and instances for their cells to stop."""

    delete: tuple[ActualLRP, ...]
    stop: tuple[ActualLRP, ...]


def create(
    message: desired_lrp_pb2.DesiredLRP,
    *,
    now: int,
    epoch: str,
    metric_tags: tuple[MetricTag, ...] | None = None,
) -> DesiredLRP:
    """The new record. The message is changed on the way: it loses what no client may set or keep.

    `metric_tags` are those of the message, where the caller has them already.

    Raises:
        BbsError: a route's value is not JSON, or something is too long for its column.
    """
    check_routes(message.routes)
    message.DiscardUnknownFields()
    validation.desired_lrp_columns(message)
    message.ClearField("deprecated_start_timeout_s")
    message.modification_tag.epoch = epoch
    message.modification_tag.index = 0
    return _fitting(DesiredLRP.of(message, now, metric_tags))


def update(lrp: DesiredLRP, change: desired_lrp_pb2.DesiredLRPUpdate) -> DesiredLRP:
    """The record after an update. Every update raises the tag's index, also one that changes nothing.

    Raises:
        BbsError: a route's value is not JSON, or something is too long for its column.
    """
    check_routes(change.routes)
    message = lrp.message()
    if change.HasField("instances"):
        message.instances = change.instances
    if change.HasField("annotation"):
        message.annotation = change.annotation
    if change.HasField("routes"):
        message.routes.CopyFrom(change.routes)
    if change.metric_tags:
        message.metric_tags.clear()
        message.metric_tags.MergeFrom(change.metric_tags)
    if change.HasField("image_username") and change.HasField("image_password"):
        message.image_username = change.image_username
        message.image_password = change.image_password
    validation.desired_lrp_columns(message)
    tag = ModificationTag(lrp.tag.epoch, lrp.tag.index).next()
    message.modification_tag.index = tag.index
    return _fitting(DesiredLRP.of(message, lrp.created_at))


def _fitting(lrp: DesiredLRP) -> DesiredLRP:
    if len(lrp.served) > validation.LONG_BYTES:
        raise BbsError.invalid_request()
    return lrp


def check_routes(routes: desired_lrp_pb2.ProtoRoutes) -> None:
    """Refuse routes whose value is not JSON."""
    for value in routes.routes.values():
        try:
            orjson.loads(value)
        except ValueError as error:
            raise BbsError.invalid_request() from error


def start_request(lrp: DesiredLRP, indices: Iterable[int], *, new: bool = False) -> StartRequest:
    """The auction of some indices. `new`: asked right at the desire, which tells no drivers as an empty list."""
    parts = lrp.parts()
    drivers = tuple(part_drivers(parts))
    return StartRequest(
        process_guid=lrp.process_guid,
        domain=lrp.domain,
        indices=tuple(indices),
        placement_tags=tuple(parts.PlacementTags) or None,
        volume_drivers=drivers if drivers or new else None,
        root_fs=parts.root_fs,
        memory_mb=parts.memory_mb,
        disk_mb=parts.disk_mb,
        max_pids=parts.max_pids,
    )


def missing(existing: Iterable[ActualLRP], instances: int, *, start: int = 0) -> list[int]:
    """The indices from `start` on that ought to have an ORDINARY record and have none."""
    there = {row.index for row in existing if row.presence is Presence.ORDINARY}
    return [index for index in range(start, instances) if index not in there]


def scale_down(rows: Iterable[ActualLRP], instances: int) -> ScaleDown:
    """What becomes of the records of a process of which only `instances` are still wanted.

    An EVACUATING record ends by itself; a record that nobody holds is deleted; what runs is ended by its cell.
    """
    extra = [row for row in rows if row.index >= instances and row.presence is not Presence.EVACUATING]
    return ScaleDown(
        delete=tuple(row for row in extra if row.state not in HELD),
        stop=tuple(row for row in extra if row.state in HELD),
    )


def rep_updates(
    before: DesiredLRP,
    after: DesiredLRP,
    change: desired_lrp_pb2.DesiredLRPUpdate,
    rows: Iterable[ActualLRP],
) -> list[RepUpdate]:
    """What cells must be told after an update: other internal routes or metric tags of what they run.

    The original also tells, with no routes, when an update has routes and neither side an `internal-router`.
    """
    routes: tuple[str, ...] | None = None
    if change.HasField("routes") and (
        before.internal_routes is None
        or after.internal_routes is None
        or set(before.internal_routes) != set(after.internal_routes)
    ):
        routes = after.internal_routes or ()
    tags = before.metric_tags != after.metric_tags
    if routes is None and not tags:
        return []
    return [
        RepUpdate(row, routes, after.resolved_tags(row.index, row.instance_guid) if tags else None)
        for row in rows
        if row.state in HELD and row.presence is not Presence.EVACUATING
    ]
