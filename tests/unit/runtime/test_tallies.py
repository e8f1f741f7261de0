"""What a server counts of its requests, and what it tells an access log."""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from flask import Flask

from diego.runtime.api import Answer, Api, Bulk, Call, Pending, Reply, Subscribe
from diego.runtime.connection import Request
from diego.runtime.hub import Hub
from diego.runtime.metrics import Tally
from diego.runtime.process import Runtime
from support.rawhttp import RawClient
from support.worker import running, until


@dataclass
class Noted:
    """An access log that only remembers: path, status and size of the answer."""

    seen: list[tuple[bytes, int, int]] = field(default_factory=list)
    peers: set[str] = field(default_factory=set)

    def note(self, request: Request, status: int, size: int, seconds: float, peer: str) -> None:
        assert seconds >= 0
        self.seen.append((request.target, status, size))
        self.peers.add(peer.rpartition(":")[0])


class Demo:
    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.hub = Hub()
        self.pending = Pending()
        self.api = Api(Flask("demo"))
        self.api.access = self.noted = Noted()

        @self.api.rpc("/echo")
        def echo(call: Call) -> Answer:
            return call.body

        @self.api.rpc("/refused")
        def refused(_call: Call) -> Answer:
            return Reply(503, b"later")

        @self.api.rpc("/bulk")
        def bulk(_call: Call) -> Answer:
            return Bulk(3000, (b"x" * 1000 for _ in range(3)))

        @self.api.rpc("/later")
        def later(_call: Call) -> Answer:
            return self.pending

        @self.api.rpc("/events")
        def events(_call: Call) -> Answer:
            return Subscribe(self.hub)

        @self.api.app.get("/page")
        def page() -> str:
            return "hello"

    def settle(self) -> None:
        """Until the loop has done what it does when an answer has been sent: it counts and notes it."""
        self.runtime.call_in_loop(lambda: None)

    def tally(self, path: str) -> Tally:
        self.settle()
        return self.api.calls[b"POST", path.encode()].tally


@pytest.fixture
def server() -> Iterator[tuple[Demo, int]]:
    with running() as runtime:
        demo = Demo(runtime)
        yield demo, runtime.open_listener("127.0.0.1:0", demo.api).port


def test_each_route_has_a_tally_of_its_own(server: tuple[Demo, int]) -> None:
    demo, port = server
    with RawClient(port) as client:
        for path in ("/echo", "/echo", "/refused", "/bulk"):
            client.request("POST", path, b"abc")
        client.request("GET", "/page")
        client.request("GET", "/nowhere")

    counted = {path: demo.tally(path).count for path in ("/echo", "/refused", "/bulk", "/later")}
    assert counted == {"/echo": 2, "/refused": 1, "/bulk": 1, "/later": 0}
    assert demo.api.elsewhere.count == 2
    assert demo.tally("/echo").slowest > 0
    assert demo.tally("/later").slowest == 0


def test_an_answer_that_comes_later_is_timed_until_it_comes(server: tuple[Demo, int]) -> None:
    demo, port = server
    with RawClient(port) as client:
        client.send_request("POST", "/later")
        until(lambda: demo.pending._then is not None)
        demo.runtime.stopping.wait(0.3)
        demo.runtime.resolve([(demo.pending, b"done")])
        client.answer()

    assert demo.tally("/later").count == 1
    assert demo.tally("/later").slowest >= 0.25


def test_a_stream_is_counted_when_it_begins_and_not_timed(server: tuple[Demo, int]) -> None:
    demo, port = server
    with RawClient(port) as client:
        client.send_request("POST", "/events")
        client.head()
        assert demo.tally("/events").count == 1
        assert demo.noted.seen == []

    until(lambda: demo.noted.seen)
    assert demo.noted.seen == [(b"/events", 200, 0)]
    assert (demo.tally("/events").count, demo.tally("/events").slowest) == (1, 0)


def test_an_access_log_hears_of_each_request_once(server: tuple[Demo, int]) -> None:
    demo, port = server
    with RawClient(port) as client:
        client.request("POST", "/echo?a=b", b"abc")
        client.request("POST", "/refused")
        client.request("POST", "/bulk")
        client.request("GET", "/page")

    demo.settle()
    assert demo.noted.seen == [
        (b"/echo?a=b", 200, 3),
        (b"/refused", 503, 5),
        (b"/bulk", 200, 3000),
        (b"/page", 200, 5),
    ]
    assert demo.noted.peers == {"127.0.0.1"}


def test_a_client_that_leaves_before_its_answer_is_noted_without_a_status(server: tuple[Demo, int]) -> None:
    demo, port = server
    with RawClient(port) as client:
        client.send_request("POST", "/later")
        until(lambda: demo.pending._then is not None)
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # gone at once

    until(lambda: demo.noted.seen)
    assert demo.noted.seen == [(b"/later", 0, 0)]
    assert demo.tally("/later").count == 1
