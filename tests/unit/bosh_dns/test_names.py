"""Which addresses a name has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diego.bosh_dns.core.names import (
    Filter,
    Instance,
    Name,
    addresses,
    host_state,
    hosts_file,
    to_be_asked,
)

LOCKET = Name("locket.service.cf.internal", "diego-api")
BBS = Name("bbs.service.cf.internal", "diego-api", Filter.ALL)
CELL = Name("cell.service.cf.internal", "diego-cell", per_instance=True)
INSTANCES = [
    Instance("diego-api-0", "diego-api", "10.0.0.1"),
    Instance("diego-api-1", "diego-api", "10.0.0.2"),
    Instance("diego-cell-0", "diego-cell", "10.0.0.3"),
    Instance("diego-cell-1", "diego-cell", "10.0.0.4"),
]


def test_a_smart_name_leaves_out_hosts_that_are_not_well() -> None:
    assert addresses(LOCKET, INSTANCES, {"10.0.0.1": False, "10.0.0.2": True}) == ["10.0.0.2"]


def test_a_smart_name_trusts_hosts_that_were_not_asked_yet() -> None:
    assert addresses(LOCKET, INSTANCES, {}) == ["10.0.0.1", "10.0.0.2"]
    assert addresses(LOCKET, INSTANCES, {"10.0.0.1": False}) == ["10.0.0.2"]


def test_a_smart_name_stands_for_all_when_none_is_well() -> None:
    nobody = {"10.0.0.1": False, "10.0.0.2": False}

    assert addresses(LOCKET, INSTANCES, nobody) == ["10.0.0.1", "10.0.0.2"]


def test_an_all_name_does_not_ask_for_health() -> None:
    assert addresses(BBS, INSTANCES, {"10.0.0.1": False}) == ["10.0.0.1", "10.0.0.2"]


def test_a_per_instance_name_has_no_addresses_of_its_own() -> None:
    assert addresses(CELL, INSTANCES, {}) == []
    assert hosts_file(CELL, INSTANCES, {"10.0.0.3": False}) == (
        "10.0.0.3 diego-cell-0.cell.service.cf.internal\n10.0.0.4 diego-cell-1.cell.service.cf.internal\n"
    )


def test_every_instance_has_its_own_name_whether_it_is_well_or_not() -> None:
    assert hosts_file(LOCKET, INSTANCES, {"10.0.0.1": False}) == (
        "10.0.0.2 locket.service.cf.internal\n"
        "10.0.0.1 diego-api-0.locket.service.cf.internal\n"
        "10.0.0.2 diego-api-1.locket.service.cf.internal\n"
    )


def test_an_address_stands_once_even_if_two_instances_share_it() -> None:
    shared = [Instance("a-0", "a", "10.0.0.1"), Instance("a-1", "a", "10.0.0.1")]

    assert addresses(Name("x", "a"), shared, {}) == ["10.0.0.1"]


def test_only_hosts_whose_health_decides_something_are_asked() -> None:
    alone = [Instance("nats-0", "nats", "10.0.0.5")]
    names = [LOCKET, BBS, CELL, Name("nats.service.cf.internal", "nats")]

    assert to_be_asked(names, INSTANCES + alone, frozenset({"10.0.0.2"})) == ["10.0.0.1"]


@given(st.dictionaries(st.sampled_from(["10.0.0.1", "10.0.0.2"]), st.booleans()))
def test_whatever_is_known_a_name_always_has_an_address_of_its_group(health: dict[str, bool]) -> None:
    found = addresses(LOCKET, INSTANCES, health)

    assert found
    assert set(found) <= {"10.0.0.1", "10.0.0.2"}


@pytest.mark.parametrize(
    ("programs", "checked", "state"),
    [
        ({"a": "RUNNING", "b": "RUNNING"}, "running", "running"),
        ({"a": "RUNNING"}, None, "running"),
        ({}, None, "running"),
        ({"a": "RUNNING"}, "failing", "failing"),
        ({"a": "RUNNING", "b": "BACKOFF"}, "running", "starting"),
        ({"a": "RUNNING", "b": "STARTING"}, "running", "starting"),
        ({"a": "STOPPED"}, "stopped", "stopped"),
        ({"a": "FATAL", "b": "STARTING"}, "running", "failing"),
        ({"a": "EXITED"}, "running", "failing"),
    ],
)
def test_the_host_is_as_well_as_its_worst_program(
    programs: dict[str, str], checked: str | None, state: str
) -> None:
    assert host_state(programs, checked) == state
