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

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from diego.auctioneer.core import failures
from diego.auctioneer.core.batch import in_order
from diego.auctioneer.core.cells import CellState
from diego.auctioneer.core.explanations import NAMED_CELLS, Excluded, Explanation, Looked
from diego.auctioneer.core.filters import Stage, Wanted, parse_rootfs, refusal, stage_reached
from diego.auctioneer.core.scoring import (
    LOCALITY,
    RESOURCES,
    Candidates,
    Policy,
    Room,
    Scored,
    Shape,
    Shortage,
    use_score,
)
from diego.auctioneer.core.starts import LRPStart, Start, key_of

OWN_HEAP_FROM = 48
OWN_HEAP_SHARE = 0.5
"""A process gets a heap of its own in a zone when it is in more rooms there, or in more than this share of them."""

LOOKED_AT = 10
"""Cells that an explanation tells of one by one."""

CLOSELY_UP_TO = 5_000
"""Starts times cells: in a larger round not every cell is looked at for every start."""

_REASONS = {
    Stage.ROOTFS: "rootfs",
    Stage.VOLUME_DRIVERS: "volume drivers",
    Stage.PLACEMENT_TAGS: "placement tags",
}

_NOWHERE: Mapping[Room, int] = {}
_first = operator.itemgetter(0)


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
    ordered, cells = in_order(starts), list(cells)
    guids = {start.process_guid for start in ordered if isinstance(start, LRPStart)}
    round_ = Round(cells, guids, policy, closely=len(ordered) * len(cells) <= CLOSELY_UP_TO)
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


class Market:
    """All that is kept for starts of one wish and one size: heaps of rooms, and what is lacking when there is none."""

    __slots__ = ("_for_tasks", "_own", "_shared", "_shortage", "compatible", "full", "shape", "weight")

    def __init__(self, compatible: Compatible, shape: Shape, weight: float) -> None:
        self.compatible = compatible
        self.shape = shape
        self.weight = weight
        self.full = False
        """No room was left; none will be in this round."""
        self._shared: dict[str, Candidates] = {}
        self._own: dict[tuple[str, str], Candidates] = {}
        self._for_tasks: Candidates | None = None
        self._shortage: Shortage | None = None

    def best_in(self, zone: Zone, rooms: list[Room], guid: str) -> Scored | None:
        """The best room of a zone for one more instance of the process."""
        holding = zone.holding.get(guid, _NOWHERE)
        if len(holding) > OWN_HEAP_FROM or len(holding) > OWN_HEAP_SHARE * len(rooms):
            return self._own_candidates(zone, rooms, guid).best()
        shared = self._shared.get(zone.name)
        if shared is None:
            shared = self._shared[zone.name] = Candidates(rooms, self.shape, self._score_alone)
        best = shared.best(holding)
        for room, number in holding.items():
            if room.order in self.compatible.orders and self.shape.fits(room):
                score = use_score(room, self.shape, self.weight) + LOCALITY * number + room.index_score
                scored = (score, room.order, room)
                if best is None or scored < best:
                    best = scored
        return best

    def best_for_task(self) -> Scored | None:
        """The best room of all zones for one more task."""
        if self._for_tasks is None:
            self._for_tasks = Candidates(self.compatible.rooms, self.shape, self._score_for_task)
        return self._for_tasks.best()

    def lacking(self) -> list[str]:
        """The resources of which no compatible cell has enough."""
        if self._shortage is None:
            self._shortage = Shortage(self.compatible.rooms, self.shape)
        return self._shortage.common()

    def _own_candidates(self, zone: Zone, rooms: list[Room], guid: str) -> Candidates:
        own = self._own.get((zone.name, guid))
        if own is None:
            holding = zone.holding[guid]

            def score(room: Room) -> float:
                use = use_score(room, self.shape, self.weight)
                return use + LOCALITY * holding.get(room, 0) + room.index_score

            own = self._own[zone.name, guid] = Candidates(rooms, self.shape, score)
        return own

    def _score_alone(self, room: Room) -> float:
        return use_score(room, self.shape, self.weight) + room.index_score

    def _score_for_task(self, room: Room) -> float:
        return use_score(room, self.shape, self.weight) + LOCALITY * room.tasks


class Round:
    """The cells as they are in the course of one round."""

    def __init__(
        self, cells: Iterable[CellState], process_guids: set[str], policy: Policy, *, closely: bool = False
    ) -> None:
        self._policy = policy
        self._closely = closely
        self._zones = _zones(cells, process_guids, policy)
        self._zone_of = {room.order: zone for zone in self._zones for room in zone.rooms}
        self._starting = sum(room.starting for zone in self._zones for room in zone.rooms)
        self._compatible: dict[Wanted, Compatible] = {}
        self._markets: dict[tuple[Wanted, Shape], Market] = {}

    def place(self, start: Start) -> Explanation:
        """Find a cell for one start and take its room there; or say why there is none."""
        key = key_of(start)
        if not self._zones:
            return Explanation(key, error=failures.NO_CELL_ANSWERS)
        if 0 < self._policy.starting_container_maximum <= self._starting:
            return Explanation(key, error=failures.TOO_MANY_STARTING)
        market = self._market(start)
        compatible = market.compatible
        if not compatible.rooms:
            error = refusal(compatible.furthest, start.demand)
            return Explanation(key, error=error, excluded=compatible.excluded)
        looked_at = self._look(market, key.guid) if self._closely else ()
        found: list[Scored] = []
        zones: dict[str, int] = {}
        if not market.full:
            if key.is_task:
                found = self._place_task(market)
            else:
                found, zones = self._place_lrp(key.guid, market)
        if not found:
            market.full = True
            return Explanation(
                key,
                zones=zones,
                considered=len(compatible.rooms),
                looked_at=looked_at,
                excluded=compatible.excluded,
                error=failures.insufficient_resources(market.lacking()),
            )
        self._starting += 1
        return Explanation(
            key,
            cell=found[0][2].state.cell_id,
            score=found[0][0],
            best=[(room.state.cell_id, score) for score, _, room in found],
            zones=zones,
            considered=len(compatible.rooms),
            looked_at=looked_at,
            excluded=compatible.excluded,
        )

    def _look(self, market: Market, guid: str) -> list[Looked]:
        """The best of the cells that may run it, for the explanation; those without room come last."""
        shape = market.shape
        looked = []
        for zone, rooms in market.compatible.zones:
            holding = zone.holding.get(guid, _NOWHERE)
            for room in rooms:
                neighbours = holding.get(room, 0) if shape.proxied else room.tasks
                score = use_score(room, shape, market.weight) + LOCALITY * neighbours
                lacks = [resource for resource in RESOURCES if shape.lacks(room, resource)]
                looked.append(
                    Looked(
                        room.state.cell_id,
                        zone.name,
                        None if lacks else score + (room.index_score if shape.proxied else 0.0),
                        lacks,
                        neighbours,
                        room.memory,
                        room.disk,
                        room.containers,
                    )
                )
        looked.sort(key=lambda cell: (cell.score is None, cell.score or 0.0, cell.cell))
        return looked[:LOOKED_AT]

    def _place_lrp(self, guid: str, market: Market) -> tuple[list[Scored], dict[str, int]]:
        """Zones with fewest instances of the process come first; zones with equally many are one.

        Returns the best room of each zone that was looked at, the chosen one first, and the instances per zone.
        """
        by_count = [(zone.counts.get(guid, 0), zone, rooms) for zone, rooms in market.compatible.zones]
        by_count.sort(key=_first)
        found: list[Scored] = []
        reached = -1
        for count, zone, rooms in by_count:
            if found and count != reached:
                break
            reached = count
            scored = market.best_in(zone, rooms, guid)
            if scored is not None:
                found.append(scored)
        if found:
            found.sort()
            room = found[0][2]
            room.take(market.shape.memory, market.shape.disk)
            self._zone_of[room.order].add(guid, room, 1)
        return found, {zone.name: count for count, zone, _ in by_count}

    def _place_task(self, market: Market) -> list[Scored]:
        """Zones do not matter, and other tasks on the cell count as neighbours."""
        scored = market.best_for_task()
        if scored is None:
            return []
        room = scored[2]
        room.take(market.shape.memory, market.shape.disk)
        room.tasks += 1
        return [scored]

    def _market(self, start: Start) -> Market:
        demand = start.demand
        wanted = Wanted.of(demand)
        shape = Shape(demand.memory_mb, demand.disk_mb, isinstance(start, LRPStart))
        market = self._markets.get((wanted, shape))
        if market is None:
            compatible = self._compatible.get(wanted)
            if compatible is None:
                compatible = self._compatible[wanted] = _filtered(self._zones, wanted)
            weight = self._policy.starting_container_weight
            market = self._markets[wanted, shape] = Market(compatible, shape, weight)
        return market


def _filtered(zones: Iterable[Zone], wanted: Wanted) -> Compatible:
    """The cells that may run what is wanted, and where the others stopped."""
    root = parse_rootfs(wanted.rootfs)
    stopped: dict[Stage, list[str]] = {stage: [] for stage in Stage}
    passed: list[tuple[Zone, list[Room]]] = []
    for zone in zones:
        kept = []
        for room in zone.rooms:
            stage = stage_reached(room.state, wanted, root)
            if stage is Stage.PASSED:
                kept.append(room)
            else:
                stopped[stage].append(room.state.cell_id)
        if kept:
            passed.append((zone, kept))
    rooms = [room for _, kept in passed for room in kept]
    return Compatible(
        passed,
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
