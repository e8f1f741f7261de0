"""The listeners of one process, their connections, and the threads for what may wait.

All state here belongs to one event loop; the methods that any thread may call say so. It knows nothing of
gunicorn: `worker` puts it there, tests run it by itself.
"""

import asyncio
import contextlib
import io
import os
import shutil
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote_to_bytes

from diego.runtime.api import Answer, Api, Call, Handler, Pending, Reply
from diego.runtime.config import split_address
from diego.runtime.connection import Connection
from diego.runtime.limits import Limits
from diego.runtime.logs import Logger, get_logger

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from diego.runtime.connection import Request

T = TypeVar("T")

BACKLOG = 1024
STOP_ROUND = 0.05
BIND_PATIENCE = 8.0
"""Seconds to wait for an address that a dying predecessor still holds."""


class Listener:
    """A socket that is open for callers until `close`."""

    def __init__(self, server: "Server", sock: socket.socket, path: Path | None) -> None:
        self._server = server
        self.sock = sock
        self.path = path
        self.address = _address_of(sock, path)
        """Host and port, as they came to be; of a Unix socket its path and 0."""
        self._closed = threading.Event()
        self.serving: asyncio.Server | None = None

    @property
    def port(self) -> int:
        return self.address[1]

    @property
    def closed(self) -> bool:
        return self._closed.is_set()

    def mark_closed(self) -> None:
        """Nobody calls here any more."""
        self._closed.set()

    def close(self) -> None:
        """Refuse further callers from now on, and end the connections that came in here. From any thread."""
        if not self._closed.is_set():
            self._closed.set()
            self._server.call_in_loop(self._server.close_listener, self)


class Server:
    """Serves Apis on listeners."""

    def __init__(self, log: Logger | None = None, limits: Limits | None = None) -> None:
        self.log = log or get_logger("http")
        self.limits = limits or Limits()
        self.loop: asyncio.AbstractEventLoop
        self.stopping = False
        self.requests = 0
        self.refusals: Counter[str] = Counter()
        self.date_line = b""
        self._connections: set[Connection] = set()
        self.listeners: list[Listener] = []
        """Those that are open, in the order in which they were opened."""
        self._pool = ThreadPoolExecutor(self.limits.threads, thread_name_prefix="request")
        self._waiting = 0
        self._thread = 0
        self._tick()

    # ---- any thread

    @property
    def in_loop(self) -> bool:
        """Whether the caller runs in the server's loop."""
        return threading.get_ident() == self._thread

    def call_in_loop(self, function: Callable[..., T], *arguments: Any) -> T:
        """What `function` returns or raises, called in the loop. Before the loop runs: called at once."""
        if self.in_loop or self._thread == 0:
            return function(*arguments)
        future: Future[T] = Future()

        def call() -> None:
            try:
                future.set_result(function(*arguments))
            except BaseException as error:  # noqa: BLE001  # handed to the thread that asked
                future.set_exception(error)

        self.loop.call_soon_threadsafe(call)
        while True:
            try:
                return future.result(1.0)
            except TimeoutError:
                if future.done():
                    raise
                if self.loop.is_closed() or not self.loop.is_running():
                    raise RuntimeError("the server has ended") from None

    def call_and_wait(self, handler: Handler, call: Call, seconds: float) -> Answer:
        """A direct call's answer for a thread: made in the loop, waited for here."""
        come: Future[Answer] = Future()

        def begin() -> None:
            try:
                answer = handler(call)
            except Exception as error:  # noqa: BLE001  # handed to the thread that asked
                come.set_exception(error)
                return
            if isinstance(answer, Pending):
                answer.then(come.set_result)
            else:
                come.set_result(answer)

        if self.in_loop:
            raise RuntimeError("the loop must not wait for itself")
        self.loop.call_soon_threadsafe(begin)
        return come.result(seconds)

    def resolve(self, answers: Sequence[tuple[Pending, Answer]]) -> None:
        """Give many answers with one wake-up of the loop. From any thread."""
        if self.in_loop:
            _settle(answers)
        else:
            self.loop.call_soon_threadsafe(_settle, answers)

    def open(
        self,
        address: str,
        api: Api,
        tls: ssl.SSLContext | None = None,
        *,
        mode: int = 0o660,
        group: str | None = None,
        patience: float = BIND_PATIENCE,
    ) -> Listener:
        """Open a listener on `host:port` or `unix:/path`. From any thread; in the loop it does not wait.

        Raises:
            OSError: the address cannot be had, or is still taken after `patience` seconds.
        """
        path = Path(address.removeprefix("unix:")) if address.startswith("unix:") else None
        end = time.monotonic() + (0.0 if self.in_loop else patience)
        while True:
            try:
                sock = _unix_socket(path, mode, group) if path else _tcp_socket(address)
                break
            except OSError as error:
                if time.monotonic() >= end:
                    raise OSError(error.errno, f"{address}: {error.strerror}") from error
                time.sleep(0.1)
        return self.adopt(sock, api, tls, path)

    def adopt(
        self,
        sock: socket.socket,
        api: Api,
        tls: ssl.SSLContext | None = None,
        path: Path | None = None,
    ) -> Listener:
        """Serve a socket that listens already. From any thread, also before the loop runs."""
        listener = Listener(self, sock, path)
        self.listeners.append(listener)
        api.caller = self
        self.call_in_loop(self._schedule, self._serve(listener, api, tls))
        return listener

    def _schedule(self, coroutine: Any) -> None:
        task = self.loop.create_task(coroutine)
        task.add_done_callback(_raise)

    # ---- the loop

    def started(self) -> None:
        """The loop runs now, in this thread."""
        self._thread = threading.get_ident()
        self._sweep()

    async def _serve(self, listener: Listener, api: Api, tls: ssl.SSLContext | None) -> None:
        def connection() -> Connection:
            return Connection(self, api, listener)

        if listener.closed:
            listener.sock.close()
            return
        security: dict[str, Any] = {}
        if tls is not None:
            security = {
                "ssl": tls,
                "ssl_handshake_timeout": self.limits.handshake,
                "ssl_shutdown_timeout": self.limits.linger,
            }
        is_unix = listener.sock.family == socket.AF_UNIX
        create = self.loop.create_unix_server if is_unix else self.loop.create_server
        listener.serving = await create(connection, sock=listener.sock, backlog=BACKLOG, **security)

    def close_listener(self, listener: Listener) -> None:
        if listener.serving is not None:
            listener.serving.close()
        if listener in self.listeners:
            self.listeners.remove(listener)
        if listener.path is not None:
            listener.path.unlink(missing_ok=True)
        for connection in list(self._connections):
            if connection.listener is listener:
                connection.stop()

    def admit(self, connection: Connection) -> bool:
        """Whether one more connection may be served."""
        if self.stopping or connection.listener.closed or len(self._connections) >= self.limits.connections:
            self.count_refusal("connections")
            return False
        self._connections.add(connection)
        return True

    def forget(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def count_refusal(self, why: str) -> None:
        self.refusals[why] += 1

    @property
    def connections(self) -> int:
        return len(self._connections)

    @property
    def waiting(self) -> int:
        """Requests that wait for a thread or run in one."""
        return self._waiting

    def _tick(self) -> None:
        self.date_line = b"Date: %b\r\n" % formatdate(usegmt=True).encode()

    def _sweep(self) -> None:
        """Look at every deadline, and at the clock for the Date header."""
        now = self.loop.time()
        for connection in [c for c in self._connections if c.deadline and c.deadline < now]:
            connection.overdue()
        self._tick()
        self.loop.call_later(self.limits.tick, self._sweep)

    def in_pool(self, connection: Connection, function: Callable[..., Answer], *arguments: Any) -> None:
        """Have a thread make the answer; 503 when too many wait already."""
        if self._waiting >= self.limits.threads + self.limits.waiting:
            self.count_refusal("503")
            connection.answer(Reply(503, content_type=""))
            return
        self._waiting += 1

        def work() -> None:
            try:
                answer = function(*arguments)
            except Exception:
                self.log.exception("request-failed")
                answer = Reply(500, content_type="")
            with contextlib.suppress(RuntimeError):  # the loop has ended, and the connection with it
                self.loop.call_soon_threadsafe(finish, answer)

        def finish(answer: Answer) -> None:
            self._waiting -= 1
            connection.answer(answer)

        self._pool.submit(work)

    def ask_flask(self, api: Api, request: "Request", peer: str) -> Answer:
        """Flask's answer. Runs in a thread of the pool."""
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(status: str, headers: list[tuple[str, str]], _error: Any = None) -> Any:
            started.append((status, headers))

        parts = api.app.wsgi_app(_environ(request, peer), start_response)
        try:
            body = b"".join(parts)
        finally:
            close = getattr(parts, "close", None)
            if close is not None:
                close()
        status, fields = started[-1]
        content_type = ""
        headers: dict[str, str] = {}
        for name, value in fields:
            if name.lower() == "content-type":
                content_type = value
            elif name.lower() != "content-length":
                headers[name] = f"{headers[name]}, {value}" if name in headers else value
        if request.method == b"HEAD":
            length = next((value for name, value in fields if name.lower() == "content-length"), "0")
            body = bytes(int(length)) if length.isdigit() else b""
        return Reply(int(status.split(" ", 1)[0]), body, content_type, headers)

    async def stop(self, seconds: float) -> None:
        """Take no more callers, end streams at once, and wait up to `seconds` for answers that are on their way."""
        self.stopping = True
        for listener in list(self.listeners):
            listener.mark_closed()
            if listener.serving is not None:
                listener.serving.close()
            if listener.path is not None:
                listener.path.unlink(missing_ok=True)
        self.listeners.clear()
        for connection in list(self._connections):
            connection.stop()
        end = self.loop.time() + seconds
        while self._connections and self.loop.time() < end:
            await asyncio.sleep(STOP_ROUND)
            for connection in [each for each in self._connections if each.is_flushed]:
                connection.abort()  # everything is sent; a peer that says nothing more need not be waited for
        for connection in list(self._connections):
            connection.abort()
        self._pool.shutdown(wait=False, cancel_futures=True)


def _settle(answers: Sequence[tuple[Pending, Answer]]) -> None:
    for pending, answer in answers:
        pending.settle(answer)


def _raise(task: "asyncio.Task[None]") -> None:
    if not task.cancelled():
        task.result()


def _address_of(sock: socket.socket, path: Path | None) -> tuple[str, int]:
    if sock.family == socket.AF_UNIX:
        return str(path or sock.getsockname()), 0
    host, port = sock.getsockname()[:2]
    return str(host), int(port)


def _tcp_socket(address: str) -> socket.socket:
    host, port = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.create_server((host, port), family=family, backlog=BACKLOG)
    # Accepted sockets have these too: a peer that vanished is noticed after a minute.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _unix_socket(path: Path, mode: int, group: str | None) -> socket.socket:
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o177)
        try:
            sock.bind(str(path))
        finally:
            os.umask(before)
        if group is not None:
            shutil.chown(path, group=group)
        path.chmod(mode)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _environ(request: "Request", peer: str) -> "WSGIEnvironment":
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": request.method.decode("latin-1"),
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(request.path).decode("latin-1"),
        "QUERY_STRING": request.query.decode("latin-1"),
        "RAW_URI": request.target.decode("latin-1"),
        "REMOTE_ADDR": peer.rpartition(":")[0],
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "0",
        "SERVER_PROTOCOL": "HTTP/1.0" if request.old_protocol else "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "CONTENT_LENGTH": str(request.size),
    }
    for name, value in request.fields:
        key = name.decode("latin-1").upper()
        if "_" in key or key == "CONTENT-LENGTH":
            continue  # with an underscore it could pass for another header
        key = "CONTENT_TYPE" if key == "CONTENT-TYPE" else "HTTP_" + key.replace("-", "_")
        text = value.decode("latin-1")
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    return environ
