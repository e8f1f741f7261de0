"""The life of one actual LRP (contract/lifecycle.md section 5).

An index of a process has one ORDINARY record, which is the one that counts. It goes from UNCLAIMED (wanted,
nowhere yet) to CLAIMED (a cell took it) to RUNNING, and from there back: by a crash, by an unclaim, or away.

    from / to    UNCLAIMED            CLAIMED          RUNNING          CRASHED
    UNCLAIMED    fail keeps it        any instance     any instance     no
    CLAIMED      unclaim, crash       same (no-op)     any instance     same
    RUNNING      unclaim, crash       same             same             same
    CRASHED      unclaim              no               no               no

Beside it there may be an EVACUATING record (running on a cell that shuts down) and a SUSPECT one (on a cell
that was not heard of for a while). They end as soon as the ORDINARY one runs.

A function here takes the records of the key and gives the changes; it raises BbsError for what is refused.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from diego.bbs.core import restarts
from diego.bbs.core.texts import cut_reason
from diego.models import ActualLRP, ActualLRPState, BbsError, ErrorType, ModificationTag, Presence

UNCLAIMED, CLAIMED = ActualLRPState.UNCLAIMED, ActualLRPState.CLAIMED
RUNNING, CRASHED = ActualLRPState.RUNNING, ActualLRPState.CRASHED
ORDINARY, EVACUATING, SUSPECT = Presence.ORDINARY, Presence.EVACUATING, Presence.SUSPECT


@dataclass(frozen=True, slots=True)
class Key:
    """Which instance of which process."""

    process_guid: str
    index: int
    domain: str


def key_of(row: ActualLRP) -> Key:
    """The key of a record."""
    return Key(row.process_guid, row.index, row.domain)


class Instance(NamedTuple):
    """Which container on which cell."""

    instance_guid: str
    cell_id: str


class Change(NamedTuple):
    """One record before and after: made where `before` is None, gone where `after` is.

    The two may differ in presence: a record that moves, which listeners hear as one change.
    """

    before: ActualLRP | None
    after: ActualLRP | None


@dataclass(frozen=True, slots=True)
class Crash:
    """That an instance died, for those who listen; `reason` is not cut."""

    key: Key
    instance: Instance
    count: int
    reason: str
    since: int


@dataclass(frozen=True, slots=True)
class Rows:
    """The records of one process guid and index, at most one of each presence."""

    ordinary: ActualLRP | None = None
    evacuating: ActualLRP | None = None
    suspect: ActualLRP | None = None

    def held_by(self, instance: Instance) -> ActualLRP | None:
        """The record, of whatever presence, that names exactly this instance."""
        for row in (self.ordinary, self.evacuating, self.suspect):
            if row is not None and row.held_by(*instance):
                return row
        return None

    def __bool__(self) -> bool:
        return not (self.ordinary is None and self.evacuating is None and self.suspect is None)


def applied(rows: Rows, changes: Iterable[Change]) -> Rows:
    """The records of a key after some changes to them."""
    by_presence = {ORDINARY: rows.ordinary, EVACUATING: rows.evacuating, SUSPECT: rows.suspect}
    changes = list(changes)
    for change in changes:
        if change.before is not None:
            by_presence[change.before.presence] = None
    for change in changes:
        if change.after is not None:
            by_presence[change.after.presence] = change.after
    return Rows(by_presence[ORDINARY], by_presence[EVACUATING], by_presence[SUSPECT])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a transition asks for.

    Attributes:
        auction: the index needs a cell again, and is to be put to auction at once.
        crash: a crash to tell of, before the changes.
    """

    changes: tuple[Change, ...] = ()
    auction: bool = False
    crash: Crash | None = None


NOTHING = Outcome()


class Started(NamedTuple):
    """What a cell tells of an instance that runs.

    `internal_routes` and `metric_tags` are None where the cell said nothing of them.
    """

    key: Key
    instance: Instance
    net_info: bytes
    internal_routes: tuple[str, ...] | None = None
    metric_tags: Mapping[str, str] | None = None
    routable: bool = True
    availability_zone: str = ""


def unclaimed(key: Key, *, now: int, epoch: str) -> ActualLRP:
    """A new ORDINARY record that nobody holds yet."""
    return ActualLRP(
        process_guid=key.process_guid,
        index=key.index,
        domain=key.domain,
        internal_routes=(),
        metric_tags={},
        since=now,
        tag=ModificationTag(epoch, 0),
    )


def claim(rows: Rows, instance: Instance, *, now: int) -> Outcome:
    """A cell takes the index, to run it as `instance`.

    A claim that is repeated changes nothing; one by the SUSPECT instance is ignored, since its place is
    already offered to others. A RUNNING instance may fall back to CLAIMED by its own claim.
    """
    if rows.suspect is not None and rows.suspect.held_by(*instance):
        return NOTHING
    row = rows.ordinary
    if row is None:
        raise BbsError.not_found()
    same = row.held_by(*instance)
    if row.state is CLAIMED and same:
        return NOTHING
    if not (row.state is UNCLAIMED or (row.state is RUNNING and same)):
        raise BbsError(ErrorType.ACTUAL_LRP_CANNOT_BE_CLAIMED)
    after = replace(
        row,
        state=CLAIMED,
        instance_guid=instance.instance_guid,
        cell_id=instance.cell_id,
        net_info=b"",
        placement_error="",
        since=now,
        tag=row.tag.next(),
    )
    return Outcome((Change(row, after),))


def start(rows: Rows, told: Started, *, now: int, epoch: str) -> Outcome:
    """A cell tells that the index runs; also its heartbeat, which changes nothing.

    An index without a record gets one: the cell knows better. Once the ORDINARY record runs, the EVACUATING
    and the SUSPECT one have done their service.
    """
    if rows.suspect is not None and rows.suspect.held_by(*told.instance):
        return NOTHING
    row = rows.ordinary
    after = _started(row, told, now=now, epoch=epoch)
    changes = [] if after is row else [Change(row, after)]
    changes += [Change(other, None) for other in (rows.evacuating, rows.suspect) if other is not None]
    return Outcome(tuple(changes))


def crash(rows: Rows, instance: Instance, reason: str, *, now: int) -> Outcome:
    """A cell tells that `instance` died.

    The first crashes of an index are forgiven: it goes back to UNCLAIMED and to auction. After that it
    waits in CRASHED until convergence finds its back-off spent. A SUSPECT instance is only forgotten.
    """
    if rows.suspect is not None and rows.suspect.held_by(*instance):
        return Outcome((Change(rows.suspect, None),))
    row = rows.ordinary
    if row is None:
        raise BbsError.not_found()
    if row.state not in {CLAIMED, RUNNING} or not row.held_by(*instance):
        raise BbsError(ErrorType.ACTUAL_LRP_CANNOT_BE_CRASHED)
    count = restarts.next_count(row.crash_count, running=row.state is RUNNING, since=row.since, now=now)
    restart = restarts.immediate(count)
    after = replace(
        row,
        state=UNCLAIMED if restart else CRASHED,
        instance_guid="",
        cell_id="",
        net_info=b"",
        crash_count=count,
        crash_reason=cut_reason(reason),
        since=now,
        tag=row.tag.next(),
    )
    told = Crash(key_of(row), instance, count, reason, now)
    return Outcome((Change(row, after),), auction=restart, crash=told)


def fail(rows: Rows, reason: str, *, now: int) -> Outcome:
    """The auctioneer found no place: the record remembers why and stays UNCLAIMED."""
    row = rows.ordinary
    if row is None:
        return NOTHING
    if row.state is not UNCLAIMED:
        raise BbsError(ErrorType.ACTUAL_LRP_CANNOT_BE_FAILED)
    after = replace(row, placement_error=cut_reason(reason), since=now, tag=row.tag.next())
    return Outcome((Change(row, after),))


def unclaim(row: ActualLRP, *, now: int) -> ActualLRP:
    """The record as one that nobody holds any more; its crashes are not forgotten."""
    return replace(
        row,
        state=UNCLAIMED,
        instance_guid="",
        cell_id="",
        net_info=b"",
        since=now,
        tag=row.tag.next(),
    )


def remove(rows: Rows, instance: Instance | None) -> Outcome:
    """The index has no instance any more. With `instance`, only if exactly that one holds it."""
    row = rows.ordinary
    if row is None or (instance is not None and not row.held_by(*instance)):
        raise BbsError.not_found()
    return Outcome((Change(row, None),))


def moved(row: ActualLRP, presence: Presence) -> ActualLRP:
    """The record with another presence, which is no change of it: neither time nor tag move."""
    return replace(row, presence=presence)


def same_content(row: ActualLRP, told: Started) -> bool:
    """Whether a running record says already what the cell tells.

    Unset routes or tags are not the same as none: a cell that speaks an older form of the call leaves none
    behind, which the next call in the newer form then replaces.
    """
    return (
        row.state is RUNNING
        and row.held_by(*told.instance)
        and row.net_info == told.net_info
        and row.internal_routes == told.internal_routes
        and row.metric_tags == told.metric_tags
        and row.routable == told.routable
        and row.availability_zone == told.availability_zone
    )


def running(told: Started, tag: ModificationTag, *, now: int, presence: Presence = ORDINARY) -> ActualLRP:
    """A new running record from what a cell tells."""
    return ActualLRP(
        process_guid=told.key.process_guid,
        index=told.key.index,
        domain=told.key.domain,
        presence=presence,
        state=RUNNING,
        instance_guid=told.instance.instance_guid,
        cell_id=told.instance.cell_id,
        net_info=told.net_info,
        internal_routes=told.internal_routes,
        metric_tags=told.metric_tags,
        routable=told.routable,
        availability_zone=told.availability_zone,
        since=now,
        tag=tag,
    )


def _started(row: ActualLRP | None, told: Started, *, now: int, epoch: str) -> ActualLRP:
    if row is None:
        return running(told, ModificationTag(epoch, 0), now=now)
    if same_content(row, told):
        return row
    if row.state is CRASHED or (row.state is RUNNING and not row.held_by(*told.instance)):
        raise BbsError(ErrorType.ACTUAL_LRP_CANNOT_BE_STARTED)
    return replace(
        row,
        state=RUNNING,
        instance_guid=told.instance.instance_guid,
        cell_id=told.instance.cell_id,
        net_info=told.net_info,
        internal_routes=told.internal_routes,
        metric_tags=told.metric_tags,
        routable=told.routable,
        availability_zone=told.availability_zone,
        placement_error="",
        since=now,
        tag=row.tag.next(),
    )
