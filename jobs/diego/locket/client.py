"""How other jobs use locket: a client, a lock holder, and a keeper of presences.

Make a client in the worker, after the fork. It may be used from many threads.
"""

import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import grpc

from diego.locket.core.holding import Change, Holding, State
from diego.locket.core.locks import Kind
from diego.runtime.config import split_address
from diego.runtime.logs import get_logger
from diego.wire import locket_pb2
from diego.wire.locket_pb2 import Resource

LOCK = Kind.LOCK
PRESENCE = Kind.PRESENCE

DEFAULT_TTL = 15.0
"""Seconds that a lock or presence lives without a refresh (contract/locket.md section 5)."""

MARGIN = 3.0
"""Seconds before the end of the time to live at which a holder stops counting on its lock."""

RENEW_EVERY = 1.0
PRESENCE_EVERY = 5.0
CALL_SECONDS = 4.0
"""How long one attempt of a holder may take: long enough for a slow database, short enough to try another."""

RELEASE_SECONDS = 1.0
CONNECT_MS = 2_000
BYTES_LIMIT = 64 << 20
RESOLVE_EVERY = 1.0
QUICK_SECONDS = 0.5
"""A round of calls that failed sooner than this is worth another one, AGAIN_SECONDS later."""

AGAIN_SECONDS = 0.1

OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", BYTES_LIMIT),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", CONNECT_MS),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.enable_retries", 0),
)

Event = Callable[[Holding, float], tuple[Holding, Change]]
"""What makes a new holding out of the present one, at a moment."""

log = get_logger("locket-client")

__all__ = [
    "LOCK",
    "PRESENCE",
    "LockCollision",
    "LockHolder",
    "LocketClient",
    "LocketError",
    "PresenceKeeper",
    "Resource",
    "State",
]


class LocketError(Exception):
    """Locket answered with an error, or did not answer. `code` is the gRPC code's name."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class LockCollision(LocketError):
    """Another owner has the lock."""


class LocketClient:
    """Calls one of the lockets behind `address` (`host:port`), and another one when that fails.

    The name is resolved by the client itself: it stays with an address that answers, and turns to the next one,
    asking for the name's addresses anew, after a failure. Only an answer from locket's own rules
    (a collision, an unknown key, a bad request) counts as an answer; a locket that has lost its database does not.
    """

    def __init__(
        self, address: str, *, ca_file: Path | str, cert_file: Path | str, key_file: Path | str,
        timeout: float = 10.0,
    ) -> None:  # fmt: skip
        self.address = address
        self.timeout = timeout
        self._host, self._port = split_address(address)
        self._credentials = grpc.ssl_channel_credentials(
            Path(ca_file).read_bytes(), Path(key_file).read_bytes(), Path(cert_file).read_bytes()
        )
        self._lock = threading.Lock()
        self._targets: list[str] = []
        self._resolved = -RESOLVE_EVERY
        self._channels: dict[str, grpc.Channel] = {}
        self._closed = False

    def lock(
        self,
        key: str,
        owner: str,
        *,
        value: str = "",
        kind: Kind = LOCK,
        ttl: float = DEFAULT_TTL,
        timeout: float | None = None,
    ) -> None:
        """Acquire or refresh.

        Raises:
            LockCollision: another owner has the key.
            LocketError: refused for another reason, or no locket answered within `timeout` seconds.
        """
        resource = _resource(key, owner, value, kind)
        asked = locket_pb2.LockRequest(resource=resource, ttl_in_seconds=round(ttl))
        self._call("Lock", asked.SerializeToString(), timeout)

    def release(self, key: str, owner: str, *, timeout: float | None = None) -> None:
        """Give up. A key that nobody holds is no error; raises as `lock`."""
        asked = locket_pb2.ReleaseRequest(resource=Resource(key=key, owner=owner))
        self._call("Release", asked.SerializeToString(), timeout)

    def fetch(self, key: str, *, timeout: float | None = None) -> Resource | None:
        """Who holds `key`, or None. Raises LocketError."""
        asked = locket_pb2.FetchRequest(key=key)
        try:
            answer = self._call("Fetch", asked.SerializeToString(), timeout)
        except LocketError as error:
            if error.code == grpc.StatusCode.NOT_FOUND.name:
                return None
            raise
        return locket_pb2.FetchResponse.FromString(answer).resource

    def fetch_all(self, kind: Kind, *, timeout: float | None = None) -> list[Resource]:
        """All locks, or all presences. Raises LocketError."""
        asked = locket_pb2.FetchAllRequest(type=kind.text, type_code=_type_code(kind))
        answer = self._call("FetchAll", asked.SerializeToString(), timeout)
        return list(locket_pb2.FetchAllResponse.FromString(answer).resources)

    def close(self) -> None:
        """Close all connections; calls under way fail."""
        with self._lock:
            self._closed = True
            channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            channel.close()

    def _call(self, method: str, body: bytes, timeout: float | None) -> bytes:
        """Ask every address in turn, and once more if none could be reached: a connection may have broken unseen.

        All of locket's methods may be repeated.
        """
        began = time.monotonic()
        deadline = began + (self.timeout if timeout is None else timeout)
        try:
            return self._round(method, body, deadline)
        except LocketError as error:
            now = time.monotonic()
            quickly = now - began < QUICK_SECONDS and now + AGAIN_SECONDS < deadline
            if error.code != grpc.StatusCode.UNAVAILABLE.name or not quickly:
                raise
        time.sleep(AGAIN_SECONDS)
        return self._round(method, body, deadline)

    def _round(self, method: str, body: bytes, deadline: float) -> bytes:
        failure = LocketError(grpc.StatusCode.UNAVAILABLE.name, f"no address for {self._host}")
        targets = self._known_targets()
        for position, target in enumerate(targets):
            left = deadline - time.monotonic()
            if left <= 0 and position:
                break
            share = left / (len(targets) - position)
            try:
                return self._attempt(target, method, body, max(share, 0.01))
            except LocketError as error:
                if error.code in _ANSWERS:
                    raise
                failure = error
                self._turn_away_from(target, forget=error.code == grpc.StatusCode.UNAVAILABLE.name)
        self._resolve()
        raise failure

    def _attempt(self, target: str, method: str, body: bytes, timeout: float) -> bytes:
        try:
            call = self._channel(target).unary_unary(
                f"/models.Locket/{method}", request_serializer=None, response_deserializer=None
            )
            answer: bytes = call(body, timeout=timeout)
        except grpc.RpcError as error:
            failed = cast("grpc.Call", error)
            code, text = failed.code().name, failed.details() or ""
            if code == grpc.StatusCode.ALREADY_EXISTS.name:
                raise LockCollision(code, text) from error
            raise LocketError(code, text) from error
        except ValueError as error:
            raise LocketError("CANCELLED", "the client is closed") from error
        return answer

    def _channel(self, target: str) -> grpc.Channel:
        with self._lock:
            if self._closed:
                raise ValueError("closed")
            if target not in self._channels:
                options = (
                    *OPTIONS,
                    ("grpc.ssl_target_name_override", self._host),
                    ("grpc.use_local_subchannel_pool", 1),
                )
                self._channels[target] = grpc.secure_channel(target, self._credentials, options)
            return self._channels[target]

    def _known_targets(self) -> list[str]:
        if not self._targets:
            self._resolve()
        with self._lock:
            return list(self._targets)

    def _turn_away_from(self, target: str, *, forget: bool) -> None:
        """Let the next call begin with another address; `forget`: and connect anew, without gRPC's pauses.

        The forgotten channel is not closed: another thread may still use it, and it goes with its last user.
        """
        with self._lock:
            if forget:
                self._channels.pop(target, None)
            if self._targets and self._targets[0] == target:
                self._targets = [*self._targets[1:], target]

    def _resolve(self) -> None:
        """Ask for the name's addresses, at most once a second; those known stay when nobody knows."""
        with self._lock:
            now = time.monotonic()
            if self._targets and now - self._resolved < RESOLVE_EVERY:
                return
            self._resolved = now
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except OSError as error:
            log.info("cannot-resolve", host=self._host, error=str(error))
            return
        targets = list(dict.fromkeys(_target(family, address) for family, _, _, _, address in found))
        random.shuffle(targets)
        with self._lock:
            kept = [target for target in self._targets if target in targets]
            self._targets = kept + [target for target in targets if target not in kept]
            gone = [self._channels.pop(name) for name in list(self._channels) if name not in targets]
        for channel in gone:
            channel.close()


def boot_clock() -> float:
    """Seconds since the host booted, those in which it was suspended included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class _Renewer:
    """Asks for a lock again and again, and knows how long the last good answer counts."""

    def __init__(
        self,
        client: LocketClient,
        resource: Resource,
        holding: Holding,
        *,
        ttl: float,
        callbacks: dict[Change, Callable[[], None]],
        after_collision: Event,
        clock: Callable[[], float],
    ) -> None:
        self._client = client
        self._resource = resource
        self._holding = holding
        self._ttl = ttl
        self._callbacks = callbacks
        self._after_collision = after_collision
        self._clock = clock
        self._changed = threading.Condition()
        self._released = False

    @property
    def state(self) -> State:
        """What the holder is now; never HELD when the last refresh no longer counts."""
        holding, _ = self._holding.passed(self._clock())
        return holding.state

    @property
    def held(self) -> bool:
        """Whether it is ours at this moment, by the clock."""
        return self._holding.held(self._clock())

    def wait(self, stopping: threading.Event) -> bool:
        """Block until it is held; False when it is lost or `stopping` is set first."""
        with self._changed:
            while not self.held:
                if stopping.is_set() or self.state is State.LOST:
                    return False
                self._changed.wait(0.1)
            return True

    def release(self) -> None:
        """Give it up, at the end: errors are ignored, and it takes at most a second."""
        self._released = True
        self._holding = Holding(self._holding.period)
        with contextlib.suppress(LocketError):  # the row then expires by itself
            self._client.release(self._resource.key, self._resource.owner, timeout=RELEASE_SECONDS)

    def _refresh(self) -> bool:
        """Ask once. Whether the answer was good."""
        if self._released:
            return False
        started = self._clock()
        limit = CALL_SECONDS
        if self._holding.held(started):
            limit = min(limit, max(self._holding.until - started, 0.01))
        try:
            self._client.lock(
                self._resource.key,
                self._resource.owner,
                value=self._resource.value,
                kind=Kind(self._resource.type_code),
                ttl=self._ttl,
                timeout=limit,
            )
        except LockCollision:
            self._react(self._after_collision)
            return False
        except LocketError as error:
            self._react(lambda holding, now: holding.passed(now))
            waiting = self._holding.state is State.WAITING
            (log.debug if waiting else log.info)(
                "lock.not-refreshed", key=self._resource.key, error=str(error)
            )
            return False
        self._react(lambda holding, now: holding.granted(started, now))
        return True

    def _react(self, event: Event) -> None:
        with self._changed:
            if self._released:
                return
            self._holding, change = event(self._holding, self._clock())
            self._changed.notify_all()
        if change is not Change.NONE:
            log.info("lock.changed", key=self._resource.key, now=str(change))
            self._callbacks.get(change, _nothing)()

    def _sleep(self, until: float, stopping: threading.Event) -> None:
        """Until that moment, but awake when the last refresh stops to count."""
        while not stopping.is_set():
            now = self._clock()
            left = until - now
            holding = self._holding
            if holding.state is State.HELD:
                if now >= holding.until:
                    self._react(lambda holding, now: holding.passed(now))
                    continue
                left = min(left, holding.until - now)
            if until <= now:
                return
            stopping.wait(left)


class LockHolder(_Renewer):
    """Acquires a lock and keeps it: `run` in a thread of its own, asking each second.

    The callbacks are called from the thread that saw the change and must return at once, as no refresh
    happens meanwhile: `acquired` when the lock is held for the first time, `passive` when it could not be
    refreshed in time, `regained` when it is held again after that, `lost` when another owner was seen.

    Ask `held` before every act that must not be done by two: it is exact, and counts the time that the host was
    suspended.
    """

    def __init__(
        self,
        client: LocketClient,
        key: str,
        owner: str,
        *,
        value: str = "",
        ttl: float = DEFAULT_TTL,
        margin: float = MARGIN,
        interval: float = RENEW_EVERY,
        acquired: Callable[[], None] = lambda: None,
        passive: Callable[[], None] = lambda: None,
        regained: Callable[[], None] = lambda: None,
        lost: Callable[[str], None] = lambda _why: None,
        clock: Callable[[], float] = boot_clock,
    ) -> None:
        super().__init__(
            client,
            _resource(key, owner, value, LOCK),
            Holding(ttl - margin),
            ttl=ttl,
            callbacks={
                Change.ACQUIRED: acquired,
                Change.PASSIVE: passive,
                Change.REGAINED: regained,
                Change.LOST: lambda: lost(f"another owner has the lock {key!r}"),
            },
            after_collision=lambda holding, _now: holding.refused(),
            clock=clock,
        )
        self._interval = interval

    def run(self, stopping: threading.Event) -> None:
        """Ask until `stopping` is set, the lock is lost, or released."""
        while not (stopping.is_set() or self._released):
            began = self._clock()
            self._refresh()
            if self._holding.state is State.LOST:
                return
            self._sleep(began + self._interval, stopping)

    def confirm(self) -> bool:
        """Refresh once, now: False when there was no good answer. A collision means that the lock is lost."""
        return self._refresh() and self.held


class PresenceKeeper(_Renewer):
    """Makes a cell seen and keeps it so, whatever happens: `run` in a thread of its own.

    A presence of the same key with another owner is waited for until it has expired. `taken` is called when
    the presence stands for the first time, `missed` when it was not refreshed for its whole time to live, so
    that others may take the cell for gone, `regained` when it stands again after that.
    """

    def __init__(
        self,
        client: LocketClient,
        key: str,
        owner: str,
        value: str,
        *,
        ttl: float = DEFAULT_TTL,
        interval: float = PRESENCE_EVERY,
        retry: float = RENEW_EVERY,
        taken: Callable[[], None] = lambda: None,
        missed: Callable[[], None] = lambda: None,
        regained: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = boot_clock,
    ) -> None:
        super().__init__(
            client,
            _resource(key, owner, value, PRESENCE),
            Holding(ttl),
            ttl=ttl,
            callbacks={Change.ACQUIRED: taken, Change.PASSIVE: missed, Change.REGAINED: regained},
            after_collision=Holding.passed,
            clock=clock,
        )
        self._interval = interval
        self._retry = retry

    def update(self, value: str) -> None:
        """Tell another value from the next refresh on. From any thread."""
        self._resource = _resource(self._resource.key, self._resource.owner, value, PRESENCE)

    def run(self, stopping: threading.Event) -> None:
        """Refresh until `stopping` is set or the presence is released: after a failure sooner than otherwise."""
        while not (stopping.is_set() or self._released):
            began = self._clock()
            good = self._refresh()
            self._sleep(began + (self._interval if good else self._retry), stopping)


_ANSWERS = {
    grpc.StatusCode.ALREADY_EXISTS.name,
    grpc.StatusCode.NOT_FOUND.name,
    grpc.StatusCode.INVALID_ARGUMENT.name,
    grpc.StatusCode.CANCELLED.name,
}
"""What another locket would answer as well."""


def _nothing() -> None:
    pass


def _resource(key: str, owner: str, value: str, kind: Kind) -> Resource:
    return Resource(key=key, owner=owner, value=value, type=kind.text, type_code=_type_code(kind))


def _type_code(kind: Kind) -> locket_pb2.TypeCode.ValueType:
    return locket_pb2.TypeCode.ValueType(kind)


def _target(family: int, address: Sequence[object]) -> str:
    """A resolved address in gRPC's form."""
    host, port = address[0], address[1]
    return f"ipv6:[{host}]:{port}" if family == socket.AF_INET6 else f"ipv4:{host}:{port}"
