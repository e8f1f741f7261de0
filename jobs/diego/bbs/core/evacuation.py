"""Emptying a cell without anybody noticing (contract/lifecycle.md section 6).

A cell that is about to stop asks for each of its instances what to do with it. A running instance stays as
EVACUATING until its replacement runs; what does not run yet is simply given back. The cell asks again and again,
so every answer must be right for a repeated question as well.
"""

from dataclasses import dataclass

from diego.bbs.core.lifecycle import (
    NOTHING,
    Change,
    Crash,
    Instance,
    Outcome,
    Rows,
    Started,
    crash,
    key_of,
    moved,
    running,
    same_content,
    unclaim,
)
from diego.models import ActualLRP, ActualLRPState, BbsError, DesiredLRP, ErrorType, ModificationTag, Presence
from diego.wire import desired_lrp_pb2

UNCLAIMED, RUNNING, CRASHED = ActualLRPState.UNCLAIMED, ActualLRPState.RUNNING, ActualLRPState.CRASHED
HELD = frozenset({ActualLRPState.CLAIMED, ActualLRPState.RUNNING})
ORDINARY, EVACUATING, SUSPECT = Presence.ORDINARY, Presence.EVACUATING, Presence.SUSPECT
RECREATE = desired_lrp_pb2.DesiredLRP.RECREATE


@dataclass(frozen=True, slots=True)
class Evacuation:
    """The answer to a cell: what changes, and whether it keeps the container."""

    outcome: Outcome = NOTHING
    keep_container: bool = False


def claimed(rows: Rows, instance: Instance, *, now: int) -> Evacuation:
    """An instance that does not run yet goes back to auction.

    Raises:
        BbsError: with ACTUAL_LRP_CANNOT_BE_UNCLAIMED the container is to be kept.
    """
    row = _target(rows, instance)
    if row.presence is not ORDINARY:
        return Evacuation(_deleted(row))
    if row.state is UNCLAIMED:
        raise BbsError(ErrorType.ACTUAL_LRP_CANNOT_BE_UNCLAIMED)
    return Evacuation(Outcome((Change(row, unclaim(row, now=now)),), auction=True))


def crashed(rows: Rows, instance: Instance, reason: str, *, now: int) -> Evacuation:
    """An instance died on a cell that shuts down. It is not auctioned at once, and told of only if it stays down."""
    row = _target(rows, instance)
    if row.presence is not ORDINARY:
        return Evacuation(_deleted(row))
    outcome = crash(Rows(ordinary=row), instance, reason, now=now)
    told: Crash | None = outcome.crash
    after = outcome.changes[0].after
    if after is not None and after.state is not CRASHED:
        told = None
    return Evacuation(Outcome(outcome.changes, auction=False, crash=told))


def stopped(rows: Rows, instance: Instance) -> Evacuation:
    """An instance ended in good order: its record goes."""
    return Evacuation(_deleted(_target(rows, instance)))


def remove_evacuating(rows: Rows, instance: Instance) -> Outcome:
    """The container of an EVACUATING record is gone."""
    row = _target(rows, instance)
    if row.presence is not EVACUATING:
        raise BbsError.not_found()
    return _deleted(row)


def still_running(
    rows: Rows,
    told: Started,
    desired: DesiredLRP | None,
    *,
    running_ordinary: int,
    now: int,
    epoch: str,
) -> Evacuation:
    """What becomes of a running instance: the rows of the table of evacuate_running, by their numbers.

    `running_ordinary` says how many ORDINARY records of the process run; `epoch` is for the EVACUATING
    record, if one is made.
    """
    if not rows:
        return Evacuation()  # 2
    target = rows.held_by(told.instance)
    ordinary = rows.ordinary
    elsewhere = ordinary is not None and ordinary is not target and ordinary.state in {RUNNING, CRASHED}
    if ordinary is None or elsewhere or desired is None:  # 3, 4
        if target is not None and target.presence is EVACUATING:
            return Evacuation(_deleted(target))
        return Evacuation()
    if desired.update_strategy == RECREATE:
        return _recreated(target, desired, running_ordinary=running_ordinary, now=now)
    return _rolled(rows, target, told, now=now, epoch=epoch)


def _recreated(
    target: ActualLRP | None, desired: DesiredLRP, *, running_ordinary: int, now: int
) -> Evacuation:
    if target is None:  # 6
        return Evacuation()
    if target.presence is not ORDINARY:  # 7, 8
        return Evacuation(_deleted(target))
    if target.state not in HELD:  # 15
        return Evacuation()
    if running_ordinary < desired.instances:  # 9: one instance at a time
        return Evacuation(keep_container=True)
    return Evacuation(Outcome((Change(target, unclaim(target, now=now)),), auction=True))  # 10


def _rolled(rows: Rows, target: ActualLRP | None, told: Started, *, now: int, epoch: str) -> Evacuation:
    if target is None or target.presence is EVACUATING:
        if target is None and rows.evacuating is not None:  # 11
            return Evacuation()
        return Evacuation(_kept(target, told, now=now, epoch=epoch), keep_container=True)  # 12
    if target.state not in HELD:  # 15
        return Evacuation()
    leaving = _leaving(target, now=now, epoch=epoch)
    if target.presence is SUSPECT:  # 14
        return Evacuation(Outcome((Change(target, leaving),)), keep_container=True)
    replacement = unclaim(target, now=now)  # 13
    return Evacuation(
        Outcome((Change(target, leaving), Change(None, replacement)), auction=True), keep_container=True
    )


def _kept(target: ActualLRP | None, told: Started, *, now: int, epoch: str) -> Outcome:
    if target is None:
        return Outcome(
            (Change(None, running(told, ModificationTag(epoch, 0), now=now, presence=EVACUATING)),)
        )
    if same_content(target, told):
        return NOTHING
    return Outcome((Change(target, running(told, target.tag.next(), now=now, presence=EVACUATING)),))


def _leaving(target: ActualLRP, *, now: int, epoch: str) -> ActualLRP:
    """The EVACUATING record of an instance, made from what is stored of it."""
    told = Started(
        key=key_of(target),
        instance=Instance(target.instance_guid, target.cell_id),
        net_info=target.net_info,
        internal_routes=target.internal_routes,
        metric_tags=target.metric_tags,
        routable=target.routable,
        availability_zone=target.availability_zone,
    )
    return moved(running(told, ModificationTag(epoch, 0), now=now), EVACUATING)


def _target(rows: Rows, instance: Instance) -> ActualLRP:
    row = rows.held_by(instance)
    if row is None:
        raise BbsError.not_found()
    return row


def _deleted(row: ActualLRP) -> Outcome:
    return Outcome((Change(row, None),))
