"""What is free on the cells, each by its own word or by the auctioneer's."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diego.cli.core.words import Row, natural

Json = Mapping[str, Any]

CELL_COLUMNS = ("CELL", "ZONE", "FREE MB", "FREE DISK MB", "FREE CONTAINERS", "LRPS", "TASKS", "STATE")
ZONE_COLUMNS = ("ZONE", "CELLS", "FREE MB", "FREE DISK MB", "FREE CONTAINERS", "LRPS", "TASKS")
READY = "ready"


@dataclass(frozen=True, slots=True)
class Room:
    """One cell. `free` and `total` are memory, disk and containers; `free` is None where the cell does not say."""

    cell_id: str
    zone: str
    total: tuple[int, int, int]
    free: tuple[int, int, int] | None
    lrps: int
    tasks: int
    state: str = READY

    def row(self) -> Row:
        free = _of(self.free, self.total)
        return [self.cell_id, self.zone, *free, str(self.lrps), str(self.tasks), self.state]

    def document(self) -> dict[str, Any]:
        names = ("memory_mb", "disk_mb", "containers")
        return {
            "cell_id": self.cell_id,
            "zone": self.zone,
            "state": self.state,
            "available": None if self.free is None else dict(zip(names, self.free, strict=True)),
            "total": dict(zip(names, self.total, strict=True)),
            "lrps": self.lrps,
            "tasks": self.tasks,
        }


def by_its_word(cell: Json, answer: Json | Exception | None) -> Room:
    """A cell of the BBS's list with its own answer to the question for its state, or why there is none."""
    if not isinstance(answer, Mapping):
        state = f"silent: {answer}" if answer is not None else "silent"
        return Room(cell["cell_id"], cell["zone"], _total(cell), None, cell["lrps"], cell["tasks"], state)
    return Room(
        cell["cell_id"],
        cell["zone"],
        _resources(answer.get("TotalResources"), "MemoryMB", "DiskMB", "Containers"),
        _resources(answer.get("AvailableResources"), "MemoryMB", "DiskMB", "Containers"),
        len(answer.get("LRPs") or ()),
        len(answer.get("Tasks") or ()),
        "evacuating" if answer.get("Evacuating") else READY,
    )


def by_the_auctioneer(cells: Iterable[Json], seen: Json) -> list[Room]:
    """The BBS's cells as the auctioneer saw them when it last asked them."""
    states = {state["cell_id"]: state for state in seen.get("cells", ())}
    left_out = seen.get("left_out", {})
    rooms = []
    for cell in cells:
        state = states.get(cell["cell_id"], {})
        free = _resources(state["available"], *_NAMES) if "available" in state else None
        word = "evacuating" if left_out.get(cell["cell_id"]) == "is being emptied" else READY
        if cell["cell_id"] in left_out and word == READY:
            word = f"silent: {left_out[cell['cell_id']]}"
        rooms.append(
            Room(cell["cell_id"], cell["zone"], _total(cell), free, cell["lrps"], cell["tasks"], word)
        )
    return rooms


def zone_rows(rooms: Sequence[Room]) -> list[Row]:
    """The cells of each zone together."""
    rows = []
    for zone in sorted({room.zone for room in rooms}, key=natural):
        mine = [room for room in rooms if room.zone == zone]
        told = [room.free for room in mine if room.free is not None]
        free = _sum(told) if told else None
        rows.append(
            [
                zone,
                str(len(mine)),
                *_of(free, _sum([room.total for room in mine])),
                str(sum(room.lrps for room in mine)),
                str(sum(room.tasks for room in mine)),
            ]
        )
    return rows


_NAMES = ("memory_mb", "disk_mb", "containers")


def _total(cell: Json) -> tuple[int, int, int]:
    return _resources(cell.get("capacity"), *_NAMES)


def _resources(told: Json | None, memory: str, disk: str, containers: str) -> tuple[int, int, int]:
    told = told or {}
    return int(told.get(memory) or 0), int(told.get(disk) or 0), int(told.get(containers) or 0)


def _sum(numbers: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
    memory, disk, containers = (sum(column) for column in zip(*numbers, strict=True))
    return memory, disk, containers


def _of(free: Sequence[int] | None, total: Sequence[int]) -> list[str]:
    return [f"{left if free else '-'}/{whole}" for left, whole in zip(free or total, total, strict=True)]
