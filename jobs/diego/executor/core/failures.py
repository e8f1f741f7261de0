"""How failures of steps are put together (contract/executor.md section 5)."""

from collections.abc import Iterable

from diego.executor.core.journal import Failure
from diego.executor.core.texts import joined

CANCELLED = Failure("cancelled", displayable=False)
EXCEEDED_GRACE = Failure("exceeded graceful shutdown interval", displayable=False)
DID_NOT_EXIT = Failure("process did not exit")


def together(failures: Iterable[Failure]) -> Failure:
    """Failures of steps that ran side by side, as one; what cannot be displayed is left out."""
    message = joined(failure.message for failure in failures if failure.displayable)
    return Failure(message, displayable=bool(message))


def timed_out(timeout: str, child: Failure | None) -> Failure:
    """A child was interrupted after `timeout` (as Go prints it)."""
    message = f"exceeded {timeout} timeout"
    if child is not None and child.displayable:
        message += f"; {child.message}"
    return Failure(message)


def emitted(prefix: str, failure: Failure) -> str:
    """What an emit-progress step says of its child's failure."""
    return f"{prefix}: {failure.message}" if failure.displayable else prefix
