"""How good a cell is for an instance or a task: the lower, the better (contract/auction.md sections 5.5 and 5.6).

A score is the share of the cell that is used once the work is there (mean of memory, disk and container slots), more
for each container that is just starting, and 1000 for each neighbour that it should be kept apart from. While
a round goes on no cell's score falls, since work is only added: that makes a lazy heap of scores exact.
"""

import heapq
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from diego.auctioneer.core.cells import CellState

LOCALITY = 1000
"""Added per instance of the same process (per task, for a task) that is on the cell."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator weighs.

    Attributes:
        starting_container_weight: added to a score per starting container.
        bin_pack_first_fit_weight: added per place in the row of the zone's cells, by deployment index; 0: off.
        starting_container_maximum: of all cells together; 0 or less: no limit.
    """

    starting_container_weight: float = 0.25
    bin_pack_first_fit_weight: float = 0.0
    starting_container_maximum: int = 0


class Room:
    """What is left of one cell, in the course of a round."""

    __slots__ = ("containers", "disk", "index_score", "memory", "order", "starting", "state", "tasks")

    def __init__(self, state: CellState, order: int, index_score: float) -> None:
        self.state = state
        self.order = order
        self.index_score = index_score
        self.memory = state.available.memory_mb
        self.disk = state.available.disk_mb
        self.containers = state.available.containers
        self.starting = state.starting
        self.tasks = state.tasks

    def take(self, memory: int, disk: int) -> None:
        """Give room away. The proxy's memory is not counted, as in the original: the cell itself does."""
        self.memory -= memory
        self.disk -= disk
        self.containers -= 1
        self.starting += 1


class Shape(NamedTuple):
    """How large something is. `proxied`: an instance, beside which the cell may run a proxy."""

    memory: int
    disk: int
    proxied: bool

    def fits(self, room: Room) -> bool:
        proxy = room.state.proxy_memory_mb if self.proxied else 0
        return room.containers >= 1 and self.memory + proxy <= room.memory and self.disk <= room.disk

    def lacks(self, room: Room, resource: str) -> bool:
        """Whether the room has too little of `containers`, `disk` or `memory`."""
        if resource == "containers":
            return room.containers < 1
        if resource == "disk":
            return self.disk > room.disk
        return self.memory + (room.state.proxy_memory_mb if self.proxied else 0) > room.memory


RESOURCES = ("containers", "disk", "memory")


def use_score(room: Room, shape: Shape, starting_weight: float) -> float:
    """The share that would be used, and what the starting containers add."""
    total = room.state.total
    memory = shape.memory + (room.state.proxy_memory_mb if shape.proxied else 0)
    used = (
        _used(room.memory - memory, total.memory_mb)
        + _used(room.disk - shape.disk, total.disk_mb)
        + _used(room.containers - 1, total.containers)
    )
    return used / 3.0 + room.starting * starting_weight


def _used(left: int, total: int) -> float:
    return 1.0 - left / total if total > 0 else 1.0


Scored: TypeAlias = tuple[float, int, Room]
"""Score, then the room's place in the walk over all cells, which settles ties: smaller is better."""


class Candidates:
    """Rooms for one shape, the best at hand. Scores are looked at again only when a room comes to the top."""

    __slots__ = ("_heap", "_score", "_shape")

    def __init__(self, rooms: Iterable[Room], shape: Shape, score: Callable[[Room], float]) -> None:
        self._shape = shape
        self._score = score
        self._heap: list[Scored] = [(score(room), room.order, room) for room in rooms if shape.fits(room)]
        heapq.heapify(self._heap)

    def best(self, without: Collection[Room] = ()) -> Scored | None:
        """The best room that fits and is not among `without`."""
        heap = self._heap
        set_aside: list[Scored] = []
        found: Scored | None = None
        while heap:
            top = heap[0]
            room = top[2]
            if not self._shape.fits(room):
                heapq.heappop(heap)
                continue
            score = self._score(room)
            if score > top[0]:
                heapq.heapreplace(heap, (score, room.order, room))
            elif room in without:
                set_aside.append(heapq.heappop(heap))
            else:
                found = top
                break
        for scored in set_aside:
            heapq.heappush(heap, scored)
        return found


class Shortage:
    """What every room lacks. What a room lacks in a round it lacks to the round's end, so no room is asked twice."""

    __slots__ = ("_passed", "_rooms", "_shape")

    def __init__(self, rooms: list[Room], shape: Shape) -> None:
        self._rooms = rooms
        self._shape = shape
        self._passed = dict.fromkeys(RESOURCES, 0)

    def common(self) -> list[str]:
        """The resources of which no room has enough."""
        return [resource for resource in RESOURCES if self._everywhere(resource)]

    def _everywhere(self, resource: str) -> bool:
        at = self._passed[resource]
        while at < len(self._rooms) and self._shape.lacks(self._rooms[at], resource):
            at += 1
        self._passed[resource] = at
        return at == len(self._rooms)
