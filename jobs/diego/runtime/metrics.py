"""The process's numbers, as Prometheus reads them from /metrics on the debug listener."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

M = TypeVar("M", Counter, Gauge, Histogram)

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

CONTENT_TYPE = CONTENT_TYPE_LATEST

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Buckets for what usually takes milliseconds and should never take half a minute."""


_known: dict[str, Any] = {}
"""By name: asking again for the same number gives the same, as a job composed anew does."""


def counter(name: str, meaning: str, labels: Sequence[str] = ()) -> Counter:
    return _once(Counter, name, meaning, labels)


def gauge(name: str, meaning: str, labels: Sequence[str] = ()) -> Gauge:
    return _once(Gauge, name, meaning, labels)


def histogram(
    name: str, meaning: str, labels: Sequence[str] = (), buckets: Sequence[float] = SECONDS
) -> Histogram:
    return _once(Histogram, name, meaning, labels, buckets=buckets)


def _once(kind: type[M], name: str, meaning: str, labels: Sequence[str], **more: Any) -> M:
    if name not in _known:
        _known[name] = kind(name, meaning, labels, registry=REGISTRY, **more)
    found = _known[name]
    if not isinstance(found, kind):
        raise TypeError(f"{name} is already a {type(found).__name__}")
    return found


def measured(name: str, meaning: str, value: Callable[[], float]) -> Gauge:
    """A gauge that asks `value` whenever somebody looks."""
    found = gauge(name, meaning)
    found.set_function(value)
    return found


def render() -> bytes:
    """All numbers in Prometheus' text form."""
    return generate_latest(REGISTRY)
