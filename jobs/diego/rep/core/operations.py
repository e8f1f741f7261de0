"""Which operation of a container runs now: one at a time for each key, and the newest of those that wait.

Work comes from the executor's events and from the bulk sync, often twice. While
an operation of a key runs, at most one more waits; a newer one takes its place,
since it looks at the container anew anyway (contract/rep.md section 5).
"""

from typing import Generic, TypeVar

T = TypeVar("T")


class OperationQueue(Generic[T]):
    """Keys with something running, and what waits behind it."""

    def __init__(self) -> None:
        self._waiting: dict[str, T | None] = {}

    def push(self, key: str, operation: T) -> T | None:
        """The operation, if it is to begin now; None when it waits for the one that runs."""
        if key in self._waiting:
            self._waiting[key] = operation
            return None
        self._waiting[key] = None
        return operation

    def finished(self, key: str) -> T | None:
        """One operation of `key` has ended: the next one to begin, if one waits."""
        following = self._waiting[key]
        if following is None:
            del self._waiting[key]
        else:
            self._waiting[key] = None
        return following

    def __len__(self) -> int:
        """Keys with something running."""
        return len(self._waiting)
