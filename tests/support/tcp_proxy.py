"""A TCP proxy that a test can make break at the worst moment."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum


class Break(Enum):
    """What happens to a connection whose client sends the marker."""

    BEFORE = "the marker does not arrive"
    AFTER = "the marker arrives and is acted on, but its answer does not arrive"


Forward = Callable[[socket.socket, socket.socket, threading.Event], None]


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
            _end(each)

    def close(self) -> None:
        _end(self._listener)
        self._listener.close()
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
        running = [self._from_client, self._from_server]
        for forward in tuple(running):
            words = (forward, running, client, server, cut)
            threading.Thread(target=self._run, args=words, daemon=True).start()

    def _run(
        self,
        forward: Forward,
        running: list[Forward],
        client: socket.socket,
        server: socket.socket,
        cut: threading.Event,
    ) -> None:
        """One direction. The sockets stay open until the other one has ended, too.

        A number that is given again at once would have the one that reads on take what comes on the next connection.
        """
        with suppress(OSError):
            forward(client, server, cut)
        _end(client)
        _end(server)
        with self._lock:
            self._sockets -= {client, server}
            running.remove(forward)
            last = not running
        if last:
            client.close()
            server.close()

    def _from_client(self, client: socket.socket, server: socket.socket, cut: threading.Event) -> None:
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

    def _from_server(self, client: socket.socket, server: socket.socket, cut: threading.Event) -> None:
        while data := server.recv(65536):
            if cut.is_set():
                break
            client.sendall(data)


@contextmanager
def proxying(host: str, port: int, *, listen: str = "127.0.0.1") -> Iterator[TcpProxy]:
    proxy = TcpProxy((host, port), listen)
    try:
        yield proxy
    finally:
        proxy.close()


def _end(each: socket.socket) -> None:
    """Whoever reads or writes on it is told, here and at the other end."""
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
