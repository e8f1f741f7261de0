"""Files as they are on disk: opened once, known by their checksum, read in pieces.

All functions here wait for the disk and belong into threads.
"""

import hashlib
import os
import stat
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from diego.file_server.core.conditions import Version

PIECE = 256 << 10
REMEMBERED = 4096
"""Checksums kept; the least used one goes first."""


class IsDirectory(Exception):
    """There is a directory where a file was asked for."""


class Checksums:
    """SHA-256 of files, computed once for each state of a file (place, size, time of change).

    Two requests for a new file wait for one computation.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[int, ...], str] = OrderedDict()
        self._lock = threading.Lock()
        self._computing: dict[tuple[int, ...], threading.Lock] = {}

    def of(self, descriptor: int, state: os.stat_result) -> str:
        """The checksum of an open file, hexadecimal. Raises OSError."""
        key = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
            mine = self._computing.setdefault(key, threading.Lock())
        with mine:
            with self._lock:
                if key in self._known:
                    return self._known[key]
            try:
                found = _sha256(descriptor, state.st_size)
            finally:
                with self._lock:
                    self._computing.pop(key, None)
            with self._lock:
                self._known[key] = found
                while len(self._known) > REMEMBERED:
                    self._known.popitem(last=False)
        return found


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file that stays the same even when another takes its name."""

    descriptor: int
    state: os.stat_result

    @classmethod
    def at(cls, path: Path) -> "OpenFile":
        """Open it. Raises FileNotFoundError, IsDirectory, OSError."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except NotADirectoryError as error:
            raise FileNotFoundError(error.errno, error.strerror, str(path)) from error
        try:
            state = os.fstat(descriptor)
            _check_kind(path, state.st_mode)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor, state)

    def version(self, checksums: Checksums) -> Version:
        """Its ETag, time and size. Raises OSError when it cannot be read."""
        checksum = checksums.of(self.descriptor, self.state)
        return Version(f'"{checksum}"', int(self.state.st_mtime), self.state.st_size)

    def read(self, start: int, length: int) -> bytes:
        """Up to `length` bytes from `start`."""
        return os.pread(self.descriptor, length, start)

    def close(self) -> None:
        os.close(self.descriptor)


def _check_kind(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsDirectory(str(path))
    if not stat.S_ISREG(mode):
        raise OSError(f"{path} is no file")


def _sha256(descriptor: int, size: int) -> str:
    digest = hashlib.sha256()
    at = 0
    while at < size and (piece := os.pread(descriptor, PIECE, at)):
        digest.update(piece)
        at += len(piece)
    return digest.hexdigest()
