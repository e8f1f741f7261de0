"""What tests of every kind start from, and what they may ask for: the deployed lab."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from support.lab import Lab, chosen_lab

# Examples are judged by what they show, not by how long a busy machine takes for one of them. The same ones are tried
# each time, so that a change is judged by itself; `--hypothesis-profile search` looks for new ones.
STALLS = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", STALLS, derandomize=True)
settings.register_profile("search", STALLS, max_examples=1000)
settings.load_profile("same")


@pytest.fixture(scope="session")
def lab() -> Lab:
    found = chosen_lab()
    if found is None:
        pytest.fail("there is no deployed lab: `make up` makes one, and DIEGO_LAB names another")
    # testinfra looks for `ansible` in the path
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return found
