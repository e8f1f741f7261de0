"""The supervisor of a host waits where supervisor's own daemon would spin."""

import os
from types import SimpleNamespace

import pytest
import supervisor.poller
import supervisor.supervisord
from supervisor.options import ServerOptions as Options

from diego.runtime.supervisord import Poller, main


@pytest.fixture
def poller() -> Poller:
    return Poller(SimpleNamespace(logger=None))


def test_a_broken_pipe_that_was_taken_for_readable_is_reported_once(poller: Poller) -> None:
    reader, writer = os.pipe()
    poller.register_readable(writer)
    os.close(reader)
    assert poller.poll(0) == ([], [])
    assert poller.readables == set()
    assert poller._poll_fds(0) == [], "it would be reported for ever"
    os.close(writer)


def test_a_broken_pipe_with_something_to_write_is_written_to(poller: Poller) -> None:
    reader, writer = os.pipe()
    poller.register_writable(writer)
    os.close(reader)
    assert poller.poll(0) == ([], [writer])
    assert poller.writables == {writer}
    os.close(writer)


def test_the_end_of_what_a_program_says_is_read(poller: Poller) -> None:
    reader, writer = os.pipe()
    poller.register_readable(reader)
    os.write(writer, b"last words")
    os.close(writer)
    assert poller.poll(0) == ([reader], [])
    os.read(reader, 100)
    assert poller.poll(0) == ([reader], []), "the end itself is read, too"
    os.close(reader)


def test_a_closed_descriptor_is_taken_out(poller: Poller) -> None:
    reader, writer = os.pipe()
    poller.register_readable(reader)
    os.close(reader)
    os.close(writer)
    assert poller.poll(0) == ([], [])
    assert poller._poll_fds(0) == []


def test_the_daemon_polls_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor.poller, "Poller", supervisor.poller.PollPoller)
    used: list[object] = []
    monkeypatch.setattr(supervisor.supervisord, "main", lambda arguments: used.append(Options().poller))
    main(["--nodaemon"])
    assert isinstance(used[0], Poller)
