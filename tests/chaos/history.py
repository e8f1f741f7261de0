"""What an experiment saw, in order: records with a moment and a kind, kept as JSON lines."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

Record = dict[str, Any]


class Notes(Protocol):
    """Whoever keeps what is noted."""

    def note(self, kind: str, **fields: Any) -> float: ...


class History:
    """Writes down what anybody notes, from any thread, with this process's own clock."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._file = path.open("w", buffering=1)

    def note(self, kind: str, **fields: Any) -> float:
        """Write a record down; its moment in seconds since the beginning."""
        with self._lock:
            at = round(time.monotonic() - self._began, 4)
            if not self._file.closed:
                self._file.write(json.dumps({"at": at, "kind": kind, **fields}) + "\n")
            return at

    def close(self) -> None:
        with self._lock:
            self._file.close()


def read(path: Path) -> list[Record]:
    """A history as it was written down."""
    return list(_records(path))


def _records(path: Path) -> Iterator[Record]:
    with path.open() as lines:
        for line in lines:
            record: Record = json.loads(line)
            yield record
