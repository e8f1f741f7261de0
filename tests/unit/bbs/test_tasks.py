"""contract/lifecycle.md section 8: the life of a task, row by row."""

from collections.abc import Callable

import pytest

from diego.bbs.core import tasks
from diego.models import BbsError, ErrorType, Task, TaskState
from support.records import MINUTE, NOW, a_task

PENDING, RUNNING = TaskState.PENDING, TaskState.RUNNING
COMPLETED, RESOLVING = TaskState.COMPLETED, TaskState.RESOLVING


def complete(task: Task, cell_id: str = "cell") -> Task:
    return tasks.complete(task, cell_id, failed=False, failure_reason="", result="42", now=NOW)


def reject(task: Task, max_retries: int = 3) -> Task:
    return tasks.reject(task, "no room", max_retries=max_retries, now=NOW)[1]


def test_a_desired_task_is_pending_from_now_on() -> None:
    task = tasks.desire("guid", "domain", b"definition", now=NOW)

    assert (task.state, task.created_at, task.updated_at, task.first_completed_at) == (PENDING, NOW, NOW, 0)


def test_a_pending_task_is_started_by_the_first_cell_that_comes() -> None:
    started = tasks.start(a_task(), "cell", now=NOW)

    assert (started.state, started.cell_id, started.updated_at) == (RUNNING, "cell", NOW)


def test_a_second_start_on_the_same_cell_changes_nothing() -> None:
    task = a_task(state=RUNNING)

    assert tasks.start(task, "cell", now=NOW) is task


def test_a_running_task_is_not_started_on_another_cell() -> None:
    with pytest.raises(BbsError, match="Cannot transition from Running to Running") as error:
        tasks.start(a_task(state=RUNNING), "other-cell", now=NOW)

    assert error.value.type is ErrorType.INVALID_STATE_TRANSITION


def test_a_running_task_is_completed_by_its_cell() -> None:
    done = complete(a_task(state=RUNNING))

    assert (done.state, done.cell_id, done.result, done.failed) == (COMPLETED, "", "42", False)
    assert done.first_completed_at == done.updated_at == NOW


def test_a_running_task_is_not_completed_by_another_cell() -> None:
    with pytest.raises(BbsError, match="Running on cell cell not other-cell") as error:
        complete(a_task(state=RUNNING), "other-cell")

    assert error.value.type is ErrorType.RUNNING_ON_DIFFERENT_CELL


@pytest.mark.parametrize("state", [PENDING, RUNNING])
def test_a_task_that_has_not_ended_can_be_cancelled(state: TaskState) -> None:
    done = tasks.cancel(a_task(state=state), now=NOW)

    assert (done.state, done.failed, done.failure_reason) == (COMPLETED, True, "task was cancelled")
    assert (done.cell_id, done.result, done.first_completed_at) == ("", "", NOW)


@pytest.mark.parametrize("state", [PENDING, RUNNING])
def test_a_task_that_has_not_ended_can_fail(state: TaskState) -> None:
    done = tasks.fail(a_task(state=state), "z" * 1024, now=NOW)

    assert (done.state, done.failed) == (COMPLETED, True)
    assert done.failure_reason == "z" * 1013 + "(truncated)"


@pytest.mark.parametrize("state", [PENDING, RUNNING])
def test_a_rejected_task_waits_for_another_auction(state: TaskState) -> None:
    task = a_task(state=state)

    rejected = reject(task)

    assert (rejected.state, rejected.cell_id) == (PENDING, task.cell_id)
    assert (rejected.rejection_count, rejected.rejection_reason, rejected.updated_at) == (1, "no room", NOW)


@pytest.mark.parametrize(("before", "state"), [(0, PENDING), (1, PENDING), (2, PENDING), (3, COMPLETED)])
def test_with_three_retries_the_fourth_rejection_fails_the_task(before: int, state: TaskState) -> None:
    rejected = reject(a_task(rejection_count=before))

    assert rejected.state is state
    assert rejected.rejection_count == before + 1


def test_the_last_rejection_is_the_reason_of_the_failure() -> None:
    told_before, rejected = tasks.reject(a_task(rejection_count=3), "no room", max_retries=3, now=NOW)

    assert (rejected.failed, rejected.failure_reason, rejected.rejection_reason) == (
        True,
        "no room",
        "no room",
    )
    assert (told_before.state, told_before.rejection_count) == (PENDING, 4)


@pytest.mark.parametrize("state", [COMPLETED, RESOLVING])
def test_a_task_that_has_ended_cannot_be_rejected(state: TaskState) -> None:
    with pytest.raises(BbsError) as error:
        reject(a_task(state=state))

    assert error.value.type is ErrorType.INVALID_REQUEST


def test_a_task_that_failed_by_rejections_refuses_more_as_a_transition() -> None:
    with pytest.raises(BbsError, match="Cannot transition from Completed to Completed"):
        reject(a_task(state=COMPLETED, rejection_count=4))


def test_a_completed_task_can_be_resolved() -> None:
    task = a_task(state=COMPLETED)

    taken = tasks.resolving(task, now=NOW)

    assert (taken.state, taken.updated_at) == (RESOLVING, NOW)
    assert taken.first_completed_at == task.first_completed_at == NOW - MINUTE


def test_only_a_resolving_task_can_be_deleted() -> None:
    tasks.delete(a_task(state=RESOLVING))

    for state in (PENDING, RUNNING, COMPLETED):
        with pytest.raises(BbsError, match=f"Cannot transition from {state.wire_name} to Resolving"):
            tasks.delete(a_task(state=state))


REFUSED: list[tuple[Callable[[Task], object], TaskState, str]] = [
    (lambda task: tasks.start(task, "cell", now=NOW), COMPLETED, "Completed to Running"),
    (lambda task: tasks.start(task, "cell", now=NOW), RESOLVING, "Resolving to Running"),
    (complete, PENDING, "Pending to Completed"),
    (complete, COMPLETED, "Completed to Completed"),
    (complete, RESOLVING, "Resolving to Completed"),
    (lambda task: tasks.cancel(task, now=NOW), COMPLETED, "Completed to Completed"),
    (lambda task: tasks.cancel(task, now=NOW), RESOLVING, "Resolving to Completed"),
    (lambda task: tasks.fail(task, "why", now=NOW), COMPLETED, "Completed to Completed"),
    (lambda task: tasks.resolving(task, now=NOW), PENDING, "Pending to Resolving"),
    (lambda task: tasks.resolving(task, now=NOW), RUNNING, "Running to Resolving"),
    (lambda task: tasks.resolving(task, now=NOW), RESOLVING, "Resolving to Resolving"),
]


@pytest.mark.parametrize(("move", "state", "text"), REFUSED)
def test_every_other_transition_is_refused_by_name(
    move: Callable[[Task], object], state: TaskState, text: str
) -> None:
    with pytest.raises(BbsError, match=f"Cannot transition from {text}") as error:
        move(a_task(state=state))

    assert error.value.type is ErrorType.INVALID_STATE_TRANSITION
