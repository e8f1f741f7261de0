"""Configuration files: what may stand in them, and how faults are told."""

import json
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import pytest

from diego.runtime.config import ConfigError, Duration, load, parse, parse_duration, split_address


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Key:
    label: str
    size: int = 1


@dataclass(frozen=True)
class Config:
    name: str
    count: int = 1
    share: float = 0.5
    enabled: bool = False
    path: Path = Path("/tmp")
    ttl: Duration = 15.0
    address: str = field(default="127.0.0.1:80", metadata={"kind": "address"})
    addresses: list[str] = field(default_factory=list, metadata={"kind": "address"})
    key: Key | None = None
    keys: tuple[Key, ...] = ()
    table: dict[str, int] = field(default_factory=dict)
    colour: Colour = Colour.RED
    mode: Literal["fast", "slow"] = "fast"
    odd: str = field(default="", metadata={"key": "odd-key"})

    def check(self) -> list[str]:
        return ["count: must not be 13"] if self.count == 13 else []


def faults(found: dict[str, Any] | str) -> list[str]:
    text = found if isinstance(found, str) else json.dumps(found)
    with pytest.raises(ConfigError) as error:
        parse(Config, text, "demo.json")
    return error.value.faults


def test_every_kind_of_value_is_read(tmp_path: Path) -> None:
    path = tmp_path / "demo.json"
    path.write_text(
        json.dumps(
            {
                "name": "n",
                "count": 2,
                "share": 1,
                "enabled": True,
                "path": "/x",
                "ttl": "1m30s",
                "address": "[::1]:8080",
                "addresses": ["a:1", ":2"],
                "key": {"label": "k"},
                "keys": [{"label": "a", "size": 2}],
                "table": {"a": 1},
                "colour": "blue",
                "mode": "slow",
                "odd-key": "yes",
            }
        )
    )

    assert load(Config, path) == Config(
        name="n",
        count=2,
        share=1.0,
        enabled=True,
        path=Path("/x"),
        ttl=90.0,
        address="[::1]:8080",
        addresses=["a:1", ":2"],
        key=Key("k"),
        keys=(Key("a", 2),),
        table={"a": 1},
        colour=Colour.BLUE,
        mode="slow",
        odd="yes",
    )


def test_all_faults_are_told_at_once() -> None:
    assert faults({"cuont": 1, "ttl": "15 s", "keys": [{"size": "1"}], "address": "nowhere"}) == [
        "demo.json: cuont: unknown key",
        "demo.json: name: missing",
        "demo.json: ttl: not a duration: '15 s'",
        "demo.json: address: not an address of the form host:port: 'nowhere'",
        "demo.json: keys[0].label: missing",
        "demo.json: keys[0].size: not a whole number: '1'",
    ]


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("name", 1, "name: not text: 1"),
        ("name", None, "name: not text: None"),
        ("count", True, "count: not a whole number: True"),
        ("count", 1.5, "count: not a whole number: 1.5"),
        ("count", 13, "count: must not be 13"),
        ("share", "1", "share: not a number: '1'"),
        ("enabled", "true", "enabled: not true or false: 'true'"),
        ("ttl", 15, "ttl: not text: 15"),
        ("address", "host:99999", "address: not an address of the form host:port: 'host:99999'"),
        ("addresses", ["a:1", "b"], "addresses: not an address of the form host:port: 'b'"),
        ("key", [], "key: not an object: []"),
        ("keys", {}, "keys: not a list: {}"),
        ("table", {"a": "b"}, "table.a: not a whole number: 'b'"),
        ("colour", "green", "colour: not one of red, blue: 'green'"),
        ("mode", "medium", "mode: not one of fast, slow: 'medium'"),
    ],
)
def test_a_wrong_value_is_told_with_its_place(key: str, value: object, fault: str) -> None:
    assert faults({"name": "n", key: value}) == [f"demo.json: {fault}"]


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"'])
def test_what_is_no_json_object_is_told(text: str) -> None:
    [fault] = faults(text)

    assert fault.startswith("demo.json: not ")


def test_a_key_that_stands_twice_is_told() -> None:
    [fault] = faults('{"name": "a", "name": "b"}')

    assert fault == "demo.json: not JSON: key 'name' stands twice in one object"


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^none\.json: cannot be read"):
        load(Config, tmp_path / "none.json")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("15s", 15.0),
        ("1m30s", 90.0),
        ("1h2m3.5s", 3723.5),
        ("500ms", 0.5),
        (".5s", 0.5),
        ("1.s", 1.0),
        ("10us", 1e-5),
        ("10µs", 1e-5),
        ("7ns", 7e-9),
        ("-1s", -1.0),
        ("+1s", 1.0),
    ],
)
def test_durations_are_go_s(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "15", "15 s", "s", "1d", "-", "1m 30s", "1,5s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


def test_an_address_is_split_into_host_and_port() -> None:
    assert split_address("0.0.0.0:8889") == ("0.0.0.0", 8889)
    assert split_address(":0") == ("", 0)
    assert split_address("[::1]:80") == ("::1", 80)
