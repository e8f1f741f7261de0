"""The BBS's numbers for /metrics: the original's by its names, and ours (contract/config-and-metrics.md section 11).

What a run of convergence finds is told until the next run has found something else; before the first one, and so in a
BBS that is not active, such a number is absent. Nothing is counted when somebody looks: counts follow the changes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from diego.bbs.counts import Findings, LRPCounts
from diego.bbs.events import Announcer
from diego.bbs.memory import Memory
from diego.models import TaskState
from diego.runtime.api import Api
from diego.runtime.metrics import Kind, Tally, Unit, measured, original, read

ROUTES = {
    "Ping": "/v1/ping",
    "Domains": "/v1/domains/list",
    "UpsertDomain": "/v1/domains/upsert",
    "Cells": "/v1/cells/list.r1",
    "ActualLRPs": "/v1/actual_lrps/list",
    "ActualLRPsByProcessGuids": "/v1/actual_lrps/list_by_process_guids",
    "ActualLRPGroups": "/v1/actual_lrp_groups/list",
    "ActualLRPGroupsByProcessGuid": "/v1/actual_lrp_groups/list_by_process_guid",
    "ActualLRPGroupsByProcessGuidAndIndex": "/v1/actual_lrp_groups/get_by_process_guid_and_index",
    "ClaimActualLRP": "/v1/actual_lrps/claim",
    "StartActualLRP": "/v1/actual_lrps/start.r1",
    "StartActualLRP_r0": "/v1/actual_lrps/start",
    "CrashActualLRP": "/v1/actual_lrps/crash",
    "FailActualLRP": "/v1/actual_lrps/fail",
    "RemoveActualLRP": "/v1/actual_lrps/remove",
    "RetireActualLRP": "/v1/actual_lrps/retire",
    "RemoveEvacuatingActualLRP": "/v1/actual_lrps/remove_evacuating",
    "EvacuateClaimedActualLRP": "/v1/actual_lrps/evacuate_claimed",
    "EvacuateCrashedActualLRP": "/v1/actual_lrps/evacuate_crashed",
    "EvacuateStoppedActualLRP": "/v1/actual_lrps/evacuate_stopped",
    "EvacuateRunningActualLRP": "/v1/actual_lrps/evacuate_running.r1",
    "EvacuateRunningActualLRP_r0": "/v1/actual_lrps/evacuate_running",
    "DesiredLRPSchedulingInfos": "/v1/desired_lrp_scheduling_infos/list",
    "DesiredLRPSchedulingInfoByProcessGuid": "/v1/desired_lrp_scheduling_infos/get_by_process_guid",
    "DesiredLRPRoutingInfos": "/v1/desired_lrp_routing_infos/list",
    "DesiredLRPs": "/v1/desired_lrps/list.r3",
    "DesiredLRPByProcessGuid": "/v1/desired_lrps/get_by_process_guid.r3",
    "DesiredLRPs_r2": "/v1/desired_lrps/list.r2",
    "DesiredLRPByProcessGuid_r2": "/v1/desired_lrps/get_by_process_guid.r2",
    "DesireDesiredLRP": "/v1/desired_lrp/desire.r2",
    "UpdateDesireLRP": "/v1/desired_lrp/update",
    "RemoveDesiredLRP": "/v1/desired_lrp/remove",
    "Tasks": "/v1/tasks/list.r3",
    "TaskByGuid": "/v1/tasks/get_by_task_guid.r3",
    "Tasks_r2": "/v1/tasks/list.r2",
    "TaskByGuid_r2": "/v1/tasks/get_by_task_guid.r2",
    "DesireTask": "/v1/tasks/desire.r2",
    "StartTask": "/v1/tasks/start",
    "CancelTask": "/v1/tasks/cancel",
    "FailTask": "/v1/tasks/fail",
    "RejectTask": "/v1/tasks/reject",
    "CompleteTask": "/v1/tasks/complete",
    "ResolvingTask": "/v1/tasks/resolving",
    "DeleteTask": "/v1/tasks/delete",
    "EventStream": "/v1/events.r1",
    "TaskEventStream": "/v1/events/tasks.r1",
    "LRPInstanceEventStream": "/v1/events/lrp_instances.r1",
    "EventStream_r0": "/v1/events",
    "TaskEventStream_r0": "/v1/events/tasks",
    "LrpInstanceEventStream_r0": "/v1/events/lrp_instances",
}
"""The original's names of its routes, by which its numbers of single routes are asked for."""


@dataclass(slots=True)
class Beginning:
    """What happens once in the life of an active BBS, as far as it has happened."""

    elected: bool = False
    migration_seconds: float | None = None
    encryption_seconds: float | None = None


class Lock(Protocol):
    """The lock that makes a BBS the active one."""

    @property
    def held(self) -> bool:
        """Whether it is ours at the moment."""


def measure(memory: Memory, announcer: Announcer, lock: Lock, beginning: Beginning) -> None:
    """What is counted from the process's start."""
    original("LockHeld", "1 while this BBS holds the lock, else 0", lambda: float(lock.held))
    original(
        "BBSMasterElected", "1 when this BBS has become active", lambda: 1 if beginning.elected else None
    )
    original(
        "OpenFileDescriptors",
        "Open file descriptors of the process",
        lambda: sum(1 for _ in Path("/proc/self/fd").iterdir()),
    )
    original(
        "MigrationDuration",
        "Time that the schema's migrations took when this BBS became active",
        lambda: beginning.migration_seconds,
        unit=Unit.NANOS,
    )
    original(
        "EncryptionDuration",
        "Time that encrypting everything with a new active key took",
        lambda: beginning.encryption_seconds,
        unit=Unit.NANOS,
    )
    _measure_memory(memory)
    _measure_streams(announcer)


def _measure_memory(memory: Memory) -> None:
    totals = memory.tasks.totals
    for name, meaning, of_cell in (
        ("TasksStarted", "Tasks begun on the cell since this BBS became active", totals.started),
        ("TasksSucceeded", "Tasks that succeeded on it", totals.succeeded),
        ("TasksFailed", "Tasks that failed on it; under an empty name those that no cell had", totals.failed),
    ):
        original(name, meaning, _by_label(of_cell), tags=("cell-id",))
    measured("bbs_domains", "Domains, fresh or not", lambda: len(memory.domains))
    measured("bbs_desired_lrps", "Desired LRPs at the moment", lambda: len(memory.desired.by_guid))
    counts = memory.actual.counts
    read(
        "bbs_actual_lrps",
        "Records of actual LRPs at the moment",
        lambda: {(presence.name, state.value): number for (presence, state), number in dict(counts).items()},
        labels=("presence", "state"),
    )
    read(
        "bbs_tasks",
        "Tasks at the moment",
        lambda: {(state.wire_name,): number for state, number in memory.tasks.numbers().items() if state},
        labels=("state",),
    )


def _measure_streams(announcer: Announcer) -> None:
    hubs = {
        ("lrp_instances.r1",): announcer.instances,
        ("lrp_instances",): announcer.old_instances,
        ("events.r1",): announcer.groups,
        ("events",): announcer.old_groups,
        ("tasks.r1",): announcer.tasks,
        ("tasks",): announcer.old_tasks,
    }
    read(
        "bbs_event_streams",
        "Open event streams",
        lambda: {name: hub.subscribers for name, hub in hubs.items()},
        labels=("stream",),
    )
    read(
        "bbs_event_streams_dropped_total",
        "Event streams ended because their client was too slow",
        lambda: {name: hub.dropped for name, hub in hubs.items()},
        kind=Kind.COUNTER,
        labels=("stream",),
    )


def _by_label(totals: Mapping[str, int]) -> Callable[[], Mapping[tuple[str, ...], float]]:
    return lambda: {(label,): number for label, number in dict(totals).items()}


# ---- convergence


_OF_LRPS: tuple[tuple[str, str, Callable[[LRPCounts], float]], ...] = (
    ("LRPsDesired", "Instances that are wanted", lambda found: found.desired),
    ("LRPsUnclaimed", "Instances without a cell", lambda found: found.unclaimed),
    ("LRPsClaimed", "Instances that a cell has claimed", lambda found: found.claimed),
    ("LRPsRunning", "Instances that run", lambda found: found.running),
    ("CrashedActualLRPs", "Instances that wait after a crash", lambda found: found.crashed),
    ("CrashingDesiredLRPs", "Processes with such an instance", lambda found: found.crashing),
    ("LRPsMissing", "Wanted instances that had no record", lambda found: found.missing),
    ("LRPsExtra", "Instances that are to go", lambda found: found.extra),
    ("SuspectRunningActualLRPs", "Running instances of lost cells", lambda found: found.suspect_running),
    ("SuspectClaimedActualLRPs", "Claimed instances of lost cells", lambda found: found.suspect_claimed),
    ("PresentCells", "Cells whose presence is in Locket", lambda found: found.present_cells),
    ("SuspectCells", "Absent cells that still have records", lambda found: found.suspect_cells),
)

_TOLD_STATES = (TaskState.PENDING, TaskState.RUNNING, TaskState.COMPLETED, TaskState.RESOLVING)


def measure_convergence(findings: Findings) -> None:
    """What convergence found the last time."""
    for name, meaning, of_lrps in _OF_LRPS:
        original(name, f"{meaning}, at the last convergence", _of_lrps(findings, of_lrps))
    original("Domain.<name>", "1 for a domain fresh at the last convergence", lambda: _domains(findings))
    for state in _TOLD_STATES:
        told = state.wire_name
        original(f"Tasks{told}", f"{told} tasks after the last convergence", _of_tasks(findings, state))
    original(
        "ConvergenceLRPDuration",
        "Time that the last convergence of LRPs took",
        lambda: findings.lrp_seconds,
        unit=Unit.NANOS,
    )
    original(
        "ConvergenceTaskDuration",
        "Time that the last convergence of tasks took",
        lambda: findings.task_seconds,
        unit=Unit.NANOS,
    )
    totals: tuple[tuple[str, str, Callable[[], float]], ...] = (
        ("ConvergenceLRPRuns", "Convergences of LRPs", lambda: findings.lrp_runs),
        ("ConvergenceTaskRuns", "Convergences of tasks", lambda: findings.task_runs),
        ("ConvergenceTasksPruned", "Tasks that convergence has deleted", lambda: findings.tasks_pruned),
        ("ConvergenceTasksKicked", "Tasks that convergence has moved on", lambda: findings.tasks_kicked),
    )
    for name, meaning, total in totals:
        original(name, meaning, total, kind=Kind.COUNTER)


def _of_lrps(findings: Findings, number: Callable[[LRPCounts], float]) -> Callable[[], float | None]:
    return lambda: None if findings.lrps is None else number(findings.lrps)


def _of_tasks(findings: Findings, state: TaskState) -> Callable[[], float | None]:
    return lambda: None if findings.tasks is None else findings.tasks[state]


def _domains(findings: Findings) -> Mapping[tuple[str, ...], float]:
    return {} if findings.lrps is None else {(name,): 1.0 for name in findings.lrps.fresh_domains}


# ---- requests


class Requests:
    """The API's requests: all of them, and those of the routes that the configuration names."""

    def __init__(self, api: Api, *, counted: Sequence[str] = (), timed: Sequence[str] = ()) -> None:
        """`counted`, `timed`: names of ROUTES with a number of their own."""
        self._tallies = [route.tally for route in api.calls.values()]
        self._tallies.append(api.elsewhere)
        routes = {path: route.tally for (_, path), route in api.calls.items()}
        of = {name: routes[path.encode()] for name, path in ROUTES.items()}
        original("RequestCount", "Requests of the API", self._count, kind=Kind.COUNTER)
        original(
            "RequestLatency",
            "Slowest request of the present and the last period; event streams are not timed",
            self._slowest,
            unit=Unit.NANOS,
        )
        original(
            "RequestCount.<route>",
            "Requests of one route",
            lambda: {(name,): of[name].count for name in counted},
            kind=Kind.COUNTER,
        )
        original(
            "RequestLatency.<route>",
            "Slowest request of one route in the present and the last period",
            lambda: {(name,): of[name].slowest for name in timed},
            unit=Unit.NANOS,
        )

    def turn(self) -> None:
        """A period is over. In the loop."""
        for tally in self._tallies:
            tally.turn()

    def _count(self) -> float:
        return sum(tally.count for tally in self._tallies)

    def _slowest(self) -> float:
        return max(map(_slowest_of, self._tallies))


def _slowest_of(tally: Tally) -> float:
    return tally.slowest
