"""Locket's numbers (contract/config-and-metrics.md section 11), as gauges on /metrics.

The names are the original's; its tag `request-type` is the label `request_type`.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from diego.database import Pool, PoolStatistics
from diego.locket.core.locks import Kind
from diego.locket.expiry import Expiry
from diego.runtime import metrics

METHODS = ("Lock", "Release", "Fetch", "FetchAll")


class Cancelled(Exception):
    """The caller is gone; its request was not carried out."""


class RequestMeasures:
    """Counts requests by method. A lock that another one holds counts as a success."""

    def __init__(self, period: float) -> None:
        labels = ("request_type",)
        self._started = metrics.gauge("RequestsStarted", "requests begun", labels)
        self._succeeded = metrics.gauge("RequestsSucceeded", "requests answered, refusals included", labels)
        self._failed = metrics.gauge("RequestsFailed", "requests that met an error", labels)
        self._cancelled = metrics.gauge("RequestsCancelled", "requests whose caller went away", labels)
        self._in_flight = metrics.gauge("RequestsInFlight", "requests under way", labels)
        slowest = metrics.gauge("RequestLatencyMax", "slowest request of the period, nanoseconds", labels)
        self._slowest = {method: Slowest(period) for method in METHODS}
        for method in METHODS:
            for each in (self._started, self._succeeded, self._failed, self._cancelled, self._in_flight):
                each.labels(method).set(0)
            slowest.labels(method).set_function(self._slowest[method].nanoseconds)

    @contextmanager
    def counting(self, method: str, refused: type[Exception]) -> Iterator[None]:
        """Around one request; exceptions of type `refused` are answers, not failures."""
        self._started.labels(method).inc()
        self._in_flight.labels(method).inc()
        began = time.monotonic()
        outcome = self._failed
        try:
            yield
            outcome = self._succeeded
        except refused:
            outcome = self._succeeded
            raise
        except Cancelled:
            outcome = self._cancelled
            raise
        finally:
            self._slowest[method].took(time.monotonic() - began)
            outcome.labels(method).inc()
            self._in_flight.labels(method).dec()


class Slowest:
    """The longest time of the present and the last period."""

    def __init__(self, period: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._period = period
        self._clock = clock
        self._lock = threading.Lock()
        self._began = clock()
        self._present = 0.0
        self._last = 0.0

    def took(self, seconds: float) -> None:
        with self._lock:
            self._turn()
            self._present = max(self._present, seconds)

    def nanoseconds(self) -> float:
        with self._lock:
            self._turn()
            return round(max(self._present, self._last) * 1e9)

    def _turn(self) -> None:
        periods = int((self._clock() - self._began) / self._period)
        if periods:
            self._last = self._present if periods == 1 else 0.0
            self._present = 0.0
            self._began += periods * self._period


def measure_locks(expiry: Expiry) -> None:
    """Active rows as last read, and totals expired by this process."""
    metrics.measured("ActiveLocks", "locks held", lambda: expiry.active[Kind.LOCK])
    metrics.measured("ActivePresences", "presences held", lambda: expiry.active[Kind.PRESENCE])
    metrics.measured("LocksExpired", "locks expired by this process", lambda: expiry.expired[Kind.LOCK])
    metrics.measured(
        "PresenceExpired", "presences expired by this process", lambda: expiry.expired[Kind.PRESENCE]
    )


class PoolMeasures:
    """The database's numbers, read from the pool at most once a second."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._taken = 0.0
        self._statistics = PoolStatistics()

    def register(self) -> None:
        for name, meaning, value in (
            ("DBOpenConnections", "connections open", lambda s: s.open_connections),
            ("DBWaitCount", "waits for a connection", lambda s: s.wait_count),
            ("DBWaitDuration", "time waited for connections, nanoseconds", lambda s: s.wait_seconds * 1e9),
            ("DBQueriesTotal", "transactions", lambda s: s.queries_total),
            ("DBQueriesSucceeded", "transactions that succeeded", lambda s: s.queries_succeeded),
            ("DBQueriesFailed", "transactions that failed", lambda s: s.queries_failed),
            ("DBQueriesInFlight", "transactions under way", lambda s: s.queries_in_flight),
            (
                "DBQueryDurationMax",
                "slowest transaction since last asked, nanoseconds",
                lambda s: s.query_seconds_max * 1e9,
            ),
        ):
            metrics.measured(name, meaning, self._reader(value))

    def _reader(self, value: Callable[[PoolStatistics], float]) -> Callable[[], float]:
        return lambda: value(self._now())

    def _now(self) -> PoolStatistics:
        with self._lock:
            now = time.monotonic()
            if now - self._taken > 1.0:
                self._taken, self._statistics = now, self._pool.statistics()
            return self._statistics
