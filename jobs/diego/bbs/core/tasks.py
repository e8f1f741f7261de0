"""The life of a task (contract/lifecycle.md section 8).

    Pending ──start──▶ Running ──complete──▶ Completed ──resolving──▶ Resolving ──delete──▶ gone
       ◀────reject────────┘ │                    ▲
       └─────cancel, fail, too many rejections───┘

A function here gives the task after, or raises BbsError for what is refused. At most one start says that
the cell shall run it, which is what makes a task run at most once.
"""

from dataclasses import replace

from diego.bbs.core.texts import cut_reason
from diego.models import BbsError, Task, TaskState

PENDING, RUNNING = TaskState.PENDING, TaskState.RUNNING
COMPLETED, RESOLVING = TaskState.COMPLETED, TaskState.RESOLVING
CANCELLED = "task was cancelled"


def desire(guid: str, domain: str, definition: bytes, *, now: int) -> Task:
    """A new task, waiting for a cell."""
    return Task(guid=guid, domain=domain, definition=definition, created_at=now, updated_at=now)


def start(task: Task, cell_id: str, *, now: int) -> Task:
    """A cell takes the task. The same object back: it has it already and must not run it a second time."""
    if task.state is RUNNING and task.cell_id == cell_id:
        return task
    _expect(task, {PENDING}, RUNNING)
    return replace(task, state=RUNNING, cell_id=cell_id, updated_at=now)


def complete(task: Task, cell_id: str, *, failed: bool, failure_reason: str, result: str, now: int) -> Task:
    """Its cell tells how the task ended."""
    if task.state is RUNNING and task.cell_id != cell_id:
        raise BbsError.different_cell(task.cell_id, cell_id)
    _expect(task, {RUNNING}, COMPLETED)
    return completed(task, failed=failed, failure_reason=failure_reason, result=result, now=now)


def cancel(task: Task, *, now: int) -> Task:
    """Somebody no longer wants the task."""
    return fail(task, CANCELLED, now=now)


def fail(task: Task, reason: str, *, now: int) -> Task:
    """The task ends without a result."""
    _expect(task, {PENDING, RUNNING}, COMPLETED)
    return completed(task, failed=True, failure_reason=reason, result="", now=now)


def reject(task: Task, reason: str, *, max_retries: int, now: int) -> tuple[Task, Task]:
    """No cell would have the task, or the one that took it could not run it.

    It waits for another auction, by convergence. The count before this rejection decides: once it has
    reached `max_retries` the task fails with the reason of this last one.

    Returns:
        The task before and after, as listeners hear of it: when it fails, the one before has been rejected.
    """
    exhausted = task.rejection_count >= max_retries
    if task.state not in {PENDING, RUNNING}:
        if exhausted:
            _expect(task, {PENDING, RUNNING}, COMPLETED)
        raise BbsError.invalid_request()
    rejected = replace(
        task,
        state=PENDING,
        rejection_count=task.rejection_count + 1,
        rejection_reason=cut_reason(reason),
        updated_at=now,
    )
    return (rejected, fail(rejected, reason, now=now)) if exhausted else (task, rejected)


def resolving(task: Task, *, now: int) -> Task:
    """Somebody takes it upon himself to hand on the result and then to delete the task."""
    _expect(task, {COMPLETED}, RESOLVING)
    return replace(task, state=RESOLVING, updated_at=now)


def delete(task: Task) -> None:
    """Allow the deletion of the task, or raise."""
    _expect(task, {RESOLVING}, RESOLVING)


def completed(task: Task, *, failed: bool, failure_reason: str, result: str, now: int) -> Task:
    """The task as an ended one, held by no cell."""
    return replace(
        task,
        state=COMPLETED,
        cell_id="",
        failed=failed,
        failure_reason=cut_reason(failure_reason),
        result=result,
        updated_at=now,
        first_completed_at=now,
    )


def _expect(task: Task, states: set[TaskState], after: TaskState) -> None:
    if task.state not in states:
        raise BbsError.invalid_transition(task.state.wire_name, after.wire_name)
