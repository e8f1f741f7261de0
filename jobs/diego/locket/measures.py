"""Locket's numbers (contract/config-and-metrics.md section 11), by the original's names on /metrics."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import Gauge

from diego.locket.core.locks import Kind
from diego.locket.expiry import Expiry
from diego.runtime.metrics import Highest, Unit, gauge, labels_of, name_of, original

METHODS = ("Lock", "Release", "Fetch", "FetchAll")
TAG = "request-type"


class Cancelled(Exception):
    """The caller is gone; its request was not carried out."""


class RequestMeasures:
    """Counts requests by method. A lock that another one holds counts as a success."""

    def __init__(self, period: float) -> None:
        self._started = _by_method("RequestsStarted", "Requests begun")
        self._succeeded = _by_method("RequestsSucceeded", "Requests answered, refusals included")
        self._failed = _by_method("RequestsFailed", "Requests that met an error")
        self._cancelled = _by_method("RequestsCancelled", "Requests whose caller went away")
        self._in_flight = _by_method("RequestsInFlight", "Requests under way")
        self._slowest = {method: Highest(period) for method in METHODS}
        original(
            "RequestLatencyMax",
            "Slowest request of the present and the last period",
            self._latencies,
            unit=Unit.NANOS,
            tags=(TAG,),
        )

    @contextmanager
    def counting(self, method: str, refused: type[Exception]) -> Iterator[None]:
        """Around one request; exceptions of type `refused` are answers, not failures."""
        self._started[method].inc()
        self._in_flight[method].inc()
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
            self._slowest[method].saw(time.monotonic() - began)
            outcome[method].inc()
            self._in_flight[method].dec()

    def _latencies(self) -> Mapping[tuple[str, ...], float]:
        return {(method,): slowest.value() for method, slowest in self._slowest.items()}


def _by_method(name: str, meaning: str) -> dict[str, Gauge]:
    """A number for each method, each 0 at first."""
    every = gauge(name_of(name), meaning, labels_of(name, (TAG,)))
    return {method: every.labels(method) for method in METHODS}


def measure_locks(expiry: Expiry) -> None:
    """Active rows as last read, and totals expired by this process."""
    original("ActiveLocks", "Locks held", lambda: expiry.active[Kind.LOCK])
    original("ActivePresences", "Presences held", lambda: expiry.active[Kind.PRESENCE])
    original("LocksExpired", "Locks expired by this process", lambda: expiry.expired[Kind.LOCK])
    original("PresenceExpired", "Presences expired by this process", lambda: expiry.expired[Kind.PRESENCE])
