"""What the auctioneer offers a cell, and what the cell says of itself: JSON of contract/auction.md section 4.

Keys are read in any case, as the original's reader does; they are written exactly as there.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class BadWork(ValueError):
    """The body of a work request cannot be understood."""


@dataclass(frozen=True, slots=True)
class LrpWork:
    """An instance to run. MiB; `max_pids` 0 is no limit; tags and drivers None when absent."""

    process_guid: str
    index: int
    domain: str
    rootfs: str
    memory_mb: int
    disk_mb: int
    max_pids: int = 0
    placement_tags: tuple[str, ...] | None = None
    volume_drivers: tuple[str, ...] | None = None
    instance_guid: str = ""
    state: str = ""

    def document(self) -> dict[str, Any]:
        return {
            "instance_guid": self.instance_guid,
            "process_guid": self.process_guid,
            "index": self.index,
            "domain": self.domain,
            **_placement(self),
            "state": self.state,
        }


@dataclass(frozen=True, slots=True)
class TaskWork:
    """A task to run."""

    task_guid: str
    domain: str
    rootfs: str
    memory_mb: int
    disk_mb: int
    max_pids: int = 0
    placement_tags: tuple[str, ...] | None = None
    volume_drivers: tuple[str, ...] | None = None
    state: str = ""
    failed: bool = False

    def document(self) -> dict[str, Any]:
        return {
            "TaskGuid": self.task_guid,
            "Domain": self.domain,
            **_placement(self),
            "state": self.state,
            "failed": self.failed,
        }


@dataclass(frozen=True, slots=True)
class Work:
    """LRPs and tasks for one cell. The cell id is empty where the caller named none."""

    lrps: tuple[LrpWork, ...] = ()
    tasks: tuple[TaskWork, ...] = ()
    cell_id: str = ""

    def encode(self) -> bytes:
        """The JSON of what was not accepted."""
        document: dict[str, Any] = {
            "LRPs": [lrp.document() for lrp in self.lrps],
            "Tasks": [task.document() for task in self.tasks],
        }
        if self.cell_id:
            document["cell_id"] = self.cell_id
        return line(document)


def decode_work(body: bytes) -> Work:
    """The work in a request's body.

    Raises:
        BadWork: it is not the JSON of work.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadWork(f"not JSON: {error}") from error
    fields = _Fields(document)
    return Work(
        lrps=tuple(_lrp(_Fields(item)) for item in fields.items("lrps")),
        tasks=tuple(_task(_Fields(item)) for item in fields.items("tasks")),
        cell_id=fields.text("cell_id"),
    )


def line(document: Mapping[str, Any]) -> bytes:
    """JSON with the newline that ends every answer of the rep."""
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def _lrp(fields: "_Fields") -> LrpWork:
    return LrpWork(
        process_guid=fields.text("process_guid"),
        index=fields.number("index"),
        domain=fields.text("domain"),
        rootfs=fields.text("rootfs"),
        memory_mb=fields.number("memorymb"),
        disk_mb=fields.number("diskmb"),
        max_pids=fields.number("maxpids"),
        placement_tags=fields.texts("placementtags"),
        volume_drivers=fields.texts("volumedrivers"),
        instance_guid=fields.text("instance_guid"),
        state=fields.text("state"),
    )


def _task(fields: "_Fields") -> TaskWork:
    return TaskWork(
        task_guid=fields.text("taskguid"),
        domain=fields.text("domain"),
        rootfs=fields.text("rootfs"),
        memory_mb=fields.number("memorymb"),
        disk_mb=fields.number("diskmb"),
        max_pids=fields.number("maxpids"),
        placement_tags=fields.texts("placementtags"),
        volume_drivers=fields.texts("volumedrivers"),
        state=fields.text("state"),
        failed=fields.flag("failed"),
    )


def _placement(item: LrpWork | TaskWork) -> dict[str, Any]:
    return {
        "PlacementTags": _list(item.placement_tags),
        "VolumeDrivers": _list(item.volume_drivers),
        "RootFs": item.rootfs,
        "MemoryMB": item.memory_mb,
        "DiskMB": item.disk_mb,
        "MaxPids": item.max_pids,
    }


def _list(texts: Sequence[str] | None) -> list[str] | None:
    return None if texts is None else list(texts)


class _Fields:
    """An object's members by lower-case name; null counts as absent."""

    def __init__(self, found: object) -> None:
        if not isinstance(found, dict):
            raise BadWork(f"not an object: {found!r}"[:200])
        self._members = {key.lower(): value for key, value in found.items() if value is not None}

    def text(self, name: str) -> str:
        return str(self._of(name, str, ""))

    def number(self, name: str) -> int:
        value = self._of(name, int, 0)
        if isinstance(value, bool):
            raise BadWork(f"{name}: not a number")
        return int(value)

    def flag(self, name: str) -> bool:
        return bool(self._of(name, bool, default=False))

    def items(self, name: str) -> list[Any]:
        return list(self._of(name, list, []))

    def texts(self, name: str) -> tuple[str, ...] | None:
        if name not in self._members:
            return None
        items = self.items(name)
        if not all(isinstance(item, str) for item in items):
            raise BadWork(f"{name}: not a list of texts")
        return tuple(items)

    def _of(self, name: str, kind: type[Any], default: Any) -> Any:
        value = self._members.get(name, default)
        if not isinstance(value, kind):
            raise BadWork(f"{name}: not what it should be: {value!r}"[:200])
        return value
