"""Placement as contract/auction.md section 5 tells it, one visit per cell and start: what the fast one must equal."""

from collections.abc import Sequence
from dataclasses import dataclass

from diego.auctioneer.core import failures
from diego.auctioneer.core.cells import CellState
from diego.auctioneer.core.scoring import Policy
from diego.auctioneer.core.starts import Demand, LRPStart, Start, TaskStart


@dataclass
class NaiveCell:
    state: CellState
    memory: int
    disk: int
    containers: int
    starting: int
    processes: list[str]
    tasks: int
    place: int


def naive_order(starts: Sequence[Start]) -> list[Start]:
    lrps = sorted(
        [start for start in starts if isinstance(start, LRPStart)],
        key=lambda lrp: (lrp.index, -lrp.demand.memory_mb),
    )
    tasks = sorted(
        [start for start in starts if isinstance(start, TaskStart)], key=lambda task: -task.demand.memory_mb
    )
    if not any(lrp.index > 0 for lrp in lrps):
        return [*tasks, *lrps]
    return [
        *[lrp for lrp in lrps if lrp.index <= 0],
        *tasks,
        *[lrp for lrp in lrps if lrp.index > 0],
    ]


def naive_schedule(
    states: Sequence[CellState], starts: Sequence[Start], policy: Policy
) -> list[tuple[Start, str, str]]:
    """Start, cell id or empty, error or empty, in the order of placement."""
    zones: dict[str, list[NaiveCell]] = {}
    for state in sorted(states, key=lambda state: state.cell_id):
        zones.setdefault(state.zone, []).append(
            NaiveCell(
                state,
                state.available.memory_mb,
                state.available.disk_mb,
                state.available.containers,
                state.starting,
                [guid for guid, count in state.processes.items() for _ in range(count)],
                state.tasks,
                0,
            )
        )
    if policy.bin_pack_first_fit_weight > 0:
        for cells in zones.values():
            cells.sort(key=lambda cell: cell.state.cell_index)
            for place, cell in enumerate(cells):
                cell.place = place
    return [(start, *naive_place(zones, start, policy)) for start in naive_order(starts)]


def naive_place(zones: dict[str, list[NaiveCell]], start: Start, policy: Policy) -> tuple[str, str]:
    """Cell id and error of one start, one of them empty; the cell is changed."""
    everyone = [cell for name in sorted(zones) for cell in zones[name]]
    demand = start.demand
    if not everyone:
        return "", failures.NO_CELL_ANSWERS
    if 0 < policy.starting_container_maximum <= sum(cell.starting for cell in everyone):
        return "", failures.TOO_MANY_STARTING
    stages = {id(cell): naive_stage(cell.state, demand) for cell in everyone}
    passed = {
        name: found for name in sorted(zones) if (found := [c for c in zones[name] if stages[id(c)] == 3])
    }
    if not passed:
        texts = [
            failures.NO_ROOTFS,
            failures.NO_VOLUME_DRIVERS,
            failures.no_placement_tags(demand.placement_tags or ()),
        ]
        return "", texts[max(stages.values())]
    best, lacking = naive_choice(zones, passed, start, policy)
    if best is None:
        return "", failures.insufficient_resources(set.intersection(*lacking))
    best.memory -= demand.memory_mb
    best.disk -= demand.disk_mb
    best.containers -= 1
    best.starting += 1
    if isinstance(start, LRPStart):
        best.processes.append(start.process_guid)
    else:
        best.tasks += 1
    return best.state.cell_id, ""


def naive_choice(
    zones: dict[str, list[NaiveCell]],
    passed: dict[str, list[NaiveCell]],
    start: Start,
    policy: Policy,
) -> tuple[NaiveCell | None, list[set[str]]]:
    """The best of the cells that may run it, and what each cell that was looked at lacks."""
    guid = start.process_guid if isinstance(start, LRPStart) else ""
    counted = [(0, name) for name in passed]
    if guid:
        counted = sorted((sum(cell.processes.count(guid) for cell in zones[name]), name) for name in passed)
    best: NaiveCell | None = None
    best_score = 1e20
    lacking: list[set[str]] = []
    for at, (count, name) in enumerate(counted):
        for cell in passed[name]:
            needed = start.demand.memory_mb + (cell.state.proxy_memory_mb if guid else 0)
            problems = naive_problems(cell, needed, start.demand.disk_mb)
            if problems:
                lacking.append(problems)
                continue
            score = naive_score(cell, needed, start.demand.disk_mb, policy)
            if guid:
                score += 1000 * cell.processes.count(guid) + cell.place * policy.bin_pack_first_fit_weight
            else:
                score += 1000 * cell.tasks
            if score < best_score:
                best, best_score = cell, score
        if best is not None and (at + 1 == len(counted) or counted[at + 1][0] != count):
            break
    return best, lacking


def naive_stage(state: CellState, demand: Demand) -> int:
    scheme, _, rest = demand.rootfs.partition(":")
    names = state.rootfs_providers.get(scheme, frozenset())
    if names is not None and rest.partition("?")[0] not in names:
        return 0
    if set(demand.volume_drivers or ()) - state.volume_drivers:
        return 1
    wanted = set(demand.placement_tags or ())
    if not state.placement_tags <= wanted <= state.placement_tags | state.optional_placement_tags:
        return 2
    return 3


def naive_problems(cell: NaiveCell, memory: int, disk: int) -> set[str]:
    problems = set()
    if memory > cell.memory:
        problems.add("memory")
    if disk > cell.disk:
        problems.add("disk")
    if cell.containers < 1:
        problems.add("containers")
    return problems


def naive_score(cell: NaiveCell, memory: int, disk: int, policy: Policy) -> float:
    total = cell.state.total
    used = (
        (1.0 - (cell.memory - memory) / total.memory_mb)
        + (1.0 - (cell.disk - disk) / total.disk_mb)
        + (1.0 - (cell.containers - 1) / total.containers)
    )
    return used / 3.0 + cell.starting * policy.starting_container_weight
