"""The one rule that names the original's numbers, and how numbers are asked for."""

import json
from pathlib import Path

import pytest

from diego.runtime import metrics
from diego.runtime.metrics import Highest, Kind, Tally, Unit, labels_of, name_of

ROWS = json.loads((Path(__file__).parent / "data" / "metrics.json").read_text())
UNITS = {"Metric": Unit.METRIC, "nanos": Unit.NANOS}


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['job']}-{row['name']}")
def test_the_rule_gives_the_name_that_the_table_has(row: dict[str, object]) -> None:
    name, tags = str(row["name"]), row["tags"]
    assert isinstance(tags, list)

    assert name_of(name, kind=Kind(str(row["kind"])), unit=UNITS[str(row["unit"])]) == row["shown"]
    assert list(labels_of(name, tags)) == row["labels"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("HTTPRouteNATSMessagesEmitted", "http_route_nats_messages_emitted"),
        ("ssh-connections", "ssh_connections"),
        ("TCPRouteCount", "tcp_route_count"),
        ("CapacityTotalMemory", "capacity_total_memory"),
    ],
)
def test_words_end_where_capitals_say_so(name: str, shown: str) -> None:
    assert name_of(name) == shown


def test_mebibytes_are_bytes() -> None:
    assert name_of("CapacityTotalDisk", unit=Unit.MIB) == "capacity_total_disk_bytes"


def test_no_two_numbers_of_a_job_have_one_name() -> None:
    names = [(row["job"], row["shown"]) for row in ROWS]

    assert len(set(names)) == len(names)


def test_a_number_that_does_not_exist_yet_is_absent() -> None:
    found: dict[str, float] = {}
    metrics.read("test_absent", "for this test", lambda: found.get("number"))

    assert b"\ntest_absent " not in metrics.render()
    found["number"] = 0.5
    assert b"\ntest_absent 0.5\n" in metrics.render()


def test_a_counter_with_labels_is_shown_for_each_of_them() -> None:
    metrics.read(
        "test_asked_total",
        "for this test",
        lambda: {("a",): 1, ("b",): 2},
        kind=Kind.COUNTER,
        labels=("who",),
    )

    text = metrics.render()

    assert b"# TYPE test_asked_total counter" in text
    assert b'test_asked_total{who="b"} 2.0' in text


def test_asking_anew_replaces_who_answers() -> None:
    metrics.read("test_replaced", "for this test", lambda: 1)
    metrics.read("test_replaced", "for this test", lambda: 2)

    assert b"test_replaced 2.0" in metrics.render()


def test_the_highest_value_is_told_for_its_period_and_the_one_after() -> None:
    clock = Clock()
    highest = Highest(60, clock=clock)
    highest.saw(0.5)
    highest.saw(0.2)

    assert highest.value() == 0.5
    clock.now += 61
    highest.saw(0.1)
    assert highest.value() == 0.5
    clock.now += 60
    assert highest.value() == 0.1
    clock.now += 180
    assert highest.value() == 0


def test_a_tally_forgets_the_slowest_after_two_periods() -> None:
    tally = Tally()
    tally.saw(0.3)
    tally.turn()
    tally.saw(0.1)

    assert (tally.count, tally.slowest) == (2, 0.3)
    tally.turn()
    assert tally.slowest == 0.1
    tally.turn()
    assert tally.slowest == 0
