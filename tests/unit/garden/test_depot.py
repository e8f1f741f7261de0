"""What garden knows again after it was killed."""

from dataclasses import replace
from pathlib import Path

import pytest

from diego.garden.core.specs import DiskScope, Limits, NetOutRule, PortMapping, Protocol
from diego.garden.depot import ContainerRecord, Depot, ProcessRecord, State

RECORD = ContainerRecord(
    handle="h",
    created_at=5,
    address="10.255.1.2",
    state=State.CREATED,
    pid=42,
    start_time=77,
    image="key",
    image_bytes=1000,
    image_env=("A=1",),
    env=("B=2",),
    limits=Limits(1, 2, 3, DiskScope.EXCLUSIVE, 4, 5),
    grace_time=9,
    properties={"owner": "me"},
    ports=(PortMapping(61001, 8080),),
    net_out=(NetOutRule(Protocol.TCP, (("1.1.1.1", "1.1.1.2"),), ((80, 90),)), NetOutRule()),
)


@pytest.fixture
def depot(tmp_path: Path) -> Depot:
    depot = Depot(tmp_path / "depot")
    depot.prepare()
    return depot


def test_a_container_is_read_as_it_was_written(depot: Depot) -> None:
    depot.of("h").mkdir()
    depot.save(RECORD)

    assert list(depot.containers()) == [("h", RECORD)]
    assert RECORD.link.ports == (PortMapping(61001, 8080),)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"handle":"h","state":"odd","limits":{}}'])
def test_a_record_that_cannot_be_understood_is_none(depot: Depot, text: str) -> None:
    depot.of("h").mkdir()
    (depot.of("h") / "record.json").write_text(text)

    assert list(depot.containers()) == [("h", None)]


def test_a_container_without_a_record_is_listed_too(depot: Depot) -> None:
    depot.of("h").mkdir()

    assert list(depot.containers()) == [("h", None)]


def test_a_property_is_set_and_removed() -> None:
    changed = RECORD.with_property("owner", "you").with_property("new", "1").with_property("gone", None)

    assert changed.properties == {"owner": "you", "new": "1"}
    assert changed.with_property("new", None).properties == {"owner": "you"}
    assert replace(changed, properties=RECORD.properties) == RECORD


def test_processes_are_found_by_any_name(depot: Depot) -> None:
    for name in ("action", "check/1", "../up"):
        depot.process("h", name).mkdir(parents=True)
        depot.save_process("h", ProcessRecord(name, 7, 8, input_ended=True))
    (depot.of("h") / "processes/strange").mkdir()

    found = {path.name: record for path, record in depot.processes("h")}

    assert found.pop("strange") is None
    assert set(found.values()) == {ProcessRecord(n, 7, 8, True) for n in ("action", "check/1", "../up")}
    assert {path.name for path in (depot.of("h") / "processes").iterdir()} == {
        "action",
        "check%2F1",
        "..%2Fup",
        "strange",
    }


def test_a_container_without_processes_has_none(depot: Depot) -> None:
    assert list(depot.processes("h")) == []
