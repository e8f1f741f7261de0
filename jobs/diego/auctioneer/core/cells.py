"""What a cell says of itself when it is asked for its state (contract/auction.md sections 4.2 and 4.3)."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from diego.auctioneer.core.requests import Undecodable, decode_json

ANY: frozenset[str] | None = None
"""Of a rootfs provider: every root filesystem of that scheme."""


@dataclass(frozen=True, slots=True)
class Resources:
    memory_mb: int
    disk_mb: int
    containers: int


@dataclass(frozen=True, slots=True)
class CellState:
    """One cell at the beginning of a round.

    Attributes:
        rootfs_providers: scheme to the names that the cell has, or to `ANY`.
        processes: how many instances of each process guid the cell holds, in whatever state.
        starting: containers that are reserved or being made.
    """

    cell_id: str
    zone: str = ""
    cell_index: int = 0
    rootfs_providers: Mapping[str, frozenset[str] | None] = field(default_factory=dict)
    available: Resources = Resources(0, 0, 0)
    total: Resources = Resources(0, 0, 0)
    processes: Mapping[str, int] = field(default_factory=dict)
    tasks: int = 0
    starting: int = 0
    evacuating: bool = False
    volume_drivers: frozenset[str] = frozenset()
    placement_tags: frozenset[str] = frozenset()
    optional_placement_tags: frozenset[str] = frozenset()
    proxy_memory_mb: int = 0


def decode_state(body: bytes, cell_id: str) -> CellState:
    """The state in a cell's answer; keys match in any case.

    Raises:
        Undecodable: it is no state, or the state of another cell than `cell_id`.
    """
    told = _object(decode_json(body), "state")
    named = _text(told, "cell_id")
    if named and named != cell_id:
        raise Undecodable(f"state of cell {named!r}, not of {cell_id!r}")
    lrps = [_object(lrp, "LRPs") for lrp in _list(told, "LRPs")]
    return CellState(
        cell_id=cell_id,
        zone=_text(told, "Zone"),
        cell_index=_number(told, "cell_index"),
        rootfs_providers=_providers(told),
        available=_resources(told, "AvailableResources"),
        total=_resources(told, "TotalResources"),
        processes=Counter(_text(lrp, "process_guid") for lrp in lrps),
        tasks=len(_list(told, "Tasks")),
        starting=_number(told, "StartingContainerCount"),
        evacuating=told.get("evacuating") is True,
        volume_drivers=_texts(told, "VolumeDrivers"),
        placement_tags=_texts(told, "PlacementTags"),
        optional_placement_tags=_texts(told, "OptionalPlacementTags"),
        proxy_memory_mb=_number(told, "ProxyMemoryAllocationMB"),
    )


def _providers(told: Mapping[str, Any]) -> dict[str, frozenset[str] | None]:
    """Schemes and their names; a provider of an unknown type offers nothing and is left out."""
    value = told.get("rootfsproviders")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Undecodable("RootFSProviders: not an object")
    found: dict[str, frozenset[str] | None] = {}
    for scheme, provider in value.items():
        members = _object(provider, "RootFSProviders")
        if members.get("type") == "arbitrary":
            found[scheme] = ANY
        elif members.get("type") == "fixed_set":
            names = members.get("set") or {}
            if not isinstance(names, dict):
                raise Undecodable("RootFSProviders: the set is not an object")
            found[scheme] = frozenset(names)
    return found


def _resources(told: Mapping[str, Any], name: str) -> Resources:
    members = _object(told.get(name.lower()), name)
    return Resources(_number(members, "MemoryMB"), _number(members, "DiskMB"), _number(members, "Containers"))


def _object(value: Any, name: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Undecodable(f"{name}: not an object")
    return {key.lower(): member for key, member in value.items()}


def _list(told: Mapping[str, Any], name: str) -> list[Any]:
    value = told.get(name.lower())
    if value is None:
        return []
    if not isinstance(value, list):
        raise Undecodable(f"{name}: not a list")
    return value


def _texts(told: Mapping[str, Any], name: str) -> frozenset[str]:
    values = _list(told, name)
    if not all(isinstance(value, str) for value in values):
        raise Undecodable(f"{name}: not a list of texts")
    return frozenset(values)


def _text(told: Mapping[str, Any], name: str) -> str:
    value = told.get(name.lower())
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Undecodable(f"{name}: not a text")
    return value


def _number(told: Mapping[str, Any], name: str) -> int:
    value = told.get(name.lower())
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool):
        raise Undecodable(f"{name}: not a whole number")
    return value
