"""Listens to many event streams, and notes when each event came: `python -m bench.listen`, as bench.streams wants it.

One line of JSON in, "ready" out when all are connected; it ends when all have heard `count` events, or a while after
it was told to stop; it prints the seconds of CPU that hearing took. The times lie in `target`: for each stream their
number, then the times. What the first stream was sent lies beside it, in a file that ends in `.text`.
"""

import json
import select
import socket
import ssl
import sys
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PATH = "/v1/events/lrp_instances.r1"
PIECE = 256 << 10
PATIENCE = 15.0
"""Seconds after the stop in which late events still count."""


class Stream:
    """One stream, and when its events came, each whole and with the number after that of the one before.

    What the socket has is read at once and decrypted in memory, and of an event only its size and number are looked at:
    the listeners share the machine with the server, as they would not in a deployment.
    """

    raw = bytearray(PIECE)
    plain = bytearray(PIECE)

    def __init__(self, order: dict[str, Any], context: ssl.SSLContext) -> None:
        address = urlsplit(order["url"])
        self.socket = socket.create_connection((address.hostname or "", address.port or 0), 30)
        self._incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, outgoing, server_hostname=address.hostname)
        self.times = array("d")
        self.kept: list[bytes] | None = None
        """All text, if it is to be kept."""
        self._missing = 0
        self._begun = b""
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.socket.sendall(outgoing.read())
                self._receive()
        self._tls.write(f"POST {PATH} HTTP/1.1\r\nHost: bbs\r\nContent-Length: 0\r\n\r\n".encode())
        self.socket.sendall(outgoing.read())
        head = b""
        while b"\r\n\r\n" not in head:
            if not self._receive():
                raise ConnectionResetError("a stream ended in its head")
            head += b"".join(bytes(self.plain[:size]) for size in self._decrypted())
        if b" 200 " not in head.split(b"\r\n")[0] or not head.endswith(b"\r\n\r\n"):
            raise ValueError(head.decode("latin-1"))
        self.socket.setblocking(False)

    def read(self) -> bool:
        """Note what came; False at the end of the stream."""
        now = time.monotonic()
        if not self._receive():
            return False
        for size in self._decrypted():
            self._note(size, now)
        return True

    def _receive(self) -> int:
        size = self.socket.recv_into(self.raw)
        self._incoming.write(memoryview(self.raw)[:size])
        return size

    def _decrypted(self) -> Iterator[int]:
        """Have it in `plain`, piece by piece; their sizes."""
        while self._incoming.pending or self._tls.pending():
            try:
                yield int(self._tls.read(PIECE, self.plain))  # the stubs know the other form only
            except ssl.SSLWantReadError:
                return

    def _note(self, size: int, now: float) -> None:
        if self.kept is not None:
            self.kept.append(bytes(self.plain[:size]))
        if self._missing > size:
            self._missing -= size
            return
        if self._missing:
            self.times.append(now)
        at, self._missing = self._missing, 0
        text: bytes | bytearray = self.plain
        if self._begun:
            text = self._begun + self.plain[at:size]
            at, size, self._begun = 0, len(text), b""
        while at < size:
            line = text.find(b"\r\n", at, size)
            begin = b"id: %d\n" % len(self.times)
            if line < 0 or line + 2 + len(begin) > size:
                self._begun = bytes(text[at:size])
                return
            if not text.startswith(begin, line + 2):
                raise ValueError(f"not event {len(self.times)}: {text[line + 2 : line + 50]!r}")
            at = line + 4 + int(text[at:line], 16)
            if at <= size:
                self.times.append(now)
        self._missing = at - size


def main() -> None:
    order = json.loads(sys.stdin.readline())
    context = ssl.create_default_context(cafile=order["ca"])
    context.load_cert_chain(order["cert"], order["key"])
    streams = [Stream(order, context) for _ in range(order["streams"])]
    streams[0].kept = []
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    cpu = time.process_time()
    hear(streams, order["count"])
    cpu = time.process_time() - cpu
    target = Path(order["target"])
    target.with_suffix(".text").write_bytes(b"".join(streams[0].kept or []))
    with target.open("wb") as file:
        for stream in streams:
            file.write(array("q", [len(stream.times)]).tobytes() + stream.times.tobytes())
    print(json.dumps(cpu))


def hear(streams: list[Stream], count: int) -> None:
    """Until everybody has heard so many, or it is time to stop."""
    poll = select.epoll()
    by_number = {stream.socket.fileno(): stream for stream in streams}
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    poll.register(sys.stdin.fileno(), select.EPOLLIN)
    waiting = {number for number, stream in by_number.items() if len(stream.times) < count}
    deadline = float("inf")
    while waiting and time.monotonic() < deadline:
        for number, _ in poll.poll(0.5):
            stream = by_number.get(number)
            if stream is None:
                poll.unregister(sys.stdin.fileno())
                deadline = time.monotonic() + PATIENCE
            elif not stream.read():
                poll.unregister(number)
                waiting.discard(number)
            elif len(stream.times) >= count:
                waiting.discard(number)


if __name__ == "__main__":
    main()
