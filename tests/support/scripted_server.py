"""A server that answers what a test tells it to, over mutual TLS, and remembers what it was asked."""

import ssl
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseServer
from typing import Any


@dataclass(frozen=True)
class Told:
    """One answer. `status` 0 closes the connection without one; `pieces` are sent as chunks, then `after` is called."""

    body: bytes = b""
    status: int = 200
    content_type: str = "application/x-protobuf"
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[bytes] | None = None
    after: Callable[[], object] | None = None


@dataclass(frozen=True)
class Asked:
    """One request that came."""

    method: str
    path: str
    body: bytes
    headers: dict[str, str]


@dataclass
class ScriptedServer:
    """Answers per path in the order they were told; the last one again and again."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    script: dict[str, list[Told]] = field(default_factory=lambda: defaultdict(list))

    def tell(self, path: str, *answers: Told) -> None:
        self.script[path] = list(answers)

    def paths(self) -> list[str]:
        return [each.path for each in self.asked]

    def next_answer(self, path: str) -> Told:
        answers = self.script.get(path)
        if not answers:
            return Told(b"404 page not found\n", 404, "text/plain; charset=utf-8")
        return answers.pop(0) if len(answers) > 1 else answers[0]


def _handler(server: ScriptedServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65536  # an answer in one packet, which the caller's kernel acknowledges at once

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            server.asked.append(Asked(self.command, self.path, body, dict(self.headers)))
            told = server.next_answer(self.path)
            if told.status == 0:
                self.close_connection = True
                return
            self.send_response(told.status)
            self.send_header("Content-Type", told.content_type)
            for name, value in told.headers.items():
                self.send_header(name, value)
            if told.pieces is None:
                self.send_header("Content-Length", str(len(told.body)))
                self.end_headers()
                self.wfile.write(told.body)
            else:
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for piece in told.pieces:
                    self.wfile.write(f"{len(piece):x};\r\n".encode() + piece + b"\r\n")
                self.wfile.flush()
                if told.after is not None:
                    told.after()
                self.wfile.write(b"0\r\n\r\n")
                self.close_connection = True

        do_GET = do_POST  # noqa: N815 (the name is http.server's)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name is http.server's)
            """What was asked is remembered, not printed."""

    return Handler


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that goes away is what some tests are about."""


@contextmanager
def serving(
    certificates: Path | None, server_leaf: str = "diego_bbs_server", port: int = 0
) -> Iterator[ScriptedServer]:
    """A scripted server on loopback; with the certificates of `support.pki.write`, over mutual TLS."""
    scripted = ScriptedServer()
    listener = _QuietServer(("127.0.0.1", port), _handler(scripted))
    scheme = "http"
    if certificates is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / f"{server_leaf}.crt", certificates / f"{server_leaf}.key")
        context.load_verify_locations(certificates / "service_cf_internal_ca.crt")
        context.verify_mode = ssl.CERT_REQUIRED
        listener.socket = context.wrap_socket(
            listener.socket, server_side=True, do_handshake_on_connect=False
        )
        scheme = "https"
    scripted.url = f"{scheme}://localhost:{listener.server_address[1]}"
    thread = threading.Thread(target=BaseServer.serve_forever, args=(listener, 0.02), name="scripted server")
    thread.start()
    try:
        yield scripted
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join(timeout=5)
