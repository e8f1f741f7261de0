"""The compiled messages are those of the contract, field by field (data/messages.json)."""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto

ROOT = Path(__file__).resolve().parents[3]
WIRE = ROOT / "jobs/diego/wire"
# protobuf's descriptors have two types in the stubs, and neither is one's own business here
Descriptor = Any

SCALARS = {
    "bool": FieldDescriptor.TYPE_BOOL,
    "bytes": FieldDescriptor.TYPE_BYTES,
    "int32": FieldDescriptor.TYPE_INT32,
    "int64": FieldDescriptor.TYPE_INT64,
    "string": FieldDescriptor.TYPE_STRING,
    "uint32": FieldDescriptor.TYPE_UINT32,
    "uint64": FieldDescriptor.TYPE_UINT64,
}


@cache
def contract() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(__file__).parent / "data/messages.json").read_text())
    return found


@cache
def modules() -> dict[str, Any]:
    return {
        path.stem: importlib.import_module(f"diego.wire.{path.stem}_pb2") for path in WIRE.glob("*.proto")
    }


def nested(message: Descriptor) -> Iterator[Descriptor]:
    """A message and those defined inside it, map entries left out."""
    if not message.GetOptions().map_entry:
        yield message
        for inner in message.nested_types:
            yield from nested(inner)


@cache
def messages() -> dict[str, Descriptor]:
    tops = [top for module in modules().values() for top in module.DESCRIPTOR.message_types_by_name.values()]
    return {each.full_name.removeprefix("models."): each for top in tops for each in nested(top)}


@cache
def enums() -> dict[str, Descriptor]:
    found = [each for module in modules().values() for each in module.DESCRIPTOR.enum_types_by_name.values()]
    found += [each for message in messages().values() for each in message.enum_types]
    return {each.full_name.removeprefix("models."): each for each in found}


def test_there_is_one_source_for_each_definition_file_of_the_contract() -> None:
    described = [*contract()["messages"].values(), *contract()["enums"].values()]

    assert {f"{name}.proto" for name in modules()} == {each["file"] for each in described}


def test_there_are_exactly_the_messages_and_enums_of_the_contract() -> None:
    assert set(messages()) == set(contract()["messages"])
    assert set(enums()) == set(contract()["enums"])
    counts = contract()["about"]["counts"]
    assert (len(messages()), len(enums())) == (counts["messages"], counts["enums"])


def described_type(field: Descriptor) -> str:
    if field.message_type is not None:
        return str(field.message_type.full_name).removeprefix("models.")
    if field.enum_type is not None:
        return str(field.enum_type.full_name).removeprefix("models.")
    return next(name for name, number in SCALARS.items() if number == field.type)


def described(field: Descriptor) -> dict[str, Any]:
    """A compiled field in the words of the contract."""
    found: dict[str, Any] = {"name": field.name, "number": field.number}
    is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
    if is_map:
        key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        found |= {"label": "map", "type": "map", "map_key": described_type(key)}
        found["map_value"] = described_type(value)
    else:
        found["label"] = "repeated" if field.is_repeated else "singular"
        found["type"] = described_type(field)
    if field.containing_oneof is not None:
        found["oneof"] = field.containing_oneof.name
    if found["label"] == "repeated" and found["type"] in {"uint32", "uint64", "int32", "int64", "bool"}:
        found["packed"] = field.is_packed
    if field.GetOptions().deprecated:
        found["deprecated"] = True
    return found


WORDS = ("name", "number", "label", "type", "map_key", "map_value", "oneof", "packed", "deprecated")


@pytest.mark.parametrize("name", sorted(contract()["messages"]))
def test_a_message_has_the_fields_of_the_contract(name: str) -> None:
    expected = [
        {word: field[word] for word in WORDS if word in field}
        for field in contract()["messages"][name]["fields"]
    ]

    compiled = [described(field) for field in messages()[name].fields]

    def by_number(fields: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sorted(fields, key=lambda field: int(field["number"]))

    assert by_number(compiled) == by_number(expected)


@pytest.mark.parametrize("name", sorted(contract()["messages"]))
def test_a_message_is_where_and_what_the_contract_says(name: str) -> None:
    expected, compiled = contract()["messages"][name], messages()[name]

    assert compiled.file.name == f"diego/wire/{expected['file']}"
    assert compiled.full_name == expected["full_name"]
    assert [oneof.name for oneof in compiled.oneofs] == expected.get("oneofs", [])
    assert compiled.GetOptions().deprecated == expected.get("deprecated", False)


@pytest.mark.parametrize("name", sorted(contract()["enums"]))
def test_an_enum_has_the_values_of_the_contract(name: str) -> None:
    expected, compiled = contract()["enums"][name], enums()[name]

    assert [(value.name, value.number) for value in compiled.values] == [
        (value["name"], value["number"]) for value in expected["values"]
    ]
    assert compiled.full_name == expected["full_name"]


def test_reserved_numbers_cannot_be_used_again() -> None:
    reserved = {
        name: each["reserved_numbers"]
        for kind in ("messages", "enums")
        for name, each in contract()[kind].items()
        if each.get("reserved_numbers")
    }
    assert reserved

    for name, numbers in reserved.items():
        compiled = (messages() | enums())[name]
        proto = compiled_proto(compiled)
        last = 0 if name in messages() else 1  # a message's ranges are written without their end
        ranges = [range(each.start, each.end + last) for each in proto.reserved_range]
        assert sorted(number for each in ranges for number in each) == sorted(numbers), name


def compiled_proto(compiled: Descriptor) -> Any:
    proto: Any = DescriptorProto() if hasattr(compiled, "fields") else EnumDescriptorProto()
    compiled.CopyToProto(proto)
    return proto


def test_the_services_methods_are_those_of_the_contract() -> None:
    found = {
        service.full_name: {
            method.name: (method.input_type.name, method.output_type.name) for method in service.methods
        }
        for module in modules().values()
        for service in module.DESCRIPTOR.services_by_name.values()
    }

    assert found == {
        name: {method["name"]: (method["request"], method["response"]) for method in service["methods"]}
        for name, service in contract()["services"].items()
    }


def test_compiling_the_sources_again_gives_the_same_bytes(tmp_path: Path) -> None:
    asked = subprocess.run(
        [ROOT / "scripts/compile-messages", tmp_path],
        env={"PYTHON": sys.executable, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert asked.returncode == 0, asked.stderr

    made = {path.name: path.read_bytes() for path in (tmp_path / "diego/wire").iterdir()}
    kept = {
        path.name: path.read_bytes()
        for pattern in ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py")
        for path in WIRE.glob(pattern)
    }
    assert made.keys() == kept.keys()
    assert [name for name in made if made[name] != kept[name]] == []


def test_making_the_json_tags_again_gives_the_same_bytes(tmp_path: Path) -> None:
    target = tmp_path / "tags.json"

    subprocess.run([sys.executable, ROOT / "scripts/make-go-json-tags", target], check=True, timeout=30)

    assert target.read_bytes() == (WIRE / "go_json_tags.json").read_bytes()
