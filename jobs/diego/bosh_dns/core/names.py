"""The table of names, from what is known of each host's health.

A *smart* name stands for its group's instances on hosts that are well or were not asked yet; if there is none, for
all of them, since a wrong answer is better than none. An *all* name stands for all of them: a standby refuses
connections, and its clients go through the addresses. Besides, each instance has a name of its own,
`<instance id>.<name>`, which never stands for another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Filter(StrEnum):
    """Which instances a name stands for."""

    SMART = "smart"
    ALL = "all"


@dataclass(frozen=True)
class Name:
    """One name of the deployment."""

    name: str
    group: str
    filter: Filter = Filter.SMART
    per_instance: bool = False
    """Only the instances have names: `<instance id>.<name>`."""


@dataclass(frozen=True)
class Instance:
    """One instance of a group. Several may live on one host, and share its address."""

    id: str
    group: str
    address: str


Health = Mapping[str, bool]
"""Whether the host with that address is well; one that was not asked yet is not there."""


def addresses(name: Name, instances: Sequence[Instance], health: Health) -> list[str]:
    """The addresses of the name itself."""
    if name.per_instance:
        return []
    every = list(dict.fromkeys(instance.address for instance in instances if instance.group == name.group))
    if name.filter is Filter.ALL:
        return every
    return [address for address in every if health.get(address, True)] or every


def hosts_file(name: Name, instances: Sequence[Instance], health: Health) -> str:
    """The lines that tell dnsmasq of the name and of its instances' names."""
    lines = [f"{address} {name.name}" for address in addresses(name, instances, health)]
    lines += [
        f"{instance.address} {instance.id}.{name.name}"
        for instance in instances
        if instance.group == name.group
    ]
    return "".join(f"{line}\n" for line in lines)


def to_be_asked(names: Sequence[Name], instances: Sequence[Instance], own: frozenset[str]) -> list[str]:
    """Addresses of the hosts whose health decides something, without our own."""
    asked: dict[str, None] = {}
    for name in names:
        if name.filter is not Filter.SMART or name.per_instance:
            continue
        group = {instance.address: None for instance in instances if instance.group == name.group}
        if len(group) > 1:
            asked |= group
    return [address for address in asked if address not in own]


RUNNING = "running"


def host_state(programs: Mapping[str, str], checked: str | None) -> str:
    """The state of this host: the worst of what supervisor says of its programs and what the healthchecker found.

    `programs`: supervisor's state of each. `checked`: the healthchecker's word, None when it does not answer.
    """
    states = set(programs.values())
    if states & {"FATAL", "EXITED", "UNKNOWN"}:
        return "failing"
    if states & {"STARTING", "BACKOFF"}:
        return "starting"
    if states & {"STOPPED", "STOPPING"}:
        return "stopped"
    return RUNNING if checked is None else checked
