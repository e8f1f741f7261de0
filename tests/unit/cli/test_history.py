"""What happened, in words; moments in people's words; and a replay that goes on live."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from diego.cli.core import histories
from diego.cli.core.replays import Replayed, concerns
from diego.cli.core.times import clock, lasted, moment
from diego.wire import actual_lrp_pb2, events_pb2, modification_tag_pb2

SECOND = 10**9
NOW = int(datetime(2026, 3, 1, 14, 0, 30, tzinfo=UTC).timestamp()) * SECOND


@pytest.fixture(autouse=True)
def universal_time() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


# ---- moments


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("30s", 30),
        ("10m", 600),
        ("1h30m", 5400),
        ("2d", 172800),
        ("14:00", 30),
        ("13:59:30", 60),
        ("14:05", 86400 - 4 * 60 - 30),
        ("2026-03-01T14:00:00Z", 30),
        ("2026-03-01T15:00:00+01:00", 30),
        ("2026-03-01 14:00:00", 30),
    ],
)
def test_a_moment_is_a_length_of_time_ago_a_time_of_day_or_a_date(text: str, ago: int) -> None:
    assert moment(text, NOW) == NOW - ago * SECOND


@pytest.mark.parametrize(
    "text", ["", "soon", "10", "25:00", "14:60", "2026-02-30T00:00:00Z", "2027-01-01", "-5m"]
)
def test_what_is_no_moment_of_the_past_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no time|future"):
        moment(text, NOW)


def test_a_moment_of_another_day_is_told_with_its_day() -> None:
    assert clock(NOW, NOW) == "14:00:30"
    assert clock(NOW - 86400 * SECOND, NOW) == "2026-02-28 14:00:30"


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0, "0ms"), (999, "999ms"), (2345, "2.3s"), (59_000, "59s"), (61_000, "1m1s"), (3_600_000, "1h"),
     (5_400_000, "1h30m"), (90_000_000, "1d1h")],
)  # fmt: skip
def test_a_length_of_time_is_told_in_two_units(milliseconds: int, text: str) -> None:
    assert lasted(milliseconds * 10**6) == text


# ---- words


def lrp(state: str = "RUNNING", **fields: Any) -> dict[str, Any]:
    return {
        "state": state,
        "presence": "ORDINARY",
        "cell_id": "" if state == "UNCLAIMED" else "cell-1",
        "OptionalRoutable": {"routable": state == "RUNNING"},
        **fields,
    }


def entry(before: dict[str, Any] | None, after: dict[str, Any] | None, **fields: Any) -> dict[str, Any]:
    return {
        "id": 1,
        "at": NOW,
        "event": "actual_lrp_changed",
        "index": 0,
        "before": before,
        "after": after,
    } | fields


CRASH = {"crash_count": 2, "crash_reason": "exited with status 7", "cell_id": "cell-1"}


@pytest.mark.parametrize(
    ("told", "what", "cell", "why"),
    [
        (entry(None, lrp("UNCLAIMED")), "waits for a cell", "", ""),
        (entry(lrp("UNCLAIMED"), lrp("CLAIMED")), "claimed by a cell", "cell-1", ""),
        (entry(lrp("CLAIMED"), lrp()), "runs", "cell-1", ""),
        (
            entry(lrp("UNCLAIMED"), lrp("UNCLAIMED", placement_error="insufficient resources: memory")),
            "no cell took it", "", "insufficient resources: memory",
        ),
        (
            entry(lrp(), lrp("UNCLAIMED"), crash=CRASH),
            "crashed, 2 times now, starts again at once", "cell-1", "exited with status 7",
        ),
        (
            entry(lrp(), lrp("CRASHED"), crash=CRASH),
            "crashed, 2 times now, waits before it starts again", "cell-1", "exited with status 7",
        ),
        (
            entry(lrp(), lrp(OptionalRoutable={"routable": False})),
            "is not ready for requests", "cell-1", "",
        ),
        (
            entry(lrp(), lrp(presence="SUSPECT")), "in doubt: its cell is not heard of", "cell-1", "",
        ),
        (entry(lrp(), None, trace_id="abc"), "gone", "cell-1", "request abc"),
        (
            entry({"instances": 1}, {"instances": 3}, event="desired_lrp_changed"),
            "3 instances wanted instead of 1", "", "",
        ),
        (entry({"instances": 1}, None, event="desired_lrp_removed"), "no longer wanted", "", ""),
        (
            entry(
                {"state": "Running"},
                {"state": "Completed", "failed": True, "failure_reason": "no memory", "cell_id": "cell-1"},
                event="task_changed",
            ),
            "failed", "cell-1", "no memory",
        ),
        ({"id": 1, "at": NOW, "event": "bbs_took_over", "epoch": 4}, "a BBS took over", "", "epoch 4"),
    ],
)  # fmt: skip
def test_an_entry_is_told_in_words(told: dict[str, Any], what: str, cell: str, why: str) -> None:
    assert histories.told(told) == (what, cell, why)


def test_the_time_between_is_that_of_the_same_instance() -> None:
    entries = [
        entry(None, lrp("UNCLAIMED")),
        entry(None, lrp("UNCLAIMED"), index=1, at=NOW + SECOND),
        entry(lrp("UNCLAIMED"), lrp("CLAIMED"), at=NOW + 5 * SECOND),
    ]

    assert [row[1] for row in histories.rows(entries, NOW)] == ["", "", "5.0s"]


# ---- replay, then live


def created(index: int, *, address: str = "") -> events_pb2.ActualLRPInstanceCreatedEvent:
    return events_pb2.ActualLRPInstanceCreatedEvent(
        actual_lrp=actual_lrp_pb2.ActualLRP(
            actual_lrp_key=actual_lrp_pb2.ActualLRPKey(process_guid="web", index=index),
            actual_lrp_instance_key=actual_lrp_pb2.ActualLRPInstanceKey(instance_guid="a", cell_id="cell-1"),
            actual_lrp_net_info=actual_lrp_pb2.ActualLRPNetInfo(address=address),
            state="RUNNING",
            modification_tag=modification_tag_pb2.ModificationTag(epoch="e", index=index),
        )
    )


def test_an_event_of_the_history_is_not_shown_again_and_its_like_is() -> None:
    replayed = Replayed()
    replayed.add(created(0))

    assert replayed.again(created(0, address="10.0.0.1"))
    assert not replayed.again(created(0, address="10.0.0.1"))
    assert not replayed.again(created(1))


def test_a_cells_events_are_those_of_the_cell_and_those_that_concern_everybody() -> None:
    assert concerns(created(0), "cell-1")
    assert not concerns(created(0), "cell-2")
    assert concerns(events_pb2.DesiredLRPCreatedEvent(), "cell-2")
