"""A lab's life: made, taken down, looked at. The first act of `up` is to clear what a dead one left."""

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from lab import artefacts, network
from lab.cache import Cache
from lab.cgroups import Cgroups, remove
from lab.host import Host, make_key, make_loop_nodes
from lab.identity import Lab, LabError, state_directory
from lab.mounts import unmount_below
from lab.shell import run, run_logged, side_by_side, tell
from lab.topology import hosts_of


@dataclass(frozen=True)
class Record:
    """What a lab was made from and for whom; kept in its directory."""

    checkout: str
    topology: str
    hosts: list[str]
    layers: list[str]
    owner: int
    "The process whose end makes the lab a dead one; 0: none, it lives until it is taken down."
    owner_started: int

    @staticmethod
    def read(lab: Lab) -> "Record | None":
        try:
            return Record(**json.loads(lab.record.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, lab: Lab) -> None:
        new = lab.record.with_suffix(".new")
        new.write_text(json.dumps(asdict(self), indent=1))
        new.rename(lab.record)

    def owner_lives(self) -> bool:
        return self.owner != 0 and started(self.owner) == self.owner_started


def started(process: int) -> int:
    """When a process began, in the kernel's ticks: with the number it names a process for good. -1: gone."""
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return -1


@dataclass(frozen=True)
class Wanted:
    """What `up` was asked for."""

    topology: Path
    checkout: Path
    owner: int = 0
    build: tuple[tuple[str, tuple[str, ...]], ...] = ()
    "Commands that have to run before the hosts can be deployed to, each with a title: made beside the rest."


class Labs:
    def __init__(self, cache: Cache, cgroups: Cgroups) -> None:
        self.cache = cache
        self.cgroups = cgroups

    def up(self, lab: Lab, wanted: Wanted) -> None:
        """Make the lab, or continue with the one that is there.

        Raises:
            LabError: it cannot be made, or the name is in use by somebody else.

        """
        names = hosts_of(wanted.topology)
        with locked(lab):
            before = self._admit(lab, wanted)
            layers = [Path(layer) for layer in before.layers] if before else []
            side_by_side(
                lambda: self._make_hosts(lab, wanted, names, layers),
                lambda: self._make_deployables(lab, wanted),
            )
            self._write_inventory(lab, wanted)
        self.cache.prune(self.layers_in_use())

    def _admit(self, lab: Lab, wanted: Wanted) -> Record | None:
        """The record of a lab that this `up` continues; anything else of that name is cleared.

        A lab continues if it is this checkout's and its disks are mounted: after a reboot of the machine they are not,
        and what was written to them last may be lost.
        """
        record = Record.read(lab)
        alive = bool(self.cgroups.processes(self.cgroups.of_lab(lab)))
        if record and alive:
            elsewhere = record.checkout != str(wanted.checkout) and Path(record.checkout).exists()
            if record.owner_lives():
                raise LabError(f"the lab {lab.name} is in use by process {record.owner}: choose another name")
            if elsewhere and record.owner == 0:
                raise LabError(
                    f"the lab {lab.name} belongs to {record.checkout}: take it down there, or choose another name"
                )
        continues = (
            record is not None
            and wanted.owner == 0
            and record.owner == 0
            and record.checkout == str(wanted.checkout)
            and all(host.root.is_mount() for host in self.hosts(lab))
        )
        if continues:
            return record
        if lab.directory.exists():
            tell(f"lab {lab.name}: clearing what an earlier one left")
        self._clear(lab)
        return None

    def _make_hosts(self, lab: Lab, wanted: Wanted, names: list[str], layers: list[Path]) -> None:
        if not layers:
            base = artefacts.base(self.cache)
            below = self.cache.ensure(base)
            services = self.cache.ensure(artefacts.services(self.cache, base))
            layers = [services / "layer", below / "rootfs"]
        lab.directory.mkdir(parents=True, exist_ok=True)
        _refuse_overlay(lab.directory)
        record = Record(
            str(wanted.checkout),
            str(wanted.topology),
            names,
            [str(layer) for layer in layers],
            wanted.owner,
            started(wanted.owner) if wanted.owner else 0,
        )
        record.write(lab)
        make_key(lab)
        make_loop_nodes(lab)
        network.make_bridge(lab)
        side_by_side(*(partial(self._make_host, host, layers) for host in self.hosts(lab)))

    def _make_host(self, host: Host, layers: list[Path]) -> None:
        if not host.runs():
            host.up(layers)
            tell(f"host {host.identity.name} is up, {host.identity.address}")
        else:
            tell(f"host {host.identity.name} runs already, {host.identity.address}")

    def _make_deployables(self, lab: Lab, wanted: Wanted) -> None:
        self.cache.ensure(artefacts.stack(self.cache))
        for title, words in wanted.build:
            tell(title)
            run_logged(title, words, self.cache.log(f"{lab.name}-{title.split(':')[0]}"))

    def _write_inventory(self, lab: Lab, wanted: Wanted) -> None:
        """Write the lab's inventory into the checkout's .lab: the topology's groups, and how to reach the hosts."""
        record = Record.read(lab)
        stack = self.cache.find(artefacts.stack(self.cache))
        if record is None or stack is None:
            raise LabError(f"the lab {lab.name} is not whole: repeat the command")
        place = wanted.checkout / ".lab" / lab.name
        inventory = place / "inventory"
        inventory.mkdir(parents=True, exist_ok=True)
        shutil.copy(wanted.topology, inventory / "topology.ini")
        variables = inventory / "group_vars"
        variables.unlink(missing_ok=True)
        variables.symlink_to(wanted.topology.parent / "group_vars")
        host_key = (Path(record.layers[-1]) / "etc/ssh/ssh_host_ed25519_key.pub").read_text()
        key = " ".join(host_key.split()[:2])
        known = place / "known_hosts"
        known.write_text("".join(f"{host.identity.address} {key}\n" for host in self.hosts(lab)))
        options = f"-o UserKnownHostsFile={known} -o StrictHostKeyChecking=yes"
        lines = ["# Written by the lab: how to reach its hosts.", "all:", "  vars:", "    ansible_user: root"]
        lines += [f"    ansible_ssh_private_key_file: {lab.key}"]
        lines += [f'    ansible_ssh_common_args: "{options}"']
        lines += [f"    deployment_directory: {place}"]
        lines += [f"    stack_tarball: {stack / 'rootfs.tar'}"]
        lines += [f"    stack_sha256: {(stack / 'sha256').read_text().strip()}"]
        lines += ["  hosts:"]
        for host in self.hosts(lab):
            lines += [f"    {host.identity.name}:", f"      ansible_host: {host.identity.address}"]
        (inventory / "hosts.yml").write_text("\n".join(lines) + "\n")

    def hosts(self, lab: Lab) -> list[Host]:
        record = Record.read(lab)
        names = record.hosts if record else []
        return [Host(lab.host(name, number), self.cgroups) for number, name in enumerate(names)]

    def host(self, lab: Lab, name: str) -> Host:
        for host in self.hosts(lab):
            if host.identity.name == name:
                return host
        raise LabError(f"the lab {lab.name} has no host {name}")

    def down(self, lab: Lab) -> None:
        """Take the lab down: no process, mount, link, cgroup, rule or file of it is left."""
        with locked(lab):
            self._clear(lab)

    def _clear(self, lab: Lab) -> None:
        groups = self.cgroups.of_lab(lab)
        for link in network.LINKS.glob(f"{lab.link_prefix}*"):
            run("ip", "link", "del", link.name)  # cables before processes, as in a power cut
        self.cgroups.kill(groups)
        unmount_below(lab.directory)
        network.clear(lab)
        for group in groups:
            remove(group)
        if lab.directory.exists():
            shutil.rmtree(lab.directory)
        if left := [*network.left_of(lab), *(str(group) for group in groups if group.exists())]:
            raise LabError(f"the lab {lab.name} is down, but this is left of it: {', '.join(left)}")

    def layers_in_use(self) -> set[Path]:
        """What living and sleeping labs stand on, as paths of artefacts' contents."""
        records = (Record.read(Lab(place.name)) for place in self._directories())
        return {Path(layer).parent for record in records if record for layer in record.layers}

    def names(self) -> list[str]:
        return sorted(place.name for place in self._directories())

    def _directories(self) -> list[Path]:
        return [mark.parent for mark in state_directory().glob("*/lab.json")]


@contextmanager
def locked(lab: Lab) -> Iterator[None]:
    """One at a time for each name."""
    state_directory().mkdir(parents=True, exist_ok=True)
    with (state_directory() / f".{lab.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError(f"another command is at work on the lab {lab.name}") from None
        yield


def _refuse_overlay(directory: Path) -> None:
    kind = run("stat", "-f", "-c", "%T", directory).strip()
    if kind == "overlayfs":
        raise LabError(
            f"{directory} is on an overlay, on which the hosts' disks cannot lie: "
            "set DIEGO_LAB_DIR to a directory on a real file system"
        )
