"""A request answered by a coroutine: bodies and answers of any length in pieces, or the bare connection.

Nothing here holds more than `Limits.read_high` of what came in or `Limits.write_high` of what goes out: who
reads slowly makes the other side wait.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Protocol
from urllib.parse import parse_qs

BODILESS = frozenset({204, 304})


class Disconnected(ConnectionError):
    """The client went away, or would not go on."""


class Wire(Protocol):
    """The connection under an exchange."""

    closing: bool

    def send(self, data: bytes) -> None:
        """Write."""

    async def drained(self) -> None:
        """Wait until more may be written. Raises Disconnected."""

    def answer_head(self, status: int, headers: Mapping[str, str], *, close: bool) -> bytes:
        """The head of an answer."""

    def wait_for_body(self, *, waiting: bool) -> None:
        """The handler waits for the client's next piece, or no longer does: the deadline for that."""

    def hold_body(self) -> None:
        """Read no more for now."""

    def resume_body(self) -> None:
        """Read on."""

    def send_eof(self) -> None:
        """Say that nothing more is to come."""

    def close(self) -> None:
        """Send what is written, then close."""

    def abort(self) -> None:
        """Close at once."""


class Headers(Mapping[str, str]):
    """A request's header fields; their names have no case. Of repeated ones the first counts."""

    def __init__(self, fields: list[tuple[bytes, bytes]]) -> None:
        self._fields: dict[str, str] = {}
        for key, value in fields:
            self._fields.setdefault(key.decode("latin-1").lower(), value.decode("latin-1"))

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


class Incoming:
    """Pieces that came in and wait to be read."""

    def __init__(self, wire: Wire, high: int) -> None:
        self.wire = wire
        self.high = high
        self.pieces: deque[bytes] = deque()
        self.size = 0
        self.ended = False
        self.failed: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    def feed(self, piece: bytes) -> None:
        self.pieces.append(piece)
        self.size += len(piece)
        if self.size > self.high:
            self.wire.hold_body()
        self._wake()

    def end(self, failed: Exception | None = None) -> None:
        self.ended = True
        self.failed = self.failed or failed
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def read(self, most: int) -> bytes:
        while not self.pieces:
            if self.failed is not None:
                raise self.failed
            if self.ended:
                return b""
            if self._waiter is not None:
                raise RuntimeError("two coroutines read from one connection")
            self.wire.resume_body()
            self.wire.wait_for_body(waiting=True)
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
                self.wire.wait_for_body(waiting=False)
        piece = self.pieces.popleft()
        if len(piece) > most:
            self.pieces.appendleft(piece[most:])
            piece = piece[:most]
        self.size -= len(piece)
        if self.size <= self.high // 2 and not self.ended:
            self.wire.resume_body()
        return piece


class RawConnection:
    """The connection itself, after a head that the exchange wrote. No deadline but the peer's going away."""

    def __init__(self, wire: Wire, incoming: Incoming) -> None:
        self._wire = wire
        self._incoming = incoming

    @property
    def closed(self) -> bool:
        """Whether writing is of no use any more."""
        return self._wire.closing

    async def read(self, most: int = 65536) -> bytes:
        """The next bytes; b"" when the peer sends no more or is gone."""
        return await self._incoming.read(most)

    async def write(self, data: bytes) -> None:
        """Send; waits while the peer does not read. Raises Disconnected."""
        if self._wire.closing:
            raise Disconnected("the client is gone")
        self._wire.send(data)
        await self._wire.drained()

    def write_eof(self) -> None:
        """End our direction and keep the other (over TLS: close, it knows no half)."""
        self._wire.send_eof()

    def close(self) -> None:
        """Close when everything written is sent."""
        self._wire.close()

    def abort(self) -> None:
        self._wire.abort()


class Exchange:
    """One request and its answer. The handler sends exactly one of `reply`, `start`…`finish`, `take_over`.

    When the client goes, reads and writes raise Disconnected. A handler that waits for something else should
    say `cancel_when_gone()`.
    """

    def __init__(
        self,
        wire: Wire,
        method: str,
        target: tuple[str, str],
        fields: list[tuple[bytes, bytes]],
        *,
        params: dict[str, str],
        peer: str,
        old_protocol: bool,
        read_high: int,
    ) -> None:
        self.method = method
        self.path, self.query_string = target
        self.params = params
        self.headers = Headers(fields)
        self.peer = peer
        self.incoming = Incoming(wire, read_high)
        self.started = False
        self.finished = False
        self.raw: RawConnection | None = None
        self.raw_incoming: Incoming | None = None
        self.ends_with_client = False
        self.ends_connection = False
        self._wire = wire
        self._old_protocol = old_protocol
        self._chunked = False
        self._bodiless = method == "HEAD"

    @property
    def query(self) -> dict[str, list[str]]:
        """The values of each name in the query string."""
        return parse_qs(self.query_string, keep_blank_values=True)

    @property
    def closed(self) -> bool:
        """Whether the client is gone."""
        return self._wire.closing

    def cancel_when_gone(self) -> None:
        """From now on the handler is cancelled when the client goes, or when the job ends."""
        self.ends_with_client = True

    async def read(self, most: int = 65536) -> bytes:
        """The next piece of the body; b"" at its end. Raises Disconnected."""
        return await self.incoming.read(most)

    async def body(self, limit: int = 64 << 20) -> bytes:
        """The whole body. Raises ValueError above `limit` bytes."""
        pieces: list[bytes] = []
        size = 0
        while piece := await self.read():
            size += len(piece)
            if size > limit:
                raise ValueError(f"the body has more than {limit} bytes")
            pieces.append(piece)
        return b"".join(pieces)

    async def reply(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """Answer at once and whole."""
        length = {} if status in BODILESS else {"Content-Length": str(len(body))}
        self._begin(status, {**(headers or {}), **length})
        if body and not self._bodiless:
            self._wire.send(body)
        self.finished = True
        await self._wire.drained()

    async def start(self, status: int, headers: Mapping[str, str] | None = None) -> None:
        """Begin an answer of unknown length; or of known, when the headers say Content-Length."""
        headers = dict(headers or {})
        known = any(name.lower() == "content-length" for name in headers)
        self._bodiless = self._bodiless or status in BODILESS
        if not known and not self._bodiless and not self._old_protocol:
            self._chunked = True
            headers["Transfer-Encoding"] = "chunked"
        self._begin(status, headers, until_close=self._old_protocol and not known)

    async def write(self, data: bytes) -> None:
        """Send a piece; waits while the client does not read. Raises Disconnected."""
        if self._wire.closing:
            raise Disconnected("the client is gone")
        if data and not self._bodiless:
            self._wire.send(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        await self._wire.drained()

    async def finish(self) -> None:
        """End the answer begun by `start`."""
        if self._chunked and not self.finished:
            self._wire.send(b"0\r\n\r\n")
        self.finished = True

    def take_over(self, head: bytes) -> RawConnection:
        """Write `head` as it is; from then on both directions are raw bytes, and HTTP is over."""
        if self.started:
            raise RuntimeError("the answer has begun already")
        self.started = self.finished = True
        self.raw_incoming = Incoming(self._wire, self.incoming.high)
        self.raw = RawConnection(self._wire, self.raw_incoming)
        self._wire.send(head)
        return self.raw

    def _begin(self, status: int, headers: Mapping[str, str], *, until_close: bool = False) -> None:
        if self.started:
            raise RuntimeError("the answer has begun already")
        if self._wire.closing:
            raise Disconnected("the client is gone")
        self.started = True
        close = until_close or not self.incoming.ended
        self.ends_connection = close
        self._wire.send(self._wire.answer_head(status, headers, close=close))
