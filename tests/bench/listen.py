"""Listens to many event streams, and notes when each event came: `python -m bench.listen`, as bench.streams wants it.

One line of JSON in, "ready" out when all are connected; it ends when all have heard `count` events and one more, or a
while after it was told to stop; it prints the seconds of CPU that hearing took. The times lie in `target`: for
each stream their number, then the times.
"""

import json
import select
import socket
import ssl
import sys
import time
from array import array
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PATH = "/v1/events/lrp_instances.r1"
EVENT = b"\nevent: "
PATIENCE = 15.0
"""Seconds after the stop in which late events still count."""


class Stream:
    """One stream, and when its events came."""

    def __init__(self, order: dict[str, Any], context: ssl.SSLContext) -> None:
        address = urlsplit(order["url"])
        plain = socket.create_connection((address.hostname or "", address.port or 0), 30)
        self.socket = context.wrap_socket(plain, server_hostname=address.hostname)
        self.socket.sendall(f"POST {PATH} HTTP/1.1\r\nHost: bbs\r\nContent-Length: 0\r\n\r\n".encode())
        self.times = array("d")
        self._end = b""
        head = b""
        while b"\r\n\r\n" not in head:
            piece = self.socket.recv(65536)
            if not piece:
                raise ConnectionResetError("a stream ended in its head")
            head += piece
        if b" 200 " not in head.split(b"\r\n")[0]:
            raise ValueError(head.decode("latin-1"))
        self._count(head.partition(b"\r\n\r\n")[2])
        self.socket.setblocking(False)

    def read(self) -> bool:
        """Note what came; False at the end of the stream."""
        while True:
            try:
                piece = self.socket.recv(65536)
            except (ssl.SSLWantReadError, BlockingIOError):
                return True
            if not piece:
                return False
            self._count(piece)

    def _count(self, piece: bytes) -> None:
        text = self._end + piece
        found = text.count(EVENT)
        now = time.monotonic()
        for _ in range(found):
            self.times.append(now)
        self._end = text[-(len(EVENT) - 1) :]


def main() -> None:
    order = json.loads(sys.stdin.readline())
    context = ssl.create_default_context(cafile=order["ca"])
    context.load_cert_chain(order["cert"], order["key"])
    streams = [Stream(order, context) for _ in range(order["streams"])]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    cpu = time.process_time()
    hear(streams, order["count"] + 1)
    cpu = time.process_time() - cpu
    with Path(order["target"]).open("wb") as file:
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
