"""What is put up for auction: single instances of an LRP, and tasks (contract/auction.md section 2)."""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias


@dataclass(frozen=True, slots=True)
class Demand:
    """What a cell must offer.

    Attributes:
        placement_tags, volume_drivers: None where the sender wrote null; passed on to the cell as it came.
    """

    rootfs: str
    memory_mb: int = 0
    disk_mb: int = 0
    max_pids: int = 0
    placement_tags: tuple[str, ...] | None = None
    volume_drivers: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class LRPStart:
    """One instance to be placed."""

    process_guid: str
    index: int
    domain: str
    demand: Demand


@dataclass(frozen=True, slots=True)
class TaskStart:
    """One task to be placed."""

    task_guid: str
    domain: str
    demand: Demand


Start: TypeAlias = LRPStart | TaskStart


class Key(NamedTuple):
    """What tells two starts apart; `number` is the index, and 0 for a task."""

    is_task: bool
    guid: str
    number: int


def key_of(start: Start) -> Key:
    if isinstance(start, LRPStart):
        return Key(is_task=False, guid=start.process_guid, number=start.index)
    return Key(is_task=True, guid=start.task_guid, number=0)
