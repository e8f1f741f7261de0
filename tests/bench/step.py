"""One step of the bench, as a process that can be cut: `python -m bench.step NAME` prints each figure as it is known."""

import importlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

from bench.table import Measured

STEPS: dict[str, tuple[str, float]] = {
    "desire": ("bench.rates:desire", 150),
    "claims": ("bench.rates:claims", 150),
    "tasks": ("bench.rates:tasks", 120),
    "history-cost": ("bench.rates:history_cost", 150),
    "stored-50k": ("bench.stored:fifty_thousand", 240),
    "stored-250k": ("bench.stored:quarter_million", 420),
    "streams": ("bench.streams:streams", 120),
    "auctions": ("bench.auctions:auctions", 120),
    "cell-states": ("bench.cell_states:states", 120),
    "presences": ("bench.presences:presences", 120),
}
"""By name: what does it, and the most seconds that it may take. On two idle cores each takes a quarter of that."""


class Reporter:
    """Keeps the figures of a step: each is a line on standard output, progress goes to standard error.

    `scale` is 1, or less to see only that a step works.
    """

    def __init__(self, scale: float = 1.0) -> None:
        self._scale = scale

    def of(self, count: int) -> int:
        """So many, or fewer where it is only tried out."""
        return max(20, int(count * self._scale)) if self._scale < 1 else count

    def say(self, text: str) -> None:
        print(f"  {text}", file=sys.stderr, flush=True)

    def keep(
        self,
        key: str,
        value: float | None,
        *,
        runs: Sequence[float] = (),
        note: str = "",
        other_cores: float | None = None,
        error: str = "",
    ) -> None:
        """A figure is known, or known not to be."""
        measured = Measured(key, value, list(runs), note, other_cores, error, time.time())
        print(json.dumps(asdict(measured)), flush=True)
        self.say(f"{key}: {error or value}" + (f" ({note})" if note else ""))


def work_of(name: str) -> Callable[[Reporter], None]:
    """The function of a step."""
    module, _, function = STEPS[name][0].partition(":")
    found: Callable[[Reporter], None] = getattr(importlib.import_module(module), function)
    return found


def main() -> None:
    work_of(sys.argv[1])(Reporter(float(sys.argv[2]) if len(sys.argv) > 2 else 1.0))


if __name__ == "__main__":
    importlib.import_module("bench.step").main()  # by its importable name, so that there is one Reporter only
