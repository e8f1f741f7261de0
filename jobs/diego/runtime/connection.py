"""One HTTP/1.1 connection: requests in, answers out, one at a time and in order.

States of the reading side: between requests, in a head, in a body, or after a request whose answer is
not done (further pipelined requests of the same read wait in `_queue`, and no more is read meanwhile). Each
has one deadline in `deadline`, which the server's sweep looks at; 0 means none.
States of the answering side: nothing, a call whose answer is to come, a bulk answer being drawn, an event
stream, an exchange (a coroutine), or a raw connection.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

import httptools

from diego.runtime.api import (
    PROTOBUF,
    Answer,
    Api,
    Bulk,
    Call,
    DirectRoute,
    ExchangeHandler,
    Pending,
    Reply,
    Subscribe,
)
from diego.runtime.exchange import BODILESS, Disconnected, Exchange
from diego.runtime.hub import Hub, Run

if TYPE_CHECKING:
    from diego.runtime.server import Listener, Server

REASONS = {status.value: status.phrase for status in HTTPStatus} | {413: "Content Too Large"}
EVENT_STREAM = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-store, must-revalidate",
}


class Request:
    """What has been read of one request."""

    __slots__ = (
        "exchange",
        "expects_continue",
        "fields",
        "has_length",
        "head_bytes",
        "is_chunked",
        "keep_alive",
        "length",
        "method",
        "old_protocol",
        "parts",
        "path",
        "query",
        "route",
        "size",
        "target",
    )

    def __init__(self) -> None:
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.head_bytes = 0
        self.method = b""
        self.path = b""
        self.query = b""
        self.keep_alive = False
        self.old_protocol = False
        self.expects_continue = False
        self.has_length = False
        self.is_chunked = False
        self.length = 0
        self.size = 0
        self.parts: list[bytes] = []
        self.route: DirectRoute | None = None
        self.exchange: tuple[ExchangeHandler, Exchange] | None = None

    @property
    def body(self) -> bytes:
        return self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)


class _Refused(Exception):
    """The request is answered by an error of HTTP, and the connection ends."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Gone(asyncio.Transport):
    """What a connection has for a transport when it is lost: nothing happens any more."""

    def write(self, data: Any) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


_GONE = _Gone()


class Connection(asyncio.Protocol):
    """The server's end of one connection. Everything here runs in the loop."""

    def __init__(self, server: "Server", api: Api, listener: "Listener") -> None:
        self.listener = listener
        self._server = server
        self._api = api
        self._limits = server.limits
        self.closing = False
        self.deadline = 0.0
        self.peer = ""
        self._transport: asyncio.Transport = _GONE
        self._parser: Any = None
        self._request: Request | None = None
        self._queue: deque[Request] = deque()
        self._current: Request | None = None
        self._began = 0.0
        self._is_timed = True
        self._status = 0
        self._size = 0
        self._head_read = 0
        self._head_begins_with = 0
        self._in_head = False
        self._paused = False
        self._discarding = False
        self._discarded = 0
        self._parsing_ended = False
        self._keep = True
        self._full = False
        self._unsent = 0
        self._drain: asyncio.Future[None] | None = None
        self._chunks: Iterator[bytes] | None = None
        self._bulk_left = 0
        self._hub: Hub | None = None
        self._events: deque[Run] = deque()
        self._unheard = 0
        self._task: asyncio.Task[None] | None = None
        self._exchange: Exchange | None = None
        self._held: list[bytes] = []
        self._held_size = 0

    # ---- the connection's life

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if not self._server.admit(self):
            self.closing = True
            self._transport.abort()
            return
        self.peer = _peer_text(transport.get_extra_info("peername"))
        self._transport.set_write_buffer_limits(self._limits.write_high)
        self._parser = httptools.HttpRequestParser(self)
        self._expire_in(self._limits.idle)

    def connection_lost(self, _error: Exception | None) -> None:
        self.closing = True
        self.deadline = 0.0
        self._server.forget(self)
        if self._current is not None:
            self._left(self._current, monotonic() - self._began)
        if self._hub is not None:
            self._hub.leave(self)
            self._hub = None
        self._drop_chunks()
        if self._drain is not None and not self._drain.done():
            self._drain.set_result(None)
        if self._exchange is not None:
            gone = Disconnected("the client is gone")
            self._exchange.incoming.end(None if self._exchange.incoming.ended else gone)
            if self._exchange.raw_incoming is not None:
                self._exchange.raw_incoming.end()
            if self._exchange.ends_with_client and self._task is not None:
                self._task.cancel()
        self._queue.clear()
        # Nothing that is gone stands in a circle: the collector looks at what is old hardly ever (bbs/takeover.py), and
        # a connection over TLS has some 40 KB.
        self._transport = _GONE
        self._parser = None

    def eof_received(self) -> bool:
        """The client sends no more. It still gets the answers to what it asked (not over TLS: no half there)."""
        half_open = self._transport.get_extra_info("ssl_object") is None
        self._parsing_ended = True
        self._keep = False
        exchange = self._exchange
        if exchange is not None:
            if exchange.raw_incoming is not None:
                exchange.raw_incoming.end()
            elif not exchange.incoming.ended:
                exchange.incoming.end(Disconnected("the client stopped in the middle of its request"))
            elif exchange.ends_with_client and self._task is not None:
                self._task.cancel()
        is_answering = self._current is not None or bool(self._queue)
        return half_open and is_answering and not self._discarding and self._hub is None

    def _expire_in(self, seconds: float) -> None:
        self.deadline = self._server.loop.time() + seconds

    def overdue(self) -> None:
        """The deadline is over. A reader that takes at least something is given more time."""
        if self._full:
            unsent = self._transport.get_write_buffer_size()
            if unsent < self._unsent:
                self._unsent = unsent
                self._expire_in(self._limits.stall)
                return
        if self._discarding:
            self.close()
            return
        self._server.count_refusal("overdue")
        self.abort()

    @property
    def is_idle(self) -> bool:
        return self._current is None and not self._queue and not self._in_head and self._request is None

    @property
    def is_flushed(self) -> bool:
        """Whether it is closing and has nothing left to send."""
        return self.closing and self._transport.get_write_buffer_size() == 0

    def stop(self) -> None:
        """The job ends: streams get their last chunk, idle connections close, others close when answered."""
        self._keep = False
        if self._hub is not None:
            self._hub.flush()
        if self._hub is not None:
            self._hub.leave(self)
            self.end_stream()
        elif self._exchange is not None and self._exchange.raw is not None:
            self.close()
        elif self._exchange is not None and self._exchange.ends_with_client and self._task is not None:
            self._task.cancel()
        elif self.is_idle:
            self.close()

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self._expire_in(self._limits.stall)
            self._transport.close()

    def abort(self) -> None:
        self.closing = True
        self._transport.abort()

    # ---- reading

    def data_received(self, data: bytes) -> None:
        if self._discarding:
            self._discard(data)
            return
        if self._hub is not None or self._parsing_ended:
            return
        exchange = self._exchange
        if exchange is not None and exchange.incoming.ended:
            if exchange.raw_incoming is not None:
                exchange.raw_incoming.feed(data)
            else:
                self._hold(data)
            return
        self._parse(data)

    def _hold(self, data: bytes) -> None:
        """Bytes after a request whose exchange goes on: its raw bytes to come, or a next request."""
        self._held.append(data)
        self._held_size += len(data)
        if self._held_size > self._limits.read_high:
            self._pause()

    def _parse(self, data: bytes) -> None:
        self._head_read += len(data)
        # a head that begins this read is counted from its first byte; where one begins behind another request, the
        # parser does not say, so it is counted from the next read on
        self._head_begins_with = len(data) if self._request is None else 0
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._parsing_ended = True  # we offer no other protocol: this request is the last one
        except httptools.HttpParserCallbackError as error:
            self._callback_failed(error.__context__)
        except httptools.HttpParserError:
            self._refuse(400)
        else:
            if self._in_head and self._head_read > self._limits.header_bytes:
                self._refuse(431)

    def _callback_failed(self, error: BaseException | None) -> None:
        if isinstance(error, _Refused):
            self._refuse(error.status)
            return
        self._server.log.error("request-reading-failed", error=repr(error))
        self._refuse(500)

    def on_message_begin(self) -> None:
        self._request = Request()
        self._in_head = True
        self._head_read, self._head_begins_with = self._head_begins_with, 0
        if self._current is None:
            self._expire_in(self._limits.header)

    def on_url(self, part: bytes) -> None:
        request = cast(Request, self._request)
        request.target += part
        self._count_head(request, len(part))

    def on_header(self, name: bytes, value: bytes) -> None:
        request = cast(Request, self._request)
        self._count_head(request, len(name) + len(value) + 4)
        if not self._in_head:
            return  # a trailer
        request.fields.append((name, value))
        match name.lower():
            case b"content-length":
                if request.has_length or not value.isdigit():
                    raise _Refused(400)
                request.has_length = True
                request.length = int(value)
            case b"transfer-encoding":
                if value.lower() != b"chunked" or request.is_chunked:
                    raise _Refused(501)
                request.is_chunked = True
            case b"expect":
                if value.lower() != b"100-continue":
                    raise _Refused(417)
                request.expects_continue = True

    def _count_head(self, request: Request, more: int) -> None:
        request.head_bytes += more
        if request.head_bytes > self._limits.header_bytes:
            raise _Refused(431)

    def on_headers_complete(self) -> None:
        request = cast(Request, self._request)
        self._in_head = False
        if request.has_length and request.is_chunked:
            raise _Refused(400)
        parser = self._parser
        request.method = parser.get_method()
        request.keep_alive = parser.should_keep_alive()
        if parser.should_upgrade():
            # We offer no other protocol. The parser reads no body after such a head, so there must be none.
            if request.length or request.is_chunked:
                raise _Refused(501)
            request.keep_alive = False
        request.old_protocol = parser.get_http_version() == "1.0"
        request.path, request.query = _split_target(request.target)
        request.route = self._api.calls.get((request.method, request.path))
        if request.route is None:
            self._find_exchange(request)
        if request.exchange is None:
            if request.length > self._limits.body_bytes:
                raise _Refused(413)
            if self._current is None:
                self._expire_in(self._limits.body)
            if request.expects_continue and not request.old_protocol:
                self._continue()
        else:
            self.deadline = 0.0
            self._enqueue(request)

    def _find_exchange(self, request: Request) -> None:
        found = self._api.find_exchange(request.method, request.path)
        if found is None:
            return
        handler, params = found
        exchange = Exchange(
            self,
            request.method.decode("latin-1"),
            (request.path.decode("latin-1"), request.query.decode("latin-1")),
            request.fields,
            params=params,
            peer=self.peer,
            old_protocol=request.old_protocol,
            read_high=self._limits.read_high,
        )
        request.exchange = handler, exchange

    def _continue(self) -> None:
        if not self.closing:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, part: bytes) -> None:
        request = cast(Request, self._request)
        if request.exchange is not None:
            request.exchange[1].incoming.feed(part)
            return
        request.size += len(part)
        if request.size > self._limits.body_bytes:
            raise _Refused(413)
        request.parts.append(part)

    def on_message_complete(self) -> None:
        request = cast(Request, self._request)
        self._request = None
        if self.closing or self._discarding:
            return
        if request.exchange is not None:
            request.exchange[1].incoming.end()
        else:
            self._enqueue(request)

    def _enqueue(self, request: Request) -> None:
        if self._current is None and not self._queue and not self._full:
            self._begin(request)
        else:
            self._queue.append(request)
            self._pause()

    def _pause(self) -> None:
        if not self._paused and not self.closing:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and not self.closing:
            self._paused = False
            self._transport.resume_reading()

    # ---- answering

    def _begin(self, request: Request) -> None:
        self._current = request
        self._began = monotonic()
        self._status = self._size = 0
        self.deadline = 0.0
        if request.exchange is not None:
            self._run_exchange(request, *request.exchange)
            return
        route = request.route
        if route is None:
            self._server.in_pool(self, self._server.ask_flask, self._api, request, self.peer)
            return
        call = Call(request.body, request.fields, self.peer)
        if route.slow:
            self._server.in_pool(self, route.handler, call)
            return
        try:
            answer = route.handler(call)
        except Exception:
            self._server.log.exception("direct-call-failed", path=request.path)
            answer = Reply(500, content_type="")
        self.answer(answer)

    def answer(self, answer: Answer) -> None:
        """Send the answer of the current request, or wait for it."""
        request = self._current
        if self.closing or request is None:
            return
        match answer:
            case bytes():
                self._send_whole(200, answer, PROTOBUF, None)
            case Reply():
                self._send_whole(answer.status, answer.body, answer.content_type, answer.headers)
            case Pending():
                answer.then(self.answer)
            case Bulk():
                self._start_bulk(answer)
            case Subscribe():
                self._start_stream(answer)
            case _:
                self._server.log.error("no-such-answer", path=request.path, type=type(answer).__name__)
                self.answer(Reply(500, content_type=""))

    def _send_whole(
        self, status: int, body: bytes, content_type: str, headers: Mapping[str, str] | None
    ) -> None:
        request = cast(Request, self._current)
        head = self._head(status, content_type, len(body), headers)
        self._status, self._size = status, len(body)
        bodiless = request.method == b"HEAD" or status in BODILESS
        self._transport.write(head if bodiless else head + body)
        self._done()

    def _head(self, status: int, content_type: str, length: int, headers: Mapping[str, str] | None) -> bytes:
        return b"HTTP/1.1 %d %b\r\n%b%b%b%b%b\r\n" % (
            status,
            REASONS.get(status, "").encode(),
            b"Content-Type: %b\r\n" % content_type.encode("latin-1") if content_type else b"",
            self._server.date_line,
            b"" if status in BODILESS else b"Content-Length: %d\r\n" % length,
            _field_lines(headers) if headers else b"",
            self._connection_line(),
        )

    def _connection_line(self) -> bytes:
        request = self._current
        if self._is_last(request):
            return b"Connection: close\r\n"
        return b"Connection: keep-alive\r\n" if request is not None and request.old_protocol else b""

    def _is_last(self, request: Request | None) -> bool:
        """Whether the connection ends with the answer to this request."""
        if self._server.stopping or (request is not None and not request.keep_alive):
            return True
        return not self._keep and not self._queue

    def _done(self) -> None:
        """The current request is answered."""
        request = cast(Request, self._current)
        last = self._is_last(request)
        self._current = None
        seconds = monotonic() - self._began
        (self._api.elsewhere if request.route is None else request.route.tally).saw(seconds)
        if self._api.access is not None:
            self._api.access.note(request, self._status, self._size, seconds, self.peer)
        self._server.requests += 1
        if last:
            self.close()
        elif self._full:
            return  # goes on when the client has read
        elif self._queue:
            self._server.loop.call_soon(self._next)
        else:
            self._wait_for_request()

    def _left(self, request: Request, seconds: float) -> None:
        """The client has left, or a stream has ended: it was counted when it began, and is not timed."""
        if self._is_timed:
            (self._api.elsewhere if request.route is None else request.route.tally).saw(seconds)
        if self._api.access is not None:
            self._api.access.note(request, self._status, self._size, seconds, self.peer)

    def _wait_for_request(self) -> None:
        self._resume()
        if self._request is None:
            self._expire_in(self._limits.idle)
        else:
            self._expire_in(self._limits.header if self._in_head else self._limits.body)

    def _next(self) -> None:
        if self._current is not None or self._full or self.closing or not self._queue:
            return
        request = self._queue.popleft()
        if not self._queue:
            self._resume()
        self._begin(request)

    def _refuse(self, status: int) -> None:
        """Answer an error of HTTP, and listen a little longer so that the client gets to read it."""
        if self.closing or self._discarding:
            return
        self._server.count_refusal(str(status))
        self._parsing_ended = True
        self._keep = False
        if self._exchange is not None and not self._exchange.incoming.ended:
            self._exchange.incoming.end(Disconnected("the client broke the protocol"))
        if self._current is not None or self._queue:
            return  # what came before still gets its answers; then the connection closes
        self._transport.write(self._head(status, "", 0, None))
        self._linger()

    def _linger(self) -> None:
        """Close, but not in the face of a client that is still sending: it would lose the answer."""
        self._discarding = True
        self._current = None
        self._queue.clear()
        self._resume()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._expire_in(self._limits.linger)

    def _discard(self, data: bytes) -> None:
        """Who has been refused and sends that much does not listen."""
        self._discarded += len(data)
        if self._discarded > self._limits.linger_bytes:
            self.abort()

    # ---- long answers

    def _start_bulk(self, bulk: Bulk) -> None:
        request = cast(Request, self._current)
        self._status, self._size = 200, bulk.length
        self._transport.write(self._head(200, bulk.content_type, bulk.length, None))
        self._chunks, self._bulk_left = bulk.chunks, bulk.length
        if request.method == b"HEAD":
            self._drop_chunks()
            self._done()
        else:
            self._draw()

    def _draw(self) -> None:
        """One chunk for each turn of the loop, so that others get their answers between."""
        if self._chunks is None or self._full or self.closing:
            return
        try:
            chunk = next(self._chunks, None)
        except Exception:
            self._server.log.exception("bulk-answer-failed")
            self.abort()
            return
        if chunk is None:
            self._chunks = None
            if self._bulk_left:
                self._server.log.error("bulk-answer-has-another-length", missing=self._bulk_left)
                self.abort()
            else:
                self._done()
            return
        self._bulk_left -= len(chunk)
        self._transport.write(chunk)
        self._server.loop.call_soon(self._draw)

    def _drop_chunks(self) -> None:
        close = getattr(self._chunks, "close", None)
        self._chunks = None
        if close is not None:
            close()

    def _start_stream(self, subscription: Subscribe) -> None:
        hub = subscription.hub
        if hub.closed or self._server.stopping:
            self._send_whole(500, b"", "", None)
            return
        request = cast(Request, self._current)
        chunked = b"" if request.old_protocol else b"Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n"
        self._transport.write(
            b"HTTP/1.1 200 OK\r\n%b%b%b\r\n" % (_field_lines(EVENT_STREAM), self._server.date_line, chunked)
        )
        self._keep = False
        self._status, self._is_timed = 200, False
        if request.route is not None:
            request.route.tally.count += 1
        self._hub = hub
        hub.join(self, subscription.wants, self._server.loop)

    def send_events(self, run: Run) -> bool:
        """Send events, or keep them for later; False when too many wait, and the stream is at its end."""
        if self.closing:
            return False
        if not self._full:
            self._transport.write(self._form(run))
            return True
        self._events.append(run)
        self._unheard += len(run)
        if self._unheard <= self._limits.events:
            return True
        self._hub = None
        self._server.count_refusal("slow subscriber")
        self.abort()
        return False

    def _form(self, run: Run) -> bytes:
        return run.plain if self._current is not None and self._current.old_protocol else run.chunks

    def end_stream(self) -> None:
        """The last chunk, then the end of the connection."""
        self._hub = None
        if self._full:
            self.abort()  # it could not take even the last chunk
            return
        if not cast(Request, self._current).old_protocol:
            self._transport.write(b"0\r\n\r\n")
        self.close()

    def pause_writing(self) -> None:
        self._full = True
        self._unsent = self._transport.get_write_buffer_size()
        if self._hub is None:
            self._expire_in(self._limits.stall)

    def resume_writing(self) -> None:
        self._full = False
        if self._hub is not None:
            while self._events and not self._full:
                run = self._events.popleft()
                self._unheard -= len(run)
                self._transport.write(self._form(run))
            return
        self.deadline = 0.0
        if self._drain is not None and not self._drain.done():
            self._drain.set_result(None)
        if self._chunks is not None:
            self._server.loop.call_soon(self._draw)
        elif self._current is None and not self.closing:
            if self._queue:
                self._server.loop.call_soon(self._next)
            else:
                self._wait_for_request()

    # ---- exchanges

    def _run_exchange(self, request: Request, handler: ExchangeHandler, exchange: Exchange) -> None:
        self._exchange = exchange
        if request.expects_continue and not request.old_protocol:
            self._continue()
        self._task = self._server.loop.create_task(self._exchange_life(request, handler, exchange))

    async def _exchange_life(self, request: Request, handler: ExchangeHandler, exchange: Exchange) -> None:
        try:
            await handler(exchange)
        except Disconnected:
            self.abort()
        except asyncio.CancelledError:
            # Its client is gone, or the job ends: what was begun is ended in order.
            if exchange.started and not self.closing:
                await exchange.finish()
            self._keep = False
        except Exception:
            self._server.log.exception("exchange-failed", method=request.method, path=request.path)
            if exchange.started:
                self.abort()
        finally:
            self._exchange = self._task = None
            self._after_exchange(exchange)

    def _after_exchange(self, exchange: Exchange) -> None:
        if self.closing:
            self._server.requests += 1
            return
        if exchange.raw is not None:
            self._server.requests += 1
            self.close()
            return
        if not exchange.started:
            head = self._head(500, "", 0, None)
            self._transport.write(head)
        elif not exchange.finished:
            self._server.log.error("exchange-not-finished", path=exchange.path)
            self.abort()
            return
        if not exchange.incoming.ended:
            self._server.requests += 1
            self._parsing_ended = True
            self._linger()
            return
        if exchange.ends_connection:
            self._keep = False
        held, self._held, self._held_size = self._held, [], 0
        self._done()
        for data in held:
            self.data_received(data)

    def answer_head(self, status: int, headers: Mapping[str, str], *, close: bool) -> bytes:
        if close:
            self._keep = False
        self._status = status
        return b"HTTP/1.1 %d %b\r\n%b%b%b\r\n" % (
            status,
            REASONS.get(status, "").encode(),
            self._server.date_line,
            _field_lines(headers),
            self._connection_line(),
        )

    def send(self, data: bytes) -> None:
        if not self.closing:
            self._transport.write(data)

    async def drained(self) -> None:
        while self._full and not self.closing:
            self._drain = self._server.loop.create_future()
            await self._drain
        self._drain = None
        if self.closing:
            raise Disconnected("the client is gone")

    def wait_for_body(self, *, waiting: bool) -> None:
        raw = self._exchange is not None and self._exchange.raw is not None
        if waiting and not raw:
            self._expire_in(self._limits.stall)
        elif not self._full:
            self.deadline = 0.0

    def hold_body(self) -> None:
        self._pause()

    def resume_body(self) -> None:
        if not self._queue:
            self._resume()

    def send_eof(self) -> None:
        if self.closing:
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self.close()


def _field_lines(headers: Mapping[str, str]) -> bytes:
    lines = []
    for name, value in headers.items():
        if "\n" in value or "\r" in value:
            raise ValueError(f"header {name} holds a line break")
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines).encode("latin-1")


def _split_target(target: bytes) -> tuple[bytes, bytes]:
    """Path and query as they were sent; of a whole URL only these parts count."""
    if not target.startswith(b"/"):
        try:
            url = httptools.parse_url(target)
        except httptools.HttpParserInvalidURLError:
            return target, b""
        return url.path or b"/", url.query or b""
    path, _, query = target.partition(b"?")
    return path, query


def _peer_text(peername: Any) -> str:
    if isinstance(peername, tuple):
        return f"{peername[0]}:{peername[1]}"
    return ""
