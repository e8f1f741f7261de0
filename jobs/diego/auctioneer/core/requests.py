"""From the bodies of `POST /v1/lrps` and `/v1/tasks` to starts (contract/auction.md section 2).

Keys match in any case. Elements that are decodable but not valid are dropped, as the original does; what cannot be
decoded is refused whole, with the original's words.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from diego.auctioneer.core import go_json
from diego.auctioneer.core.starts import Demand, LRPStart, TaskStart

TASK_STATES = frozenset({"Invalid", "Pending", "Running", "Completed", "Resolving"})


class Undecodable(Exception):
    """The body is not what the path wants; the text goes to the caller."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a body asked for, and how many of its elements were dropped."""

    starts: Sequence[LRPStart | TaskStart]
    dropped: int


def decode_lrps(body: bytes) -> Asked:
    """The instances of a `/v1/lrps` body. Raises Undecodable."""
    starts: list[LRPStart | TaskStart] = []
    dropped = 0
    for element in _elements(body, "LRPStartRequest"):
        fields = _Fields(element, "LRPStartRequest")
        guid, domain = fields.text("process_guid"), fields.text("domain")
        indices = fields.integers("indices")
        demand = _demand(fields)
        if not (guid and domain and indices and _is_valid(demand)):
            dropped += 1
            continue
        starts += [LRPStart(guid, index, domain, demand) for index in indices]
    return Asked(starts, dropped)


def decode_tasks(body: bytes) -> Asked:
    """The tasks of a `/v1/tasks` body, flat or one level down under `Task`. Raises Undecodable."""
    starts: list[LRPStart | TaskStart] = []
    dropped = 0
    for element in _elements(body, "TaskStartRequest"):
        fields = _Fields(_flattened(element), "TaskStartRequest")
        guid, domain = fields.text("TaskGuid"), fields.text("Domain")
        demand = _demand(fields)
        fields.task_state("state")
        fields.truth("failed")
        if not (guid and _is_valid(demand)):
            dropped += 1
            continue
        starts.append(TaskStart(guid, domain, demand))
    return Asked(starts, dropped)


def decode_json(body: bytes) -> Any:
    """Any JSON value as the original's decoder takes it. Raises Undecodable with its words."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body.decode("utf-8", "replace")
        if found := go_json.fault(text):
            raise Undecodable(found) from None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Undecodable(str(error)) from error


def _elements(body: bytes, kind: str) -> list[Mapping[str, Any]]:
    found = decode_json(body)
    if found is None:
        return []
    if not isinstance(found, list):
        raise Undecodable(f"json: cannot unmarshal {_kind(found)} into Go value of type []auctioneer.{kind}")
    for element in found:
        if element is not None and not isinstance(element, dict):
            raise Undecodable(
                f"json: cannot unmarshal {_kind(element)} into Go value of type auctioneer.{kind}"
            )
    return [element or {} for element in found]


def _flattened(element: Mapping[str, Any]) -> Mapping[str, Any]:
    nested = next((value for key, value in element.items() if key.lower() == "task"), None)
    return {**nested, **element} if isinstance(nested, dict) else element


def _demand(fields: "_Fields") -> Demand:
    return Demand(
        rootfs=fields.text("RootFs"),
        memory_mb=fields.integer("MemoryMB", 32),
        disk_mb=fields.integer("DiskMB", 32),
        max_pids=fields.integer("MaxPids", 32),
        placement_tags=fields.texts("PlacementTags"),
        volume_drivers=fields.texts("VolumeDrivers"),
    )


def _is_valid(demand: Demand) -> bool:
    return bool(demand.rootfs) and demand.memory_mb >= 0 and demand.disk_mb >= 0


class _Fields:
    """An object's members by their names in any case; null counts as absent."""

    def __init__(self, element: Mapping[str, Any], struct: str) -> None:
        self._values = {key.lower(): value for key, value in element.items()}
        self._struct = struct

    def text(self, name: str) -> str:
        value = self._get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self._wrong(value, name, "string")
        return value

    def truth(self, name: str) -> bool:
        value = self._get(name)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(value, name, "bool")
        return bool(value)

    def integer(self, name: str, bits: int) -> int:
        value = self._get(name)
        return 0 if value is None else self._number(value, name, bits)

    def integers(self, name: str) -> tuple[int, ...]:
        value = self._get(name)
        if value is None:
            return ()
        if not isinstance(value, list):
            raise self._wrong(value, name, "[]int")
        return tuple(0 if item is None else self._number(item, name, 64) for item in value)

    def texts(self, name: str) -> tuple[str, ...] | None:
        value = self._get(name)
        if value is None:
            return None
        if not isinstance(value, list):
            raise self._wrong(value, name, "[]string")
        for item in value:
            if item is not None and not isinstance(item, str):
                raise self._wrong(item, name, "string")
        return tuple(item or "" for item in value)

    def task_state(self, name: str) -> None:
        """A task's state is read for its form only: what is asked for has none yet."""
        value = self._get(name)
        if value is None:
            return
        if not isinstance(value, str):
            raise Undecodable(f"json: cannot unmarshal {_kind(value)} into Go value of type string")
        if value not in TASK_STATES:
            raise Undecodable(f"invalid task state: {value}")

    def _get(self, name: str) -> Any:
        return self._values.get(name.lower())

    def _number(self, value: Any, name: str, bits: int) -> int:
        kind = "int" if bits == 64 else f"int{bits}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(value, name, kind)
        if isinstance(value, float) or not -(1 << bits - 1) <= value < 1 << bits - 1:
            raise Undecodable(
                f"json: cannot unmarshal number {value} into Go struct field"
                f" {self._struct}.{name} of type {kind}"
            )
        return value

    def _wrong(self, value: Any, name: str, kind: str) -> Undecodable:
        return Undecodable(
            f"json: cannot unmarshal {_kind(value)} into Go struct field {self._struct}.{name} of type {kind}"
        )


def _kind(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"
