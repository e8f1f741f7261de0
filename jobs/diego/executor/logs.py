"""Where the output of apps goes until the log agent exists: a bounded, rotated file per instance (ours.md section 3).

A line of a file is `<rfc3339 time> [<source>/<index>] OUT|ERR <text>`, the form
in which the rep serves it to `diego logs`.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from diego.executor.core.lines import LineSplitter
from diego.executor.core.rates import LogLimit
from diego.executor.core.requests import NO_RATE_LIMIT, LogTarget
from diego.runtime.logs import get_logger

FILE_LIMIT = 1 << 20
"""Bytes of one file; an instance has two at most, the present one and the one before."""
FILES_KEPT = 1000
"""Files of all instances, the living and the dead; beyond that the oldest of the dead go."""
FOLLOWER_QUEUE = 1000
"""Lines that wait for a reader who follows; a slower one loses the oldest."""

log = get_logger("rep")


class Stream:
    """The two streams of a log, by the names that their lines carry."""

    OUT = "OUT"
    ERR = "ERR"


class LogSink(Protocol):
    """Takes messages of instances. It neither blocks for long nor raises."""

    def write(self, guid: str, index: int, source: str, stream: str, message: bytes) -> None: ...

    def forget(self, guid: str) -> None:
        """The instance writes no more."""


class Follower:
    """One reader of an instance's new lines."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque(maxlen=FOLLOWER_QUEUE)
        self._wake = asyncio.Event()
        self._ended = False

    def push(self, line: bytes) -> None:
        self._lines.append(line)
        self._wake.set()

    def end(self) -> None:
        self._ended = True
        self._wake.set()

    async def lines(self) -> AsyncIterator[bytes]:
        """New lines as they come, until the instance is gone."""
        while True:
            while self._lines:
                yield self._lines.popleft()
            if self._ended:
                return
            self._wake.clear()
            await self._wake.wait()


class FileLogSink:
    """Keeps each instance's newest output in `directory`, as `<guid>.log` and `<guid>.log.1`."""

    def __init__(
        self, directory: Path, *, file_limit: int = FILE_LIMIT, files_kept: int = FILES_KEPT
    ) -> None:
        self._directory = directory
        self._file_limit = file_limit
        self._files_kept = files_kept
        self._open: dict[str, _OpenFile] = {}
        self._followers: dict[str, set[Follower]] = {}
        directory.mkdir(parents=True, exist_ok=True)

    def write(self, guid: str, index: int, source: str, stream: str, message: bytes) -> None:
        line = b"%b [%b/%d] %b %b\n" % (_now().encode(), source.encode(), index, stream.encode(), message)
        try:
            file = self._open.get(guid) or self._begin(guid)
            if file.size + len(line) > self._file_limit:
                file = self._rotate(guid, file)
            os.write(file.descriptor, line)
            file.size += len(line)
        except OSError as error:
            log.error("app-log.not-written", guid=guid, error=str(error))
        for follower in self._followers.get(guid, ()):
            follower.push(line)

    def forget(self, guid: str) -> None:
        file = self._open.pop(guid, None)
        if file is not None:
            os.close(file.descriptor)
        for follower in self._followers.pop(guid, ()):
            follower.end()
        self._sweep()

    def knows(self, guid: str) -> bool:
        """Whether there is anything to read of this instance."""
        return guid in self._open or self._path(guid).exists()

    def tail(self, guid: str, count: int) -> list[bytes]:
        """The newest `count` lines, oldest first."""
        lines: deque[bytes] = deque(maxlen=max(count, 0))
        for path in (self._older(guid), self._path(guid)):
            try:
                lines.extend(path.read_bytes().splitlines(keepends=True))
            except FileNotFoundError:
                continue
        return list(lines)

    @contextmanager
    def follow(self, guid: str) -> Iterator[Follower]:
        """Hear the lines written from now on; it ends at once for an instance that writes no more."""
        follower = Follower()
        if guid not in self._open:
            follower.end()
        self._followers.setdefault(guid, set()).add(follower)
        try:
            yield follower
        finally:
            others = self._followers.get(guid, set())
            others.discard(follower)
            if not others:
                self._followers.pop(guid, None)

    def _begin(self, guid: str) -> "_OpenFile":
        descriptor = os.open(self._path(guid), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        file = _OpenFile(descriptor, os.fstat(descriptor).st_size)
        self._open[guid] = file
        return file

    def _rotate(self, guid: str, file: "_OpenFile") -> "_OpenFile":
        os.close(file.descriptor)
        del self._open[guid]
        self._path(guid).replace(self._older(guid))
        return self._begin(guid)

    def _sweep(self) -> None:
        """Remove the oldest files of dead instances while there are too many."""
        found = [entry for entry in os.scandir(self._directory) if entry.is_file()]
        excess = len(found) - self._files_kept
        if excess <= 0:
            return
        dead = [entry for entry in found if entry.name.split(".log")[0] not in self._open]
        dead.sort(key=lambda entry: entry.stat().st_mtime)
        for entry in dead[:excess]:
            Path(entry.path).unlink(missing_ok=True)

    def _path(self, guid: str) -> Path:
        return self._directory / f"{guid}.log"

    def _older(self, guid: str) -> Path:
        return self._directory / f"{guid}.log.1"


@dataclass(slots=True)
class _OpenFile:
    descriptor: int
    size: int


class ContainerLog:
    """What one container writes, limited as its definition says.

    Messages about the container itself and about its dependencies are not
    limited; what its processes write is, over all sources and both streams.
    """

    def __init__(
        self,
        sink: LogSink,
        guid: str,
        target: LogTarget,
        *,
        bytes_per_second: int = NO_RATE_LIMIT,
        lines: int = 0,
    ) -> None:
        self._sink = sink
        self._guid = guid
        self._target = target
        self._limit = LogLimit(bytes_per_second, lines, time.monotonic())

    @property
    def source(self) -> str:
        """The source of messages about the container itself."""
        return self._target.source_name

    def tell(self, message: str, *, source: str = "", stream: str = Stream.OUT) -> None:
        """A message of the cell, on the container's own source unless another is named; not limited."""
        self._put(source or self.source, stream, message.encode())

    def note(self, message: str, *, source: str, stream: str = Stream.OUT) -> None:
        """A message about a step, such as its exit; limited like the app's own output."""
        self._judged(source, stream, message.encode())

    def output(self, source: str, stream: str) -> "OutputStream":
        """Takes the bytes of one stream of one process."""
        return OutputStream(lambda message: self._judged(source, stream, message))

    def close(self) -> None:
        self._sink.forget(self._guid)

    def _judged(self, source: str, stream: str, message: bytes) -> None:
        verdict = self._limit.judge(len(message), time.monotonic())
        if verdict.notice:
            self._put(source, Stream.OUT, verdict.notice.encode())
        if verdict.write:
            self._put(source, stream, message)

    def _put(self, source: str, stream: str, message: bytes) -> None:
        if self._target.guid and message:
            self._sink.write(self._guid, self._target.index, source, stream, message)


class OutputStream:
    """Cuts the bytes of a process's stream into messages."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._splitter = LineSplitter()
        self._take = take

    def feed(self, data: bytes) -> None:
        for message in self._splitter.feed(data):
            self._take(message)

    def flush(self) -> None:
        for message in self._splitter.flush():
            self._take(message)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
