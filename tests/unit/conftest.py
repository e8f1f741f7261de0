"""What unit tests of every part start from."""

import pytest

from diego.runtime import logs


@pytest.fixture(autouse=True)
def _logs_as_a_job_begins() -> None:
    """A program that changes how its process logs (the command line does) does so for its own test alone."""
    logs.configure()
