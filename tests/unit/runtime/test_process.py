"""The life of a worker: threads, loops, listeners, stopping; and the real process under gunicorn."""

import asyncio
import contextlib
import gc
import socket
import ssl
import stat
import sys
import threading
import time
from pathlib import Path

import pytest
from flask import Flask

from diego.runtime.api import Answer, Api, Call, Pending
from diego.runtime.limits import Limits
from diego.runtime.loops import every
from diego.runtime.tls import client_context, server_context
from support import pki
from support.rawhttp import RawClient
from support.worker import running, until

CA = "service_cf_internal_ca.crt"
DEMO = [sys.executable, "-m", "support.demo_job"]


def an_api() -> Api:
    api = Api(Flask("test"))

    @api.rpc("/echo")
    def echo(call: Call) -> Answer:
        return call.body

    return api


def test_what_runs_in_the_background_begins_when_the_worker_serves() -> None:
    began = threading.Event()

    with running(lambda runtime: runtime.background("early", began.set)):
        assert began.wait(5)


def test_a_background_that_fails_ends_the_worker(capfd: pytest.CaptureFixture[str]) -> None:
    left: list[int] = []

    def fail() -> None:
        raise ValueError("a wanted failure")

    with running(leave=left.append) as runtime:
        runtime.background("failing", fail)
        until(lambda: left)

    out = capfd.readouterr().out
    assert left == [1]
    assert "a wanted failure" in out
    assert "test.worker-ends" in out


def test_a_task_that_fails_ends_the_worker(capfd: pytest.CaptureFixture[str]) -> None:
    left: list[int] = []

    async def fail() -> None:
        raise ValueError("a wanted failure")

    with running(leave=left.append) as runtime:
        runtime.task("failing", fail)
        until(lambda: left)

    assert left == [1]
    assert "a wanted failure" in capfd.readouterr().out


def test_stop_functions_run_in_reverse_order() -> None:
    stopped: list[str] = []

    with running() as runtime:
        runtime.on_stop(lambda: stopped.append("first"))
        runtime.on_stop(lambda: stopped.append("second"))

    assert stopped == ["second", "first"]


def test_a_stop_function_that_fails_does_not_keep_the_others(capfd: pytest.CaptureFixture[str]) -> None:
    stopped: list[str] = []

    def fail() -> None:
        raise ValueError("a wanted failure")

    with running() as runtime:
        runtime.on_stop(lambda: stopped.append("first"))
        runtime.on_stop(fail)

    assert stopped == ["first"]
    assert "a wanted failure" in capfd.readouterr().out


def test_tasks_are_cancelled_only_after_the_stop_functions() -> None:
    order: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            order.append("task")

    with running() as runtime:
        runtime.task("waiting", wait)
        runtime.on_stop(lambda: order.append("stop"))
        runtime.on_stop(lambda: time.sleep(0.1))
        time.sleep(0.05)

    assert order == ["stop", "task"]


def test_a_call_into_the_loop_brings_back_what_it_returned_or_raised() -> None:
    with running() as runtime:
        assert runtime.call_in_loop(lambda a, b: a + b, 1, 2) == 3
        assert runtime.call_in_loop(threading.get_ident) != threading.get_ident()
        with pytest.raises(ZeroDivisionError):
            runtime.call_in_loop(lambda: 1 // 0)


def test_a_loop_goes_on_after_an_exception(capfd: pytest.CaptureFixture[str]) -> None:
    rounds: list[int] = []

    def work() -> None:
        rounds.append(len(rounds))
        if len(rounds) == 1:
            raise ValueError("a wanted failure")

    with running() as runtime:
        every(runtime, "work", 0.02, work, jitter=0.1, first=0.0)
        until(lambda: len(rounds) >= 3)

    assert "test.round-failed" in capfd.readouterr().out


def test_a_listener_may_be_opened_and_closed_while_the_job_runs() -> None:
    with running() as runtime:
        listener = runtime.open_listener("127.0.0.1:0", an_api())
        with RawClient(listener.port) as client:
            assert client.request("POST", "/echo", b"abc").body == b"abc"

            listener.close()

            assert client.is_closed()
        with pytest.raises(ConnectionRefusedError):
            RawClient(listener.port)


def test_a_listener_waits_for_an_address_that_a_dying_process_still_holds() -> None:
    with running() as runtime, socket.create_server(("127.0.0.1", 0)) as holder:
        address = f"127.0.0.1:{holder.getsockname()[1]}"
        threading.Timer(0.3, holder.close).start()

        with RawClient(runtime.open_listener(address, an_api()).port) as client:
            assert client.request("POST", "/echo", b"abc").body == b"abc"


def test_an_address_that_stays_taken_is_told() -> None:
    with running() as runtime, socket.create_server(("127.0.0.1", 0)) as holder:
        address = f"127.0.0.1:{holder.getsockname()[1]}"

        with pytest.raises(OSError, match=address):
            runtime.open_listener(address, an_api(), patience=0.2)


def test_a_unix_socket_replaces_a_stale_one_and_has_the_mode_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "job.sock"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()

    with running() as runtime:
        runtime.open_listener(f"unix:{path}", an_api(), mode=0o640)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"POST /echo HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc")
            answer = b""
            while data := client.recv(1000):
                answer += data
    assert answer.endswith(b"\r\n\r\nabc")
    assert not path.exists()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pki.write(tmp_path_factory.mktemp("pki"), "diego_bbs_server", "diego_bbs_client")


@pytest.fixture(scope="module")
def server_tls(certificates: Path) -> ssl.SSLContext:
    return server_context(
        certificates / "diego_bbs_server.crt", certificates / "diego_bbs_server.key", certificates / CA
    )


@pytest.fixture(scope="module")
def client_tls(certificates: Path) -> ssl.SSLContext:
    return client_context(
        certificates / "diego_bbs_client.crt", certificates / "diego_bbs_client.key", certificates / CA
    )


def test_both_sides_of_tls_show_certificates(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    with running() as runtime:
        port = runtime.open_listener("127.0.0.1:0", an_api(), server_tls).port
        with RawClient(port, tls=client_tls) as client:
            for size in (3, 300_000):
                assert len(client.request("POST", "/echo", bytes(size)).body) == size


def test_a_client_without_a_certificate_is_turned_away(
    server_tls: ssl.SSLContext, certificates: Path
) -> None:
    anonymous = client_context(None, None, certificates / CA)
    with running() as runtime:
        port = runtime.open_listener("127.0.0.1:0", an_api(), server_tls).port
        with (
            RawClient(port, tls=anonymous) as client,
            pytest.raises(ssl.SSLError, match="certificate required"),
        ):
            client.request("POST", "/echo", b"abc")
        until(lambda: runtime.server.connections == 0)


@pytest.mark.parametrize("welcome", [True, False])
def test_a_connection_that_ended_leaves_nothing_to_the_collector(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, certificates: Path, welcome: bool
) -> None:
    """1,000 connections that were turned away cost a BBS 40 MB: each stood in a circle, and was not collected."""
    tls = client_tls if welcome else client_context(None, None, certificates / CA)
    with running() as runtime:
        port = runtime.open_listener("127.0.0.1:0", an_api(), server_tls).port

        def call() -> None:
            expected = contextlib.nullcontext() if welcome else pytest.raises((ssl.SSLError, OSError))
            with expected, RawClient(port, tls=tls) as client:
                client.request("POST", "/echo", b"abc")

        call()  # what the first one leaves is not for each
        until(lambda: runtime.server.connections == 0)
        gc.collect()
        before = _tls_objects()
        gc.disable()
        try:
            for _ in range(20):
                call()
            until(lambda: runtime.server.connections == 0)

            until(lambda: _tls_objects() <= before)
        finally:
            gc.enable()


def _tls_objects() -> int:
    return sum(
        type(each).__name__ in ("_SSLSocket", "Connection", "SSLProtocol") for each in gc.get_objects()
    )


def test_only_the_two_suites_of_tls_1_2_are_spoken(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, certificates: Path
) -> None:
    other = client_context(
        certificates / "diego_bbs_client.crt", certificates / "diego_bbs_client.key", certificates / CA
    )
    other.maximum_version = ssl.TLSVersion.TLSv1_2
    with running() as runtime:
        port = runtime.open_listener("127.0.0.1:0", an_api(), server_tls).port
        with RawClient(port, tls=other) as client:
            assert isinstance(client.sock, ssl.SSLSocket)
            assert (client.sock.cipher() or ("",))[0] == "ECDHE-RSA-AES256-GCM-SHA384"
        other.set_ciphers("ECDHE-RSA-CHACHA20-POLY1305")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            RawClient(port, tls=other)


def test_a_client_that_does_not_shake_hands_is_left(server_tls: ssl.SSLContext) -> None:
    with running(limits=Limits(handshake=0.3)) as runtime:
        port = runtime.open_listener("127.0.0.1:0", an_api(), server_tls).port
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            begin = time.monotonic()
            assert client.recv(10) == b""
            assert time.monotonic() - begin < Limits().handshake - 0.5


def test_an_answer_to_come_may_be_given_before_it_is_waited_for() -> None:
    pending = Pending()
    taken: list[Answer] = []

    pending.settle(b"early")
    pending.then(taken.append)

    assert taken == [b"early"]
