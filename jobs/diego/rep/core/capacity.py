"""Which work a cell takes, and what it tells the auctioneer of its room (contract/rep.md section 2.2)."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diego.executor.core.containers import STARTING, Container, State
from diego.executor.core.resources import Demand, Room
from diego.rep.core.conversion import RootfsUnknown, resolve_rootfs
from diego.rep.core.work import LrpWork, TaskWork, line

LRP = "lrp"
TASK = "task"
INSTANCE_GUID_LENGTH = 28
"""Characters of a random UUID's text that name an instance."""


class Tag:
    """Names of the tags that a reserved container carries."""

    LIFECYCLE = "lifecycle"
    DOMAIN = "domain"
    PROCESS_GUID = "process-guid"
    PROCESS_INDEX = "process-index"
    INSTANCE_GUID = "instance-guid"
    PLACEMENT_TAGS = "placement-tags"
    VOLUME_DRIVERS = "volume-drivers"


def that_fit(lrps: Sequence[LrpWork], free_memory_mb: int) -> tuple[list[LrpWork], list[LrpWork]]:
    """Those that fit the memory left, the largest first, and those that do not."""
    fitting, failed = [], []
    for lrp in sorted(lrps, key=lambda lrp: -lrp.memory_mb):
        if lrp.memory_mb <= free_memory_mb:
            free_memory_mb -= lrp.memory_mb
            fitting.append(lrp)
        else:
            failed.append(lrp)
    return fitting, failed


def can_be_rooted(work: LrpWork | TaskWork, stacks: Mapping[str, str]) -> bool:
    """Whether the cell has the root filesystem that the work names."""
    try:
        resolve_rootfs(work.rootfs, stacks)
    except RootfsUnknown:
        return False
    return True


def lrp_reservation(lrp: LrpWork, instance_guid: str) -> tuple[Demand, dict[str, str]]:
    """What an instance takes, and how its container is tagged."""
    tags = {
        Tag.LIFECYCLE: LRP,
        Tag.DOMAIN: lrp.domain,
        Tag.PROCESS_GUID: lrp.process_guid,
        Tag.PROCESS_INDEX: str(lrp.index),
        Tag.INSTANCE_GUID: instance_guid,
    }
    return _demand(lrp), {**tags, **_placement_tags(lrp)}


def task_reservation(task: TaskWork) -> tuple[Demand, dict[str, str]]:
    """What a task takes, and how its container is tagged."""
    return _demand(task), {Tag.LIFECYCLE: TASK, Tag.DOMAIN: task.domain, **_placement_tags(task)}


def _demand(work: LrpWork | TaskWork) -> Demand:
    return Demand(
        memory_mb=max(work.memory_mb, 0),
        disk_mb=max(work.disk_mb, 0),
        max_pids=max(work.max_pids, 0),
        rootfs=work.rootfs,
    )


def _placement_tags(work: LrpWork | TaskWork) -> dict[str, str]:
    return {
        Tag.PLACEMENT_TAGS: json.dumps(work.placement_tags, separators=(",", ":")),
        Tag.VOLUME_DRIVERS: json.dumps(work.volume_drivers, separators=(",", ":")),
    }


@dataclass(frozen=True, slots=True)
class CellFacts:
    """What does not change while the rep runs."""

    cell_id: str
    cell_index: int
    zone: str
    rep_url: str
    stacks: tuple[str, ...]
    arbitrary_schemes: tuple[str, ...]
    placement_tags: tuple[str, ...]
    optional_placement_tags: tuple[str, ...]


def cell_state(
    facts: CellFacts, containers: Iterable[Container], *, total: Room, free: Room, evacuating: bool
) -> bytes:
    """The answer to `GET /state` (contract/auction.md section 4.2)."""
    held = list(containers)
    preloaded = {"type": "fixed_set", "set": {stack: {} for stack in facts.stacks}}
    return line(
        {
            "rep_url": facts.rep_url,
            "cell_id": facts.cell_id,
            "cell_index": facts.cell_index,
            "RootFSProviders": {
                **{scheme: {"type": "arbitrary"} for scheme in facts.arbitrary_schemes},
                "preloaded": preloaded,
                "preloaded+layer": preloaded,
            },
            "AvailableResources": _room(free),
            "TotalResources": _room(total),
            "LRPs": [_lrp(one).document() for one in held if is_lrp(one)],
            "Tasks": [_task(one).document() for one in held if is_task(one)],
            "StartingContainerCount": sum(one.state in STARTING for one in held),
            "Zone": facts.zone,
            "Evacuating": evacuating,
            "VolumeDrivers": [],
            "PlacementTags": list(facts.placement_tags),
            "OptionalPlacementTags": list(facts.optional_placement_tags),
            "ProxyMemoryAllocationMB": 0,
        }
    )


def is_lrp(container: Container) -> bool:
    return container.tags.get(Tag.LIFECYCLE) == LRP


def is_task(container: Container) -> bool:
    return container.tags.get(Tag.LIFECYCLE) == TASK


def _room(room: Room) -> dict[str, int]:
    return {"MemoryMB": room.memory_mb, "DiskMB": room.disk_mb, "Containers": room.containers}


def _lrp(container: Container) -> LrpWork:
    tags, demand = container.tags, container.demand
    return LrpWork(
        process_guid=tags[Tag.PROCESS_GUID],
        index=int(tags[Tag.PROCESS_INDEX]),
        domain=tags[Tag.DOMAIN],
        rootfs=demand.rootfs,
        memory_mb=demand.memory_mb,
        disk_mb=demand.disk_mb,
        max_pids=demand.max_pids,
        placement_tags=_texts(tags.get(Tag.PLACEMENT_TAGS)),
        volume_drivers=_texts(tags.get(Tag.VOLUME_DRIVERS)),
        instance_guid=container.guid,
        state=_lrp_state(container),
    )


def _task(container: Container) -> TaskWork:
    tags, demand = container.tags, container.demand
    completed = container.state is State.COMPLETED
    return TaskWork(
        task_guid=container.guid,
        domain=tags[Tag.DOMAIN],
        rootfs=demand.rootfs,
        memory_mb=demand.memory_mb,
        disk_mb=demand.disk_mb,
        max_pids=demand.max_pids,
        placement_tags=_texts(tags.get(Tag.PLACEMENT_TAGS)),
        volume_drivers=_texts(tags.get(Tag.VOLUME_DRIVERS)),
        state="Completed" if completed else "Running",
        failed=completed and container.outcome is not None and container.outcome.failed,
    )


def _lrp_state(container: Container) -> str:
    if container.state is State.RUNNING:
        return "RUNNING"
    if container.state is State.COMPLETED:
        failed = container.outcome is not None and container.outcome.failed
        return "CRASHED" if failed else "SHUTDOWN"
    return "CLAIMED"


def _texts(tag: str | None) -> tuple[str, ...] | None:
    found: Any = json.loads(tag or "null")
    return None if found is None else tuple(found)
