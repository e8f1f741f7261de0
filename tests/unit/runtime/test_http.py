"""Calls to other jobs: which address is tried, what is kept, what a failure says."""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask

from diego.certificates import issue, make_ca
from diego.runtime.api import Answer, Api, Call, Reply, Subscribe
from diego.runtime.exchange import Exchange
from diego.runtime.http import ConnectionFailed, HttpClient
from diego.runtime.hub import Hub
from diego.runtime.tls import TlsError, client_context, server_context
from support.worker import free_port, running, until


def an_api(hub: Hub, name: str = "") -> Api:
    api = Api(Flask("test"))

    @api.rpc("/echo")
    def echo(call: Call) -> Answer:
        return Reply(202, name.encode() + call.body, "text/plain", {"X-Seen": call.header("X-Asked")})

    @api.rpc("/events")
    def events(_call: Call) -> Answer:
        return Subscribe(hub)

    @api.exchange("GET", "/never")
    async def never(x: Exchange) -> None:

        x.cancel_when_gone()
        await asyncio.Event().wait()

    @api.exchange("GET", "/drip")
    async def drip(x: Exchange) -> None:

        x.cancel_when_gone()
        await x.start(200)
        while True:
            await x.write(b"x")
            await asyncio.sleep(0.05)

    return api


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Hub, int]]:
    with running() as runtime:
        hub = Hub()
        yield hub, runtime.open_listener("127.0.0.1:0", an_api(hub)).port


@pytest.fixture
def client(server: tuple[Hub, int]) -> Iterator[HttpClient]:
    found = HttpClient(f"http://127.0.0.1:{server[1]}", timeout=60)
    yield found
    found.close()


def test_an_answer_has_status_headers_and_body(client: HttpClient) -> None:
    answer = client.request("POST", "/echo", b"abc", {"X-Asked": "yes"})

    assert (answer.status, answer.body) == (202, b"abc")
    assert (answer.headers.get("x-seen"), answer.headers["X-SEEN"]) == ("yes", "yes")


def test_an_error_of_http_is_an_answer_too(client: HttpClient) -> None:
    assert client.request("GET", "/echo").status == 405
    assert client.request("GET", "/nope").status == 404


def test_connections_are_used_again(server: tuple[Hub, int], client: HttpClient) -> None:
    for _ in range(10):
        client.request("POST", "/echo", b"abc")

    assert len(client._pools) == 1
    assert client._pools["127.0.0.1"].num_connections == 1


def test_many_threads_may_call(client: HttpClient) -> None:
    answers: list[bytes] = []

    def call(number: int) -> None:
        answers.extend(client.request("POST", "/echo", b"%d" % number).body for _ in range(20))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answers) == sorted(b"%d" % number for number in range(8) for _ in range(20))


def test_nobody_there_is_surely_not_received() -> None:
    client = HttpClient(f"http://127.0.0.1:{free_port()}", timeout=1)

    with pytest.raises(ConnectionFailed) as error:
        client.request("POST", "/echo")
    assert not error.value.sent


def test_an_answer_that_does_not_come_in_time_is_a_failure(client: HttpClient) -> None:
    begin = time.monotonic()

    with pytest.raises(ConnectionFailed) as error:
        client.request("GET", "/never", timeout=3)
    assert error.value.sent
    assert time.monotonic() - begin < 30


def test_an_answer_that_only_drips_is_a_failure(client: HttpClient) -> None:
    begin = time.monotonic()

    with pytest.raises(ConnectionFailed):
        client.request("GET", "/drip", timeout=1)
    assert time.monotonic() - begin < 30


def test_a_longer_answer_than_wanted_is_a_failure(server: tuple[Hub, int]) -> None:
    client = HttpClient(f"http://127.0.0.1:{server[1]}", timeout=60, body_limit=10)

    with pytest.raises(ConnectionFailed, match="longer than 10 bytes"):
        client.request("POST", "/echo", b"x" * 11)


Names = Callable[[list[str]], None]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Decide which addresses the name `service.test` has."""
    real = socket.getaddrinfo
    known: list[str] = []

    def resolve(host: str, port: int, *more: object, **options: object) -> object:
        if host != "service.test":
            return real(host, port, *more, **options)  # type: ignore[arg-type]  # passed on as they came
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in known]

    def become(addresses: list[str]) -> None:
        known[:] = addresses

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return become


def test_every_address_of_the_name_is_tried(names: Names) -> None:
    with running() as runtime:
        port = runtime.open_listener("127.0.0.3:0", an_api(Hub(), "third ")).port
        names(["127.0.0.1", "127.0.0.2", "127.0.0.3"])
        client = HttpClient(f"http://service.test:{port}", timeout=60)

        assert client.request("POST", "/echo", b"abc").body == b"third abc"
        assert client._in_order()[0] == "127.0.0.3"


def test_after_a_failure_the_name_is_asked_for_again(names: Names) -> None:
    with running() as runtime:
        first = runtime.open_listener("127.0.0.2:0", an_api(Hub(), "first "))
        names(["127.0.0.2"])
        client = HttpClient(f"http://service.test:{first.port}", timeout=60)
        assert client.request("POST", "/echo").body == b"first "
        runtime.open_listener(f"127.0.0.3:{first.port}", an_api(Hub(), "second "))
        first.close()
        names(["127.0.0.3"])

        with pytest.raises(ConnectionFailed):
            client.request("POST", "/echo")

        assert client.request("POST", "/echo").body == b"second "


def test_a_standby_that_became_active_is_found_behind_one_that_went(names: Names) -> None:
    with running() as runtime:
        first = runtime.open_listener("127.0.0.2:0", an_api(Hub(), "first "))
        names(["127.0.0.2", "127.0.0.3"])
        client = HttpClient(f"http://service.test:{first.port}", timeout=60)
        assert client.request("POST", "/echo").body == b"first "
        runtime.open_listener(f"127.0.0.3:{first.port}", an_api(Hub(), "second "))
        first.close()
        client.close()

        assert client.request("POST", "/echo").body == b"second "


def test_a_host_that_accepts_and_is_silent_does_not_hide_the_one_that_answers(
    tmp_path: Path, names: Names
) -> None:
    """A paused host's kernel took connections to its BBS, and callers went there again and again, never to the other."""
    ca = make_ca("test", days=1)
    (tmp_path / "ca.crt").write_bytes(ca.cert_pem)
    pair = issue(ca, "service.test", ["service.test"], server=True, client=True, days=1)
    (tmp_path / "it.crt").write_bytes(pair.cert_pem)
    (tmp_path / "it.key").write_bytes(pair.key_pem)
    tls = server_context(tmp_path / "it.crt", tmp_path / "it.key", tmp_path / "ca.crt")
    names(["127.0.0.2", "127.0.0.3"])

    with running() as runtime, socket.create_server(("127.0.0.2", 0)) as silent:
        port = silent.getsockname()[1]
        runtime.open_listener(f"127.0.0.3:{port}", an_api(Hub(), "well "), tls)
        trusting = client_context(tmp_path / "it.crt", tmp_path / "it.key", tmp_path / "ca.crt")
        client = HttpClient(f"https://service.test:{port}", tls=trusting, timeout=30, connect_timeout=0.5)

        assert client.request("POST", "/echo", b"abc").body == b"well abc"


def test_the_address_that_failed_last_is_tried_last(names: Names) -> None:
    with running() as runtime, socket.create_server(("127.0.0.2", 0)) as silent:
        port = silent.getsockname()[1]
        runtime.open_listener(f"127.0.0.3:{port}", an_api(Hub(), "well "))
        names(["127.0.0.2", "127.0.0.3"])
        client = HttpClient(f"http://service.test:{port}", timeout=30)
        with pytest.raises(ConnectionFailed) as error:
            client.request("POST", "/echo", timeout=0.5)
        assert error.value.sent

        assert client.request("POST", "/echo", b"abc").body == b"well abc"


def test_a_name_that_is_unknown_is_a_failure() -> None:
    client = HttpClient("http://no-such-name.invalid:1", timeout=1)

    with pytest.raises(ConnectionFailed, match=r"no-such-name\.invalid"):
        client.request("POST", "/echo")


def test_a_stream_gives_pieces_as_they_come(server: tuple[Hub, int], client: HttpClient) -> None:
    hub, _ = server
    stream = client.stream("POST", "/events")
    assert stream.status == 200
    assert stream.headers["Content-Type"].startswith("text/event-stream")
    until(lambda: hub.subscribers)

    pieces = iter(stream)
    hub.publish("event", b"1")
    assert next(pieces) == b"id: 0\nevent: event\ndata: MQ==\n\n"
    hub.publish("event", b"2")
    assert next(pieces) == b"id: 1\nevent: event\ndata: Mg==\n\n"
    stream.close()


def test_closing_a_stream_wakes_the_thread_that_reads_it(server: tuple[Hub, int], client: HttpClient) -> None:
    hub, _ = server
    stream = client.stream("POST", "/events")
    ended = threading.Event()

    def read() -> None:
        for _ in stream:
            pass
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    time.sleep(0.1)
    stream.close()

    assert ended.wait(60)
    until(lambda: not hub.subscribers)


def test_a_stream_may_be_silent_for_longer_than_calls_may_take(server: tuple[Hub, int]) -> None:
    hub, port = server
    stream = HttpClient(f"http://127.0.0.1:{port}", timeout=3).stream("POST", "/events")
    until(lambda: hub.subscribers)
    time.sleep(4)

    hub.publish("event", b"1")

    assert next(iter(stream)).startswith(b"id: 0")
    stream.close()


def test_a_server_that_goes_ends_its_streams() -> None:
    with running() as runtime:
        hub = Hub()
        port = runtime.open_listener("127.0.0.1:0", an_api(hub)).port
        stream = HttpClient(f"http://127.0.0.1:{port}", timeout=60).stream("POST", "/events")

    assert list(stream) == []


def test_the_name_called_must_stand_in_the_certificate(tmp_path: Path, names: Names) -> None:
    ca = make_ca("test", days=1)
    (tmp_path / "ca.crt").write_bytes(ca.cert_pem)
    for name, sans in [("server", ["service.test"]), ("other", ["other.test"])]:
        pair = issue(ca, sans[0], sans, server=True, client=True, days=1)
        (tmp_path / f"{name}.crt").write_bytes(pair.cert_pem)
        (tmp_path / f"{name}.key").write_bytes(pair.key_pem)
    trusting = client_context(tmp_path / "server.crt", tmp_path / "server.key", tmp_path / "ca.crt")
    names(["127.0.0.1"])

    with running() as runtime:

        def served_with(name: str) -> HttpClient:
            tls = server_context(tmp_path / f"{name}.crt", tmp_path / f"{name}.key", tmp_path / "ca.crt")
            port = runtime.open_listener("127.0.0.1:0", an_api(Hub()), tls).port
            return HttpClient(f"https://service.test:{port}", tls=trusting, timeout=60)

        assert served_with("server").request("POST", "/echo", b"abc").body == b"abc"
        with pytest.raises(ConnectionFailed, match=r"service\.test") as error:
            served_with("other").request("POST", "/echo", b"abc")
        assert not error.value.sent


def test_an_expired_certificate_is_refused_at_start(tmp_path: Path) -> None:
    ca = make_ca("test", days=10)
    pair = issue(ca, "late.test", [], server=True, client=True, days=0)
    (tmp_path / "late.crt").write_bytes(pair.cert_pem)
    (tmp_path / "late.key").write_bytes(pair.key_pem)
    time.sleep(1.1)

    with pytest.raises(TlsError, match=r"late\.crt: CN=late\.test expired on"):
        server_context(tmp_path / "late.crt", tmp_path / "late.key")


def test_an_unreadable_certificate_is_told_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(TlsError, match=r"none\.crt"):
        server_context(tmp_path / "none.crt", tmp_path / "none.key")


def test_an_https_client_needs_someone_to_trust() -> None:
    with pytest.raises(ValueError, match="no certificates to trust"):
        HttpClient("https://service.test", timeout=1)
    assert isinstance(client_context(None, None, None), ssl.SSLContext)
