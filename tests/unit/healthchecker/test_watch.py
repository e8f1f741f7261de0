"""When a daemon is restarted, and when it is given up."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diego.healthchecker.core.watch import (
    FAILURES,
    LIMIT,
    Action,
    Condition,
    HostState,
    Policy,
    Round,
    Watch,
    after,
    host_state,
)

POLICY = Policy(poll_interval=10, timeout=5, grace=35)


@dataclass
class Story:
    """A watch told round by round; time passes by itself."""

    watch: Watch = field(default_factory=Watch)
    now: float = 1000.0
    started: int = 1

    def round(self, condition: Condition, probe: bool | None = None) -> Action:
        self.now += POLICY.poll_interval
        self.watch, action = after(self.watch, Round(condition, self.started, probe, self.now), POLICY)
        return action

    def good(self) -> Action:
        return self.round(Condition.RUNNING, probe=True)

    def bad(self, times: int = 1) -> list[Action]:
        return [self.round(Condition.RUNNING, probe=False) for _ in range(times)]

    def restarted(self) -> "Story":
        """It was started anew, and its grace is over."""
        self.started += 1
        self.bad(1)
        self.now += POLICY.grace
        return self


def test_a_daemon_is_restarted_at_the_third_failure_in_a_row() -> None:
    story = Story().restarted()

    assert story.bad(3) == [Action.NOTHING, Action.NOTHING, Action.RESTART]
    assert story.watch.restarts == 1


def test_a_good_probe_between_failures_begins_the_count_anew() -> None:
    story = Story().restarted()
    story.bad(2)
    story.good()

    assert story.bad(2) == [Action.NOTHING] * 2


def test_failures_do_not_count_while_the_daemon_is_starting_up() -> None:
    story = Story()

    assert story.bad(3) == [Action.NOTHING] * 3
    assert story.watch.failures == 0
    assert story.watch.healthy is False


def test_a_daemon_that_restarts_by_itself_gets_its_grace_again() -> None:
    story = Story().restarted()
    story.bad(2)
    story.started += 1

    assert story.bad(3) == [Action.NOTHING] * 3


def test_the_tenth_time_in_a_row_gives_up() -> None:
    story = Story()
    actions = [story.restarted().bad(FAILURES)[-1] for _ in range(LIMIT)]

    assert actions == [Action.RESTART] * 9 + [Action.GIVE_UP]
    assert story.watch.failing
    assert story.restarted().bad(30) == [Action.NOTHING] * 30


def test_a_good_probe_sets_everything_back() -> None:
    story = Story(Watch(restarts=LIMIT)).restarted()
    assert story.watch.failing

    story.good()

    assert (story.watch.failing, story.watch.restarts) == (False, 0)
    assert story.bad(3)[-1] is Action.RESTART


def test_the_counter_goes_on_from_where_the_file_had_it() -> None:
    story = Story(Watch(restarts=LIMIT - 1)).restarted()

    assert story.bad(3)[-1] is Action.GIVE_UP


def test_what_supervisor_has_given_up_is_started_at_once() -> None:
    story = Story().restarted()

    assert story.round(Condition.GIVEN_UP) is Action.RESTART
    assert story.watch.restarts == 1


@pytest.mark.parametrize("condition", [Condition.STOPPED, Condition.BUSY])
def test_what_is_stopped_or_starting_is_left_alone(condition: Condition) -> None:
    story = Story().restarted()
    story.bad(2)

    assert [story.round(condition) for _ in range(20)] == [Action.NOTHING] * 20
    assert story.bad(2) == [Action.NOTHING] * 2


@given(
    st.lists(
        st.tuples(st.sampled_from(Condition), st.sampled_from([True, False]), st.integers(1, 3)), max_size=200
    )
)
def test_whatever_happens_no_more_than_nine_restarts_come_without_a_good_probe(
    history: list[tuple[Condition, bool, int]],
) -> None:
    story = Story()
    in_a_row = 0
    for condition, probe, started in history:
        story.started = started
        is_good = condition is Condition.RUNNING and probe
        action = story.round(condition, probe if condition is Condition.RUNNING else None)
        in_a_row = 0 if is_good else in_a_row + (action is Action.RESTART)
        assert in_a_row <= 9
        assert 0 <= story.watch.restarts <= LIMIT


def a_watch(
    condition: Condition = Condition.RUNNING, *, healthy: bool | None = True, failures: int = 0
) -> Watch:
    return Watch(condition=condition, healthy=healthy, failures=failures)


@pytest.mark.parametrize(
    ("watches", "state"),
    [
        ([], HostState.RUNNING),
        ([a_watch(), a_watch()], HostState.RUNNING),
        ([a_watch(), a_watch(healthy=False)], HostState.STARTING),
        ([a_watch(), a_watch(healthy=False, failures=2)], HostState.RUNNING),
        ([Watch()], HostState.STARTING),
        ([a_watch(), a_watch(Condition.BUSY)], HostState.STARTING),
        ([a_watch(), a_watch(Condition.STOPPED)], HostState.STOPPED),
        ([a_watch(), a_watch(Condition.GIVEN_UP)], HostState.FAILING),
        ([a_watch(), Watch(restarts=LIMIT)], HostState.FAILING),
    ],
)
def test_the_state_of_the_host_is_that_of_its_worst_daemon(watches: list[Watch], state: HostState) -> None:
    assert host_state(watches) is state
