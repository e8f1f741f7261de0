"""Locket's numbers."""

import pytest

from diego.locket.core.locks import Collision, Refused
from diego.locket.measures import RequestMeasures, Slowest
from diego.runtime.metrics import REGISTRY


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_slowest_request_is_told_for_its_period_and_the_one_after() -> None:
    clock = Clock()
    slowest = Slowest(60, clock=clock)
    slowest.took(0.5)
    slowest.took(0.2)

    assert slowest.nanoseconds() == 500_000_000
    clock.now += 61
    slowest.took(0.1)
    assert slowest.nanoseconds() == 500_000_000
    clock.now += 60
    assert slowest.nanoseconds() == 100_000_000
    clock.now += 180
    assert slowest.nanoseconds() == 0


def number(name: str) -> float:
    return REGISTRY.get_sample_value(name, {"request_type": "Lock"}) or 0.0


def test_a_collision_counts_as_a_success_and_an_error_as_a_failure() -> None:
    measures = RequestMeasures(60)

    with pytest.raises(Collision), measures.counting("Lock", Refused):
        raise Collision
    with pytest.raises(KeyError), measures.counting("Lock", Refused):
        raise KeyError
    with measures.counting("Lock", Refused):
        assert number("RequestsInFlight") == 1

    assert (number("RequestsStarted"), number("RequestsSucceeded"), number("RequestsFailed")) == (3, 2, 1)
    assert number("RequestsInFlight") == 0
