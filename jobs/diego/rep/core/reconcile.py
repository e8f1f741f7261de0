"""What a container's state asks of the BBS, and what the BBS knows that is not here (contract/rep.md section 5).

Container and record are brought together by these rules, asked again on every
event and every bulk sync, so a lost call is only a later one:

    container    state                     call to the BBS     refused                      then
    LRP          reserved                  claim               delete (cannot be claimed)   run it
    LRP          initializing, created     claim               delete (cannot be claimed)
    LRP          running                   start               stop (cannot be started)
    LRP          completed, was stopped    remove                                           delete
    LRP          completed otherwise       crash                                            delete
    task         any but completed         start               delete (no such, not now)    run it if it was reserved
    task         completed, retryable      reject                                           delete
    task         completed                 complete                                         delete
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from diego.executor.core.containers import Container, State
from diego.models.errors import ErrorType
from diego.wire.actual_lrp_pb2 import ActualLRP
from diego.wire.task_pb2 import Task


class LrpCall(StrEnum):
    CLAIM = "claim"
    START = "start"
    REMOVE = "remove"
    CRASH = "crash"


def lrp_call(container: Container) -> LrpCall:
    """What the BBS is to be told of an instance."""
    match container.state:
        case State.RUNNING:
            return LrpCall.START
        case State.COMPLETED:
            return LrpCall.REMOVE if container.stop_wanted else LrpCall.CRASH
        case _:
            return LrpCall.CLAIM


class TaskCall(StrEnum):
    START = "start"
    REJECT = "reject"
    COMPLETE = "complete"


def task_call(container: Container) -> TaskCall:
    """What the BBS is to be told of a task."""
    if container.state is not State.COMPLETED:
        return TaskCall.START
    outcome = container.outcome
    if outcome is not None and outcome.failed and outcome.retryable:
        return TaskCall.REJECT
    return TaskCall.COMPLETE


def loses_claim(error: ErrorType) -> bool:
    """Whether the instance belongs to another container now."""
    return error is ErrorType.ACTUAL_LRP_CANNOT_BE_CLAIMED


def loses_start(error: ErrorType) -> bool:
    """Whether a running instance is not wanted any more."""
    return error is ErrorType.ACTUAL_LRP_CANNOT_BE_STARTED


def loses_task(error: ErrorType) -> bool:
    """Whether the task is not this cell's to run."""
    return error in {ErrorType.INVALID_STATE_TRANSITION, ErrorType.RESOURCE_NOT_FOUND}


def must_run(task: Task, cell_id: str, container: Container) -> bool:
    """Whether a task that the BBS calls running here was in truth never begun.

    The answer that said so was lost on its way. It cannot run twice: a container
    leaves its reservation once, and is remembered to have done so.
    """
    return (
        task.state == Task.Running
        and task.cell_id == cell_id
        and container.guid == task.task_guid
        and container.state is State.RESERVED
    )


@dataclass(frozen=True, slots=True)
class ContainerOperation:
    """Do for a container what its state asks."""

    guid: str


@dataclass(frozen=True, slots=True)
class MissingLrpOperation:
    """The BBS knows an instance here that has no container: its records of these kinds go."""

    guid: str
    process_guid: str
    index: int
    domain: str
    cell_id: str
    remove: bool
    remove_evacuating: bool


@dataclass(frozen=True, slots=True)
class MissingTaskOperation:
    """The BBS knows a task here that has no container."""

    guid: str


Operation = ContainerOperation | MissingLrpOperation | MissingTaskOperation

NO_TASK_CONTAINER = "task container does not exist"


def bulk_operations(
    containers: Collection[str], lrps: Sequence[ActualLRP], tasks: Sequence[Task]
) -> list[Operation]:
    """What a bulk sync finds to do: one operation for each container, and for each record without one."""
    operations: list[Operation] = [ContainerOperation(guid) for guid in containers]
    evacuating = {
        lrp.actual_lrp_instance_key.instance_guid for lrp in lrps if lrp.presence == ActualLRP.EVACUATING
    }
    ordinary = {
        lrp.actual_lrp_instance_key.instance_guid for lrp in lrps if lrp.presence != ActualLRP.EVACUATING
    }
    seen = set(containers)
    for lrp in lrps:
        guid = lrp.actual_lrp_instance_key.instance_guid
        if guid in seen:
            continue
        seen.add(guid)
        operations.append(
            MissingLrpOperation(
                guid=guid,
                process_guid=lrp.actual_lrp_key.process_guid,
                index=lrp.actual_lrp_key.index,
                domain=lrp.actual_lrp_key.domain,
                cell_id=lrp.actual_lrp_instance_key.cell_id,
                remove=guid in ordinary,
                remove_evacuating=guid in evacuating,
            )
        )
    operations += [MissingTaskOperation(task.task_guid) for task in tasks if task.task_guid not in seen]
    return operations
