"""The lab for the tests against a deployed system."""

import pytest

from support.lab import Lab, chosen_lab


@pytest.fixture(scope="session")
def lab() -> Lab:
    found = chosen_lab()
    if found is None:
        pytest.fail("there is no deployed lab: `make up` makes one, and DIEGO_LAB names another")
    return found
