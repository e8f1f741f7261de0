"""What may be changed in place, and what an update carries."""

from typing import Any

from diego.cli.core.changes import fixed_differences, update_between
from diego.wire.desired_lrp_pb2 import DesiredLRP
from diego.wire.gojson import from_go, to_go


def a_desired_lrp(**changes: Any) -> DesiredLRP:
    value = {
        "process_guid": "web",
        "domain": "d",
        "instances": 2,
        "memory_mb": 64,
        "ports": [8080],
        "routes": {"cf-router": [{"hostnames": ["a"], "port": 8080}]},
        "metric_tags": {"source_id": {"static": "web"}},
        "action": {"run": {"path": "ls", "user": "vcap"}},
    }
    return from_go(DesiredLRP, value | changes)


def update(**changes: Any) -> dict[str, Any] | None:
    found = update_between(a_desired_lrp(), a_desired_lrp(**changes))
    return None if found is None else to_go(found)


def test_nothing_differs_between_equals() -> None:
    assert fixed_differences(a_desired_lrp(), a_desired_lrp()) == []
    assert update() is None


def test_what_the_server_keeps_is_no_difference() -> None:
    stored = a_desired_lrp(modification_tag={"epoch": "e", "index": 3}, metrics_guid="web")

    assert fixed_differences(stored, a_desired_lrp()) == []
    assert update_between(stored, a_desired_lrp()) is None


def test_ports_named_twice_are_stored_once() -> None:
    assert fixed_differences(a_desired_lrp(), a_desired_lrp(ports=[8080, 8080])) == []


def test_a_metrics_guid_and_the_source_id_tag_are_the_same_thing() -> None:
    wanted = a_desired_lrp(metrics_guid="web", metric_tags={"a": {"static": "b"}})
    stored = a_desired_lrp(
        metrics_guid="web", metric_tags={"a": {"static": "b"}, "source_id": {"static": "web"}}
    )

    assert update_between(stored, wanted) is None


def test_fixed_keys_that_differ_are_named() -> None:
    wanted = a_desired_lrp(memory_mb=128, action={"run": {"path": "ps", "user": "vcap"}}, instances=5)

    assert fixed_differences(a_desired_lrp(), wanted) == ["action", "memory_mb"]


def test_only_what_differs_is_updated() -> None:
    assert update(instances=0) == {"instances": 0}
    assert update(annotation="new") == {"annotation": "new"}
    assert update(metric_tags={"source_id": {"static": "w"}}) == {
        "metric_tags": {"source_id": {"static": "w"}}
    }
    assert update(image_username="u", image_password="p") == {"image_username": "u", "image_password": "p"}


def test_routes_that_are_no_longer_wanted_are_cleared() -> None:
    assert update(routes=None) == {"routes": {}}
    assert update(routes={"cf-router": []}) == {"routes": {"cf-router": []}}


def test_absent_and_empty_routes_are_the_same() -> None:
    assert update_between(a_desired_lrp(routes={}), a_desired_lrp(routes=None)) is None
