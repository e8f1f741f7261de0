"""Peas: processes with a root file system of their own inside a container (contract/garden.md section 5.2).

To the runtime a pea is a container that shares every namespace but the mounts with the
one it lives in. Its FIFOs, pid and exit lie where those of every process do, and go
when they go. What only a pea has lies apart, and goes as soon as it ends:

    DEPOT/HANDLE/peas/NAME/    record.json, its bundle, its disk

A pea's disk has no quota, as its image is the operator's and not the app's; but it is a
disk of its own, of the size that a container without a limit gets.
"""

from __future__ import annotations

import json
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from diego.garden.cgroups import Cgroups
from diego.garden.core import limits
from diego.garden.core.specs import Limits
from diego.garden.depot import RECORD, Depot, write
from diego.garden.disks import Disk
from diego.garden.images import Layer
from diego.garden.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Pea:
    """One pea. Its name is garden's own; that of the process is the client's, and may come again."""

    handle: str
    name: str
    process_id: str = ""
    image: str = ""
    image_bytes: int = 0
    created_at: int = 0
    own_limits: bool = False

    @property
    def group(self) -> str:
        """Its cgroup below the parent of all: within the container's limits, or beside them."""
        return f"{self.handle}{':' if self.own_limits else '/'}{self.name}"

    @property
    def runtime_id(self) -> str:
        """Its name at the runtime."""
        return f"{self.handle}.{self.name}"


class Peas:
    """The peas of all containers, on disk. What is here blocks."""

    def __init__(self, depot: Depot, runtime: Runtime, cgroups: Cgroups) -> None:
        self._depot = depot
        self._runtime = runtime
        self._cgroups = cgroups

    def new(self, handle: str, process_id: str, layer: Layer, *, own_limits: bool) -> Pea:
        """Give a pea its name; nothing of it is made yet."""
        return Pea(
            handle, secrets.token_hex(8), process_id, layer.key, layer.size, time.time_ns(), own_limits
        )

    def directory(self, pea: Pea) -> Path:
        """Where its bundle and its disk lie."""
        return self._depot.of(pea.handle) / "peas" / pea.name

    def disk(self, pea: Pea) -> Disk:
        """Its file systems."""
        return Disk(self.directory(pea))

    def make(self, pea: Pea, layer: Layer, *, unlimited: int, owner: int) -> None:
        """Write it down, then make and mount its disk."""
        directory = self.directory(pea)
        for path in (directory.parent, directory):
            path.mkdir(exist_ok=True)  # but not what is above: the container may have gone
            path.chmod(0o711)
        write(directory / RECORD, asdict(pea))
        size = limits.disk_size(Limits(), image_bytes=layer.size, unlimited=unlimited)
        self.disk(pea).make(size, lower=layer.rootfs, owner=owner)

    def remove(self, pea: Pea) -> None:
        """Kill what is left of it and remove all that it had; what is gone already is no error."""
        directory = self.directory(pea)
        self._cgroups.kill(pea.group)
        if directory.is_dir():
            self._runtime.delete(pea.runtime_id, directory)
        self._cgroups.remove(pea.group)
        if directory.is_dir():
            Disk(directory).remove()
            shutil.rmtree(directory)

    def of(self, handle: str) -> Iterator[Pea]:
        """The container's peas that lie on disk; those that cannot be read by their name alone."""
        top = self._depot.of(handle) / "peas"
        for path in sorted(top.iterdir()) if top.is_dir() else ():
            yield _read(path) or Pea(handle, path.name)

    def remove_all(self, handle: str) -> None:
        """Remove all of a container's."""
        for pea in self.of(handle):
            self.remove(pea)


def _read(directory: Path) -> Pea | None:
    """A pea's record; None for one whose making was cut short."""
    try:
        return Pea(**json.loads((directory / RECORD).read_text()))
    except (OSError, ValueError, TypeError):
        return None
