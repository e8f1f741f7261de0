"""One round: every start finds its cell, or the reason why none (contract/auction.md section 5).

The starts are placed one after the other, and each success changes what the next one finds. That is the original's
way, cell for cell; only the cost differs. It visits every cell, and every instance on it, for every start. Here

- what the filters let through is worked out once per distinct wish;
- instances of a process are counted per zone and per cell, and the counts kept;
- scores lie in heaps, one per zone and shape, shared by all processes of that shape. A process sees the rooms that it
  is not in through the shared heap, and scores those that it is in one by one; when these become many it gets a
  heap of its own.

`tests/support/auction_reference.py` does it the slow way; generated rounds hold the two together.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from diego.auctioneer.core import failures
from diego.auctioneer.core.batch import in_order
from diego.auctioneer.core.cells import CellState
from diego.auctioneer.core.explanations import NAMED_CELLS, Excluded, Explanation
from diego.auctioneer.core.filters import Stage, Wanted, parse_rootfs, refusal, stage_reached
from diego.auctioneer.core.scoring import (
    LOCALITY,
    Candidates,
    Policy,
    Room,
    Scored,
    Shape,
    Shortage,
    use_score,
)
from diego.auctioneer.core.starts import LRPStart, Start, TaskStart, key_of

OWN_HEAP_FROM = 48
"""Rooms of a zone that a process may be in before it gets a heap of its own there."""

_REASONS = {
    Stage.ROOTFS: "rootfs",
    Stage.VOLUME_DRIVERS: "volume drivers",
    Stage.PLACEMENT_TAGS: "placement tags",
}


@dataclass(slots=True)
class Outcome:
    """What a round came to.

    Attributes:
        work: per cell id, in the order of placement.
        refused: with the text for the BBS.
        explanations: one per start, in order.
    """

    work: dict[str, list[Start]] = field(default_factory=dict)
    refused: list[tuple[Start, str]] = field(default_factory=list)
    explanations: list[Explanation] = field(default_factory=list)


def schedule(cells: Iterable[CellState], starts: Iterable[Start], policy: Policy) -> Outcome:
    """Place `starts` on `cells`, those that can be used in this round."""
    ordered = in_order(starts)
    round_ = Round(cells, {start.process_guid for start in ordered if isinstance(start, LRPStart)}, policy)
    outcome = Outcome()
    for start in ordered:
        explanation = round_.place(start)
        outcome.explanations.append(explanation)
        if explanation.cell:
            outcome.work.setdefault(explanation.cell, []).append(start)
        else:
            outcome.refused.append((start, explanation.error))
    return outcome


class Zone:
    """The cells of one zone. `holding`: per process guid its rooms here and how many instances each has."""

    __slots__ = ("counts", "holding", "name", "rooms")

    def __init__(self, name: str, rooms: list[Room], process_guids: set[str]) -> None:
        self.name = name
        self.rooms = rooms
        self.counts: dict[str, int] = {}
        self.holding: dict[str, dict[Room, int]] = {}
        for room in rooms:
            for guid in process_guids & room.state.processes.keys():
                self.add(guid, room, room.state.processes[guid])

    def add(self, guid: str, room: Room, number: int) -> None:
        """Count instances of a process in a room of this zone."""
        held = self.holding.setdefault(guid, {})
        held[room] = held.get(room, 0) + number
        self.counts[guid] = self.counts.get(guid, 0) + number


@dataclass(frozen=True, slots=True)
class Compatible:
    """What the filters let through for one wish."""

    zones: Sequence[tuple[Zone, list[Room]]]
    rooms: list[Room]
    orders: frozenset[int]
    furthest: Stage
    excluded: Sequence[Excluded]


class Round:
    """The cells as they are in the course of one round."""

    def __init__(self, cells: Iterable[CellState], process_guids: set[str], policy: Policy) -> None:
        self._policy = policy
        self._zones = _zones(cells, process_guids, policy)
        self._zone_of = {room.order: zone for zone in self._zones for room in zone.rooms}
        self._starting = sum(room.starting for zone in self._zones for room in zone.rooms)
        self._compatible: dict[Wanted, Compatible] = {}
        self._shared: dict[tuple[Wanted, Shape, str], Candidates] = {}
        self._own: dict[tuple[Wanted, Shape, str, str], Candidates] = {}
        self._for_tasks: dict[tuple[Wanted, Shape], Candidates] = {}
        self._shortages: dict[tuple[Wanted, Shape], Shortage] = {}

    def place(self, start: Start) -> Explanation:
        """Find a cell for one start and take its room there; or say why there is none."""
        key = key_of(start)
        if not self._zones:
            return Explanation(key, error=failures.NO_CELL_ANSWERS)
        if 0 < self._policy.starting_container_maximum <= self._starting:
            return Explanation(key, error=failures.TOO_MANY_STARTING)
        demand = start.demand
        wanted = Wanted.of(demand)
        compatible = self._compatible.get(wanted)
        if compatible is None:
            compatible = self._compatible[wanted] = self._filtered(wanted)
        if not compatible.rooms:
            error = refusal(compatible.furthest, demand)
            return Explanation(key, error=error, excluded=compatible.excluded)
        if isinstance(start, LRPStart):
            return self._place_lrp(start, wanted, compatible)
        return self._place_task(start, wanted, compatible)

    def _place_lrp(self, lrp: LRPStart, wanted: Wanted, compatible: Compatible) -> Explanation:
        """Zones with fewest instances of the process come first; zones with equally many are one."""
        guid = lrp.process_guid
        shape = Shape(lrp.demand.memory_mb, lrp.demand.disk_mb, proxied=True)
        by_count = sorted(
            ((zone.counts.get(guid, 0), zone, rooms) for zone, rooms in compatible.zones),
            key=lambda entry: entry[0],
        )
        found: list[Scored] = []
        reached = -1
        for count, zone, rooms in by_count:
            if found and count != reached:
                break
            reached = count
            scored = self._best_in(zone, rooms, guid, wanted, shape, compatible)
            if scored is not None:
                found.append(scored)
        zones = {zone.name: count for count, zone, _ in by_count}
        if not found:
            return self._no_room(lrp, shape, wanted, compatible, zones)
        found.sort()
        room = found[0][2]
        room.take(shape.memory, shape.disk)
        self._zone_of[room.order].add(guid, room, 1)
        self._starting += 1
        return _explanation(lrp, found, compatible, zones)

    def _place_task(self, task: TaskStart, wanted: Wanted, compatible: Compatible) -> Explanation:
        """Zones do not matter, and other tasks on the cell count as neighbours."""
        shape = Shape(task.demand.memory_mb, task.demand.disk_mb, proxied=False)
        weight = self._policy.starting_container_weight
        candidates = self._for_tasks.get((wanted, shape))
        if candidates is None:

            def score(room: Room) -> float:
                return use_score(room, shape, weight) + LOCALITY * room.tasks

            candidates = self._for_tasks[wanted, shape] = Candidates(compatible.rooms, shape, score)
        scored = candidates.best()
        if scored is None:
            return self._no_room(task, shape, wanted, compatible, {})
        room = scored[2]
        room.take(shape.memory, shape.disk)
        room.tasks += 1
        self._starting += 1
        return _explanation(task, [scored], compatible, {})

    def _best_in(
        self, zone: Zone, rooms: list[Room], guid: str, wanted: Wanted, shape: Shape, compatible: Compatible
    ) -> Scored | None:
        """The best room of a zone for one more instance of the process."""
        holding = zone.holding.get(guid, {})
        if len(holding) > OWN_HEAP_FROM:
            return self._own_candidates(zone, rooms, guid, wanted, shape).best()
        weight = self._policy.starting_container_weight
        shared = self._shared.get((wanted, shape, zone.name))
        if shared is None:

            def score(room: Room) -> float:
                return use_score(room, shape, weight) + room.index_score

            shared = self._shared[wanted, shape, zone.name] = Candidates(rooms, shape, score)
        best = shared.best(holding)
        for room, number in holding.items():
            if room.order in compatible.orders and shape.fits(room):
                scored = (
                    use_score(room, shape, weight) + LOCALITY * number + room.index_score,
                    room.order,
                    room,
                )
                if best is None or scored < best:
                    best = scored
        return best

    def _own_candidates(
        self, zone: Zone, rooms: list[Room], guid: str, wanted: Wanted, shape: Shape
    ) -> Candidates:
        own = self._own.get((wanted, shape, zone.name, guid))
        if own is None:
            holding = zone.holding[guid]
            weight = self._policy.starting_container_weight

            def score(room: Room) -> float:
                return use_score(room, shape, weight) + LOCALITY * holding.get(room, 0) + room.index_score

            own = self._own[wanted, shape, zone.name, guid] = Candidates(rooms, shape, score)
        return own

    def _no_room(
        self, start: Start, shape: Shape, wanted: Wanted, compatible: Compatible, zones: dict[str, int]
    ) -> Explanation:
        shortage = self._shortages.get((wanted, shape))
        if shortage is None:
            shortage = self._shortages[wanted, shape] = Shortage(compatible.rooms, shape)
        return Explanation(
            key_of(start),
            zones=zones,
            considered=len(compatible.rooms),
            excluded=compatible.excluded,
            error=failures.insufficient_resources(shortage.common()),
        )

    def _filtered(self, wanted: Wanted) -> Compatible:
        root = parse_rootfs(wanted.rootfs)
        stopped: dict[Stage, list[str]] = {stage: [] for stage in Stage}
        zones: list[tuple[Zone, list[Room]]] = []
        for zone in self._zones:
            passed = []
            for room in zone.rooms:
                stage = stage_reached(room.state, wanted, root)
                if stage is Stage.PASSED:
                    passed.append(room)
                else:
                    stopped[stage].append(room.state.cell_id)
            if passed:
                zones.append((zone, passed))
        rooms = [room for _, passed in zones for room in passed]
        return Compatible(
            zones,
            rooms,
            frozenset(room.order for room in rooms),
            max((stage for stage, cells in stopped.items() if cells), default=Stage.ROOTFS),
            [
                Excluded(_REASONS[stage], len(cells), tuple(cells[:NAMED_CELLS]))
                for stage, cells in stopped.items()
                if cells
            ],
        )


def _zones(cells: Iterable[CellState], process_guids: set[str], policy: Policy) -> list[Zone]:
    """The zones by name, their cells by deployment index where that counts, and by id; it settles ties."""
    packing = policy.bin_pack_first_fit_weight > 0
    by_name: dict[str, list[CellState]] = {}
    for cell in cells:
        by_name.setdefault(cell.zone, []).append(cell)
    zones: list[Zone] = []
    order = 0
    for name in sorted(by_name):
        members = sorted(by_name[name], key=lambda cell: (cell.cell_index if packing else 0, cell.cell_id))
        rooms = []
        for place, cell in enumerate(members):
            rooms.append(Room(cell, order, place * policy.bin_pack_first_fit_weight if packing else 0.0))
            order += 1
        zones.append(Zone(name, rooms, process_guids))
    return zones


def _explanation(
    start: Start, found: list[Scored], compatible: Compatible, zones: dict[str, int]
) -> Explanation:
    return Explanation(
        key_of(start),
        cell=found[0][2].state.cell_id,
        score=found[0][0],
        best=[(room.state.cell_id, score) for score, _, room in found],
        zones=zones,
        considered=len(compatible.rooms),
        excluded=compatible.excluded,
    )
