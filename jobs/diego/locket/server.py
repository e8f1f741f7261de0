"""Locket's gRPC side: the listener, and requests and errors as the original has them.

The server must be started in the worker, after the fork: gRPC's threads do not survive one.
contract/locket.md sections 1 and 2; golden/locket.json.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from diego.database import DatabaseError, DeadlineExceeded, MissingTable
from diego.locket.core import locks
from diego.locket.core.locks import KINDS_BY_TEXT, Refused, Row
from diego.locket.measures import Cancelled, RequestMeasures
from diego.locket.service import LocketService
from diego.runtime.logs import get_logger
from diego.wire import locket_pb2

SERVICE = "models.Locket"
THREADS = 32
MOST_CALLS = 4096
"""Calls under way and waiting; beyond it callers hear RESOURCE_EXHAUSTED at once."""

BYTES_LIMIT = 4 << 20
"""Of a request, as gRPC has it by default. Answers are not limited."""

OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", BYTES_LIMIT),
    ("grpc.max_send_message_length", -1),
    # Who does not get through its handshake is let go; by default after two minutes.
    ("grpc.server_handshake_timeout_ms", 10_000),
    # The clients ping after 10 s of silence, calls or not. By default a server takes that for abuse.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    # And the server asks too, so that a client whose host is gone does not keep a connection here.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)

log = get_logger("locket")

M = TypeVar("M", bound=Message)
Context = grpc.ServicerContext
Behaviour = Callable[[bytes, Context], bytes]

_CODES: dict[type[Refused], grpc.StatusCode] = {
    locks.InvalidType: grpc.StatusCode.NOT_FOUND,
    locks.InvalidTtl: grpc.StatusCode.INVALID_ARGUMENT,
    locks.InvalidOwner: grpc.StatusCode.INVALID_ARGUMENT,
    locks.InvalidResource: grpc.StatusCode.INVALID_ARGUMENT,
    locks.Collision: grpc.StatusCode.ALREADY_EXISTS,
    locks.NotFound: grpc.StatusCode.NOT_FOUND,
}


@dataclass(frozen=True)
class Identity:
    """The certificate that the server shows, and the authority that its callers' certificates must lead to."""

    ca_file: Path
    cert_file: Path
    key_file: Path

    def credentials(self) -> grpc.ServerCredentials:
        """Read the files; a renewed certificate needs a restart."""
        return grpc.ssl_server_credentials(
            [(self.key_file.read_bytes(), self.cert_file.read_bytes())],
            root_certificates=self.ca_file.read_bytes(),
            require_client_auth=True,
        )


class LocketServer:
    """The listener. `stop` lets running calls finish for up to its grace."""

    def __init__(self, handlers: "Handlers", address: str, identity: Identity) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="locket")
        self._server = grpc.server(
            self._pool, handlers=[handlers], options=OPTIONS, maximum_concurrent_rpcs=MOST_CALLS
        )
        everywhere = "0.0.0.0" if address.startswith(":") else ""
        self._server.add_secure_port(everywhere + address, identity.credentials())

    def start(self) -> None:
        self._server.start()

    def stop(self, grace: float = 1.0) -> None:
        self._server.stop(grace).wait(grace + 0.2)


class Handlers(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs only
    """The four methods, on bytes: what cannot be decoded or found is answered in the original's words."""

    def __init__(
        self, service: LocketService, measures: RequestMeasures, *, table_missing: Callable[[str], None]
    ) -> None:
        self._service = service
        self._measures = measures
        self._table_missing = table_missing
        methods: dict[str, Behaviour] = {
            "Lock": self._lock,
            "Release": self._release,
            "Fetch": self._fetch,
            "FetchAll": self._fetch_all,
        }
        self._methods = {
            method: _unary(self._answering(method, behaviour)) for method, behaviour in methods.items()
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        service, _, method = handler_call_details.method.strip("/").rpartition("/")
        if service != SERVICE:
            return _unary(_unimplemented(f"unknown service {service}"))
        if method not in self._methods:
            return _unary(_unimplemented(f"unknown method {method} for service {SERVICE}"))
        return self._methods[method]

    def _answering(self, method: str, behaviour: Behaviour) -> Behaviour:
        def answer(body: bytes, context: Context) -> bytes:
            try:
                with self._measures.counting(method, Refused):
                    _check_caller(context)
                    return behaviour(body, context)
            except Refused as refused:
                _abort(context, _CODES[type(refused)], refused.text)
            except DecodeError:
                _abort(
                    context,
                    grpc.StatusCode.INTERNAL,
                    "grpc: error unmarshalling request: unexpected EOF",
                )
            except Cancelled:
                _abort(context, grpc.StatusCode.CANCELLED, "the caller is gone")
            except DatabaseError as error:
                self._database_failed(context, method, error)

        return answer

    def _database_failed(self, context: Context, method: str, error: DatabaseError) -> NoReturn:
        log.error("request.failed", method=method, error=error.text, cause=error.cause, uuid=_uuid(context))
        if isinstance(error, MissingTable):
            self._table_missing(error.cause)
        if isinstance(error, DeadlineExceeded):
            _abort(context, grpc.StatusCode.DEADLINE_EXCEEDED, "context deadline exceeded")
        _abort(context, grpc.StatusCode.UNKNOWN, error.text)

    def _lock(self, body: bytes, _context: Context) -> bytes:
        asked = locket_pb2.LockRequest.FromString(body)
        resource = _resource(asked)
        self._service.lock(
            key=resource.key,
            owner=resource.owner,
            value=resource.value,
            type_code=resource.type_code,
            ttl=asked.ttl_in_seconds,
        )
        return b""

    def _release(self, body: bytes, _context: Context) -> bytes:
        resource = _resource(locket_pb2.ReleaseRequest.FromString(body))
        self._service.release(key=resource.key, owner=resource.owner)
        return b""

    def _fetch(self, body: bytes, _context: Context) -> bytes:
        row = self._service.fetch(locket_pb2.FetchRequest.FromString(body).key)
        return locket_pb2.FetchResponse(resource=_told(row)).SerializeToString()

    def _fetch_all(self, body: bytes, _context: Context) -> bytes:
        rows = self._service.fetch_all(locket_pb2.FetchAllRequest.FromString(body).type_code)
        return locket_pb2.FetchAllResponse(resources=map(_told, rows)).SerializeToString()


def _unary(behaviour: Behaviour) -> "grpc.RpcMethodHandler[bytes, bytes]":
    return grpc.unary_unary_rpc_method_handler(behaviour)


def _unimplemented(text: str) -> Behaviour:
    def answer(_body: bytes, context: Context) -> bytes:
        _abort(context, grpc.StatusCode.UNIMPLEMENTED, text)

    return answer


def _abort(context: Context, code: grpc.StatusCode, text: str) -> NoReturn:
    context.abort(code, text)
    raise AssertionError("abort raises")


def _check_caller(context: Context) -> None:
    """Calls may have waited for a thread for longer than their callers waited for them."""
    if not context.is_active():
        raise Cancelled


def _resource(asked: locket_pb2.LockRequest | locket_pb2.ReleaseRequest) -> locket_pb2.Resource:
    if not asked.HasField("resource"):
        raise locks.InvalidResource
    return asked.resource


def _told(row: Row) -> locket_pb2.Resource:
    kind = KINDS_BY_TEXT.get(row.type)
    return locket_pb2.Resource(
        key=row.path,
        owner=row.owner,
        value=row.value,
        type=row.type,
        type_code=locket_pb2.TypeCode.ValueType(kind or 0),
    )


def _uuid(context: Context) -> str:
    """The caller's name for its attempt, for logs only."""
    metadata: Sequence[tuple[str, str | bytes]] = tuple(context.invocation_metadata() or ())
    return next((str(value) for key, value in metadata if key == "uuid"), "")
