import os
import select
from types import SimpleNamespace

import pytest
from supervisor.poller import PollPoller

from diego.runtime.supervisord import Poller


@pytest.mark.parametrize(("kind", "polled_again"), [(PollPoller, True), (Poller, False)])
def test_a_number_that_became_the_input_of_a_program_that_closed_it_is_not_polled_for_ever(
    kind: type[PollPoller], polled_again: bool
) -> None:
    """A cell's supervisord took a fifth of a busy machine: 5,000 polls a second, each with the same error."""
    read, write = os.pipe()
    poller = kind(SimpleNamespace(logger=None))
    poller.initialize()
    poller.register_readable(write)  # what it was before, in supervisor's eyes
    os.close(read)

    first = poller.poll(0)
    again = poller._poller.poll(0)

    os.close(write)
    assert first == ([], [])
    assert again == ([(write, select.POLLERR)] if polled_again else [])


def test_what_can_be_read_is_still_told() -> None:
    read, write = os.pipe()
    poller = Poller(SimpleNamespace(logger=None))
    poller.initialize()
    poller.register_readable(read)
    os.write(write, b"x")
    os.close(write)  # the kernel tells both: something is there, and the other end is gone

    assert poller.poll(0) == ([read], [])
    os.close(read)
