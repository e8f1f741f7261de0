"""What the control plane is meant to do, as a table: the original's figure, what is asked of ours, what was measured."""

from dataclasses import dataclass, field
from typing import Any

MARKS = {True: "yes", False: "no", None: ""}


@dataclass(frozen=True)
class Target:
    """One row. `bar` must be met and `aim` is hoped for; where less is better, `lower`.

    Attributes:
        original: the original's figure (release of 2024-10-24, Go), on two idle cores of another machine.
        step: what measures it: `scripts/bench --only STEP`.
    """

    key: str
    work: str
    unit: str
    step: str
    original: float | None = None
    bar: float | None = None
    aim: float | None = None
    lower: bool = False

    def met(self, value: float) -> bool | None:
        """Whether a figure meets the bar; None where there is none."""
        return self._within(value, self.bar)

    def aimed(self, value: float) -> bool | None:
        """Whether it is as good as was hoped for."""
        return self._within(value, self.aim)

    def _within(self, value: float, limit: float | None) -> bool | None:
        if limit is None:
            return None
        return value <= limit if self.lower else value >= limit


@dataclass(frozen=True)
class Measured:
    """One figure, or why there is none.

    Attributes:
        runs: the single runs of which `value` is the median.
        other_cores: what everything else on the machine used meanwhile.
        at: when, in seconds since the epoch.
    """

    key: str
    value: float | None = None
    runs: list[float] = field(default_factory=list)
    note: str = ""
    other_cores: float | None = None
    error: str = ""
    at: float = 0.0

    @staticmethod
    def read(document: dict[str, Any]) -> "Measured":
        return Measured(**document)


TARGETS = (
    Target("desire-1", "desire an LRP, 1 client", "/s", "desire", 338, 600),
    Target("desire-8", "desire an LRP, 8 clients", "/s", "desire", 780, 2000, 3900),
    Target("desire-32", "desire an LRP, 32 clients", "/s", "desire", 947, 2800, 4735),
    Target("claims-32", "claim and start (2 requests), 32 clients", "/s", "claims", 478, 1400, 2400),
    Target("tasks-32", "a task's life (5 requests), 32 clients", "/s", "tasks", 314, 900, 1500),
    Target("get-50k", "get one, 8 clients, 50,000 stored", "/s", "stored-50k", 2097, 8000, 20000),
    Target("desired-50k", "list all desired LRPs, 50,000", "s", "stored-50k", 3.6, 0.4, 0.3, lower=True),
    Target("infos-50k", "list all scheduling infos, 50,000", "s", "stored-50k", 0.87, 0.15, lower=True),
    Target("actual-50k", "list all actual LRPs, 50,000", "s", "stored-50k", 0.70, 0.10, lower=True),
    Target("convergence-50k", "a convergence, 50,000, steady", "s", "stored-50k", 2.25, 0.2, lower=True),
    Target("convergence-50k-rate", "· meanwhile, of the rate of gets without", "%", "stored-50k", None, 50),
    Target("convergence-50k-p99", "· meanwhile, p99 of gets", "ms", "stored-50k", None, 20, lower=True),
    Target("convergence-250k", "a convergence, 250,000, steady", "s", "stored-250k", None, 1.2, lower=True),
    Target("convergence-250k-rate", "· meanwhile, of the rate of gets without", "%", "stored-250k", None, 50),
    Target("convergence-250k-p99", "· meanwhile, p99 of gets", "ms", "stored-250k", None, 20, lower=True),
    Target("takeover-50k", "takeover: lock → API open, 50,000", "s", "stored-50k", None, 6, 3, lower=True),
    Target("memory-50k", "the BBS's memory, 50,000, peak of the lists", "MB", "stored-50k", 1434, 900, 600, lower=True),
    Target("streams-delivered", "500 event streams, 100 events/s: delivered", "%", "streams", None, 100),
    Target("streams-p99", "· from the request to the stream, p99", "ms", "streams", None, 50, 10, lower=True),
    Target("streams-threads", "· threads more than without streams", "", "streams", None, 0, lower=True),
    Target("auction-8200", "auction of 8,200 on 100 cells", "s", "auctions", 5.6, 0.2, lower=True),
    Target("auction-10k", "auction of 10,000 (and 1,000 tasks) on 1,000 cells", "s", "auctions", None, 0.3, lower=True),
    Target("states-1000", "states of 1,000 cells fetched, mutual TLS", "s", "cell-states", 0.13, 0.5, lower=True),
    Target("presences-cpu", "Locket: 1,000 presences every 5 s, of one core", "%", "presences", None, 25, lower=True),
    Target("presences-missed", "· TTLs missed", "", "presences", None, 0, lower=True),
    Target("history-cost", "desire, 32 clients, of the rate without history", "%", "history-cost"),
    Target("status-50k", "`diego status`, 50,000", "s", "stored-50k", None, 0.2, lower=True),
    Target("explain-50k", "`diego explain GUID`, 50,000", "s", "stored-50k", None, 0.2, lower=True),
    Target("history-50k", "`diego history GUID`, 50,000", "s", "stored-50k", None, 0.2, lower=True),
)  # fmt: skip


def figure(value: float | None) -> str:
    """A number with as many digits as matter."""
    if value is None:
        return ""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 else "< 0.001"


def with_unit(value: float | None, unit: str) -> str:
    text = figure(value)
    if not text or not unit:
        return text
    return text + unit if unit.startswith("/") else f"{text} {unit}"


def rows(found: dict[str, Measured]) -> list[list[str]]:
    """The table's rows; a target that was not measured, or failed, says so."""
    shown = []
    for target in TARGETS:
        one = found.get(target.key)
        if one is None:
            measured, met = "not measured", ""
        elif one.value is None:
            measured, met = f"failed: {one.error}", MARKS[False]
        else:
            measured, met = with_unit(one.value, target.unit), MARKS[target.met(one.value)]
            if target.aimed(one.value):
                met += ", and the aim"
        shown.append(
            [
                target.work,
                with_unit(target.original, target.unit),
                ("≤ " if target.lower else "≥ ") + with_unit(target.bar, target.unit) if target.bar is not None else "",
                with_unit(target.aim, target.unit),
                measured,
                met,
                "" if one is None or one.other_cores is None else f"{one.other_cores:.1f}",
                f"`scripts/bench --only {target.step}`",
            ]
        )  # fmt: skip
    return shown


HEAD = ("work", "original", "bar", "aim", "measured", "met", "other cores", "repeat it with")
