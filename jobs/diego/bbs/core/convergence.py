"""Making what runs equal to what is wanted, whatever happened before (contract/lifecycle.md sections 7 and 8).

Once in a while the BBS looks at every index that may need something. `converge_index` says for one index what
that is, from its records, from what is wanted, and from which cells are there. It needs nothing else, so that it can
be asked again, later, or for every index there is: an index in good order asks for nothing.

The numbers in comments are the rows of the table in section 7.
"""

from collections.abc import Set
from dataclasses import dataclass, field, replace

from diego.bbs.core import restarts
from diego.bbs.core.desired_lrps import RepUpdate
from diego.bbs.core.lifecycle import Change, Key, Rows, moved, unclaim, unclaimed
from diego.bbs.core.tasks import completed
from diego.models import ActualLRP, ActualLRPState, DesiredLRP, Presence, Task, TaskState

SECOND = 10**9
STALE_UNCLAIMED = 30 * SECOND
NOT_STARTED = "not started within time limit"
CELL_GONE = "cell disappeared before completion"

UNCLAIMED, CLAIMED = ActualLRPState.UNCLAIMED, ActualLRPState.CLAIMED
RUNNING, CRASHED = ActualLRPState.RUNNING, ActualLRPState.CRASHED


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What convergence knows beside the records.

    Attributes:
        cells: the cells whose presence is in Locket. None of them: every holder counts as gone.
        listed: the domain has not expired; only then may what nobody wants be ended.
        fresh: the domain is fresh; only then may what is too many be ended.
    """

    cells: Set[str]
    listed: bool
    fresh: bool
    now: int


@dataclass(slots=True)
class Decision:
    """What one index needs.

    Attributes:
        units: changes of records; each unit is one change in the eyes of listeners.
        start: the index is to be put to auction.
        retire: this instance is to be ended.
        update: this instance's cell is to be told of other routes or tags.
    """

    units: list[tuple[Change, ...]] = field(default_factory=list)
    start: bool = False
    retire: ActualLRP | None = None
    update: RepUpdate | None = None


def converge_index(
    key: Key, rows: Rows, desired: DesiredLRP | None, around: Circumstances, *, epoch: str
) -> Decision:
    """What one index needs. `epoch` is used if a new record is made."""
    decision = Decision()
    rows = _evacuating(rows, around, decision)
    rows = _suspect(rows, desired, around, decision)
    if desired is None:
        if rows.ordinary is not None and around.listed:  # 6
            decision.retire = rows.ordinary
        return decision
    if rows.ordinary is None:
        if key.index < desired.instances:  # 5, too few
            decision.units.append((Change(None, unclaimed(key, now=around.now, epoch=epoch)),))
            decision.start = True
        return decision
    if key.index >= desired.instances and around.fresh:  # 5, too many
        decision.retire = rows.ordinary
    else:
        _ordinary(key, rows, rows.ordinary, around, epoch, decision)
    decision.update = outdated(rows.ordinary, desired)  # 11, 12
    return decision


def _evacuating(rows: Rows, around: Circumstances, decision: Decision) -> Rows:
    row = rows.evacuating
    if row is None or row.cell_id in around.cells:
        return rows
    decision.units.append((Change(row, None),))  # 2
    return replace(rows, evacuating=None)


def _suspect(rows: Rows, desired: DesiredLRP | None, around: Circumstances, decision: Decision) -> Rows:
    row = rows.suspect
    if row is None:
        return rows
    orphan = desired is None and around.listed  # 7
    surplus = (  # nobody wants the index any more, and its cell is not there to be asked to stop it
        desired is not None
        and row.index >= desired.instances
        and around.fresh
        and row.cell_id not in around.cells
    )
    replaced = row.state is RUNNING and rows.ordinary is not None and rows.ordinary.state is RUNNING  # 8
    if orphan or surplus or replaced:
        decision.units.append((Change(row, None),))
        return replace(rows, suspect=None)
    if row.cell_id not in around.cells:
        return rows
    if rows.ordinary is not None:  # 9: the instance was there all the time, its replacement is not needed
        decision.units.append((Change(rows.ordinary, None),))
    back = moved(row, Presence.ORDINARY)
    decision.units.append((Change(row, back),))
    return replace(rows, ordinary=back, suspect=None)


def _ordinary(
    key: Key, rows: Rows, row: ActualLRP, around: Circumstances, epoch: str, decision: Decision
) -> None:
    if row.state is UNCLAIMED:
        decision.start = around.now - row.since > STALE_UNCLAIMED  # 3
    elif row.state is CRASHED:
        if restarts.due(row.crash_count, since=row.since, now=around.now):  # 10
            decision.units.append((Change(row, unclaim(row, now=around.now)),))
            decision.start = True
    elif row.cell_id not in around.cells:  # 4
        if rows.suspect is not None:
            decision.units.append((Change(row, unclaim(row, now=around.now)),))
            return
        replacement = unclaimed(key, now=around.now, epoch=epoch)
        decision.units.append((Change(row, moved(row, Presence.SUSPECT)), Change(None, replacement)))
        decision.start = True


def outdated(row: ActualLRP, desired: DesiredLRP) -> RepUpdate | None:
    """What the cell of a running instance must be told, because what is wanted of it has changed.

    Internal routes are compared as sets of host names; an instance whose cell never told its tags is left alone.
    """
    if row.state is not RUNNING or row.presence is not Presence.ORDINARY:
        return None
    wanted = desired.internal_routes or ()
    routes = wanted if set(wanted) != set(row.internal_routes or ()) else None
    tags: dict[str, str] | None = None
    if row.metric_tags is not None:
        tags = desired.resolved_tags(row.index, row.instance_guid)
        if tags == row.metric_tags:
            tags = None
    if routes is None and tags is None:
        return None
    return RepUpdate(row, routes, tags)


@dataclass(frozen=True, slots=True)
class TaskLimits:
    """How long tasks may stay as they are, in nanoseconds."""

    kick: int = 30 * SECOND
    expire_pending: int = 1800 * SECOND
    expire_completed: int = 120 * SECOND


@dataclass(frozen=True, slots=True)
class TaskDecision:
    """What one task needs.

    Attributes:
        after: the task after it; the same object where nothing changes, None where it is deleted.
        auction: it still waits for a cell, and is to be put to auction.
        callback: whoever waits for its result is to be told again.
    """

    after: Task | None
    auction: bool = False
    callback: bool = False


def converge_task(task: Task, cells: Set[str], *, now: int, limits: TaskLimits) -> TaskDecision:
    """What one task needs: the rows of section 8's second table, one after the other.

    What ends here is told to who waits for it by a later run, so that a callback never outruns the commit.
    """
    if task.definition is None:
        return TaskDecision(None)
    if task.state is TaskState.PENDING:
        if now - task.created_at > limits.expire_pending:
            return TaskDecision(completed(task, failed=True, failure_reason=NOT_STARTED, result="", now=now))
        return TaskDecision(task, auction=True)
    if task.state is TaskState.RUNNING:
        if task.cell_id in cells:
            return TaskDecision(task)
        ended = completed(task, failed=True, failure_reason=CELL_GONE, result="", now=now)
        return TaskDecision(replace(ended, cell_id=task.cell_id))
    after = task
    if task.state is TaskState.RESOLVING and now - task.updated_at > limits.kick:
        after = replace(task, state=TaskState.COMPLETED)
    if after.state is not TaskState.COMPLETED:
        return TaskDecision(task)
    if now - after.first_completed_at > limits.expire_completed:
        return TaskDecision(None)
    return TaskDecision(after, callback=now - after.updated_at > limits.kick)
