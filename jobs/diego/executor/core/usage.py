"""What containers use, from two samples of the engine (contract/executor.md section 10, contract/rep.md section 2.1)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Sample:
    """CPU time used and age, both in nanoseconds since the container began."""

    cpu_ns: int
    age_ns: int


@dataclass(frozen=True, slots=True)
class Usage:
    """One container's use. The CPU fraction is 1.0 for a whole core; sizes in bytes."""

    cpu_fraction: float
    memory_bytes: int
    disk_bytes: int
    rx_bytes: int | None = None
    tx_bytes: int | None = None


def usage(
    metrics: Mapping[str, Any], before: Sample | None, *, rootfs_bytes: int = 0
) -> tuple[Usage, Sample]:
    """What one container uses by the engine's Metrics, and the sample to compare the next one with.

    The first sample has no CPU fraction yet: 0. The root filesystem's size is
    not the app's, so it is taken off the disk.
    """
    sample = Sample(cpu_ns=metrics["CPUStat"].get("Usage", 0), age_ns=metrics.get("Age", 0))
    fraction = 0.0
    if before is not None and sample.age_ns > before.age_ns:
        fraction = max(sample.cpu_ns - before.cpu_ns, 0) / (sample.age_ns - before.age_ns)
    network = metrics.get("NetworkStat") or {}
    return (
        Usage(
            cpu_fraction=fraction,
            memory_bytes=metrics["MemoryStat"].get("TotalUsageTowardLimit", 0),
            disk_bytes=max(metrics["DiskStat"].get("TotalBytesUsed", 0) - rootfs_bytes, 0),
            rx_bytes=network.get("RxBytes"),
            tx_bytes=network.get("TxBytes"),
        ),
        sample,
    )
