"""How long the auctioneer waits for a connection to a cell, and what counts as silence."""

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from diego.auctioneer.cells import Cell, Cells
from support import pki as test_pki

SLOW_HANDSHAKE = 2.5
STATE_TIMEOUT = 60.0


async def ask(url: str, tls: ssl.SSLContext | None = None) -> tuple[str, frozenset[str]]:
    """Why the cell gave no state, and which cells count as silent then."""
    cells = Cells(tls, state_timeout=STATE_TIMEOUT, work_timeout=STATE_TIMEOUT, workers=10)
    try:
        assert await cells.states([Cell("cell", url)], "") == []
        return cells.left_out["cell"], cells.silent
    finally:
        await cells.close()


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address where a connection's first packet is dropped, as that of a host that is gone."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        host, port = listener.getsockname()
        for _ in range(4):  # more than wait for an accept that never comes
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect((host, port))
        yield f"http://{host}:{port}"


def test_a_host_that_is_gone_is_silent_long_before_a_state_is_overdue(nobody: str) -> None:
    began = time.monotonic()
    why, silent = asyncio.run(ask(nobody))

    assert silent == {"cell"}
    assert "did not tell its state" in why
    assert time.monotonic() - began < STATE_TIMEOUT / 2


def test_a_cell_that_refuses_is_not_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    why, silent = asyncio.run(ask(f"http://127.0.0.1:{port}"))

    assert silent == frozenset()
    assert "did not tell its state" in why


def test_a_handshake_may_take_longer_than_a_connection(tmp_path: Path) -> None:
    pki = test_pki.write(tmp_path / "pki", "diego_locket_server")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pki / "diego_locket_server.crt", pki / "diego_locket_server.key")

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        time.sleep(SLOW_HANDSHAKE)  # it is one of a thousand
        with server.wrap_socket(connection, server_side=True) as secure:
            secure.recv(65536)
            secure.sendall(b"HTTP/1.1 418 I'm a teapot\r\nContent-Length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=serve, args=(listener,))
        serving.start()
        client = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        client.check_hostname = False
        why, _ = asyncio.run(ask(f"https://127.0.0.1:{listener.getsockname()[1]}", client))
        serving.join(60)

    assert why == "did not tell its state: status 418"
