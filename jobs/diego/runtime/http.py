"""Calls to other jobs over HTTP, as contract/deployment.md section 9 wants them made.

A name may have several addresses of which only one answers (a standby refuses connections). The client tries
every address in turn, begins with the one that was good last, and asks for the name again after a failure. Only
what surely was not received is tried elsewhere by itself; a failure after that is the caller's to judge.
"""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    SSLError,
)

CONNECT_TIMEOUT = 2.0
BODY_LIMIT = 1 << 30
"""Bytes: a longer answer is refused."""
IDLE_CONNECTIONS = 4
"""Connections to one address that are kept for the next call."""
PIECE = 65536

KEEP_ALIVE = [
    *HTTPConnection.default_socket_options,
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]
"""A peer that vanished is noticed after 25 s even on a connection where nothing is said."""


class ConnectionFailed(Exception):
    """No answer came. `sent` tells whether the request may have been received."""

    def __init__(self, text: str, *, sent: bool) -> None:
        super().__init__(text)
        self.sent = sent


class HeaderMap(Mapping[str, str]):
    """An answer's header fields; their names have no case."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = {name.lower(): value for name, value in fields.items()}

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer."""

    status: int
    headers: HeaderMap
    body: bytes


class Stream:
    """An answer that is read as it comes. Iterate over its pieces; `close` may be called from any thread."""

    def __init__(self, response: urllib3.BaseHTTPResponse, address: str) -> None:
        self.status = response.status
        self.headers = HeaderMap(response.headers)
        self._response = response
        self._address = address
        self._closed = False
        self._reading = False
        self._lock = threading.Lock()

    def pieces(self) -> Iterator[bytes]:
        """The bytes as they arrive. Ends when the server ends it or `close` was called; raises ConnectionFailed."""
        try:
            while piece := self._next():
                yield piece
        finally:
            self._response.close()

    __iter__ = pieces

    def _next(self) -> bytes:
        with self._lock:
            if self._closed:
                return b""
            self._reading = True
        try:
            return self._response.read1(PIECE)
        except (HTTPError, OSError, ValueError, AttributeError) as error:
            # The last two are how a read sees its file being closed by another thread.
            if self._closed:
                return b""
            raise ConnectionFailed(f"{self._address}: {error}", sent=True) from error
        finally:
            self._reading = False

    def close(self) -> None:
        """End the stream; a thread that waits for the next piece is woken."""
        with self._lock:
            self._closed = True
            is_read = self._reading
        with contextlib.suppress(HTTPError, OSError, ValueError, RuntimeError):  # it may have ended already
            self._response.shutdown()
        if not is_read:
            self._response.close()


def _may_have_been_received(error: Exception) -> bool:
    """Whether the other side may have acted on the call. A TLS connection that simply ended may have come so far."""
    if isinstance(error, SSLError):
        return isinstance(error.args[0] if error.args else None, ssl.SSLEOFError | ssl.SSLZeroReturnError)
    return not isinstance(error, NewConnectionError | ConnectTimeoutError)


class _TlsPool(urllib3.HTTPSConnectionPool):
    """Tells a handshake that never ended from an answer that never came: before it nothing was sent.

    A stopped process's kernel still accepts connections, and a client must then go on to the next address.
    """

    def _validate_conn(self, conn: Any) -> None:
        try:
            super()._validate_conn(conn)
        except TimeoutError as error:
            raise ConnectTimeoutError(f"{self.host}: no end of the TLS handshake in time") from error


class HttpClient:
    """Calls one service by its name. Threads may share it; make it after the fork."""

    def __init__(
        self,
        base_url: str,
        *,
        tls: ssl.SSLContext | None = None,
        timeout: float,
        connect_timeout: float = CONNECT_TIMEOUT,
        body_limit: int = BODY_LIMIT,
        server_name: str = "",
    ) -> None:
        """`server_name`: what the certificate must say, when the URL has an address instead of a name."""
        parts = urlsplit(base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"not a URL of http or https: {base_url!r}")
        if parts.scheme == "https" and tls is None:
            raise ValueError(f"no certificates to trust for {base_url!r}")
        self.base_url = base_url
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._server_name = server_name or parts.hostname
        self._prefix = parts.path.rstrip("/")
        self._tls = tls if parts.scheme == "https" else None
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._body_limit = body_limit
        self._lock = threading.Lock()
        self._pools: dict[str, urllib3.HTTPConnectionPool] = {}
        self._good = ""
        self._bad = ""
        self._addresses: list[str] = []

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
    ) -> Response:
        """Call and read the whole answer, whatever its status.

        Raises:
            ConnectionFailed: no address accepted the call, or no whole answer came in time.
        """
        seconds = self._timeout if timeout is None else timeout
        end = time.monotonic() + seconds
        response, address = self._open(method, path, body, headers, seconds)
        try:
            pieces: list[bytes] = []
            size = 0
            while piece := response.read1(PIECE):
                pieces.append(piece)
                size += len(piece)
                if size > self._body_limit or time.monotonic() > end:
                    break
        except (HTTPError, OSError) as error:
            self._forget(address)
            raise ConnectionFailed(f"{method} {self.base_url}{path}: {error}", sent=True) from error
        if piece:
            response.close()
            excess = f"longer than {self._body_limit} bytes, or not whole in {seconds:g} s"
            raise ConnectionFailed(f"{method} {self.base_url}{path}: {excess}", sent=True)
        response.release_conn()
        return Response(response.status, HeaderMap(response.headers), b"".join(pieces))

    def stream(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Stream:
        """Call and read the answer as it comes. Once its head is there no time limit holds, only TCP's keep-alive.

        Raises:
            ConnectionFailed: no address accepted the call, or no head came in time.
        """
        response, address = self._open(method, path, body, headers, self._timeout)
        connection = getattr(response, "_connection", None)
        sock = getattr(connection, "sock", None)
        if sock is not None:
            sock.settimeout(None)
        return Stream(response, address)

    def close(self) -> None:
        """Close the connections that wait for another call."""
        with self._lock:
            pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            pool.close()

    def _open(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str] | None, seconds: float
    ) -> tuple[urllib3.BaseHTTPResponse, str]:
        """The answer's head, from the first address that accepts the call."""
        failures: list[str] = []
        for address in self._in_order():
            try:
                response = self._pool(address).urlopen(
                    method,
                    self._prefix + path,
                    body=body or None,
                    headers={"Host": self._host_header(), **self._length(method, body), **(headers or {})},
                    retries=False,
                    redirect=False,
                    preload_content=False,
                    decode_content=False,
                    timeout=urllib3.Timeout(connect=min(self._connect_timeout, seconds), read=seconds),
                )
            except (HTTPError, OSError) as error:
                self._forget(address)
                if _may_have_been_received(error):
                    raise ConnectionFailed(f"{method} {self.base_url}{path}: {error}", sent=True) from error
                failures.append(f"{address}: {error}")
                continue
            with self._lock:
                self._good = address
            return response, address
        raise ConnectionFailed(f"{method} {self.base_url}{path}: {'; '.join(failures)}", sent=False)

    def _host_header(self) -> str:
        usual = 443 if self._tls else 80
        return self._host if self._port == usual else f"{self._host}:{self._port}"

    @staticmethod
    def _length(method: str, body: bytes) -> dict[str, str]:
        return {"Content-Length": "0"} if not body and method not in {"GET", "HEAD"} else {}

    def _in_order(self) -> list[str]:
        """Every address of the name, the last good one first and the one that failed last at the end.

        Raises:
            ConnectionFailed: there is no such name.
        """
        with self._lock:
            good, bad, known = self._good, self._bad, list(self._addresses)
        known = known or self._resolve()
        return sorted(known, key=lambda address: (address != good, address == bad))

    def _resolve(self) -> list[str]:
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise ConnectionFailed(f"{self._host}: {error}", sent=False) from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        with self._lock:
            self._addresses = addresses
        return addresses

    def _forget(self, address: str) -> None:
        """After a failure the name is asked for again, and nothing of the old connections is used."""
        with self._lock:
            if self._good == address:
                self._good = ""
            self._bad = address
            self._addresses = []
            pool = self._pools.pop(address, None)
        if pool is not None:
            pool.close()

    def _pool(self, address: str) -> urllib3.HTTPConnectionPool:
        with self._lock:
            if address not in self._pools:
                options: dict[str, Any] = {"maxsize": IDLE_CONNECTIONS, "socket_options": KEEP_ALIVE}
                if self._tls is None:
                    pool = urllib3.HTTPConnectionPool(address, self._port, **options)
                else:
                    pool = _TlsPool(
                        address,
                        self._port,
                        ssl_context=self._tls,
                        server_hostname=self._server_name,
                        **options,
                    )
                self._pools[address] = pool
            return self._pools[address]
