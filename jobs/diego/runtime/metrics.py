"""The process's numbers, as Prometheus reads them from /metrics on the debug listener.

Numbers that the original has too are named by its names through one rule (`name_of`, docs/operations/metrics.md):
words in small letters with underscores; times in seconds and sizes in bytes, which the name ends with; counters end
with `_total`; tags are labels; the variable end of a name is a label as well. Our own begin with the job's name.
"""

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeVar

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

M = TypeVar("M", Counter, Gauge, Histogram)

disable_created_metrics()  # type: ignore[no-untyped-call]  # the client's own function has no types

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


class Kind(StrEnum):
    """What a number of the original is: a level, or something that only grows."""

    GAUGE = "gauge"
    COUNTER = "counter"


class Unit(StrEnum):
    """The original's unit, and how our name ends: its nanoseconds are seconds here, its MiB bytes."""

    METRIC = ""
    NANOS = "_seconds"
    MIB = "_bytes"


_WORD = re.compile(r"[A-Z]+s(?![a-z])|[A-Z]+(?![a-z])|[A-Z][a-z]+|[a-z]+|[0-9]+")
_VARIABLE = re.compile(r"\.<(?P<what>[a-z-]+)>$")


def name_of(original: str, *, kind: Kind = Kind.GAUGE, unit: Unit = Unit.METRIC) -> str:
    """Our name for a number of the original.

    `ConvergenceLRPDuration`, in nanoseconds, is `convergence_lrp_duration_seconds`; `Domain.<name>` is
    `domain_by_name`, with the label `name`.
    """
    variable = _VARIABLE.search(original)
    words = _WORD.findall(original[: variable.start()] if variable else original)
    if variable:
        words += ["by", *variable["what"].split("-")]
    return "_".join(words).lower() + unit + ("_total" if kind is Kind.COUNTER else "")


def labels_of(original: str, tags: Iterable[str] = ()) -> tuple[str, ...]:
    """Our labels for a number of the original: its tags, and what is variable in its name."""
    variable = _VARIABLE.search(original)
    names = [*tags, *([variable["what"]] if variable else [])]
    return tuple(name.replace("-", "_") for name in names)


Read = Callable[[], float | None] | Callable[[], Mapping[Any, float]]
"""How a number is asked for: itself, or by the tuples of its labels' values. None, or nothing in it: there is no such
number at the moment."""


class _Reading(Collector):
    """A number, or one for each value of its labels, that is asked for whenever somebody looks."""

    def __init__(self, kind: Kind, name: str, meaning: str, labels: Sequence[str]) -> None:
        self._kind, self._name, self._meaning, self._labels = kind, name, meaning, labels
        self.read: Read = lambda: None

    def describe(self) -> Iterable[Metric]:
        return [self._family()]

    def collect(self) -> Iterable[Metric]:
        family = self._family()
        found = self.read()
        if isinstance(found, Mapping):
            for values, number in found.items():
                family.add_metric(values, number)
        elif found is not None:
            family.add_metric((), found)
        return [family]

    def _family(self) -> CounterMetricFamily | GaugeMetricFamily:
        family = CounterMetricFamily if self._kind is Kind.COUNTER else GaugeMetricFamily
        return family(self._name, self._meaning, labels=self._labels)


def read(name: str, meaning: str, ask: Read, *, kind: Kind = Kind.GAUGE, labels: Sequence[str] = ()) -> None:
    """A number of our own that `ask` answers, in the thread of whoever looks."""
    if name not in _known:
        _known[name] = _Reading(kind, name, meaning, labels)
        REGISTRY.register(_known[name])
    found = _known[name]
    if not isinstance(found, _Reading):
        raise TypeError(f"{name} is already a {type(found).__name__}")
    found.read = ask


def original(
    name: str,
    meaning: str,
    ask: Read,
    *,
    kind: Kind = Kind.GAUGE,
    unit: Unit = Unit.METRIC,
    tags: Sequence[str] = (),
) -> None:
    """A number that the original has, by its name. `ask` answers in seconds and bytes."""
    read(name_of(name, kind=kind, unit=unit), meaning, ask, kind=kind, labels=labels_of(name, tags))


class Highest:
    """The highest value of the present and the last period: a peak is to be seen by who looks once a period."""

    def __init__(self, period: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._period = period
        self._clock = clock
        self._lock = threading.Lock()
        self._ends = clock() + period
        self._present = 0.0
        self._last = 0.0

    def saw(self, value: float) -> None:
        with self._lock:
            if self._clock() >= self._ends:
                self._turn()
            if value > self._present:
                self._present = value

    def value(self) -> float:
        with self._lock:
            if self._clock() >= self._ends:
                self._turn()
            return max(self._present, self._last)

    def _turn(self) -> None:
        periods = 1 + int((self._clock() - self._ends) / self._period)
        self._last = self._present if periods == 1 else 0.0
        self._present = 0.0
        self._ends += periods * self._period


class Tally:
    """Requests of one kind: how many, and the slowest of the present and the last period.

    It stands in the way of every request, so it is two additions and no more. It belongs to the server's loop, which
    also turns the period (`turn`); anybody may read it.
    """

    __slots__ = ("count", "last", "present")

    def __init__(self) -> None:
        self.count = 0
        self.present = 0.0
        self.last = 0.0

    def saw(self, seconds: float) -> None:
        self.count += 1
        if seconds > self.present:
            self.present = seconds

    def turn(self) -> None:
        self.last, self.present = self.present, 0.0

    @property
    def slowest(self) -> float:
        return max(self.present, self.last)
