"""Arithmetic of limits (contract/garden.md sections 4.3 and 6)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diego.garden.core import limits
from diego.garden.core.limits import DEFAULT_INODES, MIB, disk_size
from diego.garden.core.specs import DiskScope, Limits
from diego.garden.errors import GardenError


@pytest.mark.parametrize(
    ("shares", "weight"),
    [(0, 0), (1, 1), (2, 1), (10, 4), (512, 59), (1024, 100), (262144, 10000), (10**6, 10000)],
)
def test_shares_become_a_weight(shares: int, weight: int) -> None:
    assert limits.cpu_weight(shares) == weight


@given(st.integers(2, 262144))
def test_a_weight_grows_with_the_shares_and_stands_for_about_as_many(shares: int) -> None:
    weight = limits.cpu_weight(shares)

    assert 1 <= weight <= 10000
    assert weight <= limits.cpu_weight(shares + 1)
    assert limits.cpu_weight(limits.cpu_shares(weight)) in (weight, weight + 1)


@pytest.mark.parametrize(
    ("shares", "per_share", "quota"), [(0, 5, 0), (5, 0, 0), (10, 50, 1000), (100, 50, 5000)]
)
def test_a_quota_needs_shares_and_a_rate(shares: int, per_share: int, quota: int) -> None:
    assert limits.cpu_quota(shares, per_share) == quota


def test_entitlement_is_shares_times_rate_times_age() -> None:
    assert limits.entitlement(100, 0.5, 1_000_000_000) == 500_000_000


def test_the_image_counts_towards_a_total_limit() -> None:
    total = disk_size(Limits(disk=100 * MIB), image_bytes=40 * MIB, unlimited=MIB)
    exclusive = disk_size(
        Limits(disk=100 * MIB, disk_scope=DiskScope.EXCLUSIVE), image_bytes=40 * MIB, unlimited=MIB
    )

    assert total.usable == 60 * MIB
    assert exclusive.usable == 100 * MIB


def test_an_image_that_fills_the_limit_is_refused() -> None:
    with pytest.raises(GardenError, match="layers exceed disk quota"):
        disk_size(Limits(disk=40 * MIB), image_bytes=40 * MIB, unlimited=MIB)


def test_no_limit_is_the_hosts_size_whatever_the_image() -> None:
    assert disk_size(Limits(), image_bytes=400 * MIB, unlimited=100 * MIB).usable == 100 * MIB


def test_inodes_are_as_asked_but_no_more_than_the_disk_has_room_for() -> None:
    large = Limits(disk=10 << 30, disk_scope=DiskScope.EXCLUSIVE)
    small = Limits(disk=4 * MIB, inodes=200_000, disk_scope=DiskScope.EXCLUSIVE)
    few = Limits(disk=10 << 30, inodes=500, disk_scope=DiskScope.EXCLUSIVE)

    assert disk_size(large, image_bytes=0, unlimited=0).inodes == DEFAULT_INODES
    assert disk_size(small, image_bytes=0, unlimited=0).inodes == 1024
    assert disk_size(few, image_bytes=0, unlimited=0).inodes == 500


@given(st.integers(1, 1 << 40), st.integers(0, 10**6))
def test_the_file_is_larger_than_what_it_holds_and_not_by_much(disk: int, inodes: int) -> None:
    asked = Limits(disk=disk, inodes=inodes, disk_scope=DiskScope.EXCLUSIVE)

    size = disk_size(asked, image_bytes=0, unlimited=0)

    assert size.usable >= disk
    assert size.file % MIB == size.usable % MIB == 0
    assert size.usable + size.inodes * limits.INODE_SIZE < size.file
    assert size.file < size.usable * 1.08 + 3 * MIB
