"""What a lab's name decides: its subnet, and what its bridge, links, tables and directories are called."""

import os
import re
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from zlib import crc32

LAB_NAME = re.compile(r"[a-z][a-z0-9]{0,7}")
HOST_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
FIRST_HOST = 10
"""The last octet of the first host's address."""
MOST_HOSTS = 200
NETWORK = "10.97.{}.0/24"


class LabError(Exception):
    """The lab cannot do what was asked; the message says why, and what helps."""


def state_directory() -> Path:
    """Where labs keep their disks: outside every checkout, so that the next run finds what a cut one left."""
    return Path(os.environ.get("DIEGO_LAB_DIR", "/var/lib/diego-lab"))


@dataclass(frozen=True)
class Lab:
    """A lab, living or dead. Everything of it on the machine can be found by its name alone."""

    name: str

    def __post_init__(self) -> None:
        if not LAB_NAME.fullmatch(self.name):
            raise LabError(f"{self.name!r}: a lab's name has 1 to 8 of a-z and 0-9, and begins with a letter")

    @cached_property
    def directory(self) -> Path:
        return state_directory() / self.name

    @cached_property
    def subnet(self) -> IPv4Network:
        return IPv4Network(NETWORK.format(crc32(self.name.encode()) % 254 + 1))

    @property
    def gateway(self) -> IPv4Address:
        return self.subnet[1]

    @property
    def bridge(self) -> str:
        return f"dlb-{self.name}"

    @property
    def link_prefix(self) -> str:
        """Links and network namespaces of the lab's hosts begin with this."""
        return f"dl-{self.name}-"

    @property
    def table(self) -> str:
        """The nftables table with the lab's way out."""
        return f"diego_lab_{self.name}"

    @property
    def cgroup(self) -> str:
        return f"diego-lab-{self.name}"

    @property
    def key(self) -> Path:
        """The SSH key of the hosts' root."""
        return self.directory / "id"

    @property
    def record(self) -> Path:
        """What the lab was made from and for whom (JSON)."""
        return self.directory / "lab.json"

    def host(self, name: str, number: int) -> "HostIdentity":
        return HostIdentity(self, name, number)


@dataclass(frozen=True)
class HostIdentity:
    """One host of a lab: the `number`-th of its topology, counted from 0."""

    lab: Lab
    name: str
    number: int

    def __post_init__(self) -> None:
        if not HOST_NAME.fullmatch(self.name):
            raise LabError(f"{self.name!r}: a host's name has up to 31 of a-z, 0-9 and -")
        if not 0 <= self.number < MOST_HOSTS:
            raise LabError(f"a lab has at most {MOST_HOSTS} hosts")

    @property
    def address(self) -> IPv4Address:
        return self.lab.subnet[FIRST_HOST + self.number]

    @property
    def link(self) -> str:
        """The machine's end of the host's cable; the kernel allows 15 characters."""
        return f"{self.lab.link_prefix}{self.number}"

    @property
    def directory(self) -> Path:
        return self.lab.directory / "hosts" / self.name

    @property
    def root(self) -> Path:
        """Where the host's disk is mounted on the machine."""
        return self.directory / "root"


def mac_for(address: IPv4Address) -> str:
    """A fixed hardware address for an IP address.

    A host that comes back has its old one, so that its neighbours' ARP entries are still right; a bridge without a fixed
    one takes the lowest of its ports', and changes as hosts come and go.
    """
    return "02:61:" + ":".join(f"{octet:02x}" for octet in address.packed)
