"""The errors that the BBS tells its callers: a number and a text (contract/lifecycle.md section 13).

Clients decide by the number; only the text of INVALID_REQUEST reaches a person.
"""

from enum import IntEnum
from typing import Self


class ErrorType(IntEnum):
    """The numbers of `models.Error.Type`; each name is the original's, written in Python's way."""

    UNKNOWN_ERROR = 0
    INVALID_RECORD = 3
    INVALID_REQUEST = 4
    INVALID_RESPONSE = 5
    INVALID_PROTOBUF_MESSAGE = 6
    INVALID_JSON = 7
    FAILED_TO_OPEN_ENVELOPE = 8
    INVALID_STATE_TRANSITION = 9
    RESOURCE_CONFLICT = 11
    RESOURCE_EXISTS = 12
    RESOURCE_NOT_FOUND = 13
    ROUTER_ERROR = 14
    ACTUAL_LRP_CANNOT_BE_CLAIMED = 15
    ACTUAL_LRP_CANNOT_BE_STARTED = 16
    ACTUAL_LRP_CANNOT_BE_CRASHED = 17
    ACTUAL_LRP_CANNOT_BE_FAILED = 18
    ACTUAL_LRP_CANNOT_BE_REMOVED = 19
    ACTUAL_LRP_CANNOT_BE_UNCLAIMED = 21
    RUNNING_ON_DIFFERENT_CELL = 24
    GUID_GENERATION = 26
    DESERIALIZE = 27
    DEADLOCK = 28
    UNRECOVERABLE = 29
    LOCK_COLLISION = 30
    TIMEOUT = 31


DEFAULT_TEXTS: dict[ErrorType, str] = {
    ErrorType.UNKNOWN_ERROR: "the request failed for an unknown reason",
    ErrorType.INVALID_REQUEST: "the request received is invalid",
    ErrorType.RESOURCE_CONFLICT: "the requested resource is in a conflicting state",
    ErrorType.RESOURCE_EXISTS: "the requested resource already exists",
    ErrorType.RESOURCE_NOT_FOUND: "the requested resource could not be found",
    ErrorType.ACTUAL_LRP_CANNOT_BE_CLAIMED: "cannot claim actual LRP",
    ErrorType.ACTUAL_LRP_CANNOT_BE_STARTED: "cannot start actual LRP",
    ErrorType.ACTUAL_LRP_CANNOT_BE_CRASHED: "cannot crash actual LRP",
    ErrorType.ACTUAL_LRP_CANNOT_BE_FAILED: "cannot fail actual LRP",
    ErrorType.ACTUAL_LRP_CANNOT_BE_REMOVED: "cannot remove actual LRP",
    ErrorType.ACTUAL_LRP_CANNOT_BE_UNCLAIMED: "cannot unclaim actual LRP",
    ErrorType.GUID_GENERATION: "cannot generate random guid",
    ErrorType.DESERIALIZE: "could not deserialize record",
    ErrorType.DEADLOCK: "the request failed due to deadlock",
}


class BbsError(Exception):
    """A refusal by the BBS, or a client's own view of one: a type and a text."""

    def __init__(self, type: ErrorType, message: str | None = None) -> None:  # noqa: A002 (the wire's own name)
        self.type = type
        self.message = DEFAULT_TEXTS.get(type, "") if message is None else message
        super().__init__(self.message)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.type.name}, {self.message!r})"

    @classmethod
    def not_found(cls) -> Self:
        return cls(ErrorType.RESOURCE_NOT_FOUND)

    @classmethod
    def exists(cls) -> Self:
        return cls(ErrorType.RESOURCE_EXISTS)

    @classmethod
    def invalid_request(cls, findings: str | None = None) -> Self:
        """A request that cannot be carried out as it was sent; the text is shown to people."""
        return cls(ErrorType.INVALID_REQUEST, findings)

    @classmethod
    def invalid_transition(cls, before: str, after: str) -> Self:
        """A task that cannot go from the state named first to the one named second."""
        return cls(ErrorType.INVALID_STATE_TRANSITION, f"Cannot transition from {before} to {after}")

    @classmethod
    def different_cell(cls, stored: str, given: str) -> Self:
        return cls(ErrorType.RUNNING_ON_DIFFERENT_CELL, f"Running on cell {stored} not {given}")
