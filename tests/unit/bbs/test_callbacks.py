"""contract/lifecycle.md section 8: who waits for a task is told how it ended, again if need be."""

import pytest

from diego.bbs.outside import Callbacks
from diego.models import TaskState
from diego.runtime.http import ConnectionFailed
from support.records import a_task

URL = "https://cc.test/callback"


class Waiting(Callbacks):
    """Somebody who waits, and answers each time with the next of `outcomes`."""

    def __init__(self, *outcomes: int | ConnectionFailed) -> None:
        super().__init__(None, timeout=1.0)
        self.outcomes = list(outcomes)

    def _post(self, url: str, body: bytes) -> int:
        assert (url, bool(body)) == (URL, True)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, ConnectionFailed):
            raise outcome
        return outcome

    def hears(self) -> bool:
        return self.tell(a_task(state=TaskState.COMPLETED), URL)


@pytest.mark.parametrize("status", [200, 204, 302, 400, 404, 500, 502])
def test_any_status_but_503_and_504_ends_the_task(status: int) -> None:
    waiting = Waiting(status)

    assert waiting.hears()
    assert waiting.outcomes == []


@pytest.mark.parametrize("status", [503, 504])
def test_one_who_is_not_ready_is_told_again(status: int) -> None:
    waiting = Waiting(status, status, 200)

    assert waiting.hears()
    assert waiting.outcomes == []


def test_after_three_tries_the_task_stays_as_it_is() -> None:
    waiting = Waiting(503, 504, 503, 200)

    assert not waiting.hears()
    assert waiting.outcomes == [200]


def test_a_connection_that_was_closed_or_timed_out_is_a_try_too() -> None:
    lost = ConnectionFailed("timed out", sent=True)
    waiting = Waiting(lost, lost, 200)

    assert waiting.hears()
    assert not Waiting(lost, lost, lost).hears()


def test_another_fault_of_the_transport_is_not_tried_again() -> None:
    waiting = Waiting(ConnectionFailed("refused", sent=False), 200)

    assert not waiting.hears()
    assert waiting.outcomes == [200]
