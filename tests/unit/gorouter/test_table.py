"""The router's table: registering, forgetting, pruning (contract/routing.md section 8)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diego.gorouter.core.documents import depths, endpoints_from_nginx, listing, pool_for_nginx
from diego.gorouter.core.messages import BadMessage, RouteMessage, parse
from diego.gorouter.core.table import Table


def a_message(**changes: Any) -> RouteMessage:
    fields = {
        "host": "10.0.0.1",
        "port": 61001,
        "uris": ["app.example.org"],
        "app": "app-guid",
        "private_instance_id": "instance-1",
        "private_instance_index": "0",
        "tags": {"component": "route-emitter"},
    }
    return parse(json.dumps({**fields, **changes}).encode())


def test_a_first_registration_changes_the_route_and_a_repeated_one_does_not() -> None:
    table = Table(120)

    assert table.register(a_message(), now=0) == {"app.example.org"}
    assert table.register(a_message(), now=20) == set()
    assert [endpoint.address for endpoint in table.endpoints("app.example.org")] == ["10.0.0.1:61001"]


def test_another_instance_at_the_same_address_replaces_the_endpoint() -> None:
    table = Table(120)
    table.register(a_message(), now=0)

    changed = table.register(a_message(private_instance_id="instance-2"), now=1)

    assert changed == {"app.example.org"}
    assert [endpoint.instance_id for endpoint in table.endpoints("app.example.org")] == ["instance-2"]


def test_a_late_unregistration_does_not_remove_the_instance_that_took_the_address_over() -> None:
    table = Table(120)
    table.register(a_message(private_instance_id="instance-2"), now=0)

    assert table.unregister(a_message(private_instance_id="instance-1")) == set()
    assert len(table.endpoints("app.example.org")) == 1


def test_the_last_unregistration_takes_the_route_away() -> None:
    table = Table(120)
    table.register(a_message(), now=0)
    table.register(a_message(port=61002, private_instance_id="instance-2"), now=0)

    assert table.unregister(a_message()) == {"app.example.org"}
    assert len(table) == 1
    assert table.unregister(a_message(port=61002, private_instance_id="instance-2")) == {"app.example.org"}
    assert len(table) == 0


def test_an_endpoint_is_pruned_when_it_was_not_heard_of_for_longer_than_the_threshold() -> None:
    table = Table(120)
    table.register(a_message(), now=0)

    assert table.prune(now=120) == set()
    assert table.prune(now=120.1) == {"app.example.org"}
    assert len(table) == 0


@pytest.mark.parametrize(("said", "lives"), [(30, 30), (120, 120), (121, 120), (0, 120)])
def test_a_message_may_shorten_the_threshold_but_not_lengthen_it(said: int, lives: float) -> None:
    table = Table(120)
    table.register(a_message(stale_threshold_in_seconds=said), now=0)

    assert table.prune(now=lives) == set()
    assert table.prune(now=lives + 0.1) == {"app.example.org"}


def test_after_an_outage_of_the_bus_every_endpoint_has_its_time_again() -> None:
    table = Table(120)
    table.register(a_message(), now=0)

    table.refresh(now=500)

    assert table.prune(now=600) == set()
    assert table.prune(now=621) == {"app.example.org"}


def test_what_nginx_still_serves_is_taken_over_but_never_instead_of_newer_news() -> None:
    table = Table(120)
    table.register(a_message(private_instance_id="newer"), now=5)

    table.adopt(
        {"app.example.org": [a_message().endpoint], "other.example.org": [a_message().endpoint]}, now=6
    )

    assert [endpoint.instance_id for endpoint in table.endpoints("app.example.org")] == ["newer"]
    assert len(table.endpoints("other.example.org")) == 1


@pytest.mark.parametrize("uri", ["App.Example.ORG", "app.example.org/", "app.example.org?query=1"])
def test_a_routes_key_is_lower_case_without_query_and_last_slash(uri: str) -> None:
    assert a_message(uris=[uri]).uris == ("app.example.org",)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"{", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"host": 5, "port": 1}', "host"),
        (b'{"host": "10.0.0.1", "port": "80"}', "port"),
        (b'{"host": "10.0.0.1", "port": 0, "tls_port": 61002}', "port"),
        (b'{"host": "10.0.0.1 evil", "port": 80}', "host"),
        (b'{"host": "10.0.0.1", "port": 80, "uris": "app"}', "uris"),
        (b'{"host": "10.0.0.1", "port": 80, "route_service_url": "http://x"}', "route_service_url"),
        (b'{"host": "10.0.0.1", "port": 80, "tags": []}', None),
        (b'{"host": "10.0.0.1", "port": 80, "tags": ["x"]}', "tags"),
    ],
)
def test_a_bad_message_is_refused_and_its_field_named(data: bytes, named: str | None) -> None:
    if named is None:
        parse(data)
        return
    with pytest.raises(BadMessage, match=named):
        parse(data)


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(data: bytes) -> None:
    try:
        parse(data)
    except BadMessage:
        return


def test_a_pool_comes_back_from_nginx_as_it_went() -> None:
    endpoints = [
        a_message(port=61000 + number, options={"loadbalancing": "least-connection"}).endpoint
        for number in (1, 2)
    ]

    assert endpoints_from_nginx(pool_for_nginx(endpoints)) == endpoints


def test_a_hosts_depth_is_that_of_its_deepest_route() -> None:
    assert depths(["a.org", "a.org/v1/x", "b.org/v1"]) == {"a.org": 2, "b.org": 1}


def test_the_listing_tells_what_is_known_of_an_endpoint() -> None:
    table = Table(120)
    table.register(a_message(), now=0)

    assert listing(table.pools, now=20) == {
        "app.example.org": [
            {
                "address": "10.0.0.1:61001",
                "availability_zone": "",
                "protocol": "http1",
                "tls": False,
                "ttl": 100,
                "tags": {"component": "route-emitter"},
                "private_instance_id": "instance-1",
            }
        ]
    }


histories = st.lists(
    st.tuples(
        st.sampled_from(["register", "unregister", "prune", "refresh"]),
        st.integers(1, 4),  # the address
        st.integers(1, 3),  # the instance
        st.floats(0, 90),  # seconds since the step before
    ),
    max_size=40,
)


@given(histories)
def test_whatever_happens_a_route_has_endpoints_or_is_none_and_none_is_older_than_it_may(
    history: list[tuple[str, int, int, float]],
) -> None:
    table, now = Table(120), 0.0
    for what, address, instance, pause in history:
        now += pause
        message = a_message(port=61000 + address, private_instance_id=f"instance-{instance}")
        if what == "register":
            table.register(message, now)
            assert message.endpoint in table.endpoints("app.example.org")
        elif what == "unregister":
            table.unregister(message)
            assert message.endpoint not in table.endpoints("app.example.org")
        elif what == "prune":
            table.prune(now)
            assert all(now - entry.heard <= 120 for pool in table.pools.values() for entry in pool.values())
        else:
            table.refresh(now)
        assert all(table.pools.values())
