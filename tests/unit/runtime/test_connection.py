"""One connection: how requests are read and answered, whatever form they come in."""

import contextlib
import select
import threading
import time
from collections.abc import Iterator

import pytest
from flask import Flask, request
from flask.typing import ResponseReturnValue

from diego.runtime.api import Answer, Api, Bulk, Call, Pending, Reply, Subscribe
from diego.runtime.hub import Hub
from diego.runtime.limits import Limits
from diego.runtime.process import Runtime
from support.rawhttp import RawClient
from support.worker import running, until

QUICK = Limits(
    handshake=0.3,
    header=0.3,
    body=0.3,
    idle=3.0,
    stall=0.4,
    linger=5.0,
    linger_bytes=4 << 20,
    body_bytes=1 << 20,
)
SOON = 8.0
"""Seconds, well below what a client has without these limits."""


class Demo:
    """An Api with one call of each kind."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.pending: list[Pending] = []
        self.gate = threading.Event()
        self.hub = Hub()
        app = Flask("demo")
        self.api = Api(app)
        self._quick_calls(self.api)
        self._long_calls(self.api)
        self._views(app)

    def _quick_calls(self, api: Api) -> None:
        @api.rpc("/echo")
        def echo(call: Call) -> Answer:
            return call.body

        @api.rpc("/headers")
        def headers(call: Call) -> Answer:
            return f"{call.request_id}|{call.header('x-NUMBER', 'none')}".encode()

        @api.rpc("/teapot")
        def teapot(call: Call) -> Answer:
            return Reply(418, call.body, "text/plain", {"X-Pot": "short"})

        @api.rpc("/broken")
        def broken(_call: Call) -> Answer:
            raise ValueError("a wanted failure")

    def _long_calls(self, api: Api) -> None:
        @api.rpc("/slow", slow=True)
        def slow(call: Call) -> Answer:
            time.sleep(0.15)
            return call.body

        @api.rpc("/later")
        def later(_call: Call) -> Answer:
            self.pending.append(Pending())
            return self.pending[-1]

        @api.rpc("/bulk")
        def bulk(call: Call) -> Answer:
            count = int(call.body)
            return Bulk(count * 1000, (b"x" * 1000 for _ in range(count)))

        @api.rpc("/short-bulk")
        def short_bulk(_call: Call) -> Answer:
            return Bulk(2000, iter([b"x" * 1000]))

        @api.rpc("/events")
        def events(call: Call) -> Answer:
            wanted = call.body.decode()
            return Subscribe(self.hub, (lambda tag: tag == wanted) if wanted else None)

    def _views(self, app: Flask) -> None:
        @app.route("/flask/<name>", methods=["GET", "POST"])
        def flask(name: str) -> ResponseReturnValue:
            return f"{request.method} {name} {request.args.get('q')} {request.get_data(as_text=True)}"

        @app.get("/flask-broken")
        def flask_broken() -> ResponseReturnValue:
            raise ValueError("a wanted failure")

        @app.get("/flask-slow")
        def flask_slow() -> ResponseReturnValue:
            self.gate.wait(60)
            return "done"


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Demo, int]]:
    with running() as runtime:
        demo = Demo(runtime)
        yield demo, runtime.open_listener("127.0.0.1:0", demo.api).port


@pytest.fixture(scope="module")
def quick() -> Iterator[tuple[Demo, int]]:
    with running(limits=QUICK) as runtime:
        demo = Demo(runtime)
        yield demo, runtime.open_listener("127.0.0.1:0", demo.api).port


@pytest.fixture
def client(server: tuple[Demo, int]) -> Iterator[RawClient]:
    with RawClient(server[1]) as found:
        yield found


def test_a_direct_call_is_answered_as_protobuf_with_its_exact_length(client: RawClient) -> None:
    answer = client.request("POST", "/echo", b"hello")

    assert (answer.status, answer.body) == (200, b"hello")
    assert answer.headers["content-type"] == "application/x-protobuf"
    assert answer.headers["content-length"] == "5"
    assert answer.headers["date"].endswith("GMT")


def test_a_query_does_not_hide_a_direct_call(client: RawClient) -> None:
    assert client.request("POST", "/echo?a=b", b"hello").body == b"hello"


def test_headers_are_found_whatever_their_case(client: RawClient) -> None:
    answer = client.request("POST", "/headers", b"", "x-vcap-request-ID: r-1", "X-Number: 7")

    assert answer.body == b"r-1|7"


def test_an_answer_may_have_another_status_type_and_headers(client: RawClient) -> None:
    answer = client.request("POST", "/teapot", b"tea")

    assert (answer.status, answer.body) == (418, b"tea")
    assert (answer.headers["content-type"], answer.headers["x-pot"]) == ("text/plain", "short")


def test_pipelined_requests_are_answered_in_order(client: RawClient) -> None:
    for path, body in [("/echo", b"1"), ("/slow", b"2"), ("/flask/x", b"3"), ("/echo", b"4")]:
        client.send_request("POST", path, body)

    assert [client.answer().body for _ in range(4)] == [b"1", b"2", b"POST x None 3", b"4"]


def test_a_thousand_pipelined_requests_are_all_answered(client: RawClient) -> None:
    one = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nping"
    client.send(one * 1000)

    assert all(client.answer().body == b"ping" for _ in range(1000))


def test_a_chunked_body_is_put_together(client: RawClient) -> None:
    client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    client.send(b"3\r\nabc\r\n4;extension=1\r\ndefg\r\n0\r\nTrailer: ignored\r\n\r\n")

    assert client.answer().body == b"abcdefg"
    assert client.request("POST", "/echo", b"next").body == b"next"


def test_a_client_that_expects_a_continue_gets_it(client: RawClient) -> None:
    client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")

    assert client.head().status == 100
    client.send(b"abc")
    assert client.answer().body == b"abc"


def test_another_expectation_is_refused(client: RawClient) -> None:
    client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: miracles\r\n\r\n")

    assert client.answer().status == 417
    assert client.is_closed()


def test_a_client_of_http_1_0_is_answered_and_left(client: RawClient) -> None:
    client.send(b"POST /echo HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc")
    answer = client.answer()

    assert (answer.body, answer.headers["connection"]) == (b"abc", "close")
    assert client.is_closed()


def test_a_client_of_http_1_0_may_keep_its_connection(client: RawClient) -> None:
    for _ in range(2):
        client.send(b"POST /echo HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc")
        answer = client.answer()
        assert (answer.body, answer.headers["connection"]) == (b"abc", "keep-alive")


def test_a_client_that_says_close_is_left_after_its_answer(client: RawClient) -> None:
    answer = client.request("POST", "/echo", b"abc", "Connection: close")

    assert (answer.body, answer.headers["connection"]) == (b"abc", "close")
    assert client.is_closed()


def test_an_answer_to_head_has_a_length_and_no_body(client: RawClient) -> None:
    answer = client.request("HEAD", "/flask/x")

    assert (answer.status, answer.headers["content-length"]) == (200, "12")
    assert client.request("POST", "/echo", b"next").body == b"next"


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 3\r\nContent-Length: 3\r\n",
        b"Content-Length: 3\r\nContent-Length: 4\r\n",
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        b"Content-Length: -3\r\n",
        b"Content-Length: 3x\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
        b"No colon here\r\n",
    ],
)
def test_an_ambiguous_or_broken_head_is_refused(client: RawClient, head: bytes) -> None:
    client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\n" + head + b"\r\nabc")

    assert client.answer().status == 400
    assert client.is_closed()


def test_an_unknown_transfer_coding_is_refused(client: RawClient) -> None:
    client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n")

    assert client.answer().status in {400, 501}
    assert client.is_closed()


@pytest.mark.parametrize(
    "junk", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"nonsense\r\n\r\n", b"\x00" * 100]
)
def test_what_is_no_http_is_refused(client: RawClient, junk: bytes) -> None:
    client.send(junk)

    assert client.answer().status == 400
    assert client.is_closed()


def test_what_came_before_a_broken_request_is_still_answered(client: RawClient) -> None:
    client.send_request("POST", "/slow", b"good")
    client.send(b"nonsense\r\n\r\n")

    assert client.answer().body == b"good"
    assert client.rest() == b""


def test_a_request_may_come_byte_by_byte(client: RawClient) -> None:
    for byte in b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc":
        client.send(bytes([byte]))
        time.sleep(0.0005)

    assert client.answer().body == b"abc"


def test_an_offered_upgrade_is_not_taken(client: RawClient) -> None:
    answer = client.request("GET", "/flask/x", b"", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c")

    assert (answer.status, answer.body, answer.headers["connection"]) == (200, b"GET x None ", "close")
    assert client.is_closed()


def test_an_offered_upgrade_with_a_body_is_refused(client: RawClient) -> None:
    assert client.request("POST", "/echo", b"abc", "Connection: Upgrade", "Upgrade: h2c").status == 501


def test_a_client_that_sends_no_more_still_gets_its_answer(client: RawClient) -> None:
    client.send_request("POST", "/slow", b"abc")
    client.sock.shutdown(1)

    assert client.answer().body == b"abc"
    assert client.is_closed()


def test_an_unknown_path_is_told_as_go_does(client: RawClient) -> None:
    answer = client.request("POST", "/nope")

    assert (answer.status, answer.body) == (404, b"404 page not found\n")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/echo/", "//echo", "/ECHO"])
def test_a_path_that_only_resembles_a_known_one_is_unknown(client: RawClient, path: str) -> None:
    assert client.request("POST", path).status == 404


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "PUT", "DELETE"])
def test_a_wrong_method_is_told_as_go_does(client: RawClient, method: str) -> None:
    answer = client.request(method, "/echo")

    assert (answer.status, answer.body) == (405, b"Method Not Allowed\n")
    assert answer.headers["allow"] == "POST"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_a_wrong_head_is_told_without_a_body(client: RawClient) -> None:
    answer = client.request("HEAD", "/echo")

    assert (answer.status, answer.headers["content-length"]) == (405, "19")


@pytest.mark.parametrize(("method", "path"), [("POST", "/broken"), ("GET", "/flask-broken")])
def test_our_own_mistake_is_500_and_empty(
    client: RawClient, capfd: pytest.CaptureFixture[str], method: str, path: str
) -> None:
    answer = client.request(method, path)

    assert (answer.status, answer.body) == (500, b"")
    assert client.request("POST", "/echo", b"next").body == b"next"
    assert "a wanted failure" in capfd.readouterr().out


def test_flask_sees_the_request_as_it_was(client: RawClient) -> None:
    answer = client.request("POST", "/flask/a%20b?q=1%2B1", b"body")

    assert answer.body == b"POST a b 1+1 body"


def test_an_encoded_path_reaches_the_twin_of_a_direct_call(client: RawClient) -> None:
    assert client.request("POST", "/ech%6F", b"abc").body == b"abc"


def test_an_answer_to_come_is_sent_when_it_is_there(server: tuple[Demo, int], client: RawClient) -> None:
    demo, _ = server
    demo.pending.clear()
    client.send_request("POST", "/later")
    until(lambda: demo.pending)

    demo.runtime.resolve([(demo.pending[0], b"now")])

    assert client.answer().body == b"now"


def test_an_answer_for_a_client_that_left_harms_nobody(server: tuple[Demo, int], client: RawClient) -> None:
    demo, port = server
    demo.pending.clear()
    with RawClient(port) as leaving:
        leaving.send_request("POST", "/later")
        until(lambda: demo.pending)

    demo.runtime.resolve([(demo.pending[0], b"now")])

    assert client.request("POST", "/echo", b"abc").body == b"abc"


def test_the_twin_waits_for_an_answer_to_come(server: tuple[Demo, int], client: RawClient) -> None:
    demo, _ = server
    demo.pending.clear()
    client.send_request("POST", "/late%72")
    until(lambda: demo.pending)

    demo.runtime.resolve([(demo.pending[0], b"now")])

    assert client.answer().body == b"now"


def test_a_bulk_answer_is_drawn_as_the_client_reads(server: tuple[Demo, int], client: RawClient) -> None:
    _, port = server
    client.send_request("POST", "/bulk", b"20000")
    time.sleep(0.1)

    with RawClient(port) as other:
        assert other.request("POST", "/echo", b"abc").body == b"abc"
    assert len(client.answer().body) == 20_000_000
    assert client.request("POST", "/echo", b"next").body == b"next"


def test_a_bulk_answer_that_is_too_short_is_cut_off(client: RawClient) -> None:
    client.send_request("POST", "/short-bulk")

    assert client.head().headers["content-length"] == "2000"
    assert len(client.rest()) == 1000


def test_a_whole_url_as_target_is_understood(client: RawClient) -> None:
    assert client.request("POST", "http://localhost/echo", b"abc").body == b"abc"


def test_a_head_above_64_kilobytes_is_refused(client: RawClient) -> None:
    client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\n" + b"X-Filler: " + b"x" * 1000)
    for _ in range(70):
        client.send(b"x" * 1000)

    assert client.answer().status == 431


def test_a_head_above_64_kilobytes_is_refused_though_it_comes_in_one_piece(client: RawClient) -> None:
    client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nX-Filler: " + b"x" * 66_000)

    assert client.answer().status == 431


def test_many_small_header_lines_above_64_kilobytes_are_refused(client: RawClient) -> None:
    client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 15000 + b"\r\n")

    assert client.answer().status == 431


def test_an_announced_body_above_64_megabytes_is_refused_at_once(client: RawClient) -> None:
    client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 67108865\r\n\r\n")

    assert client.answer().status == 413


def test_a_refused_client_that_goes_on_sending_can_still_read_why(quick: tuple[Demo, int]) -> None:
    with RawClient(quick[1]) as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(3):
            client.send(b"80000\r\n" + bytes(0x80000) + b"\r\n")

        assert client.answer().status == 413


def test_a_refused_client_that_never_stops_sending_is_cut_off(quick: tuple[Demo, int]) -> None:
    sent = 0
    with RawClient(quick[1]) as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            while sent < 1 << 30:
                client.send(b"80000\r\n" + bytes(0x80000) + b"\r\n")
                sent += 0x80000

    assert QUICK.body_bytes < sent < 100 * QUICK.linger_bytes


def test_a_silent_client_is_left_after_a_while(quick: tuple[Demo, int]) -> None:
    begin = time.monotonic()
    with RawClient(quick[1]) as client:
        assert client.is_closed()
        assert QUICK.idle - 0.1 < time.monotonic() - begin < Limits().idle / 2


def seconds_until_cut_off(client: RawClient) -> float:
    """How long a client may go on sending a byte now and then."""
    begin = time.monotonic()
    try:
        while time.monotonic() - begin < SOON:
            client.send(b"x")
            time.sleep(0.02)
    except ConnectionError:
        return time.monotonic() - begin
    raise AssertionError("the server takes bytes without end")


def test_a_head_that_does_not_end_is_cut_off_although_bytes_come(quick: tuple[Demo, int]) -> None:
    with RawClient(quick[1]) as client:
        client.send(b"POST /echo HTTP/1.1\r\nX: ")

        assert seconds_until_cut_off(client) < SOON


def test_a_body_that_does_not_end_is_cut_off_although_bytes_come(quick: tuple[Demo, int]) -> None:
    with RawClient(quick[1]) as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")

        assert seconds_until_cut_off(client) < SOON


def test_a_reader_that_stands_still_is_left(quick: tuple[Demo, int]) -> None:
    demo, port = quick
    with RawClient(port) as client:
        client.send_request("POST", "/bulk", b"60000")
        client.head()
        until(lambda: demo.runtime.server.connections == 0)

        assert len(client.rest()) < 60_000_000


def test_a_slow_reader_is_served_as_long_as_it_reads() -> None:
    with running(limits=Limits(stall=5.0)) as runtime:
        port = runtime.open_listener("127.0.0.1:0", Demo(runtime).api).port
        with RawClient(port) as client:
            client.send_request("POST", "/bulk", b"12000")
            client.head()
            for _ in range(45):
                time.sleep(0.15)
                client.read(150_000)

            assert len(client.read(5_000_000)) == 5_000_000


def test_requests_beyond_the_pool_are_told_to_come_later() -> None:
    with running(limits=Limits(threads=2, waiting=2)) as runtime:
        demo = Demo(runtime)
        port = runtime.open_listener("127.0.0.1:0", demo.api).port
        clients = [RawClient(port) for _ in range(8)]
        for client in clients:
            client.send_request("GET", "/flask-slow")
        until(lambda: len(select.select([client.sock for client in clients], [], [], 0)[0]) >= 4)
        demo.gate.set()
        statuses = sorted(client.answer().status for client in clients)

    assert statuses == [200] * 4 + [503] * 4
    for client in clients:
        client.sock.close()


def test_connections_beyond_the_limit_are_turned_away() -> None:
    with running(limits=Limits(connections=2)) as runtime:
        port = runtime.open_listener("127.0.0.1:0", Demo(runtime).api).port
        with RawClient(port) as first, RawClient(port) as second:
            assert first.request("POST", "/echo", b"1").body == b"1"
            assert second.request("POST", "/echo", b"2").body == b"2"
            with RawClient(port) as third:
                assert third.is_closed()
        until(lambda: runtime.server.connections == 0)
        with RawClient(port) as fourth:
            assert fourth.request("POST", "/echo", b"4").body == b"4"
