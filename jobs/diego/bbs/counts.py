"""What is counted of the state while it changes, and what convergence counted the last time.

Nothing here is found by looking at every record: counts follow the changes, and a run of convergence leaves what
it found for whoever asks (contract/config-and-metrics.md section 11: most numbers of the BBS are those of the last
run).
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diego.models import ActualLRPState, Presence, Task, TaskState

if TYPE_CHECKING:
    from diego.bbs.memory import Memory

CELLS_COUNTED = 5_000
"""Cells that have numbers of their own; what happens on further ones is counted together."""

FURTHER_CELLS = "further-cells"


class TaskTotals:
    """Tasks that began and ended on each cell since this BBS became active; without a cell under an empty name."""

    __slots__ = ("failed", "started", "succeeded")

    def __init__(self) -> None:
        self.started: dict[str, int] = {}
        self.succeeded: dict[str, int] = {}
        self.failed: dict[str, int] = {}

    def note(self, before: Task, after: Task) -> None:
        """A task's record has changed. It ends once: what happens to it later is about telling the result."""
        if after.state is TaskState.RUNNING:
            _add(self.started, after.cell_id)
        elif after.state is TaskState.COMPLETED and before.state is not TaskState.RESOLVING:
            _add(self.failed if after.failed else self.succeeded, before.cell_id)


def _add(totals: dict[str, int], cell: str) -> None:
    if cell not in totals and len(totals) >= CELLS_COUNTED:
        cell = FURTHER_CELLS
    totals[cell] = totals.get(cell, 0) + 1


@dataclass(frozen=True, slots=True)
class LRPCounts:
    """LRPs after a run of convergence. Where nothing else is said, ORDINARY records are counted."""

    fresh_domains: tuple[str, ...]
    desired: int
    unclaimed: int
    claimed: int
    running: int
    crashed: int
    crashing: int
    """Processes with a crashed record."""
    suspect_running: int
    suspect_claimed: int
    missing: int
    """Indices that had no record."""
    extra: int
    """Records that are to go."""
    present_cells: int
    suspect_cells: int
    """Absent cells that still have records."""


@dataclass(slots=True)
class Findings:
    """What convergence found, kept for /metrics. A run replaces what the one before it left."""

    lrps: LRPCounts | None = None
    lrp_runs: int = 0
    lrp_seconds: float | None = None
    tasks: Mapping[TaskState, int] | None = None
    task_runs: int = 0
    task_seconds: float | None = None
    tasks_pruned: int = 0
    tasks_kicked: int = 0


def count_lrps(memory: "Memory", cells: Set[str], *, missing: int, extra: int, now: int) -> LRPCounts:
    """The LRPs as they are now. In the loop; nothing that is in order is looked at."""
    counts = memory.actual.counts
    ordinary, suspect = Presence.ORDINARY, Presence.SUSPECT
    return LRPCounts(
        fresh_domains=tuple(domain.name for domain in memory.domains.values() if domain.fresh(now=now)),
        desired=memory.desired.instances,
        unclaimed=counts[ordinary, ActualLRPState.UNCLAIMED],
        claimed=counts[ordinary, ActualLRPState.CLAIMED],
        running=counts[ordinary, ActualLRPState.RUNNING],
        crashed=counts[ordinary, ActualLRPState.CRASHED],
        crashing=len({identity[0] for identity in memory.actual.crashed}),
        suspect_running=counts[suspect, ActualLRPState.RUNNING],
        suspect_claimed=counts[suspect, ActualLRPState.CLAIMED],
        missing=missing,
        extra=extra,
        present_cells=len(cells),
        suspect_cells=len(memory.actual.by_cell.by_group.keys() - cells),
    )
