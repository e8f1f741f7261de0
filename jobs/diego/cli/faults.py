"""How a command fails: one line for a person, and a status for a program (contract/config-and-metrics.md section 10)."""

from enum import IntEnum

from diego.bbs.client import EndpointNotFound, Unreachable
from diego.locket.client import LocketError
from diego.models.errors import BbsError, ErrorType


class Status(IntEnum):
    """The exit statuses, as cfdot's."""

    BAD_ARGUMENTS = 3
    REFUSED = 4
    FAILED = 5
    INTERRUPTED = 130


class Fault(Exception):
    """What went wrong, and what to do next."""

    def __init__(self, text: str, *, hint: str = "", status: Status = Status.FAILED) -> None:
        super().__init__(text)
        self.text = text
        self.hint = hint
        self.status = status

    def __str__(self) -> str:
        return f"{self.text} ({self.hint})" if self.hint else self.text


HINTS = {
    ErrorType.RESOURCE_NOT_FOUND: "`diego status` shows what there is",
    ErrorType.RESOURCE_EXISTS: "`diego run` updates what exists, the update and delete commands change it",
    ErrorType.INVALID_STATE_TRANSITION: "`diego task GUID` shows its state",
}
NOT_REACHED = (
    "is the deployment up, and do the address and the certificates belong to it? `. .lab/env` sets a lab's"
)


def fault_of_bbs(error: BbsError) -> Fault:
    """What a caller of the BBS is told."""
    if isinstance(error, Unreachable):
        return Fault(f"the BBS cannot be reached: {error.message}", hint=NOT_REACHED)
    if isinstance(error, EndpointNotFound):
        return Fault(error.message, hint="is this the address of a BBS?")
    return Fault(
        f"the BBS refused: {error.type.name}: {error.message}",
        hint=HINTS.get(error.type, ""),
        status=Status.REFUSED,
    )


NO_ANSWER = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED"})


def fault_of_locket(error: LocketError) -> Fault:
    """What a caller of Locket is told."""
    if error.code in NO_ANSWER:
        return Fault(f"Locket cannot be reached: {error.text}", hint=NOT_REACHED)
    hint = "`diego locks` shows who has it" if error.code == "ALREADY_EXISTS" else ""
    return Fault(f"Locket refused: {error.text}", hint=hint, status=Status.REFUSED)
