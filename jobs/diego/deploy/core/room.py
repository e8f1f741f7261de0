"""Whether the other cells have room for what the changing ones hold.

A cell is emptied before it is changed: its instances are started on other cells first. So in each zone what the largest
cells of a window hold must fit into what is free on the rest, of the same stacks and placement tags (contract/deployment.md
section 12); it is counted for memory, disk and containers one by one. A cell that is silent gives no room, since nobody
knows whether it has any. When nobody can be heard at all, there is no answer, which is not a yes.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diego.deploy.core.update import Update

RESOURCES = {"MemoryMB": "MB of memory", "DiskMB": "MB of disk", "Containers": "containers"}

QUESTION = "`diego cell-states`"
ALL_ANSWERED, SOME_SILENT = 0, 4
"""With these exit statuses it has told what was heard (contract/config-and-metrics.md section 10)."""


class NotKnown(ValueError):
    """The question failed as a whole; the text says how."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell as it tells its state. `used` and `free` are by the names of RESOURCES."""

    id: str
    kind: tuple[str, ...]
    """Its stacks and placement tags: work goes from one cell to another of the same kind."""
    used: Mapping[str, int]
    free: Mapping[str, int]


def cells_heard(status: int | None, lines: Iterable[str], complaint: str) -> list[Cell]:
    """The cells that have told their state, at least one: of what QUESTION, asked for JSON, printed.

    `status` is its exit status, None when it did not run; `complaint` is what it said beside.

    Raises:
        NotKnown: it did not come to its end, it cannot be read, or it heard of no cell.
    """
    if status not in (ALL_ANSWERED, SOME_SILENT):
        ended = "could not be run" if status is None else f"ended with {status}"
        raise NotKnown(f"{QUESTION} {ended}{_because(complaint)}")
    try:
        cells = [cell_of(json.loads(line)) for line in lines if line.strip()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotKnown(f"what {QUESTION} printed cannot be read: {type(error).__name__}: {error}") from error
    if not cells:
        raise NotKnown(f"{QUESTION} heard of no cell{_because(complaint)}")
    return cells


def cell_of(state: Mapping[str, Any]) -> Cell:
    """What a cell's answer to `GET /state` says about room. One that is being emptied offers none.

    Raises:
        KeyError, TypeError, AttributeError: it is no state.
    """
    free, total = state["AvailableResources"], state["TotalResources"]
    stacks = sorted(state["RootFSProviders"].get("preloaded", {}).get("set", {}))
    # no tags are `null` in the original's answers
    tags = (*(state.get("PlacementTags") or ()), *(state.get("OptionalPlacementTags") or ()))
    return Cell(
        str(state["cell_id"]),
        (*stacks, "", *sorted(map(str, tags))),
        {name: total[name] - free[name] for name in RESOURCES},
        dict.fromkeys(RESOURCES, 0) if state["Evacuating"] else {name: free[name] for name in RESOURCES},
    )


def faults_of(cells: Sequence[Cell], changed: Mapping[str, str], update: Update) -> list[str]:
    """Which zones hold more than the others could take while so many of their cells are away.

    `changed` has the zones of the cells that change, by their ids. A silent one counts for its zone's window, and can
    neither be said to hold nor to free anything.
    """
    faults = []
    leaving = [cell for cell in cells if cell.id in changed]
    for zone, kind in sorted({(changed[cell.id], cell.kind) for cell in leaving}):
        window = update.window(list(changed.values()).count(zone))
        alike = [cell for cell in leaving if (changed[cell.id], cell.kind) == (zone, kind)]
        for resource, unit in RESOURCES.items():
            largest = sorted(alike, key=lambda cell: -cell.used[resource])[:window]
            needed = sum(cell.used[resource] for cell in largest)
            free = sum(cell.free[resource] for cell in cells if cell.kind == kind and cell not in largest)
            if needed > free:
                faults.append(
                    f"zone {zone or '-'}: {needed} {unit} on {_names(largest)}, {free} free on the other cells"
                )
    return faults


def silent(cells: Iterable[Cell], wanted: Iterable[str]) -> list[str]:
    """Which cells of the deployment have not told their state."""
    return sorted(set(wanted) - {cell.id for cell in cells})


def _because(complaint: str) -> str:
    return f" ({complaint.strip()})" if complaint.strip() else ""


def _names(cells: Sequence[Cell]) -> str:
    return ", ".join(cell.id for cell in cells)
