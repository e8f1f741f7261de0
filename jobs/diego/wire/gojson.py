"""The JSON form of the messages: what Go's encoder makes of the original's structs, not protobuf's JSON.

It is what cfdot prints and reads, what a cell's presence in Locket holds, what a task's callback is sent, and what
some columns store. contract/messages.md section 4 has the rules.

How each field is written stands in `go_json_tags.json`, derived from the contract's description of the messages by
`scripts/make-go-json-tags`. A tag is the key, then words:

    omitempty   left out when empty
    inline      the sub-message's keys stand among the parent's
    value       Go holds the sub-message by value: written even when unset
    routes      an object of router name to the raw JSON value
    wrapper=X   explicit presence, inside an object under X, which is null when unset
    nevernull   {} instead of null

A field with explicit presence and no wrapper stands flat and is left out when unset.
"""

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

AnyDescriptor = Any
"""A message's descriptor; the stubs know two types of it that do not meet."""

M = TypeVar("M", bound=Message)

WHOLE_NUMBERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


class GoJsonError(ValueError):
    """A value that does not fit its message. `path` names it: "action.run.args[1]"."""

    def __init__(self, path: str, fault: str) -> None:
        super().__init__(f"{path}: {fault}" if path else fault)
        self.path = path
        self.fault = fault


def to_go(message: Message) -> dict[str, Any]:
    """A message as a JSON object, keys in the order of the definition, the keys of maps sorted.

    Raises:
        GoJsonError: a route's value is no JSON.
    """
    return _write(message, "")


def from_go(cls: type[M], value: object, *, unknown_keys: bool = True) -> M:
    """A JSON object as a message. Keys match whatever their case; `null` is unset.

    Args:
        unknown_keys: whether keys that the message does not have are ignored, as Go does, or are a fault.

    Raises:
        GoJsonError: a value of the wrong kind or out of range, an unknown enum name, or an unknown key.
    """
    message = cls()
    _read(message, value, _Reading("", unknown_keys))
    return message


class _Shape(Enum):
    """Which of the forms a field has."""

    INLINE = auto()
    MAP = auto()
    LIST = auto()
    WRAPPED = auto()
    ROUTES = auto()
    MESSAGE = auto()
    OPTIONAL = auto()
    SCALAR = auto()


@dataclass(frozen=True, slots=True)
class _Field:
    """How one field of a message is written."""

    field: FieldDescriptor
    shape: _Shape
    key: str
    omitempty: bool
    by_value: bool
    wrapper: str
    never_null: bool

    @property
    def name(self) -> str:
        return self.field.name

    @property
    def known_as(self) -> str:
        """The key under which it is found in its object."""
        return self.wrapper or self.key


@cache
def _tags() -> dict[str, Any]:
    text = files("diego.wire").joinpath("go_json_tags.json").read_text()
    tags: dict[str, Any] = json.loads(text)
    return tags


@cache
def _enums_as_numbers() -> frozenset[str]:
    return frozenset(f"models.{name}" for name in _tags()["enums_as_numbers"])


@cache
def _fields(descriptor: AnyDescriptor) -> tuple[_Field, ...]:
    """The fields of a message in the order of its definition."""
    tags = _tags()["messages"][descriptor.name]
    return tuple(_field(descriptor.fields_by_name[name], tag) for name, tag in tags.items())


def _field(field: FieldDescriptor, tag: str) -> _Field:
    key, *words = tag.split(",")
    wrappers = [word.removeprefix("wrapper=") for word in words if word.startswith("wrapper=")]
    return _Field(
        field=field,
        shape=_shape(field, words, wrapped=bool(wrappers)),
        key=key,
        omitempty="omitempty" in words,
        by_value="value" in words,
        wrapper=wrappers[0] if wrappers else "",
        never_null="nevernull" in words,
    )


def _shape(field: FieldDescriptor, words: list[str], *, wrapped: bool) -> _Shape:
    if "inline" in words:
        return _Shape.INLINE
    if "routes" in words:
        return _Shape.ROUTES
    if wrapped:
        return _Shape.WRAPPED
    if field.is_repeated:
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        return _Shape.MAP if is_map else _Shape.LIST
    if field.message_type is not None:
        return _Shape.MESSAGE
    return _Shape.OPTIONAL if field.has_presence else _Shape.SCALAR


# Writing


def _write(message: Message, path: str) -> dict[str, Any]:
    written: dict[str, Any] = {}
    for one in _fields(message.DESCRIPTOR):
        written |= _WRITERS[one.shape](message, one, path)
    return written


def _write_inline(message: Message, one: _Field, path: str) -> dict[str, Any]:
    return _write(getattr(message, one.name), path) if one.by_value or message.HasField(one.name) else {}


def _write_list(message: Message, one: _Field, path: str) -> dict[str, Any]:
    value = getattr(message, one.name)
    if not value:
        return {} if one.omitempty else {one.key: None}
    here = _below(path, one.key)
    return {one.key: [_write_value(one.field, item, f"{here}[{i}]") for i, item in enumerate(value)]}


def _write_map(message: Message, one: _Field, path: str) -> dict[str, Any]:
    value = getattr(message, one.name)
    if not value and not one.never_null:
        return {} if one.omitempty else {one.key: None}
    here, entry = _below(path, one.key), _entry_value(one.field)
    return {
        one.key: {str(key): _write_value(entry, value[key], _below(here, str(key))) for key in sorted(value)}
    }


def _write_wrapped(message: Message, one: _Field, path: str) -> dict[str, Any]:
    if not message.HasField(one.name):
        return {one.wrapper: None}
    return {one.wrapper: {one.key: _write_value(one.field, getattr(message, one.name), path)}}


def _write_routes(message: Message, one: _Field, path: str) -> dict[str, Any]:
    if not message.HasField(one.name):
        return {} if one.omitempty else {one.key: None}
    routes: Mapping[str, bytes] = getattr(message, one.name).routes
    written = {}
    for name in sorted(routes):
        try:
            written[name] = json.loads(routes[name])
        except ValueError as error:
            raise GoJsonError(_below(_below(path, one.key), name), f"is no JSON: {error}") from error
    return {one.key: written}


def _write_message(message: Message, one: _Field, path: str) -> dict[str, Any]:
    if one.by_value or message.HasField(one.name):
        return {one.key: _write(getattr(message, one.name), _below(path, one.key))}
    return {} if one.omitempty else {one.key: None}


def _write_optional(message: Message, one: _Field, path: str) -> dict[str, Any]:
    if not message.HasField(one.name):
        return {}
    return {one.key: _write_value(one.field, getattr(message, one.name), path)}


def _write_scalar(message: Message, one: _Field, path: str) -> dict[str, Any]:
    value = getattr(message, one.name)
    if one.omitempty and not value:
        return {}
    return {one.key: _write_value(one.field, value, path)}


_WRITERS: dict[_Shape, Callable[[Message, _Field, str], dict[str, Any]]] = {
    _Shape.INLINE: _write_inline,
    _Shape.LIST: _write_list,
    _Shape.MAP: _write_map,
    _Shape.WRAPPED: _write_wrapped,
    _Shape.ROUTES: _write_routes,
    _Shape.MESSAGE: _write_message,
    _Shape.OPTIONAL: _write_optional,
    _Shape.SCALAR: _write_scalar,
}


def _write_value(field: FieldDescriptor, value: Any, path: str) -> Any:
    if field.message_type is not None:
        return _write(value, path)
    if field.enum_type is not None and field.enum_type.full_name not in _enums_as_numbers():
        known = field.enum_type.values_by_number.get(value)
        return known.name if known else str(value)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return base64.b64encode(value).decode()
    return value


# Reading


@dataclass(frozen=True, slots=True)
class _Reading:
    """Where the reading is, and how strict it is."""

    path: str
    unknown_keys: bool

    def below(self, key: str) -> "_Reading":
        return _Reading(_below(self.path, key), self.unknown_keys)

    def element(self, number: int) -> "_Reading":
        return _Reading(f"{self.path}[{number}]", self.unknown_keys)

    def fault(self, text: str) -> GoJsonError:
        return GoJsonError(self.path, text)

    def object(self, value: object) -> Mapping[Any, Any]:
        if not isinstance(value, Mapping):
            raise self.fault(f"expected an object, got {_kind(value)}")
        return value


def _read(message: Message, value: object, at: _Reading) -> None:
    _set_what_go_holds_by_value(message)
    keys = _keys(message.DESCRIPTOR)
    for key, item in at.object(value).items():
        name = str(key)
        here = at.below(name)
        where = keys.get(name) or keys.get(name.lower())
        if where is None:
            if at.unknown_keys:
                continue
            raise here.fault(f"unknown key{_did_you_mean(name, message.DESCRIPTOR)}")
        if item is None:
            continue
        inlined, one = where
        owner = message
        for step in inlined:
            owner = getattr(owner, step)
            owner.SetInParent()
        _READERS[one.shape](owner, one, item, here)


def _set_what_go_holds_by_value(message: Message) -> None:
    for one in _fields(message.DESCRIPTOR):
        if one.by_value:
            getattr(message, one.name).SetInParent()


_Way = tuple[tuple[str, ...], _Field]


@cache
def _keys(descriptor: AnyDescriptor) -> dict[str, _Way]:
    """Where each key leads: the inlined sub-messages on the way, and the field. Exact keys, and lower-case ones.

    Of equal keys the one nearer to the top counts, as in Go.
    """
    found = sorted(_ways(descriptor, ()), key=lambda way: len(way[0]), reverse=True)
    keys = {one.known_as.lower(): (way, one) for way, one in found}
    return keys | {one.known_as: (way, one) for way, one in found}


def _ways(descriptor: AnyDescriptor, way: tuple[str, ...]) -> Iterator[_Way]:
    for one in _fields(descriptor):
        if one.shape is _Shape.INLINE and one.field.message_type is not None:
            yield from _ways(one.field.message_type, (*way, one.name))
        else:
            yield way, one


def _did_you_mean(name: str, descriptor: AnyDescriptor) -> str:
    """What else the key can have meant: the field's own name, which differs from its key."""
    for _, one in _ways(descriptor, ()):
        if one.name.lower() == name.lower():
            return f", the key is {one.known_as!r}"
    return ""


def _read_list(owner: Message, one: _Field, item: Any, at: _Reading) -> None:
    if not isinstance(item, list):
        raise at.fault(f"expected a list, got {_kind(item)}")
    target = getattr(owner, one.name)
    for number, element in enumerate(item):
        here = at.element(number)
        if one.field.message_type is not None:
            _read(target.add(), element, here)
        else:
            target.append(_scalar(one.field, element, here))


def _read_map(owner: Message, one: _Field, item: Any, at: _Reading) -> None:
    target, entry = getattr(owner, one.name), _entry_value(one.field)
    for key, value in at.object(item).items():
        here = at.below(str(key))
        if entry.message_type is not None:
            _read(target[str(key)], value, here)
        else:
            target[str(key)] = _scalar(entry, value, here)


def _read_wrapped(owner: Message, one: _Field, item: Any, at: _Reading) -> None:
    inner = at.object(item).get(one.key)
    if inner is not None:
        setattr(owner, one.name, _scalar(one.field, inner, at.below(one.key)))


def _read_routes(owner: Message, one: _Field, item: Any, at: _Reading) -> None:
    target = getattr(owner, one.name)
    target.SetInParent()
    for name, route in at.object(item).items():
        target.routes[str(name)] = json.dumps(route, separators=(",", ":"), ensure_ascii=False).encode()


def _read_message(owner: Message, one: _Field, item: Any, at: _Reading) -> None:
    target = getattr(owner, one.name)
    target.SetInParent()
    _read(target, item, at)


def _read_scalar(owner: Message, one: _Field, item: Any, at: _Reading) -> None:
    setattr(owner, one.name, _scalar(one.field, item, at))


_READERS: dict[_Shape, Callable[[Message, _Field, Any, _Reading], None]] = {
    _Shape.LIST: _read_list,
    _Shape.MAP: _read_map,
    _Shape.WRAPPED: _read_wrapped,
    _Shape.ROUTES: _read_routes,
    _Shape.MESSAGE: _read_message,
    _Shape.OPTIONAL: _read_scalar,
    _Shape.SCALAR: _read_scalar,
}


def _entry_value(field: FieldDescriptor) -> FieldDescriptor:
    """The value's side of a map field."""
    if field.message_type is None:
        raise TypeError(f"{field.full_name} is no map")
    return field.message_type.fields_by_name["value"]


def _scalar(field: FieldDescriptor, value: Any, at: _Reading) -> Any:
    if field.enum_type is not None:
        return _enum(field.enum_type, value, at)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        if not isinstance(value, bool):
            raise at.fault(f"expected true or false, got {_kind(value)}")
        return value
    if field.cpp_type in WHOLE_NUMBERS:
        return _whole_number(value, *WHOLE_NUMBERS[field.cpp_type], at)
    if not isinstance(value, str):
        raise at.fault(f"expected a text, got {_kind(value)}")
    if field.type == FieldDescriptor.TYPE_BYTES:
        try:
            return base64.b64decode(value, validate=True)
        except binascii.Error as error:
            raise at.fault(f"is no base64: {error}") from error
    return value


def _whole_number(value: Any, least: int, most: int, at: _Reading) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise at.fault(f"expected a whole number, got {_kind(value)}")
    if not least <= value <= most:
        raise at.fault(f"{value} is not between {least} and {most}")
    return value


def _enum(enum: EnumDescriptor, value: Any, at: _Reading) -> int:
    if enum.full_name in _enums_as_numbers():
        return _whole_number(value, -(2**31), 2**31 - 1, at)
    if not isinstance(value, str):
        raise at.fault(f"expected a name, got {_kind(value)}")
    known = enum.values_by_name.get(value)
    if known is not None:
        return known.number
    if enum.full_name == "models.MetricTagValue.DynamicValue":
        return 0
    names = ", ".join(each.name for each in enum.values)
    raise at.fault(f"unknown name {value!r}, known are {names}")


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _kind(value: object) -> str:
    """What a value is, in the words of JSON."""
    if isinstance(value, bool):
        return "true or false"
    if value is None:
        return "null"
    kinds = {str: "a text", int: "a number", float: "a number with a fraction", list: "a list"}
    if isinstance(value, Mapping):
        return "an object"
    return kinds.get(type(value), type(value).__name__)
