"""A holder's view of its lock: nobody else can have it while the holder counts on it (ours.md section 2)."""

from hypothesis import given, settings
from hypothesis import strategies as st

from diego.locket.core.holding import Change, Holding, State

TTL = 15.0
PERIOD = 12.0


def held(since: float = 100.0) -> Holding:
    holding, change = Holding(PERIOD).granted(since, since + 0.1)
    assert change is Change.ACQUIRED
    return holding


def test_the_first_grant_acquires() -> None:
    assert held().state is State.HELD


def test_a_collision_before_the_first_grant_means_to_wait_on() -> None:
    assert Holding(PERIOD).refused() == (Holding(PERIOD), Change.NONE)


def test_a_refresh_counts_from_its_start_not_from_its_answer() -> None:
    holding, _ = Holding(PERIOD).granted(100, 105)

    assert holding.held(111.9)
    assert not holding.held(112)


def test_without_a_refresh_the_holder_is_passive_when_the_last_one_counts_no_longer() -> None:
    holding, change = held(100).passed(112)

    assert (holding.state, change) == (State.PASSIVE, Change.PASSIVE)


def test_a_passive_holder_that_is_granted_the_lock_again_goes_on() -> None:
    passive, _ = held(100).passed(112)

    holding, change = passive.granted(120, 120.1)

    assert (holding.state, change) == (State.HELD, Change.REGAINED)


def test_an_answer_that_comes_too_late_does_not_count() -> None:
    waiting, change = Holding(PERIOD).granted(100, 112)

    assert (waiting.state, change) == (State.WAITING, Change.NONE)


def test_who_held_it_and_meets_another_owner_has_lost_for_good() -> None:
    passive, _ = held(100).passed(112)

    assert held().refused()[1] is Change.LOST
    lost, change = passive.refused()
    assert change is Change.LOST
    assert lost.granted(200, 200)[0].state is State.LOST


def test_an_older_refresh_answered_later_does_not_shorten_a_newer_one() -> None:
    holding, _ = held(100).granted(105, 105.1)
    holding, _ = holding.granted(101, 106)

    assert holding.until == 117


@settings(max_examples=100)
@given(st.data())
def test_two_holders_never_count_on_one_lock_at_the_same_time(data: st.DataObject) -> None:
    """Locket frees a row a time to live after it took the last refresh; answers may be late, lost or never come."""
    holdings = {"anna": Holding(PERIOD), "bert": Holding(PERIOD)}
    owner, expires = "", 0.0
    answers: list[tuple[float, str, float, bool]] = []
    now = 0.0
    for _ in range(data.draw(st.integers(1, 40))):
        now += data.draw(st.floats(0, 6))
        for due, name, started, granted in sorted(answer for answer in answers if answer[0] <= now):
            holding = holdings[name]
            holdings[name], _ = holding.granted(started, now) if granted else holding.refused()
            answers.remove((due, name, started, granted))
        if owner and now >= expires:
            owner = ""
        name = data.draw(st.sampled_from(["anna", "bert", "nobody"]))
        if name != "nobody":
            reaches_locket = data.draw(st.booleans())
            comes_back = data.draw(st.booleans())
            if reaches_locket:
                granted = owner in ("", name)
                if granted:
                    owner, expires = name, now + TTL
                if comes_back:
                    answers.append((now + data.draw(st.floats(0, 30)), name, now, granted))
        holdings = {name: holding.passed(now)[0] for name, holding in holdings.items()}

        assert sum(holding.held(now) for holding in holdings.values()) <= 1
        assert all(not holding.held(now) or owner == name for name, holding in holdings.items())
