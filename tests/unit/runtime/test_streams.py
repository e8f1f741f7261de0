"""Event streams: what subscribers hear, in which form, and what happens to slow ones."""

import asyncio
import base64
import threading
import time
from collections.abc import Iterator

import pytest
from flask import Flask

from diego.runtime.api import Answer, Api, Call, Subscribe
from diego.runtime.hub import Hub
from diego.runtime.limits import Limits
from diego.runtime.process import Runtime
from support.rawhttp import RawClient
from support.worker import running, until


class Streams:
    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.hub = Hub()
        api = Api(Flask("streams"))

        @api.rpc("/events")
        def events(call: Call) -> Answer:
            cell = call.body.decode()
            return Subscribe(self.hub, (lambda tag: tag == cell) if cell else None)

        @api.rpc("/old-events", method="GET")
        def old_events(_call: Call) -> Answer:
            return Subscribe(self.hub)

        self.port = runtime.open_listener("127.0.0.1:0", api).port

    def subscribe(self, client: RawClient, cell: str = "") -> None:
        before = self.hub.subscribers
        client.send_request("POST", "/events", cell.encode())
        assert client.head().status == 200
        until(lambda: self.hub.subscribers > before)


@pytest.fixture
def streams() -> Iterator[Streams]:
    with running() as runtime:
        yield Streams(runtime)


@pytest.fixture
def client(streams: Streams) -> Iterator[RawClient]:
    with RawClient(streams.port) as found:
        yield found


def test_the_head_comes_at_once_and_before_any_event(client: RawClient) -> None:
    client.send_request("POST", "/events")
    head = client.head()

    assert head.status == 200
    assert head.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert head.headers["cache-control"] == "no-cache, no-store, must-revalidate"
    assert head.headers["connection"] == "keep-alive"
    assert head.headers["transfer-encoding"] == "chunked"


def test_an_event_is_one_chunk_with_a_count_from_zero(streams: Streams, client: RawClient) -> None:
    streams.subscribe(client)

    streams.hub.publish("actual_lrp_instance_created", b"\x01\x02\xff")
    streams.hub.publish("actual_lrp_instance_removed", b"\x03" * 100)

    encoded = base64.b64encode(b"\x03" * 100)
    assert client.chunk() == b"id: 0\nevent: actual_lrp_instance_created\ndata: AQL/\n\n"
    assert client.chunk() == b"id: 1\nevent: actual_lrp_instance_removed\ndata: " + encoded + b"\n\n"


def test_each_connection_counts_its_own_events(streams: Streams, client: RawClient) -> None:
    streams.subscribe(client)
    streams.hub.publish("first", b"1")
    with RawClient(streams.port) as later:
        streams.subscribe(later)
        streams.hub.publish("second", b"2")

        assert later.chunk() == b"id: 0\nevent: second\ndata: Mg==\n\n"
    assert [client.chunk()[:5] for _ in range(2)] == [b"id: 0", b"id: 1"]


def test_a_subscriber_hears_only_what_it_wants_and_counts_only_that(
    streams: Streams, client: RawClient
) -> None:
    streams.subscribe(client, "cell-a")

    for number, cell in enumerate(["cell-a", "cell-b", "cell-a"]):
        streams.hub.publish("event", b"%d" % number, tag=cell)

    assert client.chunk() == b"id: 0\nevent: event\ndata: MA==\n\n"
    assert client.chunk() == b"id: 1\nevent: event\ndata: Mg==\n\n"


def test_events_of_one_thread_are_heard_in_their_order(streams: Streams, client: RawClient) -> None:
    streams.subscribe(client)

    for number in range(500):
        streams.hub.publish("event", b"%d" % number)

    heard = [base64.b64decode(client.chunk().split(b"data: ")[1]) for _ in range(500)]
    assert heard == [b"%d" % number for number in range(500)]


def test_a_stream_may_be_asked_for_with_get(streams: Streams, client: RawClient) -> None:
    client.send_request("GET", "/old-events")

    assert client.head().status == 200


def test_a_closed_hub_ends_its_streams_with_the_last_chunk(streams: Streams, client: RawClient) -> None:
    streams.subscribe(client)

    streams.hub.close()

    assert client.rest() == b"0\r\n\r\n"


def test_a_closed_hub_refuses_subscribers_with_500(streams: Streams, client: RawClient) -> None:
    streams.hub.close()
    answer = client.request("POST", "/events")

    assert (answer.status, answer.body) == (500, b"")


def test_a_subscriber_that_leaves_is_forgotten(streams: Streams, client: RawClient) -> None:
    streams.subscribe(client)

    client.sock.close()

    until(lambda: streams.hub.subscribers == 0)


def test_a_subscriber_that_does_not_read_is_dropped_and_the_others_hear_on(
    streams: Streams, client: RawClient
) -> None:
    streams.subscribe(client)
    with RawClient(streams.port) as reader:
        streams.subscribe(reader)
        heard: list[int] = []

        def read() -> None:
            while len(heard) < 3000:
                heard.append(len(reader.chunk()))

        thread = threading.Thread(target=read)
        thread.start()
        for number in range(3000):
            until(lambda ahead=number: ahead - len(heard) < 500)  # type: ignore[misc]  # a lambda's default
            streams.hub.publish("event", bytes(6000))
            time.sleep(0.0002)
        thread.join(60)

        assert len(heard) == 3000
        assert streams.hub.subscribers == 1
        assert streams.hub.dropped == 1


def test_a_short_pause_of_a_reader_loses_nothing(streams: Streams, client: RawClient) -> None:
    streams.subscribe(client)

    for number in range(900):
        streams.hub.publish("event", b"%05d" % number * 1000)
    time.sleep(0.2)

    numbers = [base64.b64decode(client.chunk().split(b"data: ")[1])[:5] for _ in range(900)]
    assert numbers == [b"%05d" % number for number in range(900)]


def test_an_old_client_hears_the_stream_unchunked(streams: Streams, client: RawClient) -> None:
    client.send(b"POST /events HTTP/1.0\r\nContent-Length: 0\r\n\r\n")
    assert client.head().status == 200
    until(lambda: streams.hub.subscribers)

    streams.hub.publish("event", b"1")
    streams.hub.close()

    assert client.rest() == b"id: 0\nevent: event\ndata: MQ==\n\n"


def test_streams_end_at_once_when_the_job_stops() -> None:
    with running(limits=Limits()) as runtime:
        streams = Streams(runtime)
        client = RawClient(streams.port)
        streams.subscribe(client)
        begin = time.monotonic()
        asyncio.run_coroutine_threadsafe(runtime.stop(60), runtime.loop).result(90)

    assert client.rest() == b"0\r\n\r\n"
    assert time.monotonic() - begin < 30
    client.sock.close()


def test_nobody_listening_makes_publishing_harmless() -> None:
    Hub().publish("event", b"1")
