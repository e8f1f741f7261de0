"""The update block (contract/deployment.md section 1, every example of it)."""

from typing import Any

import pytest

from diego.deploy.core.update import BadUpdate, Share, Update, WatchTime, update_of


def an_update(**said: Any) -> Update:
    return update_of("diego-cell", said, {})


@pytest.mark.parametrize(
    ("percent", "size", "value"),
    [(10, 20, 2), (10, 15, 1), (10, 9, 0), (30, 13, 3), (33, 10, 3), (2, 125, 2), (100, 7, 7), (300, 7, 7)],
)
def test_a_percentage_never_rounds_up(percent: int, size: int, value: int) -> None:
    assert Share.parse(f"{percent}%").of(size) == value


def test_ten_percent_of_nine_is_a_window_of_one_and_no_canary() -> None:
    update = an_update(canaries="10%", max_in_flight="10%")

    assert update.window(9) == 1
    assert update.first_alone(9) == 0


@pytest.mark.parametrize("said", ["0%", "5%", 0, -3])
def test_a_window_is_at_least_one(said: Any) -> None:
    assert an_update(max_in_flight=said).window(10) == 1


@pytest.mark.parametrize("said", ["0%", "5%", 0, -3])
def test_less_than_one_canary_is_no_canary(said: Any) -> None:
    assert an_update(canaries=said).first_alone(10) == 0


def test_more_than_there_are_means_all() -> None:
    update = an_update(max_in_flight=50, canaries=50)

    assert update.window(3) == 3
    assert update.first_alone(3) == 3


@pytest.mark.parametrize(
    ("said", "first", "step", "further"),
    [
        ("30000-1200000", 30, 15, 78),
        ("5000-1200000", 5, 15, 79),
        ("1000-30000", 1, 3.2, 9),
        ("1000-2000", 1, 1, 1),
        ("5000", 5, 1, 0),
        (5000, 5, 1, 0),
    ],
)
def test_when_an_instance_is_looked_at(said: Any, first: float, step: float, further: int) -> None:
    watch = WatchTime.parse(said)

    assert watch.low == first
    assert watch.step == pytest.approx(step, abs=0.05)
    assert watch.further_checks == further


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("max_in_flight", "10.5%"),
        ("max_in_flight", 10.5),
        ("max_in_flight", True),
        ("max_in_flight", None),
        ("canaries", "ten"),
        ("canaries", "-5%"),
        ("update_watch_time", "5-3"),
        ("canary_watch_time", "soon"),
        ("canary_watch_time", "-5"),
        ("serial", "true"),
        ("max_in_fligth", 2),
    ],
)
def test_what_cannot_be_followed_is_named(key: str, said: Any) -> None:
    with pytest.raises(BadUpdate, match=f"update block of diego-cell: {key}: "):
        an_update(**{key: said})


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(BadUpdate, match=r"canaries: 'ten' .*; max_in_flight: '10\.5%'"):
        an_update(canaries="ten", max_in_flight="10.5%")


def test_a_group_says_for_itself_what_differs() -> None:
    by_group = {"diego-cell": {"max_in_flight": "20%"}}

    cells = update_of("diego-cell", {"max_in_flight": 1, "canaries": 2}, by_group)
    router = update_of("router", {"max_in_flight": 1, "canaries": 2}, by_group)

    assert cells.max_in_flight == Share(20, percent=True)
    assert router.max_in_flight == Share(1)
    assert cells.canaries == router.canaries == Share(2)


def test_where_nobody_says_anything_the_values_are_cf_deployments() -> None:
    update = update_of("router", {}, {})

    assert (update.canaries, update.max_in_flight) == (Share(1), Share(1))
    assert update.canary_watch_time == WatchTime(30, 1200)
    assert update.update_watch_time == WatchTime(5, 1200)
    assert update.serial
