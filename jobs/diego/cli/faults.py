"""How a command fails: one line for a person, and a status for a program (contract/config-and-metrics.md section 10)."""

from enum import IntEnum


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


NOT_REACHED = (
    "is the deployment up, and do the address and the certificates belong to it? `. .lab/env` sets a lab's"
)
