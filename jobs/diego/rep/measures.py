"""The cell's numbers on /metrics (contract/executor.md section 10), by the original's names; sizes in MiB."""

from diego.executor.core.containers import STARTING
from diego.executor.service import Executor
from diego.runtime import metrics


def measure_capacity(executor: Executor) -> None:
    """Room, and what is in it; asked whenever somebody looks."""
    metrics.measured("CapacityTotalMemory", "memory offered, MiB", lambda: executor.total.memory_mb)
    metrics.measured("CapacityTotalDisk", "disk offered, MiB", lambda: executor.total.disk_mb)
    metrics.measured("CapacityTotalContainers", "containers offered", lambda: executor.total.containers)
    metrics.measured("CapacityRemainingMemory", "memory free, MiB", lambda: executor.remaining().memory_mb)
    metrics.measured("CapacityRemainingDisk", "disk free, MiB", lambda: executor.remaining().disk_mb)
    metrics.measured(
        "CapacityRemainingContainers", "container slots free", lambda: executor.remaining().containers
    )
    metrics.measured(
        "CapacityAllocatedMemory",
        "memory taken, MiB",
        lambda: executor.total.memory_mb - executor.remaining().memory_mb,
    )
    metrics.measured(
        "CapacityAllocatedDisk",
        "disk taken, MiB",
        lambda: executor.total.disk_mb - executor.remaining().disk_mb,
    )
    metrics.measured("ContainerCount", "containers in any state", lambda: len(executor.containers()))
    metrics.measured(
        "StartingContainerCount",
        "containers reserved, initializing or created",
        lambda: sum(one.state in STARTING for one in executor.containers()),
    )
    metrics.measured(
        "CellUnhealthy", "1 while the engine fails its self-check", lambda: float(not executor.healthy)
    )
