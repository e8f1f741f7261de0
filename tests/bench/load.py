"""Puts load on a BBS and times it, as a process of its own, so that its CPU time is not the servers'.

    python -m bench.load      one line of JSON in (an Order), "ready" out, one line in: go; one line of JSON out (a Result)

Each client is one connection, opened before the clock starts; all requests are encoded before it, too. A round is one
or more calls in a row; field 1 of every answer is the error, and such an answer is counted, not hidden. One thread
turns over plain sockets, as nothing else in Python takes as little of the cores that the servers need.
"""

import json
import select
import socket
import ssl
import sys
import time
from dataclasses import asdict, dataclass, field
from urllib.parse import urlsplit

from bench.bodies import Call, calls

ERROR_TAG = 0x0A
CONNECT_SECONDS = 30.0
PIECE = 1 << 18


@dataclass(frozen=True)
class Order:
    """What to do: `count` rounds of a cycle by so many clients, or as many as begin within `seconds`.

    With `timed` the result has the end and the duration of every round.
    """

    url: str
    ca: str
    cert: str
    key: str
    cycle: str
    count: int
    clients: int
    prefix: str = "load"
    first: int = 0
    seconds: float = 60.0
    timed: bool = False


@dataclass(frozen=True)
class Result:
    """Rounds per second and how long one took; `bytes` of the last answer; seconds of CPU that the load itself took.

    `rounds` has, where asked for, the monotonic time of each round's end and its milliseconds.
    """

    done: int
    seconds: float
    per_s: float
    p50_ms: float
    p99_ms: float
    errors: int
    first_error: str
    bytes: int
    cpu_s: float
    rounds: list[tuple[float, float]] = field(default_factory=list)


def percentile(ordered: list[float], share: float) -> float:
    """The value that `share` of the values, in order, do not exceed."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def encoded(call: Call) -> bytes:
    """A whole request."""
    path, body = call
    head = f"POST {path} HTTP/1.1\r\nHost: bbs\r\nContent-Type: application/x-protobuf\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Broken(Exception):
    """A connection on which nothing more can be asked."""


_heads: dict[bytes, int] = {}


def body_length(head: bytes) -> int:
    """The length that an answer's head tells. Raises Broken where it tells none, or is no 200."""
    if head in _heads:
        return _heads[head]
    lines = head.decode("latin-1").lower().split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
    if " 200 " not in lines[0] or "content-length" not in fields:
        raise Broken(lines[0] + " without a length" * ("content-length" not in fields))
    if len(_heads) < 10_000:
        _heads[head] = int(fields["content-length"])
    return int(fields["content-length"])


class Client:
    """One connection, and the answer that it is reading."""

    def __init__(self, order: Order, context: ssl.SSLContext, buffer: memoryview) -> None:
        address = urlsplit(order.url)
        plain = socket.create_connection((address.hostname or "", address.port or 0), CONNECT_SECONDS)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = context.wrap_socket(plain, server_hostname=address.hostname)
        self.socket.setblocking(False)
        self._buffer = buffer
        self._unsent = b""
        self._head = b""
        self._left = -1  # no head yet
        self.length = 0
        self.failure = ""
        self.round: list[bytes] = []
        self.began = 0.0

    def send(self, request: bytes) -> None:
        """Send a request; what does not fit now is sent when the socket takes more."""
        self._head, self._left, self.length = b"", -1, 0
        self._unsent = request
        self.flush()

    def flush(self) -> None:
        try:
            while self._unsent:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
        except (ssl.SSLWantWriteError, BlockingIOError):
            return

    @property
    def waits_to_send(self) -> bool:
        return bool(self._unsent)

    def read(self) -> bool:
        """Read what is there; whether the answer is complete."""
        try:
            while self._left != 0:
                count = self.socket.recv_into(self._buffer)
                if not count:
                    raise Broken("the connection ended in an answer")
                if self._left > 0:
                    self._left -= count
                else:
                    self._begin(bytes(self._buffer[:count]))
        except (ssl.SSLWantReadError, BlockingIOError):
            return False
        return True

    def _begin(self, data: bytes) -> None:
        self._head += data
        head, found, body = self._head.partition(b"\r\n\r\n")
        if not found:
            return
        self.length = body_length(head)
        self._left = self.length - len(body)
        if body and body[0] == ERROR_TAG:
            self.failure = repr(body[:60])


class Load:
    """All clients at work."""

    def __init__(self, order: Order) -> None:
        self._order = order
        context = ssl.create_default_context(cafile=order.ca)
        context.load_cert_chain(order.cert, order.key)
        buffer = memoryview(bytearray(PIECE))
        self._clients = [Client(order, context, buffer) for _ in range(order.clients)]
        rounds = calls(order.cycle, order.prefix, order.first, order.count)
        self._rounds = [[encoded(call) for call in each][::-1] for each in rounds][::-1]
        self._times: list[float] = []
        self._ended: list[tuple[float, float]] = []
        self._errors: list[str] = []
        self._poll = select.epoll()
        for client in self._clients:
            self._poll.register(client.socket.fileno(), select.EPOLLIN)
        self._open = {client.socket.fileno(): client for client in self._clients}

    def run(self) -> Result:
        """The whole order."""
        cpu, began = time.process_time(), time.monotonic()
        self._deadline = began + self._order.seconds
        busy = sum(self._next(client) for client in self._clients)
        while busy:
            events = self._poll.poll(30)
            if not events:
                raise TimeoutError("no answer for 30 s")
            for number, _ in events:
                client = self._open[number]
                if client.waits_to_send:
                    client.flush()
                    self._watch(client)
                if client.read() and not self._go_on(client):
                    busy -= 1
        seconds = time.monotonic() - began
        times = sorted(self._times)
        return Result(
            done=len(times),
            seconds=seconds,
            per_s=len(times) / seconds,
            p50_ms=percentile(times, 0.5) * 1000,
            p99_ms=percentile(times, 0.99) * 1000,
            errors=len(self._errors),
            first_error=self._errors[0] if self._errors else "",
            bytes=max(client.length for client in self._clients),
            cpu_s=time.process_time() - cpu,
            rounds=self._ended,
        )

    def _next(self, client: Client) -> bool:
        """Begin the next round; False when there is none, or no time."""
        now = time.monotonic()
        if not self._rounds or now > self._deadline:
            return False
        client.round = self._rounds.pop()
        client.began = now
        self._send(client)
        return True

    def _go_on(self, client: Client) -> bool:
        """An answer is complete: the round's next call, or the next round."""
        if client.failure:
            self._errors.append(client.failure)
            client.failure = ""
            client.round.clear()
        if client.round:
            self._send(client)
            return True
        now = time.monotonic()
        self._times.append(now - client.began)
        if self._order.timed:
            self._ended.append((now, (now - client.began) * 1000))
        return self._next(client)

    def _send(self, client: Client) -> None:
        client.send(client.round.pop())
        if client.waits_to_send:
            self._watch(client)

    def _watch(self, client: Client) -> None:
        events = select.EPOLLIN | (select.EPOLLOUT if client.waits_to_send else 0)
        self._poll.modify(client.socket.fileno(), events)


def main() -> None:
    order = Order(**json.loads(sys.stdin.readline()))
    load = Load(order)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    json.dump(asdict(load.run()), sys.stdout)


if __name__ == "__main__":
    main()
