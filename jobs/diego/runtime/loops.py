"""Work that repeats."""

import random
from collections.abc import Callable

from diego.runtime.process import Runtime


def every(
    runtime: Runtime,
    name: str,
    seconds: float,
    function: Callable[[], None],
    *,
    jitter: float = 0.0,
    first: float | None = None,
) -> None:
    """Call `function` in a thread named `name`, pausing `seconds` after each time, until the job stops.

    The first time comes after `first` seconds (`seconds` without it). `jitter` is the share of the pause that is
    left to chance, so that many hosts do not act at once. An exception is logged, and the next round comes.
    """

    def run() -> None:
        pause = seconds if first is None else first
        while not runtime.stopping.wait(pause):
            try:
                function()
            except Exception:
                runtime.log.exception("round-failed", loop=name)
            pause = seconds * (1 + jitter * random.uniform(-1, 1))  # noqa: S311  # spreads load, guards nothing

    runtime.background(name, run)
