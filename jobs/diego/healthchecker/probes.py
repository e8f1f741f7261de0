"""Asking a daemon whether it is well. Each probe waits at most `seconds` and says why it failed."""

import base64
import contextlib
import http.client
import socket
import ssl
import time
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from diego.healthchecker.config import Endpoint

REDIRECTS = 10


def probe(endpoint: Endpoint, seconds: float) -> str:
    """Empty when the daemon is well, else the reason."""
    try:
        if endpoint.url:
            return _http(endpoint, seconds)
        if endpoint.socket:
            return _unix(endpoint, seconds)
        host, _, port = endpoint.tcp.rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port)), timeout=seconds):
            return ""
    except (OSError, http.client.HTTPException, ValueError) as error:
        return str(error) or type(error).__name__


def _http(endpoint: Endpoint, seconds: float) -> str:
    end = time.monotonic() + seconds
    url = endpoint.url
    for _ in range(REDIRECTS):
        left = end - time.monotonic()
        if left <= 0:
            return f"no answer within {seconds:g} s"
        parts = urlsplit(url)
        connection = _connection(endpoint, parts.scheme, parts.hostname or "", parts.port, left)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        status, location = _get(connection, target, endpoint)
        if status not in {301, 302, 303, 307, 308} or not location:
            return "" if status == 200 else f"status {status}"
        url = urljoin(url, location)
    return "too many redirects"


def _connection(
    endpoint: Endpoint, scheme: str, host: str, port: int | None, seconds: float
) -> http.client.HTTPConnection:
    if scheme != "https":
        return http.client.HTTPConnection(host, port, timeout=seconds)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if endpoint.cert_file is not None and endpoint.key_file is not None:
        context.load_cert_chain(endpoint.cert_file, endpoint.key_file)
    return http.client.HTTPSConnection(host, port, timeout=seconds, context=context)


def _get(connection: http.client.HTTPConnection, target: str, endpoint: Endpoint) -> tuple[int, str]:
    headers = {"Connection": "close", "User-Agent": "diego-healthchecker"}
    if endpoint.user:
        credentials = f"{endpoint.user}:{endpoint.password}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(credentials).decode()}"
    try:
        connection.request("GET", target, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Location", "")
    finally:
        connection.close()


def _unix(endpoint: Endpoint, seconds: float) -> str:
    connection = _UnixConnection(Path(endpoint.socket), seconds)
    if not endpoint.path:
        with contextlib.closing(connection):
            connection.connect()
        return ""
    status, _ = _get(connection, endpoint.path, endpoint)
    return "" if status == 200 else f"status {status}"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
