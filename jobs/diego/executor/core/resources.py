"""Room on this cell: what it has, what is taken, and what `auto` means (contract/rep.md section 8)."""

from collections.abc import Iterable
from dataclasses import dataclass

MEBIBYTE = 1 << 20


class BadCapacity(ValueError):
    """A memory or disk limit that says nothing usable."""


@dataclass(frozen=True, slots=True)
class Room:
    """Memory and disk in MiB, and container slots."""

    memory_mb: int
    disk_mb: int
    containers: int

    def minus(self, taken: "Room") -> "Room":
        return Room(
            self.memory_mb - taken.memory_mb, self.disk_mb - taken.disk_mb, self.containers - taken.containers
        )

    def holds(self, wanted: "Room") -> bool:
        return (
            wanted.memory_mb <= self.memory_mb
            and wanted.disk_mb <= self.disk_mb
            and wanted.containers <= self.containers
        )


@dataclass(frozen=True, slots=True)
class Demand:
    """What one container takes until it is destroyed; a completed one still counts.

    `max_pids` 0 is no limit. `rootfs` is the URI as it was asked for.
    """

    memory_mb: int
    disk_mb: int
    max_pids: int
    rootfs: str

    @property
    def room(self) -> Room:
        return Room(self.memory_mb, self.disk_mb, 1)


def remaining(total: Room, demands: Iterable[Demand]) -> Room:
    """What is left of `total`. It may be negative after the cell was configured smaller than what it holds."""
    room = total
    for demand in demands:
        room = room.minus(demand.room)
    return room


def memory_capacity(setting: str, garden_bytes: int) -> int:
    """MiB that this cell offers.

    Raises:
        BadCapacity: neither `auto` nor a positive number.
    """
    if setting == "auto":
        return garden_bytes // MEBIBYTE
    return _positive(setting, "memory limit must be a positive number or 'auto'")


def disk_capacity(
    setting: str, *, disk_bytes: int, schedulable_bytes: int, cache_bytes: int, overhead_mb: int
) -> int:
    """MiB of disk that this cell offers.

    With `auto`, `schedulable_bytes` (0 when it is not to be used or not known)
    counts as it is, while the cache has to fit beside what `disk_bytes` gives.

    Raises:
        BadCapacity: neither `auto` nor a positive number, or `auto` leaves nothing.
    """
    if setting != "auto":
        return _positive(setting, "disk limit must be a positive number or 'auto'")
    usable = schedulable_bytes if schedulable_bytes > 0 else disk_bytes - cache_bytes
    megabytes = usable // MEBIBYTE - overhead_mb
    if megabytes <= 0:
        raise BadCapacity("auto disk limit must result in a positive number")
    return megabytes


def container_capacity(garden_maximum: int) -> int:
    """Containers offered: one of the engine's is kept for its health check."""
    return max(garden_maximum - 1, 0)


def _positive(setting: str, fault: str) -> int:
    try:
        number = int(setting)
    except ValueError:
        raise BadCapacity(fault) from None
    if number <= 0:
        raise BadCapacity(fault)
    return number
