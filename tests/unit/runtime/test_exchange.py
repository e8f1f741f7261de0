"""Exchanges: bodies and answers in pieces, and connections taken over."""

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest
from flask import Flask

from diego.runtime.api import Api
from diego.runtime.exchange import Disconnected, Exchange
from diego.runtime.limits import Limits
from diego.runtime.process import Runtime
from support.rawhttp import RawClient
from support.worker import running, until


class Exchanges:
    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.seen: list[object] = []
        self.gate = threading.Event()
        api = Api(Flask("exchanges"))
        self._bodies(api)
        self._answers(api)
        self._streams(api)
        self._mistakes(api)
        self.port = runtime.open_listener("127.0.0.1:0", api).port

    def _bodies(self, api: Api) -> None:

        @api.exchange("PUT", "/containers/<handle>/files")
        async def files(x: Exchange) -> None:
            size = 0
            while piece := await x.read():
                size += len(piece)
            await x.reply(200, f"{x.params['handle']} {size} {x.query.get('user')}".encode())

        @api.exchange("PUT", "/held")
        async def held(x: Exchange) -> None:
            while not self.gate.is_set():
                await asyncio.sleep(0.01)
            size = 0
            try:
                while piece := await x.read():
                    size += len(piece)
            except Disconnected:
                self.seen.append("disconnected")
                raise
            await x.reply(200, str(size).encode())

    def _answers(self, api: Api) -> None:
        @api.exchange("POST", "/impatient")
        async def impatient(x: Exchange) -> None:
            await x.reply(409, b"not now")

        @api.exchange("GET", "/count/<n>")
        async def count(x: Exchange) -> None:
            await x.start(200, {"Content-Type": "text/plain"})
            for number in range(int(x.params["n"])):
                await x.write(b"%d " % number)
            await x.finish()

        @api.exchange("GET", "/big")
        async def big(x: Exchange) -> None:
            await x.start(200, {"Content-Length": "50000000"})
            for number in range(500):
                await x.write(bytes(100_000))
                self.seen.append(number)
            await x.finish()

    def _streams(self, api: Api) -> None:
        @api.exchange("GET", "/follow")
        async def follow(x: Exchange) -> None:
            x.cancel_when_gone()
            await x.start(200)
            await x.write(b"begin")
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.seen.append("cancelled")
                raise

        @api.exchange("POST", "/raw/<path:rest>")
        async def raw(x: Exchange) -> None:
            body = await x.body()
            connection = x.take_over(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n")
            await connection.write(b"<%b %b>" % (x.params["rest"].encode(), body))
            while data := await connection.read():
                await connection.write(data.upper())
            await connection.write(b"<end>")
            connection.close()

    def _mistakes(self, api: Api) -> None:
        @api.exchange("GET", "/raised")
        async def raised(_x: Exchange) -> None:
            raise ValueError("a wanted failure")

        @api.exchange("GET", "/raised-late")
        async def raised_late(x: Exchange) -> None:
            await x.start(200)
            await x.write(b"begin")
            raise ValueError("a wanted failure")

        @api.exchange("GET", "/silent")
        async def silent(_x: Exchange) -> None:
            return

        @api.exchange("POST", "/limited")
        async def limited(x: Exchange) -> None:
            try:
                body = await x.body(limit=10)
            except ValueError as error:
                await x.reply(413, str(error).encode())
                return
            await x.reply(200, body)


@pytest.fixture(scope="module")
def exchanges() -> Iterator[Exchanges]:
    with running(limits=Limits(stall=3.0, linger=5.0)) as runtime:
        yield Exchanges(runtime)


@pytest.fixture
def client(exchanges: Exchanges) -> Iterator[RawClient]:
    exchanges.seen.clear()
    exchanges.gate.clear()
    with RawClient(exchanges.port) as found:
        yield found


def test_parts_of_the_path_are_decoded_one_by_one(client: RawClient) -> None:
    answer = client.request("PUT", "/containers/a%2Fb%20c/files?user=vcap", b"abc")

    assert answer.body == b"a/b c 3 ['vcap']"


def test_a_chunked_body_without_a_length_may_be_longer_than_other_bodies_may(client: RawClient) -> None:
    client.send(b"PUT /containers/h/files HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    piece = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
    for _ in range(70):
        client.send(piece)
    client.send(b"0\r\n\r\n")

    assert client.answer().body == b"h %d None" % (70 << 20)


def sent_until_blocked(client: RawClient) -> int:
    sent = 0
    try:
        while sent < 100_000_000:
            sent += client.sock.send(bytes(1 << 20))
    except TimeoutError:
        return sent
    raise AssertionError("the server takes bytes without end")


def test_a_handler_that_does_not_read_makes_the_client_wait(exchanges: Exchanges, client: RawClient) -> None:
    client.sock.settimeout(0.3)
    client.send(b"PUT /held HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n")
    sent = sent_until_blocked(client)

    assert sent < 30_000_000
    exchanges.gate.set()
    client.sock.settimeout(10)
    while sent < 100_000_000:
        sent += client.sock.send(bytes(min(1 << 20, 100_000_000 - sent)))
    assert client.answer().body == b"100000000"


def test_a_client_that_leaves_in_the_middle_of_its_body_is_noticed(
    exchanges: Exchanges, client: RawClient
) -> None:
    client.send(b"PUT /held HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
    exchanges.gate.set()
    client.sock.close()

    until(lambda: exchanges.seen == ["disconnected"])


def test_a_client_that_stops_in_the_middle_of_its_body_is_left(client: RawClient) -> None:
    client.send(b"PUT /containers/h/files HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
    begin = time.monotonic()

    assert client.is_closed()
    assert time.monotonic() - begin < Limits().stall / 2


def test_requests_after_an_exchange_are_answered_in_order(client: RawClient) -> None:
    client.send_request("GET", "/count/3")
    client.send_request("PUT", "/containers/h/files", b"abc")
    client.send_request("GET", "/count/2")

    assert [client.answer().body for _ in range(3)] == [b"0 1 2 ", b"h 3 None", b"0 1 "]


def test_a_request_that_comes_while_an_exchange_goes_on_waits(
    exchanges: Exchanges, client: RawClient
) -> None:
    client.send_request("PUT", "/held", b"abc")
    time.sleep(0.05)
    client.send_request("GET", "/count/1")
    time.sleep(0.05)
    exchanges.gate.set()

    assert [client.answer().body for _ in range(2)] == [b"3", b"0 "]


def test_an_answer_of_unknown_length_is_chunked(client: RawClient) -> None:
    client.send_request("GET", "/count/2")
    head = client.head()

    assert head.headers["transfer-encoding"] == "chunked"
    assert [client.chunk() for _ in range(3)] == [b"0 ", b"1 ", b""]


def test_an_old_client_gets_an_answer_of_unknown_length_up_to_the_end(client: RawClient) -> None:
    client.send(b"GET /count/2 HTTP/1.0\r\n\r\n")
    answer = client.answer()

    assert answer.body == b"0 1 "
    assert "transfer-encoding" not in answer.headers


def test_a_client_that_does_not_read_makes_the_handler_wait(exchanges: Exchanges, client: RawClient) -> None:
    client.send_request("GET", "/big")
    time.sleep(0.2)
    written = len(exchanges.seen)

    assert written < 200
    assert len(client.answer().body) == 50_000_000


def test_an_early_answer_to_a_long_body_can_be_read(client: RawClient) -> None:
    client.send(b"POST /impatient HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n")
    for _ in range(3):
        client.send(bytes(100_000))

    answer = client.answer()
    assert (answer.status, answer.body, answer.headers["connection"]) == (409, b"not now", "close")


def test_an_endless_answer_ends_when_its_client_goes(exchanges: Exchanges, client: RawClient) -> None:
    client.send_request("GET", "/follow")
    client.head()
    assert client.chunk() == b"begin"

    client.sock.close()

    until(lambda: exchanges.seen == ["cancelled"])


def test_an_endless_answer_ends_in_order_when_the_job_stops() -> None:
    with running() as runtime:
        client = RawClient(Exchanges(runtime).port)
        client.send_request("GET", "/follow")
        client.head()
        assert client.chunk() == b"begin"

    assert client.rest() == b"0\r\n\r\n"
    client.sock.close()


def test_a_connection_taken_over_carries_bytes_both_ways(client: RawClient) -> None:
    client.send_request("POST", "/raw/a/b", b"spec")
    head = client.head()
    assert (head.status, head.headers["transfer-encoding"]) == (201, "chunked")
    assert client.read(10) == b"<a/b spec>"

    client.send(b"hello")
    assert client.read(5) == b"HELLO"
    client.sock.shutdown(1)
    assert client.rest() == b"<end>"


def test_a_connection_taken_over_may_be_silent_for_longer_than_other_bodies(client: RawClient) -> None:
    client.send_request("POST", "/raw/x")
    client.head()
    client.read(4)
    time.sleep(3.8)

    client.send(b"still there")
    assert client.read(11) == b"STILL THERE"


def test_connections_taken_over_are_closed_when_the_job_stops() -> None:
    with running() as runtime:
        client = RawClient(Exchanges(runtime).port)
        client.send_request("POST", "/raw/x")
        client.head()
        client.read(4)
        begin = time.monotonic()
        asyncio.run_coroutine_threadsafe(runtime.stop(60), runtime.loop).result(90)

    assert client.is_closed()
    assert time.monotonic() - begin < 30
    client.sock.close()


def test_a_mistake_before_the_answer_is_500_and_empty(client: RawClient) -> None:
    for path in ("/raised", "/silent"):
        answer = client.request("GET", path)
        assert (answer.status, answer.body) == (500, b"")


def test_a_mistake_in_the_answer_cuts_it_off(client: RawClient) -> None:
    client.send_request("GET", "/raised-late")
    client.head()

    assert client.rest().startswith(b"5\r\nbegin")


def test_a_body_beyond_the_handler_s_own_limit_is_told(client: RawClient) -> None:
    assert client.request("POST", "/limited", b"0123456789").body == b"0123456789"
    assert client.request("POST", "/limited", b"0123456789a").status == 413


def test_a_wrong_method_on_an_exchange_is_told(client: RawClient) -> None:
    answer = client.request("DELETE", "/containers/h/files")

    assert (answer.status, answer.headers["allow"]) == (405, "PUT")
    assert client.request("PUT", "/containers/h").status == 404
