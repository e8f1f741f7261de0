"""After a takeover: what is told of each desired LRP is made ahead of who asks, while the API serves.

A takeover reads all of the database before anything is served, and leaves what it can (`DesiredLRP.later`). Whoever
asks for a record that is not whole yet waits some microseconds for it; a list of all of them would wait for all.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from time import perf_counter

from diego.models import DesiredLRP
from diego.runtime.logs import get_logger

TURN_SECONDS = 0.002
PAUSE_SECONDS = 0.008
"""A fifth of the loop's time, in pieces that nobody notices."""

log = get_logger("bbs")


def make_whole(loop: asyncio.AbstractEventLoop, records: Iterable[DesiredLRP]) -> None:
    """Make records whole, in turns of the loop; returns at once. In the loop."""
    waiting = deque(record for record in records if not record.is_whole)
    count = len(waiting)

    def turn() -> None:
        end = perf_counter() + TURN_SECONDS
        while waiting:
            waiting.popleft().make_whole()
            if perf_counter() >= end:
                loop.call_later(PAUSE_SECONDS, turn)
                return
        log.info("records-whole", count=count)

    turn()
