"""Arithmetic of limits: shares and weights, the size of a disk, the time a container is entitled to."""

from __future__ import annotations

import math
from dataclasses import dataclass

from diego.garden.core.specs import DiskScope, Limits
from diego.garden.errors import GardenError

MIB = 1 << 20
SMALLEST_DISK = 256 * 1024
DEFAULT_INODES = 200_000
INODE_SIZE = 256
BLOCK_SIZE = 4096
BLOCKS_PER_GROUP = 32768
BYTES_PER_INODE = 4096
CPU_PERIOD_US = 100_000
SMALLEST_QUOTA_US = 1000


def cpu_weight(shares: int) -> int:
    """The cgroup v2 weight of a number of cgroup v1 shares; 0 leaves it unset (section 4.3)."""
    if shares == 0:
        return 0
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    order = math.log2(shares)
    exponent = (order * order + 125 * order) / 612 - 7 / 34
    return math.ceil(10**exponent)


def cpu_shares(weight: int) -> int:
    """The shares that a weight stands for: the inverse of `cpu_weight`, to the nearest share."""
    if weight <= 1:
        return 2 if weight else 0
    wanted = (math.log10(weight) + 7 / 34) * 612
    order = (-125 + math.sqrt(125 * 125 + 4 * wanted)) / 2
    return min(262144, round(2**order))


def cpu_quota(shares: int, per_share_us: int) -> int:
    """Microseconds of CPU per period of 100 ms; 0 is no cap."""
    if not per_share_us or not shares:
        return 0
    return max(SMALLEST_QUOTA_US, shares * per_share_us)


def entitlement(shares: int, percent_per_share: float, age_ns: int) -> int:
    """Nanoseconds of CPU that a container of this age could claim under full load."""
    return int(shares * percent_per_share / 100 * age_ns)


@dataclass(frozen=True, slots=True)
class DiskSize:
    """A container's own disk: the bytes and inodes it may fill, and the size of the file that holds them."""

    usable: int
    inodes: int
    file: int


def disk_size(limits: Limits, *, image_bytes: int, unlimited: int) -> DiskSize:
    """How large the container's own file system must be.

    The limit counts the image too unless its scope says otherwise, so what is left
    is what the container may write. The file is larger by what ext4 needs for
    itself. Sizes are whole MiB, so that containers of about the same limit share one
    template.

    Args:
        limits: the container's limits.
        image_bytes: the size of the shared image.
        unlimited: the bytes of a container without a disk limit.

    Raises:
        GardenError: the image alone exceeds the limit.
    """
    own = limits.disk or unlimited
    if limits.disk and limits.disk_scope is DiskScope.TOTAL:
        if image_bytes >= limits.disk:
            raise GardenError(f"layers exceed disk quota {image_bytes}/{limits.disk} bytes", handle="")
        own = limits.disk - image_bytes
    usable = math.ceil(max(own, SMALLEST_DISK) / MIB) * MIB
    inodes = min(limits.inodes or DEFAULT_INODES, max(usable // BYTES_PER_INODE, 256))
    return DiskSize(usable, inodes, _file_bytes(usable, inodes))


def _file_bytes(usable: int, inodes: int) -> int:
    """The bytes of an ext4 image (no journal, no reserve) that leaves `usable` for data."""
    tables = math.ceil(inodes * INODE_SIZE / BLOCK_SIZE) * BLOCK_SIZE
    groups = math.ceil((usable + tables) / (BLOCK_SIZE * BLOCKS_PER_GROUP)) + 1
    # per group: two bitmaps, the rounding of its inode table, a share of the descriptors' copies
    overhead = groups * (2 * BLOCK_SIZE + 2 * BLOCK_SIZE) + groups * 64 * 4 + 64 * BLOCK_SIZE
    return math.ceil((usable + tables + overhead) / MIB) * MIB
