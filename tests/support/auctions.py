"""Values with good defaults for the auctioneer's tests."""

from dataclasses import replace
from typing import Any

from diego.auctioneer.core.cells import ANY, CellState, Resources
from diego.auctioneer.core.starts import Demand, LRPStart, TaskStart

STACK = "preloaded:cflinuxfs4"


def resources(memory_mb: int = 1024, disk_mb: int = 2048, containers: int = 10) -> Resources:
    return Resources(memory_mb, disk_mb, containers)


def a_cell(cell_id: str = "cell-a", **changes: Any) -> CellState:
    cell = CellState(
        cell_id=cell_id,
        zone="z1",
        rootfs_providers={"preloaded": frozenset({"cflinuxfs4"}), "docker": ANY},
        available=resources(),
        total=resources(),
    )
    return replace(cell, **changes)


def a_demand(**changes: Any) -> Demand:
    return replace(Demand(rootfs=STACK, memory_mb=128, disk_mb=256), **changes)


def an_lrp(process_guid: str = "web", index: int = 0, **changes: Any) -> LRPStart:
    return LRPStart(process_guid, index, "apps", a_demand(**changes))


def a_task(task_guid: str = "job", **changes: Any) -> TaskStart:
    return TaskStart(task_guid, "apps", a_demand(**changes))
