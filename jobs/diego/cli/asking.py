"""Quick questions: one GET each over mutual TLS, answered in JSON.

Made of sockets alone, because `diego status`, `explain` and `history` must be there within a fifth of a second, and
every client of HTTP takes a good part of that to load. What these calls lack is what a command line does not need:
connections that are kept, and addresses that are remembered. They speak HTTP/1.0, in which an answer comes in one
piece and ends with the connection.
"""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

CONNECT_SECONDS = 2.0
"""For each address of a name: a standby refuses at once, a host that is gone does not answer at all."""
BODY_LIMIT = 256 << 20
PIECE = 1 << 16

K = TypeVar("K", bound=Hashable)


class NotAnswered(Exception):
    """There is no usable answer. `status` is that of the answer, 0 when none came; `told` what it says in plain text."""

    def __init__(self, text: str, status: int = 0, told: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.told = told


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks with one caller's certificate. May be used from several threads."""

    tls: ssl.SSLContext
    timeout: float

    def json(self, base_url: str, path: str, *, accept: frozenset[int] = frozenset({200})) -> Any:
        """What `base_url` answers to GET `path`.

        Raises:
            NotAnswered: no address of the name answers in time, or not with JSON and an accepted status.
        """
        try:
            status, body = self._get(base_url, path)
        except (OSError, ValueError) as error:
            raise NotAnswered(f"{base_url}: {str(error) or type(error).__name__}") from error
        if status not in accept:
            raise NotAnswered(f"{base_url} answers {status} to {path}", status)
        try:
            return json.loads(body)
        except ValueError as error:
            raise NotAnswered(f"{base_url} does not answer with JSON to {path}", status) from error

    def _get(self, base_url: str, path: str) -> tuple[int, bytes]:
        """The status and the body. Raises OSError and ValueError."""
        parts = urlsplit(base_url)
        host, secure = parts.hostname or "", parts.scheme != "http"
        port = parts.port or (443 if secure else 80)
        plain = socket.create_connection((host, port), min(CONNECT_SECONDS, self.timeout))
        with plain, self.tls.wrap_socket(plain, server_hostname=host) if secure else plain as connection:
            connection.settimeout(self.timeout)
            target = f"{parts.path.rstrip('/')}{path}"
            connection.sendall(f"GET {target} HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n".encode("ascii"))
            return _answer(connection)


def _answer(connection: socket.socket) -> tuple[int, bytes]:
    """Read until the end of the connection, or as much as the head says that there is.

    Raises:
        ValueError: it is no answer of HTTP, too long, or less than its head says.
    """
    read, length, body_at = bytearray(), -1, -1
    while length < 0 or len(read) < body_at + length:
        piece = connection.recv(PIECE)
        if not piece:
            break
        read += piece
        if len(read) > BODY_LIMIT:
            raise ValueError(f"an answer of more than {BODY_LIMIT} bytes")
        if body_at < 0 and (end := read.find(b"\r\n\r\n")) >= 0:
            body_at, length = end + 4, _length(bytes(read[:end]))
    first = bytes(read[:12]).split(b" ")
    if body_at < 0 or len(first) < 2 or not first[0].startswith(b"HTTP/1."):
        raise ValueError("the answer is not HTTP")
    if len(read) < body_at + length:
        raise ValueError("the answer broke off")
    return int(first[1]), bytes(read[body_at:])


def _length(head: bytes) -> int:
    """What the head says of the body's length; -1 when it says nothing, and the body ends with the connection."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return -1


def caller(cert_file: str, key_file: str, ca_file: str, *, verify: bool = True) -> ssl.SSLContext:
    """The TLS of one who calls with a certificate.

    Raises:
        ValueError: a file cannot be used; the text names it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert_file, key_file)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"{cert_file} with {key_file}: {error}") from error
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        context.load_verify_locations(ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"{ca_file}: {error}") from error
    return context


def side_by_side(calls: Mapping[K, Callable[[], Any]], *, at_once: int = 32) -> dict[K, Any]:
    """What each call gives, or the NotAnswered or ValueError that it raises, by its key. They run in threads."""
    answers: dict[K, Any] = {}
    waiting = iter(calls.items())
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                key, call = next(waiting, (None, None))
            if call is None or key is None:
                return
            try:
                answers[key] = call()
            except (NotAnswered, ValueError) as error:
                answers[key] = error

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(at_once, len(calls)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers
