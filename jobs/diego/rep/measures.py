"""The cell's numbers on /metrics (contract/executor.md section 10), by the original's names; sizes in bytes."""

from diego.executor.core.containers import STARTING
from diego.executor.service import Executor
from diego.runtime.metrics import Unit, original

MIB = 1 << 20


def measure_capacity(executor: Executor) -> None:
    """Room, and what is in it; asked whenever somebody looks."""

    def allocated_memory() -> int:
        return executor.total.memory_mb - executor.remaining().memory_mb

    def allocated_disk() -> int:
        return executor.total.disk_mb - executor.remaining().disk_mb

    for name, meaning, mebibytes in (
        ("CapacityTotalMemory", "Memory offered", lambda: executor.total.memory_mb),
        ("CapacityTotalDisk", "Disk offered", lambda: executor.total.disk_mb),
        ("CapacityRemainingMemory", "Memory free", lambda: executor.remaining().memory_mb),
        ("CapacityRemainingDisk", "Disk free", lambda: executor.remaining().disk_mb),
        ("CapacityAllocatedMemory", "Memory taken", allocated_memory),
        ("CapacityAllocatedDisk", "Disk taken", allocated_disk),
    ):
        original(name, meaning, lambda ask=mebibytes: ask() * MIB, unit=Unit.MIB)
    original("CapacityTotalContainers", "Containers offered", lambda: executor.total.containers)
    original("CapacityRemainingContainers", "Container slots free", lambda: executor.remaining().containers)
    original("ContainerCount", "Containers in any state", lambda: len(executor.containers()))
    original(
        "StartingContainerCount",
        "Containers reserved, initializing or created",
        lambda: sum(one.state in STARTING for one in executor.containers()),
    )
    original("CellUnhealthy", "1 while the engine fails its self-check", lambda: float(not executor.healthy))
