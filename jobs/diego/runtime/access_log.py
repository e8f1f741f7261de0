"""One line for each request of an API, in a file of its own (contract/config-and-metrics.md section 3).

The loop only puts a note into a bounded queue; a thread makes lines of the notes and writes many at once. What
cannot be written is counted and left out: no request waits for a disk.

The file is bounded: a full one becomes `NAME.1`, and the oldest of KEPT is dropped. Who moves it away (logrotate)
need tell nobody: the next lines go to a new file.
"""

import contextlib
import os
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from diego.runtime import logs, metrics

if TYPE_CHECKING:
    from diego.runtime.connection import Request

WAITING = 20_000
"""Notes that may wait to be written."""

LINES_AT_ONCE = 500
FILE_BYTES = 64 << 20
KEPT = 3
"""Full files that are kept beside the present one."""

PAUSE = 0.2
LAST_SECONDS = 1.5
LAST_PAUSE = 0.02
COMPLAIN_EVERY = 60.0
REQUEST_ID = b"x-vcap-request-id"
LONGEST_TARGET = 2048
LONGEST_REQUEST_ID = 256
MODE = 0o640


class _Note(NamedTuple):
    at: int
    method: bytes
    target: bytes
    request_id: bytes
    status: int
    size: int
    seconds: float
    peer: str


class AccessLog:
    """The access log of one Api. `note` is for its loop, `run` is the writing thread."""

    def __init__(self, source: str, path: Path, *, file_bytes: int = FILE_BYTES, kept: int = KEPT) -> None:
        self._source = source
        self._path = path
        self._file_bytes = file_bytes
        self._kept = kept
        self._waiting: deque[_Note] = deque()
        self._log = logs.get_logger(source)
        self._descriptor = -1
        self._size = 0
        self._torn = False
        """Whether the file ends in the middle of a line, because the disk was full."""
        self._complained = -COMPLAIN_EVERY
        self.written = 0
        self.dropped = 0
        metrics.read(
            f"{source}_access_log_lines_total",
            "Lines of the access log",
            lambda: self.written,
            kind=metrics.Kind.COUNTER,
        )
        metrics.read(
            f"{source}_access_log_dropped_total",
            "Requests that are not in the access log, because it could not be written or not fast enough",
            lambda: self.dropped,
            kind=metrics.Kind.COUNTER,
        )

    def note(self, request: "Request", status: int, size: int, seconds: float, peer: str) -> None:
        """Remember a request that was answered."""
        if len(self._waiting) >= WAITING:
            self.dropped += 1
            return
        request_id = b""
        for name, value in request.fields:
            if len(name) == len(REQUEST_ID) and name.lower() == REQUEST_ID:
                request_id = value[:LONGEST_REQUEST_ID]
                break
        target = request.target[:LONGEST_TARGET]
        self._waiting.append(
            _Note(time.time_ns(), request.method, target, request_id, status, size, seconds, peer)
        )

    def run(self, stopping: threading.Event) -> None:
        """Write what comes, until told to stop and a little longer."""
        while not stopping.wait(PAUSE):
            self.write()
        end = time.monotonic() + LAST_SECONDS  # requests are answered until the process ends
        while time.monotonic() < end:
            self.write()
            time.sleep(LAST_PAUSE)
        self.write()
        self._close()

    def write(self) -> None:
        """Write all that waits."""
        while self._waiting:
            notes = [self._waiting.popleft() for _ in range(min(len(self._waiting), LINES_AT_ONCE))]
            lines = b"".join(map(self._line, notes))
            try:
                self._put(lines)
            except OSError as error:
                self.dropped += len(notes)
                self._close()
                self._complain(error)
            else:
                self.written += len(notes)

    def _line(self, note: _Note) -> bytes:
        fields: dict[str, object] = {
            "method": note.method.decode("latin-1"),
            "request": note.target.decode("latin-1"),
            "remote_addr": note.peer,
            "status": note.status,
            "bytes": note.size,
            "seconds": round(note.seconds, 6),
        }
        if note.request_id:
            text = note.request_id.decode("latin-1")
            fields |= {"request_id": text, **logs.trace(text)}
        return logs.line(f"{self._source}.access", logs.Level.INFO, "request", fields, note.at)

    # ---- the file

    def _put(self, lines: bytes) -> None:
        self._open_present()
        if self._size and self._size + len(lines) > self._file_bytes:
            self._turn()
        left = b"\n" + lines if self._torn else lines
        while left:
            left = left[os.write(self._descriptor, left) :]
            self._torn = bool(left)
        self._size += len(lines)

    def _open_present(self) -> None:
        """Open the file, unless the open one still has its name."""
        if self._descriptor >= 0 and not self._was_moved():
            return
        self._close()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, MODE)
        self._size = os.fstat(self._descriptor).st_size

    def _was_moved(self) -> bool:
        try:
            named = self._path.stat()
        except FileNotFoundError:
            return True
        ours = os.fstat(self._descriptor)
        self._size = ours.st_size
        return (named.st_dev, named.st_ino) != (ours.st_dev, ours.st_ino)

    def _turn(self) -> None:
        """The file is full: begin another one."""
        for number in range(self._kept, 1, -1):
            older = self._numbered(number - 1)
            if older.exists():
                older.replace(self._numbered(number))
        self._path.replace(self._numbered(1))
        self._open_present()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with contextlib.suppress(OSError):  # what was written is in the file, or was counted as dropped
                os.close(descriptor)

    def _complain(self, error: OSError) -> None:
        now = time.monotonic()
        if now - self._complained >= COMPLAIN_EVERY:
            self._complained = now
            self._log.error(
                "access-log-not-written", path=str(self._path), error=str(error), dropped=self.dropped
            )
