"""What a client asks for: containers, processes, rules, read from JSON at the boundary.

The reading is the original's (contract/garden.md section 1): names match in any
case, unknown ones are ignored, `null` is as good as absent, and what is absent is
zero. A value of the wrong kind is an error that names the field.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, TypeVar

from diego.garden.errors import GardenError

T = TypeVar("T")

# runc's own rule for container ids; a handle is used as one, and as a directory's name.
HANDLE = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9_.+-]{0,199}")
# Fits a 64-bit signed integer, as every number on the wire does.
LARGEST = 2**63 - 1


class Fields:
    """A JSON object as the original reads it, with the place it stands at for error texts."""

    def __init__(self, value: Any, place: str) -> None:
        if value is None:
            value = {}
        if not isinstance(value, Mapping):
            raise GardenError(f"{place}: not an object")
        self.place = place
        self._values = {str(key).lower(): item for key, item in value.items() if item is not None}

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str) -> str:
        return str(self._typed(name, str, "", "a string"))

    def boolean(self, name: str) -> bool:
        return bool(self._typed(name, bool, False, "a boolean"))

    def number(self, name: str, *, lowest: int = 0) -> int:
        value = self._values.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int):
            raise GardenError(f"{self.place}.{name}: not an integer")
        if not lowest <= value <= LARGEST:
            raise GardenError(f"{self.place}.{name}: {value} is out of range")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        values = self._typed(name, list, [], "a list")
        if not all(isinstance(value, str) for value in values):
            raise GardenError(f"{self.place}.{name}: not a list of strings")
        return tuple(values)

    def mapping(self, name: str) -> dict[str, str]:
        values = self._typed(name, dict, {}, "an object")
        if not all(isinstance(value, str) for value in values.values()):
            raise GardenError(f"{self.place}.{name}: its values are not strings")
        return dict(values)

    def fields(self, name: str) -> Fields:
        return Fields(self._values.get(name), f"{self.place}.{name}")

    def each(self, name: str, read: Callable[[Fields], T]) -> tuple[T, ...]:
        values = self._typed(name, list, [], "a list")
        return tuple(
            read(Fields(value, f"{self.place}.{name}[{number}]")) for number, value in enumerate(values)
        )

    def _typed(self, name: str, kind: type, default: Any, word: str) -> Any:
        value = self._values.get(name, default)
        if not isinstance(value, kind):
            raise GardenError(f"{self.place}.{name}: not {word}")
        return value


@dataclass(frozen=True, slots=True)
class Image:
    """Where a root file system comes from: a URI, or the path of a tar file."""

    uri: str = ""
    username: str = ""
    password: str = ""


@dataclass(frozen=True, slots=True)
class BindMount:
    """A file or directory of the host that the container sees at `destination`."""

    source: str
    destination: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class PortMapping:
    """A TCP port of the host that leads to a port of the container; 0 asks garden to choose."""

    host_port: int
    container_port: int


class DiskScope(IntEnum):
    """Whether the image counts towards the disk limit."""

    TOTAL = 0
    EXCLUSIVE = 1


@dataclass(frozen=True, slots=True)
class Limits:
    """What a container may use; 0 is no limit. Memory and disk in bytes."""

    memory: int = 0
    disk: int = 0
    inodes: int = 0
    disk_scope: DiskScope = DiskScope.TOTAL
    cpu_shares: int = 0
    pids: int = 0


class Protocol(IntEnum):
    """What a net-out rule is about."""

    ALL = 0
    TCP = 1
    UDP = 2
    ICMP = 3
    ICMPV6 = 4


@dataclass(frozen=True, slots=True)
class NetOutRule:
    """Traffic of a container that is allowed out in spite of the denied networks.

    `networks` are inclusive pairs of IPv4 addresses, `ports` of numbers; without
    them everything is meant. `icmp_code` None is every code.
    """

    protocol: Protocol = Protocol.ALL
    networks: tuple[tuple[str, str], ...] = ()
    ports: tuple[tuple[int, int], ...] = ()
    icmp_type: int | None = None
    icmp_code: int | None = None
    log: bool = False


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """A container that a client wants (contract/garden.md section 4)."""

    handle: str = ""
    grace_time: int = 0
    image: Image = field(default_factory=Image)
    bind_mounts: tuple[BindMount, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    env: tuple[str, ...] = ()
    privileged: bool = False
    limits: Limits = field(default_factory=Limits)
    net_in: tuple[PortMapping, ...] = ()
    net_out: tuple[NetOutRule, ...] = ()


@dataclass(frozen=True, slots=True)
class WindowSize:
    """A terminal's size in characters."""

    columns: int = 80
    rows: int = 24


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A process that a client wants in a container (contract/garden.md section 5).

    With an `image` it is a pea: it has a root file system of its own, and the bind mounts
    are its. With `limits`, even none, the container's do not hold for it.
    """

    path: str
    id: str = ""
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    directory: str = ""
    user: str = ""
    rlimits: Mapping[str, int] = field(default_factory=dict)
    image: Image = field(default_factory=Image)
    bind_mounts: tuple[BindMount, ...] = ()
    limits: Limits | None = None

    @property
    def is_pea(self) -> bool:
        """Whether it has a root file system of its own."""
        return bool(self.image.uri)


RLIMITS = (
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "sigpending",
    "stack",
)


def container_spec(value: Any) -> ContainerSpec:
    """Read a ContainerSpec.

    Raises:
        GardenError: a field has a wrong value, or asks for what this engine does not offer.
    """
    fields = Fields(value, "container")
    handle = fields.text("handle")
    if handle and not HANDLE.fullmatch(handle):
        raise GardenError(f"invalid handle: {handle!r}")
    if fields.text("network"):
        raise GardenError("container.network: addresses are chosen by this engine")
    return ContainerSpec(
        handle=handle,
        grace_time=fields.number("grace_time"),
        image=_image_or_rootfs(fields),
        bind_mounts=fields.each("bind_mounts", _bind_mount),
        properties=fields.mapping("properties"),
        env=_environment(fields),
        privileged=fields.boolean("privileged"),
        limits=_limits(fields.fields("limits")),
        net_in=fields.each("netin", port_mapping),
        net_out=fields.each("netout_rules", _net_out_rule),
    )


def process_spec(value: Any) -> ProcessSpec:
    """Read a ProcessSpec.

    Raises:
        GardenError: a field has a wrong value, or asks for what this engine does not offer.
    """
    fields = Fields(value, "process")
    path = fields.text("path")
    if not path:
        raise GardenError("process.path: missing")
    if "tty" in fields:
        raise GardenError("process.tty: terminals are not offered by this engine")
    image, bind_mounts = _image(fields.fields("image")), fields.each("bind_mounts", _bind_mount)
    if bind_mounts and not image.uri:
        raise GardenError("Running a process with bind mounts and no image provided is not allowed")
    return ProcessSpec(
        id=_process_id(fields.text("id")),
        path=path,
        args=_without_nul(fields, "args"),
        env=_environment(fields),
        directory=fields.text("dir"),
        user=fields.text("user"),
        rlimits=_rlimits(fields.fields("rlimits")),
        image=image,
        bind_mounts=bind_mounts,
        limits=_limits(fields.fields("limits")) if "limits" in fields else None,
    )


def port_mapping(fields: Fields) -> PortMapping:
    """Read a port mapping."""
    return PortMapping(_port(fields, "host_port"), _port(fields, "container_port"))


def net_out_rules(value: Any) -> tuple[NetOutRule, ...]:
    """Read a list of net-out rules, or a single one."""
    if isinstance(value, list):
        return Fields({"rules": value}, "bulk").each("rules", _net_out_rule)
    return (_net_out_rule(Fields(value, "rule")),)


def _image(fields: Fields) -> Image:
    return Image(fields.text("uri"), fields.text("username"), fields.text("password"))


def _image_or_rootfs(fields: Fields) -> Image:
    image = _image(fields.fields("image"))
    rootfs = fields.text("rootfs")
    if image.uri and rootfs:
        raise GardenError("Cannot provide both Image.URI and RootFSPath")
    return image if image.uri else Image(rootfs)


def _bind_mount(fields: Fields) -> BindMount:
    mount = BindMount(fields.text("src_path"), fields.text("dst_path"), fields.number("mode") == 1)
    if not mount.source.startswith("/") or not mount.destination.startswith("/"):
        raise GardenError(f"{fields.place}: src_path and dst_path must be absolute")
    return mount


def _environment(fields: Fields) -> tuple[str, ...]:
    """Environment entries; runc refuses what has no `=`, so say it here with the field's name."""
    entries = _without_nul(fields, "env")
    for entry in entries:
        if "=" not in entry[1:]:
            raise GardenError(f"{fields.place}.env: {entry!r} is not of the form NAME=VALUE")
    return entries


def _without_nul(fields: Fields, name: str) -> tuple[str, ...]:
    texts = fields.texts(name)
    if any("\0" in text for text in texts):
        raise GardenError(f"{fields.place}.{name}: a NUL character")
    return texts


def _limits(fields: Fields) -> Limits:
    disk, cpu = fields.fields("disk_limits"), fields.fields("cpu_limits")
    scope = disk.number("scope")
    if scope not in tuple(DiskScope):
        raise GardenError(f"{disk.place}.scope: {scope} is neither 0 nor 1")
    return Limits(
        memory=fields.fields("memory_limits").number("limit_in_bytes"),
        disk=disk.number("byte_hard"),
        inodes=disk.number("inode_hard"),
        disk_scope=DiskScope(scope),
        cpu_shares=cpu.number("weight") or cpu.number("limit_in_shares"),
        pids=fields.fields("pid_limits").number("max"),
    )


def _rlimits(fields: Fields) -> dict[str, int]:
    return {name: fields.number(name) for name in RLIMITS if name in fields}


def _process_id(value: str) -> str:
    if len(value) > 200 or "\0" in value:
        raise GardenError("process.id: longer than 200 characters, or holds a NUL")
    return value


def _port(fields: Fields, name: str) -> int:
    port = fields.number(name)
    if port > 65535:
        raise GardenError(f"{fields.place}.{name}: {port} is no port")
    return port


def _net_out_rule(fields: Fields) -> NetOutRule:
    number = fields.number("protocol")
    if number not in tuple(Protocol) or number == Protocol.ICMPV6:
        raise GardenError(f"invalid protocol: {number}")
    protocol = Protocol(number)
    ports = fields.each("ports", _port_range)
    if ports and protocol not in (Protocol.TCP, Protocol.UDP):
        raise GardenError(f"Ports cannot be specified for Protocol {protocol.name}")
    icmp = fields.fields("icmps") if "icmps" in fields and protocol is Protocol.ICMP else None
    return NetOutRule(
        protocol=protocol,
        networks=fields.each("networks", _address_range),
        ports=ports,
        icmp_type=icmp.number("type") if icmp else None,
        icmp_code=icmp.number("code") if icmp and "code" in icmp else None,
        log=fields.boolean("log"),
    )


def _port_range(fields: Fields) -> tuple[int, int]:
    start, end = _port(fields, "start"), _port(fields, "end")
    return start or end, end or start


def _address_range(fields: Fields) -> tuple[str, str]:
    start, end = fields.text("start"), fields.text("end")
    first, last = start or end, end or start
    try:
        lower, upper = ipaddress.IPv4Address(first), ipaddress.IPv4Address(last)
    except ValueError as error:
        raise GardenError(f"{fields.place}: {error}") from error
    if lower > upper:
        raise GardenError(f"{fields.place}: {first} is above {last}")
    return str(lower), str(upper)
