"""Which instances were being changed, and when: seen each 100 ms from outside, and judged afterwards.

An instance is in flight from the first look that misses one of its programs, or finds its mark, to the first that finds
all of them and no mark. Processes are read from the machine's own list, the marks from the hosts' disks: nothing of
the product is asked. `upgrade.looker` looks.
"""

import itertools
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.cgroups import Cgroups
from lab.identity import HostIdentity
from lab.identity import Lab as Identity

EVERY = 0.1
COMM = 15
END_PATIENCE = 30.0
PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "nats": ("nats-server",),
    "pxc-mysql": ("mariadbd",),
    "diego-api": ("diego-locket", "diego-bbs"),
    "api": ("diego-file_server",),
    "scheduler": ("diego-auctioneer", "diego-ssh_proxy"),
    "router": ("diego-gorouter", "nginx"),
    "diego-cell": ("diego-garden", "diego-rep", "diego-route_emitter"),
}
"""What runs on an instance, by the names that the kernel knows, of which it keeps 15 letters."""


@dataclass(frozen=True, slots=True)
class Watched:
    """One instance."""

    id: str
    group: str
    zone: str
    host: HostIdentity


@dataclass(frozen=True, slots=True)
class Look:
    """Who was in flight at a moment of the machine's clock, and what the look cost in seconds."""

    at: float
    in_flight: frozenset[str]
    late: float = 0.0
    processes: float = 0.0
    marks: float = 0.0


@dataclass(slots=True)
class Watcher:
    """Has somebody look, from `start` to `stop`."""

    instances: Sequence[Watched]
    cgroups: Cgroups
    looks: list[Look] = field(default_factory=list)
    fault: str = ""
    priority: str = ""
    _process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        hosts = {watched.host.name: watched.host for watched in self.instances}
        asked = {
            "every": EVERY,
            "namespaces": {self._namespace(host): name for name, host in hosts.items()},
            "subjects": [
                {
                    "id": watched.id,
                    "host": watched.host.name,
                    "programs": [program[:COMM] for program in PROGRAMS[watched.group]],
                    "mark": str(watched.host.root / f"var/vcap/instances/{watched.id}.json"),
                }
                for watched in self.instances
            ],
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "upgrade.looker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()

    def stop(self) -> None:
        assert self._process is not None
        said, _ = self._process.communicate(timeout=END_PATIENCE)
        if self._process.returncode:
            self.fault = f"it ended with {self._process.returncode}"
            return
        found = json.loads(said)
        self.priority, self.fault = found["priority"], found["fault"]
        self.looks = [Look(at, frozenset(who), *cost) for at, who, *cost in found["looks"]]

    def _namespace(self, host: HostIdentity) -> str:
        """The host's own processes have this; those of its containers have others."""
        for process in self.cgroups.processes(self.cgroups.of_host(host)):
            try:
                status = Path(f"/proc/{process}/status").read_text()
                namespace = str(Path(f"/proc/{process}/ns/pid").readlink())
            except FileNotFoundError:
                continue  # it has ended meanwhile
            numbers = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
            if numbers[1:] == ["1"]:
                return namespace
        raise ValueError(f"{host.name} has no first process")


def instances_of(name: str, groups: Mapping[str, Sequence[str]], zones: Mapping[str, str]) -> list[Watched]:
    """Every instance of a lab whose topology has these groups."""
    hosts = list(dict.fromkeys(host for members in groups.values() for host in members))
    identities = {host: Identity(name).host(host, number) for number, host in enumerate(hosts)}
    return [
        Watched(f"{group}-{index}", group, zones.get(host, ""), identities[host])
        for group, members in groups.items()
        for index, host in enumerate(members)
    ]


def most_of_a_zone(looks: Sequence[Look], instances: Sequence[Watched]) -> int:
    """The most instances of one group in one zone that were in flight at once."""
    where = {watched.id: (watched.group, watched.zone) for watched in instances}
    return max((max(_counts(look, where), default=0) for look in looks), default=0)


def most_zones_of_a_group(looks: Sequence[Look], instances: Sequence[Watched]) -> int:
    """In how many zones at most instances of one group were in flight at once."""
    where = {watched.id: (watched.group, watched.zone) for watched in instances}
    most = 0
    for look in looks:
        places = {where[name] for name in look.in_flight}
        groups = [group for group, _ in places]
        most = max([most, *(groups.count(group) for group in groups)])
    return most


def changed(looks: Sequence[Look]) -> set[str]:
    return {name for look in looks for name in look.in_flight}


def longest_pause(looks: Sequence[Look]) -> tuple[float, Look | None]:
    """The longest time between two looks, and the second of them."""
    pauses = [(after.at - before.at, after) for before, after in itertools.pairwise(looks)]
    return max(pauses, key=lambda pause: pause[0], default=(0.0, None))


def _counts(look: Look, where: Mapping[str, tuple[str, str]]) -> list[int]:
    places = [where[name] for name in look.in_flight]
    return [places.count(place) for place in set(places)]
