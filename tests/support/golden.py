"""Exchanges with the original, recorded, and played again to ours."""

import base64
import gzip
import importlib
import json
import pkgutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

import diego.wire

DATA = Path(__file__).parent.parent / "contract" / "data"
TIMES = frozenset({"since", "created_at", "updated_at", "first_completed_at"})
UNORDERED = frozenset(
    {
        "desired_lrps",
        "actual_lrps",
        "actual_lrp_groups",
        "tasks",
        "domains",
        "cells",
        "desired_lrp_scheduling_infos",
    }
)

Told = Any
"""Decoded JSON."""


def recording(name: str) -> list[dict[str, Any]]:
    """The exchanges or streams of one file."""
    path = DATA / f"golden-{name}.json.gz"
    found: list[dict[str, Any]] = json.loads(gzip.decompress(path.read_bytes()))
    return found


@cache
def message_class(name: str) -> type[Message]:
    """The class of package `models` with this name."""
    for module in _wire_modules():
        if hasattr(module, name):
            found: type[Message] = getattr(module, name)
            return found
    raise LookupError(name)


@cache
def _wire_modules() -> tuple[Any, ...]:
    return tuple(
        importlib.import_module(f"diego.wire.{found.name}")
        for found in pkgutil.iter_modules(diego.wire.__path__)
        if found.name.endswith("_pb2")
    )


EVENTS = {
    "desired_lrp_created": "DesiredLRPCreatedEvent",
    "desired_lrp_changed": "DesiredLRPChangedEvent",
    "desired_lrp_removed": "DesiredLRPRemovedEvent",
    "actual_lrp_created": "ActualLRPCreatedEvent",
    "actual_lrp_changed": "ActualLRPChangedEvent",
    "actual_lrp_removed": "ActualLRPRemovedEvent",
    "actual_lrp_crashed": "ActualLRPCrashedEvent",
    "actual_lrp_instance_created": "ActualLRPInstanceCreatedEvent",
    "actual_lrp_instance_changed": "ActualLRPInstanceChangedEvent",
    "actual_lrp_instance_removed": "ActualLRPInstanceRemovedEvent",
    "task_created": "TaskCreatedEvent",
    "task_changed": "TaskChangedEvent",
    "task_removed": "TaskRemovedEvent",
}


def told(name: str, encoded: bytes) -> Told:
    """A message decoded, with what differs from run to run replaced by whether it is there."""
    message = message_class(name).FromString(encoded)
    return comparable(MessageToDict(message, preserving_proto_field_name=True))


def comparable(value: Told, key: str = "") -> Told:
    if isinstance(value, dict):
        return {name: comparable(entry, name) for name, entry in sorted(value.items())}
    if isinstance(value, list):
        entries = [comparable(entry) for entry in value]
        return sorted(entries, key=_order) if key in UNORDERED or key == "indices" else entries
    if key in TIMES and value not in {0, "0"}:
        return "a time"
    if key == "epoch" and value:
        return "an epoch"
    return value


def _order(value: Told) -> str:
    return json.dumps(value, sort_keys=True)


def ordered(values: list[Told]) -> list[Told]:
    return sorted(values, key=_order)


def unpacked(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def differences(ours: Told, theirs: Told, where: str = "") -> Iterator[str]:
    """What differs, one line each."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted({*ours, *theirs}):
            yield from differences(ours.get(key), theirs.get(key), f"{where}/{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(one, other, f"{where}/{index}")
    elif ours != theirs:
        yield f"{where}: ours {_short(ours)}, recorded {_short(theirs)}"


def _short(value: Told) -> str:
    text = json.dumps(value)
    return text if len(text) < 700 else text[:700] + "…"
