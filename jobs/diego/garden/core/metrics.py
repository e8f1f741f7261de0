"""What the kernel counts, in the words of the API (contract/garden.md section 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Usage:
    """One look at a container's counters; times in nanoseconds, the rest in bytes or pieces."""

    memory: dict[str, int]
    cpu: int
    cpu_user: int
    cpu_system: int
    pids: int
    oom_kills: int


def flat_keyed(text: str) -> dict[str, int]:
    """The numbers of a file of `name number` lines."""
    values = {}
    for line in text.splitlines():
        name, _, number = line.partition(" ")
        if number.strip().isdigit():
            values[name] = int(number)
    return values


def usage_toward_limit(memory: dict[str, int], *, unified: bool) -> int:
    """The memory that counts: what the kernel would not give up at once when the limit is near."""
    if unified:
        parts = ("anon", "file", "swapcached"), "inactive_file"
    else:
        parts = ("total_rss", "total_cache", "total_swap"), "total_inactive_file"
    counted, reclaimable = parts
    return max(0, sum(memory.get(name, 0) for name in counted) - memory.get(reclaimable, 0))


def document(
    usage: Usage,
    *,
    unified: bool,
    image_bytes: int,
    own_bytes: int,
    own_inodes: int,
    pid_limit: int,
    age_ns: int,
    entitlement_ns: int,
    network: tuple[int, int] | None,
) -> dict[str, Any]:
    """A container's Metrics object.

    `network` holds the bytes that the container received and sent, None where nobody asked for them.
    """
    return {
        "MemoryStat": {
            **usage.memory,
            "TotalUsageTowardLimit": usage_toward_limit(usage.memory, unified=unified),
        },
        "CPUStat": {"Usage": usage.cpu, "User": usage.cpu_user, "System": usage.cpu_system},
        "DiskStat": {
            "TotalBytesUsed": image_bytes + own_bytes,
            "TotalInodesUsed": own_inodes,
            "ExclusiveBytesUsed": own_bytes,
            "ExclusiveInodesUsed": own_inodes,
        },
        "NetworkStat": network and {"RxBytes": network[0], "TxBytes": network[1]},
        "PidStat": {"Current": usage.pids, "Max": pid_limit},
        "Age": age_ns,
        "CPUEntitlement": entitlement_ns,
    }
