"""Who listens to one kind of event, and what they hear (contract/bbs-api.md section 5).

An event is encoded once and handed to many. What is published in one turn of the loop, or while the events before are
still being handed out, goes to each listener in one piece: a write costs far more than what is in it, so a hub that is
behind catches up instead of falling back. Handing out takes turns with everything else in the loop.
"""

import asyncio
import base64
import threading
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import Any, Protocol

TURN = 0.002
"""Seconds after which handing out lets others have their turn; looked at for every `GLANCE` listeners."""
GLANCE = 16
LONGEST_REST = 0.01
"""Seconds. A hub that is behind, so that it handed out several events at once, then gathers others for as long as the
handing out took, at most for this."""
PIECE = 64 << 10
"""Bytes of events that are written at once; a single event may be longer."""


class Run:
    """Successive events of one stream, of which the first has `number`."""

    __slots__ = ("_chunks", "number", "texts")

    def __init__(self, texts: Sequence[bytes], number: int) -> None:
        self.texts = texts
        self.number = number
        self._chunks: bytes | None = None

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def plain(self) -> bytes:
        """The events as text, each with its number."""
        return b"".join([b"id: %d\n%b" % event for event in enumerate(self.texts, self.number)])

    @property
    def chunks(self) -> bytes:
        """The same as chunks of HTTP, one for each event."""
        if self._chunks is None:
            pieces = []
            for number, text in enumerate(self.texts, self.number):
                name = b"id: %d\n" % number
                pieces.append(b"%x\r\n%b%b\r\n" % (len(name) + len(text), name, text))
            self._chunks = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return self._chunks


class Subscriber(Protocol):
    """One who listens to a hub: a connection, in the server."""

    def send_events(self, run: Run) -> bool:
        """Send events. False when this listener is too slow to be kept."""

    def end_stream(self) -> None:
        """Send the end of the stream."""


class Hub:
    """Everyone who listens to one kind of event, and what they hear.

    `publish` may be called from any thread; two events published one after the other are heard in that order.
    Nothing is remembered: a listener hears what is published after it came.
    """

    def __init__(self) -> None:
        self._members: dict[Subscriber, _Membership] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._published = 0
        self._new: list[tuple[bytes, Any]] = []
        self._batch: _Batch | None = None
        self._is_due = False
        self._rests_until = 0.0
        self.closed = False
        self.dropped = 0
        """Listeners that were too slow."""

    @property
    def subscribers(self) -> int:
        return len(self._members)

    @property
    def has_news(self) -> bool:
        """Whether something published is not handed out yet. In the loop."""
        return self._batch is not None or bool(self._new)

    def publish(self, event: str, data: bytes, *, tag: Any = None) -> None:
        """Tell everyone whose `wants(tag)` is true. `data` is the event's message and must not be empty."""
        loop = self._loop
        if loop is None:
            return
        if threading.get_ident() == self._thread:
            self._take(event, data, tag)
        else:
            _in_loop(loop, self._take, event, data, tag)

    def close(self) -> None:
        """End every stream with its last chunk, and take no more listeners."""
        self.closed = True
        if self._loop is None:
            return
        if threading.get_ident() == self._thread:
            self._end()
        else:
            _in_loop(self._loop, self._end)

    # In the loop:

    def join(
        self,
        member: Subscriber,
        wants: Callable[[Any], bool] | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._loop, self._thread = loop, threading.get_ident()
        self._members[member] = _Membership(wants, self._published)

    def leave(self, member: Subscriber) -> None:
        self._members.pop(member, None)

    def flush(self) -> None:
        """Hand out at once what is published."""
        while self.has_news:
            self._hand_out(turn=float("inf"))

    def _take(self, event: str, data: bytes, tag: Any) -> None:
        if not self._members:
            return
        self._published += 1
        self._new.append((b"event: %b\ndata: %b\n\n" % (event.encode(), base64.b64encode(data)), tag))
        self._be_due()

    def _be_due(self) -> None:
        loop = self._loop
        if self._is_due or loop is None:
            return
        self._is_due = True
        if self._batch is not None or loop.time() >= self._rests_until:
            loop.call_soon(self._go_on)
        else:
            loop.call_at(self._rests_until, self._go_on)

    def _go_on(self) -> None:
        self._is_due = False
        if self.has_news:
            self._hand_out(turn=TURN)

    def _hand_out(self, *, turn: float) -> None:
        """Begin to tell what is new, or go on with what was begun."""
        batch = self._batch
        if batch is None:
            first = self._published - len(self._new)
            batch = self._batch = _Batch(self._new, first, list(self._members.items()))
            self._new = []
        began = monotonic()
        for count, (member, membership) in enumerate(batch.left, 1):
            if member in self._members and not batch.tell(member, membership):
                self._members.pop(member, None)
                self.dropped += 1
            if count % GLANCE == 0 and monotonic() - began > turn:
                batch.seconds += monotonic() - began
                self._be_due()
                return
        self._batch = None
        if batch.size > 1 and self._loop is not None:
            seconds = batch.seconds + monotonic() - began
            self._rests_until = self._loop.time() + min(seconds, LONGEST_REST)
        if self._new:
            self._be_due()

    def _end(self) -> None:
        self.flush()
        for member in list(self._members):
            member.end_stream()
        self._members.clear()


class _Membership:
    """What one listener wants, from which of all events on it hears, and the number of the next for it."""

    __slots__ = ("number", "since", "wants")

    def __init__(self, wants: Callable[[Any], bool] | None, since: int) -> None:
        self.wants = wants
        self.since = since
        self.number = 0


class _Batch:
    """Events that are being handed out; those who are at the same number share the bytes."""

    def __init__(
        self,
        events: list[tuple[bytes, Any]],
        first: int,
        members: "list[tuple[Subscriber, _Membership]]",
    ) -> None:
        self.size = len(events)
        self.seconds = 0.0
        self.left = iter(members)
        self._events = events
        self._first = first
        self._pieces = list(_pieces([text for text, _ in events]))
        self._shared: dict[int, list[Run]] = {}

    def tell(self, member: Subscriber, membership: _Membership) -> bool:
        """Send a listener what it wants of the events. False when it is too slow."""
        number = membership.number
        if membership.wants is None and membership.since <= self._first:
            runs = self._shared.get(number)
            if runs is None:
                runs = self._shared[number] = _runs(self._pieces, number)
            membership.number = number + len(self._events)
        else:
            late = max(0, membership.since - self._first)
            wants = membership.wants
            wanted = [text for text, tag in self._events[late:] if wants is None or wants(tag)]
            runs = _runs(_pieces(wanted), number)
            membership.number = number + len(wanted)
        for run in runs:  # noqa: SIM110  # a generator costs half as much as all the rest of this
            if not member.send_events(run):
                return False
        return True


def _pieces(texts: list[bytes]) -> Iterator[list[bytes]]:
    """The events in pieces that are written at once."""
    piece: list[bytes] = []
    size = 0
    for text in texts:
        if piece and size + len(text) > PIECE:
            yield piece
            piece, size = [], 0
        piece.append(text)
        size += len(text)
    if piece:
        yield piece


def _runs(pieces: "Iterator[list[bytes]] | list[list[bytes]]", number: int) -> list[Run]:
    runs = []
    for piece in pieces:
        runs.append(Run(piece, number))
        number += len(piece)
    return runs


def _in_loop(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *arguments: Any) -> None:
    """Have it called in the loop; when the loop has ended nobody listens any more."""
    try:
        loop.call_soon_threadsafe(function, *arguments)
    except RuntimeError:
        if not loop.is_closed():
            raise
