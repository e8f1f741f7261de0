"""Whether the other cells have room for what the changing ones hold.

A cell is emptied before it is changed: its instances are started on other cells first. So in each zone what the largest
cells of a window hold must fit into what is free on the rest, of the same stacks and placement tags (contract/deployment.md
section 12); it is counted for memory, disk and containers one by one. Where a cell of the deployment is not there,
its coming back may be what gives the room, so nothing is refused then.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diego.deploy.core.update import Update

RESOURCES = {"MemoryMB": "MB of memory", "DiskMB": "MB of disk", "Containers": "containers"}


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell as it tells its state. `used` and `free` are by the names of RESOURCES."""

    id: str
    zone: str
    kind: tuple[str, ...]
    """Its stacks and placement tags: work goes from one cell to another of the same kind."""
    used: Mapping[str, int]
    free: Mapping[str, int]


def cell_of(state: Mapping[str, Any]) -> Cell:
    """What a cell's answer to `GET /state` says about room. One that is being emptied offers none."""
    free, total = state["AvailableResources"], state["TotalResources"]
    stacks = sorted(state["RootFSProviders"].get("preloaded", {}).get("set", {}))
    tags = (*state.get("PlacementTags", ()), *state.get("OptionalPlacementTags", ()))
    return Cell(
        state["cell_id"],
        state["Zone"],
        (*stacks, "", *sorted(tags)),
        {name: total[name] - free[name] for name in RESOURCES},
        dict.fromkeys(RESOURCES, 0) if state["Evacuating"] else {name: free[name] for name in RESOURCES},
    )


def faults_of(cells: Sequence[Cell], changed: Collection[str], update: Update) -> list[str]:
    """Which zones hold more than the others could take while so many of their cells are away."""
    faults = []
    for zone, kind in sorted({(cell.zone, cell.kind) for cell in cells if cell.id in changed}):
        window = update.window(sum(cell.zone == zone and cell.id in changed for cell in cells))
        leaving = [cell for cell in cells if (cell.zone, cell.kind) == (zone, kind) and cell.id in changed]
        for resource, unit in RESOURCES.items():
            largest = sorted(leaving, key=lambda cell: -cell.used[resource])[:window]
            needed = sum(cell.used[resource] for cell in largest)
            free = sum(cell.free[resource] for cell in cells if cell.kind == kind and cell not in largest)
            if needed > free:
                faults.append(
                    f"zone {zone or '-'}: {needed} {unit} on {_names(largest)}, {free} free on the other cells"
                )
    return faults


def missing(cells: Iterable[Cell], wanted: Iterable[str]) -> list[str]:
    """Which cells of the deployment have not told their state."""
    return sorted(set(wanted) - {cell.id for cell in cells})


def _names(cells: Sequence[Cell]) -> str:
    return ", ".join(cell.id for cell in cells)
