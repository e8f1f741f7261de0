"""What becomes of auction requests while no auctioneer is there, and of those that one refuses."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from diego.bbs.core import desired_lrps
from diego.bbs.outside import AWAY_SECONDS, Auctioneer
from support.records import a_desired_lrp, a_task
from support.worker import free_port


class Asked:
    """What an auctioneer was asked, by path; it answers `status`, or hangs up when that is 0."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.bodies: list[tuple[str, list[dict[str, Any]]]] = []

    @property
    def guids(self) -> list[str]:
        return [each["process_guid"] for path, body in self.bodies for each in body if path == "/v1/lrps"]


@contextmanager
def auctioneer_at(port: int, status: int = 202) -> Iterator[Asked]:
    asked = Asked(status)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.bodies.append((self.path, body))
            if asked.status:
                self.send_response(asked.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
            """Nothing is printed for each request."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def clock() -> list[float]:
    return [1000.0]


@pytest.fixture
def auctioneer(port: int, clock: list[float]) -> Auctioneer:
    return Auctioneer(f"http://127.0.0.1:{port}", None, timeout=30, require_tls=False, clock=lambda: clock[0])


def want(auctioneer: Auctioneer, *guids: str) -> None:
    for guid in guids:
        auctioneer.start_lrps([desired_lrps.start_request(a_desired_lrp(guid), [0])])


def test_what_is_asked_while_no_auctioneer_is_there_is_asked_of_the_next_one(
    auctioneer: Auctioneer, port: int, clock: list[float]
) -> None:
    want(auctioneer, "one", "two")
    auctioneer.start_tasks([a_task(guid="task")])
    auctioneer.turn()
    want(auctioneer, "three")
    clock[0] += AWAY_SECONDS - 1
    auctioneer.turn()

    with auctioneer_at(port) as asked:
        auctioneer.turn()
        auctioneer.turn()

    assert asked.guids == ["one", "two", "three"]
    assert [path for path, _ in asked.bodies] == ["/v1/lrps", "/v1/tasks"]


def test_what_waited_too_long_is_left_to_convergence(
    auctioneer: Auctioneer, port: int, clock: list[float]
) -> None:
    want(auctioneer, "old")
    auctioneer.turn()
    clock[0] += AWAY_SECONDS
    want(auctioneer, "new")
    auctioneer.turn()

    with auctioneer_at(port) as asked:
        auctioneer.turn()

    assert asked.guids == ["new"]


@pytest.mark.parametrize("status", [500, 0])
def test_what_an_auctioneer_may_have_received_is_not_asked_again(
    auctioneer: Auctioneer, port: int, status: int
) -> None:
    with auctioneer_at(port, status) as asked:
        want(auctioneer, "one")
        auctioneer.turn()
        auctioneer.turn()

    assert asked.guids == ["one"]


def test_requests_are_sent_by_themselves_once_an_auctioneer_is_there(
    auctioneer: Auctioneer, port: int
) -> None:
    stopping, came = threading.Event(), threading.Event()
    sending = threading.Thread(target=auctioneer.run, args=(stopping,))
    want(auctioneer, "one")
    sending.start()
    try:
        with auctioneer_at(port) as asked:
            for _ in range(600):
                if asked.guids or came.wait(0.1):
                    break
    finally:
        stopping.set()
        sending.join(60)

    assert asked.guids == ["one"]
