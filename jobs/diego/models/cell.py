"""A cell as it announces itself: the value of its presence in Locket (contract/locket.md section 6)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from diego.wire import cells_pb2


@dataclass(frozen=True, slots=True)
class CellPresence:
    """What a rep says of itself.

    Attributes:
        rep_url: where the rep answers over mutual TLS; `rep_address` is its older plain twin.
        rootfs_providers: (name, properties) pairs in the rep's order.
        memory_mb, disk_mb, containers: the whole capacity, not what is free.
    """

    cell_id: str
    rep_address: str = ""
    zone: str = ""
    memory_mb: int = 0
    disk_mb: int = 0
    containers: int = 0
    rootfs_providers: tuple[tuple[str, tuple[str, ...]], ...] = ()
    placement_tags: tuple[str, ...] = ()
    optional_placement_tags: tuple[str, ...] = ()
    rep_url: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "CellPresence":
        """The cell that a presence's value tells of; keys match in any case, unknown ones are ignored.

        Raises:
            ValueError: the value is not the JSON of a cell.
        """
        try:
            value = json.loads(text)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        told = _object(value, "a cell")
        capacity = _object(told.get("capacity"), "capacity")
        return cls(
            cell_id=_text(told, "cell_id"),
            rep_address=_text(told, "rep_address"),
            zone=_text(told, "zone"),
            memory_mb=_number(capacity, "memory_mb"),
            disk_mb=_number(capacity, "disk_mb"),
            containers=_number(capacity, "containers"),
            rootfs_providers=tuple(
                (_text(provider, "name"), _texts(provider, "properties"))
                for provider in (
                    _object(entry, "rootfs_provider_list") for entry in _list(told, "rootfs_provider_list")
                )
            ),
            placement_tags=_texts(told, "placement_tags"),
            optional_placement_tags=_texts(told, "optional_placement_tags"),
            rep_url=_text(told, "rep_url"),
            annotations={
                str(name): str(value)
                for name, value in _object(told.get("annotations"), "annotations").items()
            },
        )

    def value(self) -> str:
        """The presence's value, in the keys and with the omissions of the original."""
        told: dict[str, Any] = {
            "cell_id": self.cell_id,
            "rep_address": self.rep_address,
            "zone": self.zone,
            "capacity": {
                "memory_mb": self.memory_mb,
                "disk_mb": self.disk_mb,
                "containers": self.containers,
            },
        }
        if self.rootfs_providers:
            told["rootfs_provider_list"] = [
                {"name": name, "properties": list(properties)} if properties else {"name": name}
                for name, properties in self.rootfs_providers
            ]
        if self.placement_tags:
            told["placement_tags"] = list(self.placement_tags)
        if self.optional_placement_tags:
            told["optional_placement_tags"] = list(self.optional_placement_tags)
        told["rep_url"] = self.rep_url
        told["annotations"] = dict(self.annotations)
        return json.dumps(told, separators=(",", ":"))

    def message(self) -> cells_pb2.CellPresence:
        """The cell as the API lists it."""
        return cells_pb2.CellPresence(
            cell_id=self.cell_id,
            rep_address=self.rep_address,
            zone=self.zone,
            capacity=cells_pb2.CellCapacity(
                memory_mb=self.memory_mb, disk_mb=self.disk_mb, containers=self.containers
            ),
            rootfs_providers=[
                cells_pb2.Provider(name=name, properties=properties)
                for name, properties in self.rootfs_providers
            ],
            placement_tags=self.placement_tags,
            optional_placement_tags=self.optional_placement_tags,
            rep_url=self.rep_url,
            annotations=self.annotations,
        )


def _object(value: object, name: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{name}: not an object")  # noqa: TRY004 (the data is wrong, not the program)
    return {str(key).lower(): entry for key, entry in value.items()} if name != "annotations" else value


def _text(told: dict[str, Any], key: str) -> str:
    value = told.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{key}: not a text")  # noqa: TRY004 (the same)
    return value


def _number(told: dict[str, Any], key: str) -> int:
    value = told.get(key)
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**31) <= value < 2**31:
        raise ValueError(f"{key}: not a number of 32 bits")
    return value


def _list(told: dict[str, Any], key: str) -> list[Any]:
    value = told.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError(f"{key}: not a list")  # noqa: TRY004 (the same)
    return value


def _texts(told: dict[str, Any], key: str) -> tuple[str, ...]:
    values = _list(told, key)
    if not all(isinstance(value, str) for value in values):
        raise ValueError(f"{key}: not a list of texts")
    return tuple(values)
