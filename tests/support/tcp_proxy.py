"""A TCP proxy that a test can make break at the worst moment."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum


class Break(Enum):
    """What happens to a connection whose client sends the marker."""

    BEFORE = "the marker does not arrive"
    AFTER = "the marker arrives and is acted on, but its answer does not arrive"


class TcpProxy:
    """Forwards connections to `target`. `break_next(marker, how)` breaks the next one that sends the marker.

    `refuse` True: connections are closed as soon as they are made.
    """

    def __init__(self, target: tuple[str, int], listen: str = "127.0.0.1") -> None:
        self._target = target
        self._listener = socket.create_server((listen, 0))
        self.port: int = self._listener.getsockname()[1]
        self.refuse = False
        self.broken = 0
        self._marker: bytes | None = None
        self._how = Break.BEFORE
        self._times = 0
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def break_next(self, marker: bytes, how: Break, *, times: int = 1) -> None:
        """Break the next connection that sends the marker; `times`: and so many in all, one after the other."""
        self._how = how
        self._times = times
        self._marker = marker

    def drop_all(self) -> None:
        """Close every connection."""
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for each in sockets:
            _shut(each)

    def close(self) -> None:
        _shut(self._listener)
        self.drop_all()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._forward(client)

    def _forward(self, client: socket.socket) -> None:
        if self.refuse:
            client.close()
            return
        try:
            server = socket.create_connection(self._target, timeout=10)
        except OSError:  # it may be back for the next
            client.close()
            return
        server.settimeout(None)
        with self._lock:  # after a `drop_all` there is none that was made before
            refused = self.refuse
            if not refused:
                self._sockets |= {client, server}
        if refused:
            client.close()
            server.close()
            return
        cut = threading.Event()
        for forward in (self._from_client, self._from_server):
            threading.Thread(target=forward, args=(client, server, cut), daemon=True).start()

    def _from_client(self, client: socket.socket, server: socket.socket, cut: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                marker = self._marker
                if marker is not None and marker in data:
                    self._times -= 1
                    if not self._times:
                        self._marker = None
                    self.broken += 1
                    if self._how is Break.BEFORE:
                        break
                    cut.set()
                server.sendall(data)
        self._end(client, server)

    def _from_server(self, client: socket.socket, server: socket.socket, cut: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if cut.is_set():
                    break
                client.sendall(data)
        self._end(client, server)

    def _end(self, *ends: socket.socket) -> None:
        with self._lock:
            self._sockets -= set(ends)
        for each in ends:
            _shut(each)


@contextmanager
def proxying(host: str, port: int, *, listen: str = "127.0.0.1") -> Iterator[TcpProxy]:
    proxy = TcpProxy((host, port), listen)
    try:
        yield proxy
    finally:
        proxy.close()


def _shut(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
