"""How an upgrade under load is judged."""

import pytest
from lab.identity import Lab

from upgrade.traffic import Asked, failures, not_found_spans
from upgrade.watcher import (
    Look,
    Watched,
    changed,
    instances_of,
    longest_pause,
    most_of_a_zone,
    most_zones_of_a_group,
)


def asked(*said: str, app: str = "one", every: float = 0.1) -> list[Asked]:
    """Requests one after the other, each answered at once."""
    return [Asked(app, number * every, number * every, word) for number, word in enumerate(said)]


def spans(requests: list[Asked]) -> list[tuple[str, float]]:
    return [(app, round(span, 6)) for app, span in not_found_spans(requests)]


def test_a_404_lasts_until_the_next_good_answer_was_asked_for() -> None:
    assert spans(asked("200", "404", "404", "200", "404", "200")) == [
        ("one", 0.2),
        ("one", 0.1),
    ]


def test_a_404_without_an_end_lasts_until_the_last_request() -> None:
    assert spans(asked("200", "404", "404", "404")) == [("one", 0.2)]


def test_apps_are_judged_one_by_one() -> None:
    both = asked("404", "200", app="one") + asked("200", "200", app="two")

    assert [app for app, _ in not_found_spans(both)] == ["one"]


def test_requests_that_end_out_of_order_are_judged_by_when_they_were_sent() -> None:
    slow = Asked("one", 0.0, 5.0, "404")

    assert spans([*asked("200", "200")[1:], slow]) == [("one", 0.1)]


def test_only_what_is_allowed_is_no_failure() -> None:
    seen = asked("200", "404", "502", "the connection ended without an answer")

    assert [one.said for one in failures(seen)] == ["404", "502", "the connection ended without an answer"]
    assert next(one.said for one in failures(seen, allowed=("404",))) == "502"


def watched(*places: tuple[str, str]) -> list[Watched]:
    return [
        Watched(f"{group}-{number}", group, zone, Lab("x").host(f"h{number}", number))
        for number, (group, zone) in enumerate(places)
    ]


def looks(*in_flight: set[str]) -> list[Look]:
    return [Look(number / 10, frozenset(names)) for number, names in enumerate(in_flight)]


def test_the_most_of_a_zone_is_counted_by_group() -> None:
    instances = watched(("cell", "z1"), ("cell", "z1"), ("cell", "z2"), ("router", "z1"))

    assert most_of_a_zone(looks({"cell-0", "cell-2", "router-3"}), instances) == 1
    assert most_of_a_zone(looks(set(), {"cell-0", "cell-1"}), instances) == 2


def test_zones_of_one_group_may_not_overlap_but_groups_may() -> None:
    instances = watched(("cell", "z1"), ("cell", "z2"), ("router", "z2"))

    assert most_zones_of_a_group(looks({"cell-0"}, {"cell-1"}, {"cell-0", "router-2"}), instances) == 1
    assert most_zones_of_a_group(looks({"cell-0", "cell-1"}), instances) == 2


def test_the_watcher_knows_what_it_saw_and_when_it_did_not_look() -> None:
    seen = [Look(0.0, frozenset()), Look(0.1, frozenset({"cell-0"})), Look(0.7, frozenset())]

    assert changed(seen) == {"cell-0"}
    pause, after = longest_pause(seen)
    assert pause == pytest.approx(0.6)
    assert after == seen[2]


def test_every_instance_of_a_topology_is_watched_on_its_host() -> None:
    instances = instances_of("x", {"nats": ["b"], "cell": ["a", "b"]}, {"a": "z1", "b": "z2"})

    assert [(each.id, each.zone, each.host.name, each.host.number) for each in instances] == [
        ("nats-0", "z2", "b", 0),
        ("cell-0", "z1", "a", 1),
        ("cell-1", "z2", "b", 0),
    ]
