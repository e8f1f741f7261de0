"""What can go wrong in garden, in the words its clients compare (contract/garden.md section 1.1)."""

from __future__ import annotations


class GardenError(Exception):
    """Something asked of garden failed; the text is the answer's `Message`, the status 500."""

    type = ""
    status = 500

    def __init__(self, message: str, *, handle: str = "", process_id: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.handle = handle
        self.process_id = process_id

    def document(self) -> dict[str, str]:
        """The five keys of an error answer, all present."""
        return {
            "Type": self.type,
            "Message": self.message,
            "Handle": self.handle,
            "ProcessID": self.process_id,
            "Binary": "",
        }


class ContainerNotFound(GardenError):
    """No container has this handle."""

    type = "ContainerNotFoundError"
    status = 404

    def __init__(self, handle: str) -> None:
        super().__init__(f"unknown handle: {handle}", handle=handle)


class ProcessNotFound(GardenError):
    """The container has no process of this id, or its exit was told already."""

    type = "ProcessNotFoundError"
    status = 404

    def __init__(self, process_id: str) -> None:
        super().__init__(f"unknown process: {process_id}", process_id=process_id)


class ExecutableNotFound(GardenError):
    """The program to run is not in the container."""

    type = "ExecutableNotFoundError"


class ServiceUnavailable(GardenError):
    """Garden cannot serve now, for a reason that may pass: a later try may succeed."""

    type = "ServiceUnavailableError"


class Unrecoverable(GardenError):
    """Garden will not serve until somebody repairs it; the rep gives up when it hears this."""

    type = "UnrecoverableError"


ERRORS_BY_TYPE: dict[str, type[GardenError]] = {
    error.type: error
    for error in (ContainerNotFound, ProcessNotFound, ExecutableNotFound, ServiceUnavailable, Unrecoverable)
}


def from_document(document: dict[str, str]) -> GardenError:
    """The error that an answer's body tells of, as the original client rebuilds it."""
    kind = ERRORS_BY_TYPE.get(document.get("Type", ""))
    if kind is ContainerNotFound:
        return ContainerNotFound(document.get("Handle", ""))
    if kind is ProcessNotFound:
        return ProcessNotFound(document.get("ProcessID", ""))
    return (kind or GardenError)(document.get("Message", ""))
