"""Locket's numbers."""

import pytest

from diego.locket.core.locks import Collision, Refused
from diego.locket.measures import RequestMeasures
from diego.runtime.metrics import REGISTRY


def number(name: str) -> float:
    return REGISTRY.get_sample_value(name, {"request_type": "Lock"}) or 0.0


def test_a_collision_counts_as_a_success_and_an_error_as_a_failure() -> None:
    measures = RequestMeasures(60)

    with pytest.raises(Collision), measures.counting("Lock", Refused):
        raise Collision
    with pytest.raises(KeyError), measures.counting("Lock", Refused):
        raise KeyError
    with measures.counting("Lock", Refused):
        assert number("requests_in_flight") == 1

    assert (number("requests_started"), number("requests_succeeded"), number("requests_failed")) == (3, 2, 1)
    assert number("requests_in_flight") == 0
