"""Workloads as a YAML file: `desired_lrps:` and `tasks:`, entries in the JSON keys of the operator's tool.

Texts may name variables of the environment as ${NAME}; `$${` stands for `${`. Nothing else is replaced, so a shell
script in `args` may use $name as it likes. Every fault of a file is told at once, each with its place:

    web.yml: desired_lrps[0].action.run.usr: unknown key
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import yaml
from google.protobuf.message import Message

from diego.wire.desired_lrp_pb2 import DesiredLRP
from diego.wire.gojson import GoJsonError, from_go
from diego.wire.task_pb2 import Task

M = TypeVar("M", bound=Message)

VARIABLE = re.compile(r"\$?\$\{([^}]*)\}")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ManifestError(Exception):
    """What is wrong with a file; `faults` has a line for each finding."""

    def __init__(self, source: str, faults: list[str]) -> None:
        super().__init__("; ".join(f"{source}: {fault}" for fault in faults))
        self.source = source
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Workloads:
    """What a file asks for, in its order."""

    desired_lrps: tuple[DesiredLRP, ...]
    tasks: tuple[Task, ...]

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains named, each once."""
        named = [lrp.domain for lrp in self.desired_lrps] + [task.domain for task in self.tasks]
        return tuple(dict.fromkeys(named))


def read_workloads(text: str, source: str, environment: Mapping[str, str]) -> Workloads:
    """Parse a file's text, put the environment's values in, and check every key and value.

    Raises:
        ManifestError: with all faults.
    """
    loaded = _load(text, source)
    if not isinstance(loaded, Mapping):
        raise ManifestError(source, ["expected the keys desired_lrps and tasks at the top"])
    faults = [
        f"{key}: unknown key, known are desired_lrps and tasks"
        for key in loaded
        if key not in {"desired_lrps", "tasks"}
    ]
    filled = {key: _filled(value, str(key), environment, faults) for key, value in loaded.items()}
    lrps = _entries(DesiredLRP, filled.get("desired_lrps"), "desired_lrps", "process_guid", faults)
    tasks = _entries(Task, filled.get("tasks"), "tasks", "task_guid", faults)
    if not lrps and not tasks and not faults:
        faults.append("asks for nothing: desired_lrps and tasks are both absent or empty")
    if faults:
        raise ManifestError(source, faults)
    return Workloads(tuple(lrps), tuple(tasks))


class _Loader(yaml.SafeLoader):
    """YAML's plain types, and no key twice."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    mapping: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str | int | float | bool):
            raise yaml.constructor.ConstructorError(None, None, "a key is no text", key_node.start_mark)
        if key in mapping:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} stands here twice", key_node.start_mark
            )
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _load(text: str, source: str) -> object:
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  # a SafeLoader with one rule more
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ManifestError(source, [f"{place}{error.problem or error.context}"]) from error
    except yaml.YAMLError as error:
        raise ManifestError(source, [" ".join(str(error).split())]) from error


def _filled(value: Any, path: str, environment: Mapping[str, str], faults: list[str]) -> Any:
    """The value with the variables in its texts replaced."""
    if isinstance(value, str):
        return VARIABLE.sub(lambda found: _replacement(found, path, environment, faults), value)
    if isinstance(value, list):
        return [_filled(item, f"{path}[{i}]", environment, faults) for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {key: _filled(item, f"{path}.{key}", environment, faults) for key, item in value.items()}
    return value


def _replacement(found: re.Match[str], path: str, environment: Mapping[str, str], faults: list[str]) -> str:
    text, name = found.group(0), found.group(1)
    if text.startswith("$$"):
        return text[1:]
    if not NAME.fullmatch(name):
        faults.append(f"{path}: {text} is no variable; write $${{ for the characters ${{")
    elif not environment.get(name):
        faults.append(f"{path}: the environment does not set {name}; `. .lab/env` sets a lab's")
    return environment.get(name, "")


def _entries(cls: type[M], value: object, key: str, guid: str, faults: list[str]) -> list[M]:
    """The entries under one key; what is wrong with any of them goes to `faults`."""
    if value is None:
        return []
    if not isinstance(value, list):
        faults.append(f"{key}: expected a list")
        return []
    entries: list[M] = []
    for number, item in enumerate(value):
        path = f"{key}[{number}]"
        try:
            entry = from_go(cls, item, unknown_keys=False)
        except GoJsonError as error:
            faults.append(f"{path}{'.' if error.path else ': '}{error}")
            continue
        name = getattr(entry, guid)
        if not name:
            faults.append(f"{path}.{guid}: is missing")
        elif name in {getattr(other, guid) for other in entries}:
            faults.append(f"{path}.{guid}: {name} stands here twice")
        entries.append(entry)
    return entries
