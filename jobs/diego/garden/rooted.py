"""A container's files seen from the host, without leaving the container by its links.

Paths are resolved as the container resolves them: an absolute link stays inside.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

from diego.garden import kernel

LARGEST_TEXT = 1 << 20


class Rooted:
    """A root directory, held open."""

    def __init__(self, root: Path) -> None:
        self._root = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    @staticmethod
    def of_process(pid: int) -> Rooted:
        """The root that a process sees, its mounts included."""
        return Rooted(Path(f"/proc/{pid}/root"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._root)

    def read_text(self, path: str) -> str | None:
        """The text of a small regular file; None if there is none."""
        try:
            # not blocking: the container may have put a FIFO there
            descriptor = kernel.open_in_root(self._root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            return file.read(LARGEST_TEXT).decode(errors="replace")

    def has_directory(self, path: str) -> bool:
        """Whether there is such a directory."""
        try:
            os.close(kernel.open_in_root(self._root, path, os.O_PATH | os.O_DIRECTORY))
        except OSError:
            return False
        return True

    def make_directories(self, path: str, *, uid: int, gid: int) -> None:
        """Make a directory with its parents, 0755 and owned by the given host ids; existing ones stay."""
        parts = PurePosixPath("/", path).parts[1:]
        for count in range(1, len(parts) + 1):
            here = "/".join(parts[:count])
            try:
                os.close(kernel.open_in_root(self._root, here, os.O_PATH | os.O_DIRECTORY))
            except FileNotFoundError:
                self._make_directory("/".join(parts[: count - 1]) or ".", parts[count - 1], uid, gid)

    def _make_directory(self, parent: str, name: str, uid: int, gid: int) -> None:
        directory = kernel.open_in_root(self._root, parent, os.O_PATH | os.O_DIRECTORY)
        try:
            os.mkdir(name, 0o755, dir_fd=directory)
            os.chown(name, uid, gid, dir_fd=directory, follow_symlinks=False)
        finally:
            os.close(directory)


def start_time(pid: int) -> int | None:
    """When the process began, in clock ticks since boot; None if it is gone.

    Together with the pid it names one process for good, though pids come again.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    after_name = text.rpartition(")")[2].split()
    return None if after_name[0] in "ZX" else int(after_name[19])
