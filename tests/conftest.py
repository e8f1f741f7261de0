"""What tests of every kind may ask for: the deployed lab."""

import os
import sys
from pathlib import Path

import pytest

from support.lab import Lab, chosen_lab


@pytest.fixture(scope="session")
def lab() -> Lab:
    found = chosen_lab()
    if found is None:
        pytest.fail("there is no deployed lab: `make up` makes one, and DIEGO_LAB names another")
    # testinfra looks for `ansible` in the path
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return found
