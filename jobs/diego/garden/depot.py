"""What garden knows of its containers and processes, on disk, so that it knows it again after a kill.

    DEPOT/HANDLE/record.json      the container
    DEPOT/HANDLE/...              its bundle, disk, files (disks.py, engine.py)
    DEPOT/HANDLE/processes/ID/    a process: record.json, its FIFOs, pid, exit
    DEPOT/HANDLE/peas/NAME/       what a process with an image of its own has besides (peas.py)

A file is written beside its place and renamed. A record that cannot be read belongs to
a container that was never whole, or to one of before a power cut: it is removed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from diego.garden.core.network import Link
from diego.garden.core.specs import DiskScope, Limits, NetOutRule, PortMapping, Protocol

RECORD = "record.json"


class State(StrEnum):
    """How far a container has come."""

    CREATING = "creating"
    CREATED = "created"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """One container. Times in nanoseconds since the epoch, `start_time` of its init in clock ticks."""

    handle: str
    created_at: int
    address: str
    state: State = State.CREATING
    pid: int = 0
    start_time: int = 0
    image: str = ""
    image_bytes: int = 0
    image_env: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    grace_time: int = 0
    properties: dict[str, str] = field(default_factory=dict)
    ports: tuple[PortMapping, ...] = ()
    net_out: tuple[NetOutRule, ...] = ()

    @property
    def link(self) -> Link:
        """Its part of the network."""
        return Link(self.address, self.ports, self.net_out, self.handle)

    def with_property(self, key: str, value: str | None) -> ContainerRecord:
        """The record with a property set, or without it for None."""
        properties = {**self.properties, key: value}
        return replace(self, properties={k: v for k, v in properties.items() if v is not None})


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """One process; pid and start time are 0 until they are known."""

    id: str
    pid: int = 0
    start_time: int = 0
    input_ended: bool = False


class Depot:
    """The directory of all containers."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def prepare(self) -> None:
        """Make the directory. Containers' root must be able to pass through it."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o711)

    def of(self, handle: str) -> Path:
        """A container's directory."""
        return self.directory / handle

    def process(self, handle: str, process_id: str) -> Path:
        """A process's directory."""
        return self.of(handle) / "processes" / quote(process_id, safe="")

    def save(self, record: ContainerRecord) -> None:
        """Write a container's record, to stay even if the power goes."""
        write_durably(self.of(record.handle) / RECORD, asdict(record))

    def save_process(self, handle: str, record: ProcessRecord) -> None:
        """Write a process's record. A power cut ends the process, so it need not outlive one."""
        write(self.process(handle, record.id) / RECORD, asdict(record))

    def containers(self) -> Iterator[tuple[str, ContainerRecord | None]]:
        """All that lie here; None for the record of those that cannot be understood."""
        for path in sorted(self.directory.iterdir()):
            yield path.name, _container(_read(path / RECORD))

    def processes(self, handle: str) -> Iterator[tuple[Path, ProcessRecord | None]]:
        """All processes of a container, oldest first."""
        top = self.of(handle) / "processes"
        if not top.is_dir():
            return
        for path in sorted(top.iterdir(), key=lambda path: path.stat().st_mtime_ns):
            found = _read(path / RECORD)
            known = found is not None and found.get("id") == unquote(path.name)
            yield path, ProcessRecord(**found) if found is not None and known else None

    def remove(self, handle: str) -> None:
        """Remove a container's directory; everything in it must be unmounted."""
        shutil.rmtree(self.of(handle), ignore_errors=False)


def write(path: Path, document: Any) -> None:
    """Write JSON; a reader finds the old or the new, never a part."""
    new = path.with_name(path.name + ".new")
    new.write_text(json.dumps(document) + "\n")
    new.rename(path)


def write_durably(path: Path, document: Any) -> None:
    """The same, and it is on the disk afterwards."""
    new = path.with_name(path.name + ".new")
    with new.open("w") as file:
        file.write(json.dumps(document) + "\n")
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _container(found: dict[str, Any] | None) -> ContainerRecord | None:
    if found is None:
        return None
    try:
        limits = {**found["limits"], "disk_scope": DiskScope(found["limits"]["disk_scope"])}
        return ContainerRecord(
            **{
                **found,
                "state": State(found["state"]),
                "limits": Limits(**limits),
                "env": tuple(found["env"]),
                "image_env": tuple(found["image_env"]),
                "ports": tuple(PortMapping(**port) for port in found["ports"]),
                "net_out": tuple(_net_out(rule) for rule in found["net_out"]),
            }
        )
    except (TypeError, ValueError, KeyError):
        return None


def _net_out(rule: dict[str, Any]) -> NetOutRule:
    return NetOutRule(
        **{
            **rule,
            "protocol": Protocol(rule["protocol"]),
            "networks": tuple((start, end) for start, end in rule["networks"]),
            "ports": tuple((start, end) for start, end in rule["ports"]),
        }
    )
