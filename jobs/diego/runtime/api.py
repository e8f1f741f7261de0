"""What a listener answers: direct calls, exchanges, and a Flask app for everything else.

A *direct call* is a function from a request to an answer, found by its whole path, run in the server's loop
ahead of Flask. It must not wait and not compute for more than about a millisecond. Registered with Flask too
(its twin), so that the app is whole and its test client works. An *exchange* is a coroutine on the loop that
reads the request's body and writes the answer piece by piece, or takes the connection over.

Errors of HTTP itself are answered as the original's Go servers do (golden/bbs-domains-cells-ping.json).
"""

import re
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar
from urllib.parse import unquote

from flask import Flask, Response, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from diego.runtime.hub import Hub
from diego.runtime.logs import get_logger
from diego.runtime.metrics import Tally

if TYPE_CHECKING:
    from diego.runtime.connection import Request
    from diego.runtime.exchange import Exchange

PROTOBUF = "application/x-protobuf"
TEXT = "text/plain; charset=utf-8"
TWIN_WAIT = 30.0
"""Seconds that a Flask view waits for an answer to come."""

log = get_logger("http")


class Call:
    """A request whose body has arrived, as a direct call sees it."""

    __slots__ = ("_fields", "body", "peer")

    def __init__(self, body: bytes, fields: Iterable[tuple[bytes, bytes]] = (), peer: str = "") -> None:
        self.body = body
        self.peer = peer
        self._fields = fields

    def header(self, name: str, default: str = "") -> str:
        """The first value of the header, whatever the case of its name."""
        wanted = name.lower().encode("latin-1")
        for key, value in self._fields:
            if key.lower() == wanted:
                return value.decode("latin-1")
        return default

    @property
    def request_id(self) -> str:
        """What the caller named its request, for logs and events; empty when it did not."""
        return self.header("X-Vcap-Request-Id")


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer that is not simply 200 with a protobuf message."""

    status: int
    body: bytes = b""
    content_type: str = PROTOBUF
    headers: Mapping[str, str] = field(default_factory=dict)


class Bulk:
    """A long answer of known length, drawn from `chunks` only as fast as the client reads."""

    __slots__ = ("chunks", "content_type", "length")

    def __init__(self, length: int, chunks: Iterable[bytes], content_type: str = PROTOBUF) -> None:
        self.length = length
        self.chunks: Iterator[bytes] = iter(chunks)
        self.content_type = content_type


class Pending:
    """An answer to come. Any thread gives it by `Runtime.resolve`; everything else happens in the loop."""

    __slots__ = ("_answer", "_then")

    def __init__(self) -> None:
        self._answer: Answer | None = None
        self._then: Callable[[Answer], None] | None = None

    def settle(self, answer: "Answer") -> None:
        """Give the answer. In the server's loop only (or where there is no server, in a test)."""
        self._answer = answer
        if self._then is not None:
            self._then(answer)

    def then(self, take: "Callable[[Answer], None]") -> None:
        """Have `take` called with the answer, at once if it is there."""
        self._then = take
        if self._answer is not None:
            take(self._answer)

    @property
    def answer(self) -> "Answer | None":
        return self._answer


@dataclass(frozen=True, slots=True)
class Subscribe:
    """The answer that never ends: the caller hears `hub`'s events whose tag it wants."""

    hub: Hub
    wants: Callable[[Any], bool] | None = None


Answer: TypeAlias = bytes | Reply | Pending | Bulk | Subscribe
Handler: TypeAlias = Callable[[Call], Answer]
ExchangeHandler: TypeAlias = "Callable[[Exchange], Awaitable[None]]"
H = TypeVar("H", bound=Handler)
X = TypeVar("X", bound=ExchangeHandler)


@dataclass(frozen=True, slots=True)
class DirectRoute:
    handler: Handler
    slow: bool
    tally: Tally = field(default_factory=Tally)


@dataclass(frozen=True, slots=True)
class _ExchangeRoute:
    method: bytes
    pattern: "re.Pattern[str]"
    handler: ExchangeHandler


class Caller(Protocol):
    """Runs a direct call where its memory belongs: the server, once the Api is on a listener."""

    def call_and_wait(self, handler: Handler, call: Call, seconds: float) -> Answer:
        """The answer, waited for. Raises TimeoutError."""


class Access(Protocol):
    """Hears of every request when it is answered, in the loop: it must not wait."""

    def note(self, request: "Request", status: int, size: int, seconds: float, peer: str) -> None:
        """`status` is 0 where the client left before the answer, `size` that of the answer's body."""


class Api:
    """What one listener answers. The same Api may stand on several."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.calls: dict[tuple[bytes, bytes], DirectRoute] = {}
        self.caller: Caller | None = None
        self.elsewhere = Tally()
        """Requests that were no direct calls."""
        self.access: Access | None = None
        self._exchanges: list[_ExchangeRoute] = []
        self._twins = 0
        app.url_map.merge_slashes = False
        app.url_map.strict_slashes = True
        app.before_request(_whole_path)
        app.register_error_handler(NotFound, _not_found)
        app.register_error_handler(MethodNotAllowed, _method_not_allowed)
        app.register_error_handler(HTTPException, _other_http_error)
        app.register_error_handler(Exception, _unexpected)

    def rpc(self, path: str, *, slow: bool = False, method: str = "POST") -> Callable[[H], H]:
        """Register a direct call. `slow`: it may wait and compute, and runs in the pool of threads."""

        def register(handler: H) -> H:
            self.calls[method.encode(), path.encode()] = DirectRoute(handler, slow)
            self._add_twin(path, method, self._twin_of(handler, slow=slow))
            return handler

        return register

    def exchange(self, method: str, pattern: str) -> Callable[[X], X]:
        """Register an exchange. `<name>` in the pattern is one percent-decoded part, `<path:name>` the rest."""

        def register(handler: X) -> X:
            self._exchanges.append(_ExchangeRoute(method.encode(), _compiled(pattern), handler))
            self._add_twin(pattern, method, _only_in_the_server)
            return handler

        return register

    def find_exchange(self, method: bytes, path: bytes) -> tuple[ExchangeHandler, dict[str, str]] | None:
        """The exchange for a request, and the parts of its path."""
        if not self._exchanges:
            return None
        text = path.decode("latin-1")
        for route in self._exchanges:
            if route.method == method and (found := route.pattern.fullmatch(text)):
                return route.handler, {name: unquote(part) for name, part in found.groupdict().items()}
        return None

    def _add_twin(self, path: str, method: str, view: Callable[..., ResponseReturnValue]) -> None:
        self._twins += 1
        self.app.add_url_rule(
            path, f"direct {self._twins} {path}", view, methods=[method], provide_automatic_options=False
        )

    def _twin_of(self, handler: Handler, *, slow: bool) -> Callable[..., ResponseReturnValue]:
        def view() -> ResponseReturnValue:
            fields = [(key.encode("latin-1"), value.encode("latin-1")) for key, value in request.headers]
            call = Call(request.get_data(), fields, request.remote_addr or "")
            if self.caller is not None and not slow:
                return _as_flask(self.caller.call_and_wait(handler, call, TWIN_WAIT))
            return _as_flask(_waited_for(handler(call)))

        return view


def _compiled(pattern: str) -> "re.Pattern[str]":
    pieces = re.split(r"<(path:)?(\w+)>", pattern)
    text = re.escape(pieces[0])
    for rest, name, literal in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True):
        text += f"(?P<{name}>{'.*' if rest else '[^/]+'}){re.escape(literal)}"
    return re.compile(text, re.DOTALL)


def _waited_for(answer: Answer) -> Answer:
    """The answer itself, where no server is there to resolve it in its loop."""
    if not isinstance(answer, Pending):
        return answer
    come = threading.Event()
    answer.then(lambda _: come.set())
    if not come.wait(TWIN_WAIT) or answer.answer is None:
        raise TimeoutError("no answer came")
    return answer.answer


def _as_flask(answer: Answer) -> ResponseReturnValue:
    match answer:
        case bytes():
            return Response(answer, mimetype=PROTOBUF)
        case Reply():
            return Response(
                answer.body, answer.status, dict(answer.headers), content_type=answer.content_type
            )
        case Bulk():
            length = {"Content-Length": str(answer.length)}
            return Response(answer.chunks, headers=length, content_type=answer.content_type)
        case _:
            return _only_in_the_server()


def _only_in_the_server(**_parts: str) -> ResponseReturnValue:
    return Response("only Diego's own server can answer this\n", 501, content_type=TEXT)


def _go_text(text: str, status: int, **headers: str) -> Response:
    answer = Response(text + "\n", status, headers, content_type=TEXT)
    answer.headers["X-Content-Type-Options"] = "nosniff"
    return answer


def _whole_path() -> None:
    """A path with a slash too many is another path; werkzeug would forgive it at the beginning."""
    if request.environ.get("PATH_INFO", "").startswith("//"):
        raise NotFound


def _not_found(_error: Exception) -> ResponseReturnValue:
    return _go_text("404 page not found", 404)


def _method_not_allowed(error: MethodNotAllowed) -> ResponseReturnValue:
    """Names only the methods that somebody registered, not those that Flask adds."""
    valid = sorted(set(error.valid_methods or ()) - {"HEAD", "OPTIONS"})
    return _go_text("Method Not Allowed", 405, Allow=", ".join(valid))


def _other_http_error(error: HTTPException) -> ResponseReturnValue:
    if error.response is not None:
        return error
    return _go_text(error.name, error.code or 500)


def _unexpected(_error: Exception) -> ResponseReturnValue:
    """Our own mistake: told in the log, and to the caller only that it happened."""
    log.exception("unexpected-error", method=request.method, path=request.path)
    return Response(b"", 500, content_type="")
