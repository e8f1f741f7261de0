"""Which cells may run something at all: root filesystem, volume drivers, placement tags.

contract/auction.md section 5.3. The three are asked in this order, and a refusal names the furthest that any cell
came to. Zones are asked one by one in the original, in an order left to chance, and a later zone's
refusal may replace an earlier one's; the furthest of all zones is one of its possible outcomes, and the
one that tells most.
"""

import re
from enum import IntEnum
from typing import NamedTuple

from diego.auctioneer.core import failures
from diego.auctioneer.core.cells import CellState
from diego.auctioneer.core.starts import Demand

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HOST = re.compile(r"(?:\[[^\]]*\]|[^ ^`{|}\\:\[\]]*)(?::[0-9]*)?")
_NONE: frozenset[str] = frozenset()


class Stage(IntEnum):
    """How far a cell came."""

    ROOTFS = 0
    VOLUME_DRIVERS = 1
    PLACEMENT_TAGS = 2
    PASSED = 3


class Wanted(NamedTuple):
    """What the filters look at: equal for all instances of a process, and for many processes."""

    rootfs: str
    volume_drivers: frozenset[str]
    placement_tags: frozenset[str]

    @classmethod
    def of(cls, demand: Demand) -> "Wanted":
        drivers = frozenset(demand.volume_drivers) if demand.volume_drivers else _NONE
        tags = frozenset(demand.placement_tags) if demand.placement_tags else _NONE
        return cls(demand.rootfs, drivers, tags)


def stage_reached(cell: CellState, wanted: Wanted, root: tuple[str, str] | None) -> Stage:
    """Where `cell` drops out. `root`: what `parse_rootfs` made of the wanted root filesystem."""
    if not _offers(cell, root):
        return Stage.ROOTFS
    if not wanted.volume_drivers <= cell.volume_drivers:
        return Stage.VOLUME_DRIVERS
    if not (
        cell.placement_tags <= wanted.placement_tags
        and wanted.placement_tags <= cell.placement_tags | cell.optional_placement_tags
    ):
        return Stage.PLACEMENT_TAGS
    return Stage.PASSED


def refusal(furthest: Stage, demand: Demand) -> str:
    """The text for work that no cell may run, of which the best came to `furthest`."""
    if furthest is Stage.ROOTFS:
        return failures.NO_ROOTFS
    if furthest is Stage.VOLUME_DRIVERS:
        return failures.NO_VOLUME_DRIVERS
    return failures.no_placement_tags(demand.placement_tags or ())


def parse_rootfs(url: str) -> tuple[str, str] | None:
    """Scheme and opaque part (what follows the scheme up to `?`, if it is no path); None when it is no URL."""
    if _CONTROL.search(url):
        return None
    url, _, fragment = url.partition("#")
    found = _SCHEME.match(url)
    if not found or _BROKEN_ESCAPE.search(fragment):
        return None
    rest, _, _query = url[found.end() :].partition("?")
    if not rest.startswith("/"):
        return found[1].lower(), rest
    if _BROKEN_ESCAPE.search(rest):
        return None
    if rest.startswith("//") and not _HOST.fullmatch(rest[2:].partition("/")[0].rpartition("@")[2]):
        return None
    return found[1].lower(), ""


def _offers(cell: CellState, root: tuple[str, str] | None) -> bool:
    if root is None or root[0] not in cell.rootfs_providers:
        return False
    names = cell.rootfs_providers[root[0]]
    return names is None or root[1] in names
