"""Looks each 100 ms, from outside, which instances are being changed: the processes of the hosts, and their marks.

An instance is in flight from the first look that misses one of its programs, or finds its mark, to the first that finds
all of them and no mark. Processes are read from the hosts' control groups, the marks from the hosts' disks: nothing of
the product is asked.
"""

import itertools
import json
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.cgroups import Cgroups
from lab.identity import HostIdentity
from lab.identity import Lab as Identity

EVERY = 0.1
COMM = 15
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
    """Who was in flight at a moment of the machine's clock."""

    at: float
    in_flight: frozenset[str]


@dataclass(slots=True)
class Watcher:
    instances: Sequence[Watched]
    cgroups: Cgroups
    looks: list[Look] = field(default_factory=list)
    fault: str = ""
    _names: dict[int, str] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            try:
                self.look()
            except Exception as error:  # noqa: BLE001  the verdict says what ended the watch
                self.fault = f"{type(error).__name__}: {error}"
                return
            due = max(due + EVERY, time.monotonic())
            self._stop.wait(max(0.0, due - time.monotonic()))

    def look(self) -> None:
        running = {watched.host.name: frozenset[str]() for watched in self.instances}
        hosts = {watched.host.name: watched.host for watched in self.instances}
        for name, host in hosts.items():
            running[name] = frozenset(
                self._name(process) for process in self.cgroups.processes(self.cgroups.of_host(host))
            )
        in_flight = {
            watched.id
            for watched in self.instances
            if marked(watched) or not all_run(PROGRAMS[watched.group], running[watched.host.name])
        }
        self.looks.append(Look(time.monotonic(), frozenset(in_flight)))

    def _name(self, process: int) -> str:
        found = self._names.get(process)
        # a process has its name when it has loaded its program, a moment after it began
        if found is None or found in {"sh", "setpriv", "python3", "supervisord", "diego-job"}:
            try:
                found = Path(f"/proc/{process}/comm").read_text().strip()
            except OSError:
                found = ""
            self._names[process] = found
        return found


def all_run(programs: Collection[str], running: Collection[str]) -> bool:
    return all(program[:COMM] in running for program in programs)


def marked(watched: Watched) -> bool:
    path = watched.host.root / f"var/vcap/instances/{watched.id}.json"
    try:
        return str(json.loads(path.read_text())["state"]) != "clean"
    except FileNotFoundError:
        return False


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


def longest_pause(looks: Sequence[Look]) -> float:
    """The longest time between two looks."""
    return max((after.at - before.at for before, after in itertools.pairwise(looks)), default=0.0)


def _counts(look: Look, where: Mapping[str, tuple[str, str]]) -> list[int]:
    places = [where[name] for name in look.in_flight]
    return [places.count(place) for place in set(places)]
