"""Containers' cgroups, on a machine with version 1, version 2, or both mounted ("hybrid").

The runtime makes and limits them; this module reads their counters, and kills and
removes what a runtime that died has left.

    PARENT/HANDLE         a container: its limits and counters, and under version 1 its processes
    PARENT/HANDLE/init    its processes under version 2
    PARENT/HANDLE/PEA     a pea that lives within the container's limits
    PARENT/HANDLE:PEA     a pea with limits of its own (no handle has a colon)
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from diego.garden.core.metrics import Usage, flat_keyed

CONTROLLERS = {"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "name=systemd"}
CONTROLLERS |= {"net_cls", "net_prio", "perf_event", "hugetlb", "rdma", "misc"}
MOUNTS = Path("/proc/self/mountinfo")
KILL_SECONDS = 10.0
UNIFIED = ""
DIVIDED = ("cpu", "memory", "pids")  # what version 2 must hand down for containers' limits and counters


class Cgroups:
    """The cgroups below `parent`, one per container in each hierarchy.

    `hierarchies` has the mount point of each version 1 controller (some may share one),
    or that of version 2 under an empty name.
    """

    def __init__(self, parent: str, hierarchies: Mapping[str, Path]) -> None:
        self.parent = parent
        self.hierarchies = dict(hierarchies)
        self.unified = set(hierarchies) == {UNIFIED}

    @staticmethod
    def of_machine(parent: str) -> Cgroups:
        """The hierarchies that are mounted here."""
        return Cgroups(parent, hierarchies(MOUNTS.read_text()))

    def swap_is_counted(self) -> bool:
        """Whether the kernel can limit swap; without, runc would refuse a limit of it."""
        memory = self.hierarchies.get("memory")
        return self.unified or (memory is not None and (memory / "memory.memsw.limit_in_bytes").exists())

    def path(self, handle: str) -> str:
        """Where the container's processes go, for the runtime."""
        return f"/{self.parent}/{handle}/init" if self.unified else f"/{self.parent}/{handle}"

    def make(self, handle: str, files: Mapping[str, str]) -> None:
        """Make a container's group under version 2, with its limits; under version 1 the runtime does it."""
        if not self.unified:
            return
        group = self.of(UNIFIED, handle)
        group.mkdir(parents=True, exist_ok=True)
        below = group.relative_to(self.hierarchies[UNIFIED]).parents
        for ancestor in reversed([self.hierarchies[UNIFIED] / path for path in below]):
            given = _text(ancestor / "cgroup.subtree_control").split()
            for controller in _text(ancestor / "cgroup.controllers").split():
                if controller in DIVIDED and controller not in given:
                    (ancestor / "cgroup.subtree_control").write_text(f"+{controller}")
        for name, text in files.items():
            (group / name).write_text(text)

    def of(self, controller: str, handle: str) -> Path:
        """The directory of a container's, or a pea's, group in the controller's hierarchy."""
        hierarchy = self.hierarchies.get(UNIFIED if self.unified else controller)
        if hierarchy is None:
            raise OSError(errno.ENOENT, f"cgroup controller {controller} is not mounted")
        return hierarchy / self.parent / handle

    def usage(self, handle: str) -> Usage:
        """The container's counters; zero where the machine counts nothing."""
        return self._usage_v2(handle) if self.unified else self._usage_v1(handle)

    def oom_kills(self, handle: str) -> int:
        """How many of the container's processes were killed because its memory was full."""
        file = "memory.events" if self.unified else "memory.oom_control"
        return flat_keyed(_text(self.of("memory", handle) / file)).get("oom_kill", 0)

    def processes(self, handle: str) -> list[int]:
        """The pids of everything in the container."""
        found: set[int] = set()
        for top in _with_own_limits(self.of("pids", handle)):
            for directory, _, _ in os.walk(top):  # a pea's may go meanwhile, which does not disturb it
                found.update(int(pid) for pid in _text(Path(directory) / "cgroup.procs").split())
        return sorted(found)

    def kill(self, handle: str) -> None:
        """Kill everything in the container, and wait until it is gone."""
        deadline = time.monotonic() + KILL_SECONDS
        while pids := self.processes(handle):
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            if time.monotonic() > deadline:
                raise OSError(errno.EBUSY, f"{handle}: processes survive SIGKILL: {pids}")
            time.sleep(0.01)

    def remove(self, handle: str) -> None:
        """Remove the container's empty groups, wherever there are some."""
        for hierarchy in set(self.hierarchies.values()):
            for top in _with_own_limits(hierarchy / self.parent / handle):
                for directory, _, _ in os.walk(top, topdown=False):
                    Path(directory).rmdir()

    def _usage_v1(self, handle: str) -> Usage:
        cpu = self.of("cpuacct", handle)
        return Usage(
            memory=flat_keyed(_text(self.of("memory", handle) / "memory.stat")),
            cpu=_number(cpu / "cpuacct.usage"),
            cpu_user=_number(cpu / "cpuacct.usage_user"),
            cpu_system=_number(cpu / "cpuacct.usage_sys"),
            pids=_number(self.of("pids", handle) / "pids.current"),
            oom_kills=self.oom_kills(handle),
        )

    def _usage_v2(self, handle: str) -> Usage:
        group = self.of("", handle)
        memory = flat_keyed(_text(group / "memory.stat"))
        cpu = flat_keyed(_text(group / "cpu.stat"))
        return Usage(
            memory=memory,
            cpu=cpu.get("usage_usec", 0) * 1000,
            cpu_user=cpu.get("user_usec", 0) * 1000,
            cpu_system=cpu.get("system_usec", 0) * 1000,
            pids=_number(group / "pids.current"),
            oom_kills=self.oom_kills(handle),
        )


def belongs(groups: str, handle: str) -> bool:
    """Whether a process is the container's, from the text of its /proc/PID/cgroup."""
    parts = {part for line in groups.splitlines() for part in line.split(":", 2)[-1].split("/")}
    return handle in parts or any(part.startswith(f"{handle}:") for part in parts)


def _with_own_limits(top: Path) -> list[Path]:
    """The group itself, and those of its peas that lie beside it; those that are there."""
    return [path for path in (top, *top.parent.glob(f"{top.name}:*")) if path.is_dir()]


def hierarchies(mounts: str) -> dict[str, Path]:
    """Where each controller is mounted, from the text of /proc/self/mountinfo.

    Beside version 1 a version 2 tree holds no controller that matters, but the runtime
    may make groups in it.
    """
    found: dict[str, Path] = {}
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        where = Path(before.split(" ")[4])
        if kind == "cgroup2":
            found.setdefault(UNIFIED, where)
        elif kind == "cgroup":
            for option in options.split(","):
                if option in CONTROLLERS:
                    found.setdefault(option, where)
    return found


def _text(path: Path) -> str:
    """A counter file's text; empty when the group has gone or the kernel has no such file."""
    try:
        return path.read_text()
    except OSError:
        return ""


def _number(path: Path) -> int:
    text = _text(path).strip()
    return int(text) if text.isdigit() else 0
