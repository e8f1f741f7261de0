"""What the routers hear when processes and instances change (contract/routing.md sections 3 and 4)."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diego.models.actual_lrp import ModificationTag
from diego.route_emitter.core.routes import Endpoint, PortMapping, Process, Route, routes_of
from diego.route_emitter.core.table import NOTHING, Difference, Table, difference
from diego.route_emitter.core.unregistrations import Unregistrations


def a_process(*hostnames: str, **changes: Any) -> Process:
    made = Process(
        "process-1",
        "cf-apps",
        "app-guid",
        2,
        ModificationTag("epoch", 1),
        tuple(Route(hostname, 8080) for hostname in hostnames or ("app.example.org",)),
        (("index", ("", 1)), ("instance", ("", 2)), ("kind", ("web", 0))),
    )
    return replace(made, **changes)


def an_endpoint(number: int = 0, **changes: Any) -> Endpoint:
    made = Endpoint(
        "process-1",
        number,
        "cf-apps",
        f"instance-{number}",
        False,
        "10.0.0.1",
        f"10.255.1.{number + 2}",
        (PortMapping(8080, 61001 + number), PortMapping(2222, 62001 + number)),
        None,
        ModificationTag("lrp", 2),
        1_700_000_000,
        "z1",
    )
    return replace(made, **changes)


def uris(messages: dict[Any, bytes]) -> list[tuple[str, int]]:
    return sorted((json.loads(text)["uris"][0], json.loads(text)["port"]) for text in messages.values())


def test_a_route_is_registered_when_process_and_instance_are_both_known() -> None:
    table = Table()

    assert not table.set_process(a_process())
    said = table.add(an_endpoint())

    assert uris(said.register) == [("app.example.org", 61001)]
    assert not said.unregister


def test_the_message_has_the_contracts_fields() -> None:
    table = Table()
    table.set_process(a_process())

    (message,) = table.add(an_endpoint()).register.values()

    assert json.loads(message) == {
        "host": "10.0.0.1",
        "port": 61001,
        "uris": ["app.example.org"],
        "app": "app-guid",
        "private_instance_id": "instance-0",
        "private_instance_index": "0",
        "server_cert_domain_san": "instance-0",
        "endpoint_updated_at_ns": 1_700_000_000,
        "tags": {"component": "route-emitter", "index": "0", "instance": "instance-0", "kind": "web"},
        "availability_zone": "z1",
    }


def test_only_a_new_endpoints_message_says_when_it_was_updated() -> None:
    table = Table()
    table.add(an_endpoint())

    by_process = table.set_process(a_process()).register

    assert all("endpoint_updated_at_ns" not in json.loads(text) for text in by_process.values())
    assert all("endpoint_updated_at_ns" not in json.loads(text) for text in table.everything().values())


def test_a_removed_instance_is_unregistered_from_every_route() -> None:
    table = Table()
    table.set_process(a_process("a.org", "b.org"))
    table.add(an_endpoint())

    said = table.remove(an_endpoint(tag=ModificationTag("lrp", 3)))

    assert uris(said.unregister) == [("a.org", 61001), ("b.org", 61001)]


def test_a_changed_process_says_only_what_is_different() -> None:
    table = Table()
    table.set_process(a_process("a.org", "b.org"))
    table.add(an_endpoint())

    said = table.set_process(a_process("b.org", "c.org", tag=ModificationTag("epoch", 2)))

    assert uris(said.register) == [("c.org", 61001)]
    assert uris(said.unregister) == [("a.org", 61001)]


@pytest.mark.parametrize("tag", [ModificationTag("lrp", 1), ModificationTag("lrp", 2)])
def test_an_older_or_equal_instance_record_is_ignored(tag: ModificationTag) -> None:
    table = Table()
    table.set_process(a_process())
    table.add(an_endpoint())

    assert table.add(an_endpoint(tag=tag, ports=(PortMapping(8080, 1),))) == NOTHING
    assert uris(table.everything()) == [("app.example.org", 61001)]


def test_a_removal_counts_when_its_tag_is_equal_and_not_when_it_is_older() -> None:
    table = Table()
    table.set_process(a_process())
    table.add(an_endpoint())

    assert table.remove(an_endpoint(tag=ModificationTag("lrp", 1))) == NOTHING
    assert uris(table.remove(an_endpoint()).unregister) == [("app.example.org", 61001)]


def test_an_instance_beyond_the_wanted_number_has_no_route() -> None:
    table = Table()
    table.set_process(a_process(instances=1))
    table.add(an_endpoint(0))

    assert table.add(an_endpoint(1)) == NOTHING


def test_scaling_down_drops_the_routes_of_those_too_many_at_once() -> None:
    table = Table()
    table.set_process(a_process())
    table.add(an_endpoint(0))
    table.add(an_endpoint(1))

    said = table.set_process(a_process(instances=1, tag=ModificationTag("epoch", 2)))

    assert uris(said.unregister) == [("app.example.org", 61002)]


def test_evacuation_of_an_instance_says_nothing_to_the_routers() -> None:
    table = Table()
    table.set_process(a_process())
    table.add(an_endpoint())

    assert table.add(an_endpoint(evacuating=True)) == NOTHING
    assert table.remove(an_endpoint()) == NOTHING
    assert uris(table.remove(an_endpoint(evacuating=True)).unregister) == [("app.example.org", 61001)]


def test_changed_options_and_tags_wait_for_the_periodic_emission() -> None:
    table = Table()
    table.set_process(a_process())
    table.add(an_endpoint())
    options = Route("app.example.org", 8080, options='{"loadbalancing":"least-connection"}')

    assert table.set_process(a_process(routes=(options,), tag=ModificationTag("epoch", 2))) == NOTHING

    (message,) = table.everything().values()
    assert json.loads(message)["options"] == {"loadbalancing": "least-connection"}


def test_a_whole_look_keeps_the_routes_of_domains_that_are_not_fresh() -> None:
    table = Table()
    table.set_process(a_process())
    table.add(an_endpoint())

    table.swap([], [an_endpoint()], fresh=[])
    assert uris(table.everything()) == [("app.example.org", 61001)]

    table.swap([], [an_endpoint()], fresh=["cf-apps"])
    assert table.everything() == {}


def test_the_first_mapping_of_a_port_counts() -> None:
    table = Table()
    table.set_process(a_process())
    table.add(
        an_endpoint(ports=(PortMapping(8080, 61001, 61001, 61443), PortMapping(8080, 61009, 61443, 61500)))
    )

    (message,) = table.everything().values()
    assert json.loads(message)["port"] == 61001
    assert json.loads(message)["tls_port"] == 61443


@pytest.mark.parametrize(
    ("prefers", "direct", "expected"),
    [
        (None, False, ("10.0.0.1", 61001)),
        (None, True, ("10.255.1.2", 8080)),
        (True, False, ("10.255.1.2", 8080)),
        (False, True, ("10.0.0.1", 61001)),
    ],
)
def test_the_address_is_the_one_preferred(
    prefers: bool | None, direct: bool, expected: tuple[str, int]
) -> None:
    table = Table(direct=direct)
    table.set_process(a_process())
    table.add(an_endpoint(prefers_instance=prefers))

    (message,) = table.everything().values()
    assert (json.loads(message)["host"], json.loads(message)["port"]) == expected


def test_routes_that_cannot_be_decoded_are_none() -> None:
    assert routes_of({"cf-router": b"{"}) == ()
    assert routes_of({"cf-router": b'[{"hostnames": ["a"], "port": "x"}]'}) == ()
    assert routes_of({"tcp-router": b"[]"}) == ()
    assert routes_of({"cf-router": b'[{"hostnames": ["a", "b"], "port": 1}]'}) == (
        Route("a", 1),
        Route("b", 1),
    )


def test_a_removal_is_said_so_many_times_unless_it_is_a_route_again() -> None:
    unregistrations = Unregistrations(2)
    first, second = a_key("a.org"), a_key("b.org")
    unregistrations.said({first: b"a", second: b"b"})
    unregistrations.registered([second])

    assert [unregistrations.due() for _ in range(3)] == [[b"a"], [b"a"], []]
    assert len(unregistrations) == 0


def a_key(hostname: str) -> tuple[str, str, str, str, str, str, int, int, str]:
    return hostname, "", "", "", "", "10.0.0.1", 61001, 0, "instance"


steps = st.lists(
    st.one_of(
        st.tuples(st.just("process"), st.integers(0, 3), st.integers(0, 5)),
        st.tuples(st.just("forget"), st.integers(0, 3), st.integers(0, 5)),
        st.tuples(st.just("add"), st.integers(0, 3), st.integers(0, 5)),
        st.tuples(st.just("remove"), st.integers(0, 3), st.integers(0, 5)),
        st.tuples(st.just("swap"), st.integers(0, 3), st.integers(0, 5)),
    ),
    max_size=30,
)


@given(steps)
def test_who_hears_every_difference_knows_exactly_what_the_periodic_emission_says(
    history: list[tuple[str, int, int]],
) -> None:
    table = Table()
    heard: set[Any] = set()
    for what, number, index in history:
        process = a_process(*(f"{count}.org" for count in range(number)), tag=ModificationTag("epoch", index))
        endpoint = an_endpoint(number, tag=ModificationTag("lrp", index))
        before = table.everything()
        said: Difference
        if what == "process":
            said = table.set_process(process)
        elif what == "forget":
            said = table.remove_process(process)
        elif what == "add":
            said = table.add(endpoint)
        elif what == "remove":
            said = table.remove(endpoint)
        else:
            table.swap([process], [endpoint], fresh=["cf-apps"])
            said = difference(before, table.everything())
        assert not said.register.keys() & heard
        assert said.unregister.keys() <= heard
        heard = (heard | said.register.keys()) - said.unregister.keys()
        assert heard == table.everything().keys()
