"""Quick questions: one GET each over mutual TLS, answered in JSON.

Made of the standard library alone, because `diego status`, `explain` and `history` must be there within a fifth of a
second, and the clients of the jobs take longer to load. What these calls lack is what a command line does not need:
connections that are kept, and addresses that are remembered.
"""

import json
import ssl
import threading
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, TypeVar
from urllib.parse import urlsplit

CONNECT_SECONDS = 2.0
"""For each address of a name: a standby refuses at once, a host that is gone does not answer at all."""
BODY_LIMIT = 256 << 20
TOLD_LIMIT = 500

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
        parts = urlsplit(base_url)
        connection = self._connection(parts.scheme, parts.hostname or "", parts.port)
        try:
            connection.connect()
            connection.sock.settimeout(self.timeout)
            connection.request("GET", parts.path.rstrip("/") + path, headers={"Connection": "close"})
            answer = connection.getresponse()
            body = answer.read(BODY_LIMIT)
        except (OSError, HTTPException, ValueError) as error:
            raise NotAnswered(f"{base_url}: {str(error) or type(error).__name__}") from error
        finally:
            connection.close()
        if answer.status not in accept:
            plain = (answer.headers.get("Content-Type") or "").startswith("text/plain")
            told = body[:TOLD_LIMIT].decode(errors="replace").strip() if plain else ""
            raise NotAnswered(f"{base_url} answers {answer.status} to {path}", answer.status, told)
        try:
            return json.loads(body)
        except ValueError as error:
            raise NotAnswered(f"{base_url} does not answer with JSON to {path}", answer.status) from error

    def _connection(self, scheme: str, host: str, port: int | None) -> HTTPConnection:
        seconds = min(CONNECT_SECONDS, self.timeout)
        if scheme == "http":
            return HTTPConnection(host, port or 80, timeout=seconds)
        return HTTPSConnection(host, port or 443, timeout=seconds, context=self.tls)


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
