"""A job as supervisor runs it: gunicorn's master, its one worker, and how they end."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from diego.runtime.http import ConnectionFailed, HttpClient
from support.worker import JobProcess, free_port, job_process, until

DEMO = [sys.executable, "-m", "support.demo_job"]


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[JobProcess, HttpClient]]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    port, debug = free_port(), free_port()
    config = {"listen_address": f"127.0.0.1:{port}", "debug_address": f"127.0.0.1:{debug}"}
    with job_process(DEMO, config, tmp_path) as job:
        until(lambda: job.events("demo.open"))
        yield job, HttpClient(f"http://127.0.0.1:{port}", timeout=60)


def asked(client: HttpClient, path: str = "/v1/count") -> bytes:
    try:
        return client.request("POST", path).body
    except ConnectionFailed:
        return b""


def test_a_worker_that_ends_is_followed_by_one_that_remembers_nothing(
    demo: tuple[JobProcess, HttpClient],
) -> None:
    job, client = demo
    asked(client)
    first, count = asked(client).split()
    assert count == b"2"

    asked(client, "/v1/fail")

    second, count = until(lambda: asked(client) if len(job.events("demo.open")) == 2 else b"").split()
    assert (second != first, count) == (True, b"1")
    assert job.events("demo.worker-ends")[0]["data"] == {"why": "failing failed"}
    assert job.process.poll() is None


def test_a_killed_worker_is_replaced(demo: tuple[JobProcess, HttpClient]) -> None:
    job, client = demo
    [worker] = job.workers

    os.kill(worker, signal.SIGKILL)

    until(lambda: len(job.events("demo.open")) == 2)
    assert until(lambda: asked(client)).split()[0] != str(worker).encode()


def test_the_worker_ends_soon_after_its_master_was_killed(demo: tuple[JobProcess, HttpClient]) -> None:
    job, _ = demo
    [worker] = job.workers

    job.process.kill()
    job.process.wait()

    until(lambda: _is_gone(worker))


def _is_gone(pid: int) -> bool:
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):  # the second when it goes while it is read
        return True


def test_term_ends_streams_at_once_and_runs_what_is_to_be_stopped(
    demo: tuple[JobProcess, HttpClient],
) -> None:
    job, client = demo
    stream = client.stream("POST", "/v1/events")

    job.process.terminate()

    # the client sees the end of a stream that ended in order; of one whose process went it would see a fault
    assert b"".join(stream) in {b"", b"id: 0\nevent: greeting\ndata: aGVsbG8=\n\n"}
    assert job.process.wait(60) == 128 + signal.SIGTERM
    assert [len(job.events(f"demo.stop-{what}")) for what in ("begins", "ends")] == [1, 1]


def test_a_job_that_is_done_stops_in_order_and_ends_with_0(demo: tuple[JobProcess, HttpClient]) -> None:
    job, client = demo

    asked(client, "/v1/finish")

    assert job.process.wait(60) == 0
    assert [len(job.events(f"demo.stop-{what}")) for what in ("begins", "ends")] == [1, 1]
    assert len(job.events("demo.serving")) == 1


def test_a_worker_that_was_told_to_stop_is_replaced(demo: tuple[JobProcess, HttpClient]) -> None:
    job, client = demo
    [worker] = job.workers

    os.kill(worker, signal.SIGTERM)

    until(lambda: len(job.events("demo.open")) == 2)
    assert until(lambda: asked(client)).split()[0] != str(worker).encode()


def test_hup_does_not_bring_a_second_worker(demo: tuple[JobProcess, HttpClient]) -> None:
    job, client = demo
    before = asked(client).split()[0]

    job.process.send_signal(signal.SIGHUP)
    time.sleep(0.5)

    assert job.workers == [int(before)]
    assert asked(client).split() == [before, b"2"]


def test_the_process_is_named_after_its_job(demo: tuple[JobProcess, HttpClient]) -> None:
    job, _ = demo

    assert Path(f"/proc/{job.process.pid}/comm").read_text() == "diego-demo\n"
