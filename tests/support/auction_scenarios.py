"""Auctions over imaginary cells: the scenarios that the original's own simulation knows, and larger ones.

Every cell has 100 of memory, disk and container slots, as in that simulation.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from diego.auctioneer.core.cells import CellState
from diego.auctioneer.core.placement import Outcome, schedule
from diego.auctioneer.core.scoring import Policy
from diego.auctioneer.core.starts import LRPStart, Start
from support.auctions import a_cell, a_task, an_lrp, resources

ROOM = 100


@dataclass(frozen=True)
class Scenario:
    """What is put up for auction, and on which cells.

    Attributes:
        original_s: what the original's auction took, where it was measured.
    """

    name: str
    cells: Callable[[], Sequence[CellState]]
    starts: Callable[[], Sequence[Start]]
    policy: Policy = field(default_factory=Policy)
    original_s: float | None = None


@dataclass(frozen=True)
class Result:
    """How an auction went: `given` and `memory` are per cell, in the cells' order."""

    seconds: float
    outcome: Outcome
    given: list[int]
    memory: list[int]

    @property
    def spread(self) -> str:
        return (
            f"{min(self.given)}-{max(self.given)}"
            if min(self.given) < max(self.given)
            else str(max(self.given))
        )


def hold(scenario: Scenario) -> Result:
    """Hold the auction once."""
    cells, starts = scenario.cells(), scenario.starts()
    began = time.perf_counter()
    outcome = schedule(cells, starts, scenario.policy)
    seconds = time.perf_counter() - began
    return Result(
        seconds,
        outcome,
        [len(outcome.work.get(cell.cell_id, ())) for cell in cells],
        [
            cell.total.memory_mb
            - cell.available.memory_mb
            + sum(start.demand.memory_mb for start in outcome.work.get(cell.cell_id, ()))
            for cell in cells
        ],
    )


def empty_cells(count: int, *, zones: int = 1, room: int = ROOM, index: bool = False) -> list[CellState]:
    return [loaded_cell(number, 0, zones=zones, room=room, index=index) for number in range(count)]


def loaded_cell(
    number: int, used: int, *, zones: int = 1, room: int = ROOM, index: bool = False
) -> CellState:
    """A cell on which `used` instances of one each run."""
    left = room - used
    return a_cell(
        f"cell-{number:04}",
        zone=f"z{number % zones}",
        cell_index=number if index else 0,
        total=resources(room, room, room),
        available=resources(left, left, left),
        processes={f"old-{number}-{place}": 1 for place in range(used)},
    )


def loaded_cells(count: int, *, empty: int, most: int, zones: int = 1) -> list[CellState]:
    """Cells with a load left to chance (the same at each call), but for `empty` ones at the end."""
    chance = random.Random(count)
    loads = [chance.randrange(1, most) if number < count - empty else 0 for number in range(count)]
    return [loaded_cell(number, load, zones=zones) for number, load in enumerate(loads)]


def small(guid: str = "app", index: int = 0, memory: int = 1) -> LRPStart:
    return an_lrp(guid, index, memory_mb=memory, disk_mb=1)


def one_process(instances: int) -> list[Start]:
    return [small(index=index) for index in range(instances)]


def many_processes(count: int, *, instances: int = 1, memory: int = 1) -> list[Start]:
    return [
        small(f"app-{memory}-{number}", index, memory)
        for number in range(count)
        for index in range(instances)
    ]


def mixed(times: int) -> list[Start]:
    """Per 25 cells: 1,800 small, 200 middle and 50 large instances, which fill them to 96 of 100."""
    return [
        *many_processes(1800 * times),
        *many_processes(100 * times, instances=2, memory=2),
        *many_processes(25 * times, instances=2, memory=4),
    ]


def az_cells() -> list[CellState]:
    """Two empty cells in one zone, a half full one in another."""
    full = loaded_cell(2, 50)
    return [
        *empty_cells(2),
        a_cell("other", zone="other", total=full.total, available=full.available, processes=full.processes),
    ]


def boulders() -> list[Start]:
    return [*many_processes(81), small("boulder", memory=50)]


def large_cells(count: int, per_cell: int) -> list[CellState]:
    """Cells of a large deployment in three zones, with `per_cell` instances each."""
    room = 1000
    return [
        a_cell(
            f"cell-{number:04}",
            zone=f"z{number % 3}",
            total=resources(room * 1000, room * 1000, room),
            available=resources((room - per_cell) * 1000, (room - per_cell) * 1000, room - per_cell),
            processes={f"p-{(number * per_cell + place) // 4}": 1 for place in range(per_cell)},
        )
        for number in range(count)
    ]


def large_starts(count: int, *, per_process: int = 2) -> list[Start]:
    """Instances of the usual sizes, and one task for every ten of them."""
    chance = random.Random(count)
    sizes = (256, 512, 1024, 2048)
    lrps: list[Start] = []
    for number in range(count // per_process):
        memory = chance.choice(sizes)
        lrps += [an_lrp(f"p-{number}", index, memory_mb=memory, disk_mb=1024) for index in range(per_process)]
    tasks: list[Start] = [
        a_task(f"t-{number}", memory_mb=1024, disk_mb=1024) for number in range(count // 10)
    ]
    return [*lrps, *tasks]


def cold_start(starts: int, cells: int, original_s: float) -> Scenario:
    return Scenario(
        f"small cold start, {starts} on {cells}",
        lambda: empty_cells(cells),
        lambda: one_process(starts),
        original_s=original_s,
    )


def packed(starts: int, cells: int, weight: float, original_s: float) -> Scenario:
    return Scenario(
        f"bin pack first fit {weight}, {starts} on {cells}",
        lambda: empty_cells(cells, index=True),
        lambda: many_processes(starts),
        Policy(bin_pack_first_fit_weight=weight),
        original_s,
    )


COLD_STARTS = [
    cold_start(8, 4, 0.001),
    cold_start(40, 10, 0.007),
    cold_start(200, 20, 0.030),
    cold_start(800, 40, 0.19),
]
PACKED = [
    packed(800, 40, 0.25, 0.18),
    packed(800, 40, 0.5, 0.17),
    packed(800, 40, 0.75, 0.18),
]
FULL = [
    Scenario("large cold start, 2050 on 25", lambda: empty_cells(25), lambda: mixed(1), original_s=0.34),
    Scenario("large cold start, 8200 on 100", lambda: empty_cells(100), lambda: mixed(4), original_s=5.6),
]
IMBALANCED = [
    Scenario(
        "imbalanced, as in a deploy, 500 on 100",
        lambda: loaded_cells(100, empty=5, most=90),
        lambda: one_process(500),
        original_s=0.23,
    ),
    Scenario(
        "imbalanced, as in a deploy, 100 on 100",
        lambda: loaded_cells(100, empty=1, most=90),
        lambda: one_process(100),
        original_s=0.042,
    ),
]
DEMOS = [
    Scenario(
        f"demo with loaded cells, {starts} on {cells}",
        lambda cells=cells: loaded_cells(cells, empty=0, most=50),  # type: ignore[misc]  # bound now
        lambda starts=starts: one_process(starts),  # type: ignore[misc]  # the same
        original_s=original,
    )
    for starts, cells, original in ((80, 10, 0.004), (200, 30, 0.03), (400, 100, 0.14))
]
ZONES = Scenario("zones, 40 on 3", az_cells, lambda: one_process(40), original_s=0.0007)
BOULDERS = Scenario("boulders before pebbles, 82 on 1", lambda: empty_cells(1), boulders, original_s=0.001)
LARGE = [
    Scenario(
        "10,000 on 1,000, in 3 zones, 250 instances on each",
        lambda: large_cells(1000, 250),
        lambda: large_starts(10_000),
    ),
    Scenario(
        "10,000 on 250, in 3 zones, 250 instances on each",
        lambda: large_cells(250, 250),
        lambda: large_starts(10_000),
    ),
    Scenario("one process of 5,000 on 1,000", lambda: large_cells(1000, 0), lambda: one_process(5000)),
    Scenario(
        "100,000 on 250, half of them refused",
        lambda: empty_cells(250, zones=3, room=200),
        lambda: many_processes(100_000),
    ),
]
ALL = [*COLD_STARTS, *PACKED, *FULL, *IMBALANCED, ZONES, *DEMOS, BOULDERS, *LARGE]


def with_processes(cell: CellState, processes: dict[str, int]) -> CellState:
    """The same cell with these instances beside those that it has."""
    return replace(cell, processes={**cell.processes, **processes})
