"""A task: something that runs once, and whose result somebody waits for (contract/lifecycle.md section 8)."""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Self

from diego.models.entries import list_entry
from diego.wire import task_pb2


class TaskState(IntEnum):
    """The numbers of `models.Task.State`, which are also the column's."""

    INVALID = 0
    PENDING = 1
    RUNNING = 2
    COMPLETED = 3
    RESOLVING = 4

    @property
    def wire_name(self) -> str:
        """The name that error texts use."""
        return self.name.capitalize()


@dataclass(frozen=True, slots=True)
class Task:
    """One record: a row of the table `tasks`, field for column.

    Attributes:
        definition: the encoded TaskDefinition message, without unknown fields; None where the stored one
            could not be read, which lists answer with DESERIALIZE and convergence removes.
        failure_reason, rejection_reason: already cut to the width of their columns.
        created_at, updated_at, first_completed_at: Unix nanoseconds.
    """

    guid: str
    domain: str
    definition: bytes | None
    created_at: int = 0
    updated_at: int = 0
    first_completed_at: int = 0
    state: TaskState = TaskState.PENDING
    cell_id: str = ""
    result: str = ""
    failed: bool = False
    failure_reason: str = ""
    rejection_count: int = 0
    rejection_reason: str = ""
    _frame: bytes = field(default=b"", init=False, compare=False, repr=False)

    @property
    def frame(self) -> bytes:
        """The encoded message as an entry of a list answer; made when first asked for."""
        if not self._frame:
            object.__setattr__(self, "_frame", list_entry(self.message().SerializeToString()))
        return self._frame

    def parsed_definition(self) -> task_pb2.TaskDefinition:
        """The definition decoded, a new message each time; empty where it could not be read."""
        return task_pb2.TaskDefinition.FromString(self.definition or b"")

    def message(self) -> task_pb2.Task:
        """The record as the API and the events tell it."""
        told = task_pb2.Task(
            task_guid=self.guid,
            domain=self.domain,
            created_at=self.created_at,
            updated_at=self.updated_at,
            first_completed_at=self.first_completed_at,
            state=int(self.state),  # type: ignore[arg-type]  # the stubs want the enum's own int type
            cell_id=self.cell_id,
            result=self.result,
            failed=self.failed,
            failure_reason=self.failure_reason,
            rejection_count=self.rejection_count,
            rejection_reason=self.rejection_reason,
        )
        told.task_definition.SetInParent()
        if self.definition:
            told.task_definition.MergeFromString(self.definition)
        return told

    @classmethod
    def of(cls, message: task_pb2.Task) -> Self:
        """The record that a Task message tells of, for readers of lists and events."""
        return cls(
            guid=message.task_guid,
            domain=message.domain,
            definition=message.task_definition.SerializeToString(deterministic=True),
            created_at=message.created_at,
            updated_at=message.updated_at,
            first_completed_at=message.first_completed_at,
            state=TaskState(message.state),
            cell_id=message.cell_id,
            result=message.result,
            failed=message.failed,
            failure_reason=message.failure_reason,
            rejection_count=message.rejection_count,
            rejection_reason=message.rejection_reason,
        )
