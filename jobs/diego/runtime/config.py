"""A job's configuration: one JSON file read once into a frozen dataclass, all faults told at once.

A field's type says what the file may hold: str, int, float, bool, Path, an enumeration, a nested dataclass,
`list[T]`, `tuple[T, ...]`, `dict[str, T]`, `T | None`, `Literal[...]` and `Duration`. A field without a
default must be there, a key without a field is a fault. `field(metadata=...)` knows `{"kind": "address"}`
(text `host:port`) and `{"key": "..."}`, the key in the file when it is no Python name.
A method `check() -> list[str]` may tell further faults of the whole.
"""

import dataclasses
import json
import re
import types
import typing
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin


@dataclass(frozen=True)
class _GoDuration:
    """Marks a float that the file writes as a duration of Go."""


Duration = Annotated[float, _GoDuration()]
"""Seconds, written in the file as Go writes durations: "15s", "1m30s", "500ms"."""

C = TypeVar("C")

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PIECE = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]*):(\d{1,5})")


class ConfigError(Exception):
    """The file cannot be used. `faults` has a line for each reason."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class _Fault(Exception):
    """One value is not what its field wants."""


def parse_duration(text: str) -> float:
    """Seconds of a Go duration. Raises ValueError with the text that the operator wrote."""
    sign = -1.0 if text.startswith("-") else 1.0
    rest = text[1:] if text[:1] in {"-", "+"} else text
    if rest == "0":
        return 0.0
    seconds, at = 0.0, 0
    while piece := _PIECE.match(rest, at):
        seconds += float(piece[1]) * _UNITS[piece[2]]
        at = piece.end()
    if not rest or at != len(rest):
        raise ValueError(f"not a duration: {text!r}")
    return sign * seconds


def split_address(text: str) -> tuple[str, int]:
    """Host and port of `host:port`; an empty host means every address. Raises ValueError."""
    found = _ADDRESS.fullmatch(text)
    if not found or int(found[2]) > 65535:
        raise ValueError(f"not an address of the form host:port: {text!r}")
    return found[1].strip("[]"), int(found[2])


def load(cls: type[C], path: str | Path) -> C:
    """The configuration in the file `path`. Raises ConfigError with every fault of it."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path.name}: cannot be read: {error}"]) from error
    return parse(cls, text, path.name)


def parse(cls: type[C], text: str, name: str = "config") -> C:
    """The same from text; `name` begins every fault."""
    faults: list[str] = []
    try:
        found = json.loads(text, object_pairs_hook=_unique_keys)
    except ValueError as error:
        raise ConfigError([f"{name}: not JSON: {error}"]) from error
    if not isinstance(found, dict):
        raise ConfigError([f"{name}: not a JSON object"])
    config = _dataclass(cls, found, "", faults)
    if config is None or faults:
        raise ConfigError([f"{name}: {fault}" for fault in faults])
    return typing.cast(C, config)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(key for index, (key, _) in enumerate(pairs) if key in dict(pairs[:index]))
        raise ValueError(f"key {twice!r} stands twice in one object")
    return found


def _dataclass(cls: type[Any], found: dict[str, Any], where: str, faults: list[str]) -> Any | None:
    """An instance of `cls`, or None when `faults` has grown."""
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {field.metadata.get("key", field.name): field for field in dataclasses.fields(cls) if field.init}
    before = len(faults)
    faults += [f"{where}{key}: unknown key" for key in found if key not in fields]
    values: dict[str, Any] = {}
    for key, field in fields.items():
        if key not in found:
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                faults.append(f"{where}{key}: missing")
            continue
        try:
            values[field.name] = _value(hints[field.name], found[key], f"{where}{key}", faults)
            if field.metadata.get("kind") == "address" and values[field.name] is not None:
                _each_address(values[field.name])
        except (_Fault, ValueError) as error:
            faults.append(f"{where}{key}: {error}")
    if len(faults) > before:
        return None
    config = cls(**values)
    check = getattr(config, "check", None)
    if check is not None:
        faults += [f"{where}{fault}" for fault in check()]
    return config if len(faults) == before else None


def _each_address(value: Any) -> None:
    for text in [value] if isinstance(value, str) else value:
        split_address(text)


def _value(kind: Any, found: Any, where: str, faults: list[str]) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        if any(isinstance(mark, _GoDuration) for mark in arguments[1:]):
            return parse_duration(_plain(str, found))
        return _value(arguments[0], found, where, faults)
    if origin in {Union, types.UnionType}:
        return _optional(arguments, found, where, faults)
    if origin is Literal:
        if found not in arguments:
            raise _Fault(f"not one of {', '.join(map(str, arguments))}: {found!r}")
        return found
    if origin in {list, tuple}:
        if not isinstance(found, list):
            raise _Fault(f"not a list: {found!r}")
        items = [_item(arguments[0], item, f"{where}[{index}]", faults) for index, item in enumerate(found)]
        return items if origin is list else tuple(items)
    if origin is dict:
        if not isinstance(found, dict):
            raise _Fault(f"not an object: {found!r}")
        return {key: _item(arguments[1], item, f"{where}.{key}", faults) for key, item in found.items()}
    return _single(kind, found, where, faults)


def _item(kind: Any, found: Any, where: str, faults: list[str]) -> Any:
    """As `_value`, for a member of a list or object: its fault names its own place."""
    try:
        return _value(kind, found, where, faults)
    except (_Fault, ValueError) as error:
        faults.append(f"{where}: {error}")
        return None


def _optional(kinds: tuple[Any, ...], found: Any, where: str, faults: list[str]) -> Any:
    if found is None and type(None) in kinds:
        return None
    wanted = [kind for kind in kinds if kind is not type(None)]
    if len(wanted) != 1:
        raise TypeError(f"{where}: a configuration field has one type, or one and None")
    return _value(wanted[0], found, where, faults)


def _single(kind: Any, found: Any, where: str, faults: list[str]) -> Any:
    if kind is Any:
        return found
    if dataclasses.is_dataclass(kind):
        if not isinstance(found, dict):
            raise _Fault(f"not an object: {found!r}")
        return _dataclass(typing.cast(type[Any], kind), found, f"{where}.", faults)
    if kind is Path:
        return Path(_plain(str, found))
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(found)
        except ValueError:
            known = ", ".join(str(member.value) for member in kind)
            raise _Fault(f"not one of {known}: {found!r}") from None
    return _plain(kind, found)


_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false", dict: "an object"}


def _plain(kind: Any, found: Any) -> Any:
    if kind is float and isinstance(found, int) and not isinstance(found, bool):
        return float(found)
    if kind not in _NAMES:
        raise TypeError(f"no configuration field can have type {kind!r}")
    if not isinstance(found, kind) or (kind is not bool and isinstance(found, bool)):
        raise _Fault(f"not {_NAMES[kind]}: {found!r}")
    return found
