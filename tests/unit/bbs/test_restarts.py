"""contract/lifecycle.md sections 1 and 5: when a crashed instance starts again."""

import pytest

from diego.bbs.core import restarts
from support.records import MINUTE, NOW, SECOND


@pytest.mark.parametrize(
    ("count", "seconds"),
    [(3, 30), (4, 60), (5, 120), (6, 240), (7, 480), (8, 960), (9, 960), (50, 960), (199, 960)],
)
def test_a_crash_waits_twice_as_long_as_the_one_before_up_to_sixteen_minutes(
    count: int, seconds: int
) -> None:
    assert restarts.wait(count) == seconds * SECOND


@pytest.mark.parametrize("count", [200, 201, 10_000])
def test_from_the_two_hundredth_crash_on_nothing_is_restarted(count: int) -> None:
    assert restarts.wait(count) is None
    assert not restarts.due(count, since=0, now=NOW)


@pytest.mark.parametrize(("count", "at_once"), [(1, True), (2, True), (3, False), (200, False)])
def test_the_first_two_crashes_restart_at_once(count: int, at_once: bool) -> None:
    assert restarts.immediate(count) is at_once


def test_a_restart_is_due_when_its_wait_is_over_and_not_before() -> None:
    assert not restarts.due(3, since=NOW - 30 * SECOND + 1, now=NOW)
    assert restarts.due(3, since=NOW - 30 * SECOND, now=NOW)


def test_the_count_starts_afresh_only_after_more_than_five_minutes_of_running() -> None:
    long_ago, not_so_long = NOW - 5 * MINUTE - 1, NOW - 5 * MINUTE

    assert restarts.next_count(9, running=True, since=long_ago, now=NOW) == 1
    assert restarts.next_count(9, running=True, since=not_so_long, now=NOW) == 10
    assert restarts.next_count(9, running=False, since=long_ago, now=NOW) == 10
