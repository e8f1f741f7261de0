"""The lab's cgroups: each host has a group of its own, and sees only what is below it.

Two layouts of the machine: version 1 controllers (one by one, or joined like `cpu,cpuacct`; a version 2
tree without the usual controllers beside them does not matter), or version 2 alone.
"""

import os
import shlex
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.identity import HostIdentity, Lab, LabError
from lab.shell import tell

V1_CONTROLLERS = frozenset(["cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids"])
V1_NEEDED = frozenset(["cpu", "memory", "devices", "pids", "freezer"])
V2_NEEDED = frozenset(["cpu", "memory", "pids"])
SYSTEMD = "name=systemd"
WEIGHT = 4
EMPTY_WITHIN = 10.0
BORN_WITHIN = 5.0


@dataclass(frozen=True)
class Hierarchy:
    """One mounted tree of cgroups; `controllers` is empty for version 2."""

    mounted: Path
    controllers: tuple[str, ...]

    @property
    def options(self) -> str:
        """How the same tree is mounted in a host."""
        return "none,name=systemd" if self.controllers == (SYSTEMD,) else ",".join(self.controllers)


class Cgroups:
    """The machine's cgroup trees that hosts take part in."""

    def __init__(self, hierarchies: list[Hierarchy]) -> None:
        self.hierarchies = hierarchies
        self.version = 1 if any(hierarchy.controllers for hierarchy in hierarchies) else 2

    @staticmethod
    def of_machine(mounts: str | None = None) -> "Cgroups":
        """Read from /proc/self/mountinfo.

        Raises:
            LabError: neither layout is there with what containers need.

        """
        text = Path("/proc/self/mountinfo").read_text() if mounts is None else mounts
        first: list[Hierarchy] = []
        second: list[Hierarchy] = []
        for line in text.splitlines():
            before, after = line.split(" - ", 1)
            kind, _, options = after.split(" ")[:3]
            where = Path(before.split(" ")[4])
            names = tuple(o for o in options.split(",") if o in V1_CONTROLLERS or o == SYSTEMD)
            if kind == "cgroup" and names and names not in [hierarchy.controllers for hierarchy in first]:
                first.append(Hierarchy(where, names))
            elif kind == "cgroup2":
                second.append(Hierarchy(where, ()))
        known = {name for hierarchy in first for name in hierarchy.controllers}
        if known >= V1_NEEDED:
            return Cgroups(first)
        if second and (mounts is not None or _v2_controllers(second[0].mounted) >= V2_NEEDED):
            return Cgroups(second[:1])
        raise LabError(
            "this machine's cgroups have neither version 1's "
            f"{', '.join(sorted(V1_NEEDED - known))} nor version 2's {', '.join(sorted(V2_NEEDED))}: "
            "the lab's hosts cannot run containers here. The Vagrantfile makes the same lab in virtual machines"
        )

    def of_lab(self, lab: Lab) -> list[Path]:
        return [hierarchy.mounted / lab.cgroup for hierarchy in self.hierarchies]

    def of_host(self, host: HostIdentity) -> list[Path]:
        return [group / host.name for group in self.of_lab(host.lab)]

    def make(self, host: HostIdentity) -> None:
        """Make a host's groups, empty: a reboot leaves no group of a container behind."""
        for hierarchy, group in zip(self.hierarchies, self.of_host(host), strict=True):
            remove(group)
            group.mkdir(parents=True)
            if "cpu" in hierarchy.controllers:
                _weigh(group.parent)
            if "cpuset" in hierarchy.controllers:
                _copy_cpuset(hierarchy.mounted, group.parent, group)
            if self.version == 2:
                _delegate(hierarchy.mounted)
                _delegate(group.parent)
                _weigh(group.parent)

    def joining(self, host: HostIdentity) -> str:
        """Shell words that put the shell into the host's groups."""
        return " ".join(f"echo $$ > {shlex.quote(str(g / 'cgroup.procs'))} &&" for g in self.of_host(host))

    def set_aside(self, host: HostIdentity, process: int) -> None:
        """Version 2: move the process outside the host's namespaces out of the host's own group.

        A group with processes of its own cannot hand its controllers to those below it. The host's first process is
        awaited: only when it is there has the namespace been made whose root is the host's group.
        """
        if self.version != 2:
            return
        deadline = time.monotonic() + BORN_WITHIN
        while self.processes(self.of_host(host)) <= {process} and time.monotonic() < deadline:
            time.sleep(0.01)
        aside = self.hierarchies[0].mounted / host.lab.cgroup / f"{host.name}.outside"
        aside.mkdir(exist_ok=True)
        (aside / "cgroup.procs").write_text(str(process))

    def inside(self) -> str:
        """Shell lines of a host's init that mount its groups at $R/sys/fs/cgroup."""
        if self.version == 2:
            return V2_INIT
        lines = ['mount -t tmpfs -o mode=755 tmpfs "$R/sys/fs/cgroup"']
        for hierarchy in self.hierarchies:
            name = "systemd" if hierarchy.controllers == (SYSTEMD,) else ",".join(hierarchy.controllers)
            where = f'"$R/sys/fs/cgroup/{name}"'
            lines += [f"mkdir {where}", f"mount -t cgroup -o {hierarchy.options} cgroup {where}"]
            if len(hierarchy.controllers) > 1:
                lines += [f'ln -s {name} "$R/sys/fs/cgroup/{single}"' for single in hierarchy.controllers]
        return "\n".join(lines)

    def processes(self, groups: list[Path]) -> set[int]:
        """Every process in these groups or below them, nested containers included."""
        return {pid for group in groups for pid in _processes_below(group)}

    def kill(self, groups: list[Path]) -> None:
        """End every process in the groups, and wait until they are gone."""
        self.wake(groups)
        deadline = time.monotonic() + EMPTY_WITHIN
        while left := self.processes(groups):
            if time.monotonic() > deadline:
                raise LabError(f"these processes do not end: {sorted(left)}")
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.02)

    def freeze(self, groups: list[Path], *, frozen: bool) -> None:
        """Stop every process in the groups between two instructions, or let them go on; returns when it is so.

        Raises:
            LabError: it is not so in time, or there is no such group.

        """
        switch, word, seen, on = self._freezer(groups, frozen=frozen)
        deadline = time.monotonic() + EMPTY_WITHIN
        try:
            switch.write_text(word)
            while on not in seen.read_text().split("\n"):
                if time.monotonic() > deadline:
                    raise LabError(f"{switch}: not {word} within {EMPTY_WITHIN:.0f} s")
                time.sleep(0.01)
        except OSError as error:
            raise LabError(f"{switch}: {error.strerror}") from error

    def wake(self, groups: list[Path]) -> None:
        """Let go on whatever is frozen in the groups or below them: nothing else can end it."""
        for group in groups:
            for directory, _, _ in os.walk(group):
                _wake(Path(directory))

    def _freezer(self, groups: list[Path], *, frozen: bool) -> tuple[Path, str, Path, str]:
        """The file that is written and what to it, the file that tells the state and the line that it then has."""
        if self.version == 2:
            return (
                groups[0] / "cgroup.freeze",
                f"{frozen:d}",
                groups[0] / "cgroup.events",
                f"frozen {frozen:d}",
            )
        pairs = zip(self.hierarchies, groups, strict=True)
        group = next(group for hierarchy, group in pairs if "freezer" in hierarchy.controllers)
        word = "FROZEN" if frozen else "THAWED"
        return group / "freezer.state", word, group / "freezer.state", word


V2_INIT = r"""mount -t cgroup2 cgroup2 "$R/sys/fs/cgroup"
mkdir -p "$R/sys/fs/cgroup/init"
echo $$ > "$R/sys/fs/cgroup/init/cgroup.procs"
handed=no
for attempt in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    handed=yes
    for c in $(cat "$R/sys/fs/cgroup/cgroup.controllers"); do
        echo "+$c" > "$R/sys/fs/cgroup/cgroup.subtree_control" || handed=no
    done
    [ $handed = yes ] && break
    sleep 0.1
done
[ $handed = yes ] || echo "the host's cgroup cannot hand its controllers to containers" >&2"""


def remove(group: Path) -> None:
    """Remove a group with all below it. What still has processes stays, and is told."""
    for directory, _, _ in os.walk(group, topdown=False):
        try:
            Path(directory).rmdir()
        except OSError as error:
            tell(f"left behind: {error}")


def _wake(group: Path) -> None:
    for name, word, asleep in (
        ("freezer.state", "THAWED", ("FROZEN", "FREEZING")),
        ("cgroup.freeze", "0", ("1",)),
    ):
        switch = group / name
        try:
            if switch.read_text().strip() in asleep:
                switch.write_text(word)
        except OSError:
            continue  # the other version's, or the group went while we looked


def _processes_below(group: Path) -> Iterator[int]:
    for directory, _, _ in os.walk(group):
        try:
            text = Path(directory, "cgroup.procs").read_text()
        except OSError:
            continue  # the group went while we looked
        yield from (int(line) for line in text.split())


def _weigh(group: Path) -> None:
    """Let a lab have as much of a busy machine as a few processes beside it: as one, its hosts would starve."""
    for name, usual in (("cpu.shares", 1024), ("cpu.weight", 100)):
        if (group / name).exists():
            (group / name).write_text(str(usual * WEIGHT))


def _copy_cpuset(top: Path, *groups: Path) -> None:
    """A version 1 cpuset takes no process before it has cpus and mems."""
    for group in groups:
        for name in ("cpuset.cpus", "cpuset.mems"):
            (group / name).write_text((top / name).read_text())


def _v2_controllers(top: Path) -> set[str]:
    try:
        return set((top / "cgroup.controllers").read_text().split())
    except OSError:
        return set()


def _delegate(group: Path) -> None:
    for controller in sorted(_v2_controllers(group)):
        (group / "cgroup.subtree_control").write_text(f"+{controller}")
