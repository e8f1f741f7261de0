"""What the BBS and Locket refuse, as faults. Apart from `faults`, since their clients take time to load."""

from diego.bbs.client import EndpointNotFound, Unreachable
from diego.cli.faults import NOT_REACHED, Fault, Status
from diego.locket.client import LocketError
from diego.models.errors import BbsError, ErrorType

HINTS = {
    ErrorType.RESOURCE_NOT_FOUND: "`diego status` shows what there is",
    ErrorType.RESOURCE_EXISTS: "`diego run` updates what exists, the update and delete commands change it",
    ErrorType.INVALID_STATE_TRANSITION: "`diego task GUID` shows its state",
}
NO_ANSWER = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED"})


def fault_of(error: Exception) -> Fault | None:
    """The fault that an error is, None for one that nobody expects."""
    if isinstance(error, BbsError):
        return fault_of_bbs(error)
    if isinstance(error, LocketError):
        return fault_of_locket(error)
    return None


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


def fault_of_locket(error: LocketError) -> Fault:
    """What a caller of Locket is told."""
    if error.code in NO_ANSWER:
        return Fault(f"Locket cannot be reached: {error.text}", hint=NOT_REACHED)
    hint = "`diego locks` shows who has it" if error.code == "ALREADY_EXISTS" else ""
    return Fault(f"Locket refused: {error.text}", hint=hint, status=Status.REFUSED)
