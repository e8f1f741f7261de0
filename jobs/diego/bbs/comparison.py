"""Looks whether memory and database are the same, and tells where they are not (docs/operations/history.md).

Every answer comes from memory, and every takeover from the database: should the two ever differ, an operator must
hear of it before a failover makes it matter. Rows are read in small pages on a connection of their own, at a rate
that costs a hundredth of a processor. Nothing is mended: a difference is a fault of this program, or of somebody who
wrote into its tables.

A row that is on its way is not compared. One that differs is looked at again after a pause: memory, database and
memory once more, and it is told only if memory was the same both times and nothing was on its way.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from diego.bbs.core.comparison import Record, differences
from diego.bbs.memory import Memory
from diego.bbs.store import StoreUnavailable
from diego.bbs.store.pages import TABLES, Key, TablePages
from diego.models import Presence
from diego.runtime import loops, metrics
from diego.runtime.logs import get_logger
from diego.runtime.process import Runtime

ROWS_AT_ONCE = 100
SHARE = 0.01
"""Of one processor, at most."""

PAUSE = 1.0
"""Seconds before a row that differs is looked at again."""

TRIES = 5
MOST_TOLD = 100
"""Differences of one round that are logged; all are counted."""

log = get_logger("bbs")


class Held(NamedTuple):
    """What memory has under a key: what is visible, and what is newest."""

    visible: Record | None
    newest: Record | None

    @property
    def settled(self) -> bool:
        """Whether nothing is on its way."""
        return self.visible is self.newest or self.visible == self.newest


class Difference(NamedTuple):
    """A row that is not what memory has."""

    table: str
    key: Key
    fields: list[str]


class Comparison:
    """One BBS's memory against its database. `still_mine`: whether nobody has taken over; then nothing is told."""

    def __init__(
        self,
        runtime: Runtime,
        memory: Memory,
        pages: TablePages,
        still_mine: Callable[[], bool],
        *,
        share: float = SHARE,
        pause: float = PAUSE,
    ) -> None:
        self._runtime = runtime
        self._memory = memory
        self._pages = pages
        self._still_mine = still_mine
        self._share = share
        self._pause = pause
        self._rows = metrics.counter("bbs_comparison_rows", "Rows of the database compared with memory")
        self._differences = metrics.counter(
            "bbs_comparison_differences", "Rows that were not what memory has"
        )
        self._seconds = metrics.gauge("bbs_comparison_seconds", "How long the last whole comparison took")

    def run(self, interval: float, active: Callable[[], bool]) -> None:
        """Go round for ever, with a pause after each round; never where the pause is 0."""
        if not interval:
            return

        def once() -> None:
            if active():
                try:
                    self.round()
                except StoreUnavailable as error:
                    log.error("comparison-interrupted", error=error.text)

        loops.every(self._runtime, "comparison", interval, once, jitter=0.1)

    def round(self) -> list[Difference]:
        """Compare everything once, and tell what differs.

        Raises:
            StoreUnavailable
        """
        began = time.monotonic()
        found: list[Difference] = []
        for table in TABLES:
            suspects = list(self._suspects(table))
            if suspects and not self._runtime.stopping.wait(self._pause):
                found += self._confirmed(table, suspects)
        if found and not self._still_mine():
            log.info("comparison-void", reason="another BBS has taken over")
            return []
        for difference in found[:MOST_TOLD]:
            log.error(
                "memory-and-database-differ",
                table=difference.table,
                key=[str(part) for part in difference.key],
                fields=difference.fields,
            )
        self._differences.inc(len(found))
        self._seconds.set(time.monotonic() - began)
        return found

    # ---- a first look

    def _suspects(self, table: str) -> Iterator[Key]:
        """The keys under which memory and database seem to have different things."""
        expected = self._runtime.call_in_loop(self._keys, table)
        seen: set[Key] = set()
        key: Key | None = None
        while not self._runtime.stopping.is_set():
            used = time.thread_time()
            page = self._pages.after(table, key, ROWS_AT_ONCE)
            keys = [stored.key for stored in page]
            for stored, held in zip(page, self._runtime.call_in_loop(self._held, table, keys), strict=True):
                if held.settled and differences(held.visible, stored.record):
                    yield stored.key
            seen.update(keys)
            self._rows.inc(len(page))
            if len(page) < ROWS_AT_ONCE:
                break
            key = keys[-1]
            self._rest(used)
        yield from (key for key in expected if key not in seen)

    # ---- and a closer one

    def _confirmed(self, table: str, keys: Iterable[Key]) -> Iterator[Difference]:
        """Those that differ while nothing is on its way."""
        for key in keys:
            for _ in range(TRIES):
                used = time.thread_time()
                [before] = self._runtime.call_in_loop(self._held, table, [key])
                stored = self._pages.one(table, key)
                [after] = self._runtime.call_in_loop(self._held, table, [key])
                if before.settled and after.settled and before.visible == after.visible:
                    names = differences(after.visible, None if stored is None else stored.record)
                    unreadable = stored is not None and stored.record is None
                    if unreadable and after.visible is not None:
                        names = ["unreadable"]
                    if names:
                        yield Difference(table, key, names)
                    self._rest(used)
                    break
                self._runtime.stopping.wait(self._pause)

    def _rest(self, used: float) -> None:
        """After work that began when this much processor time was used: so long that it was only the share."""
        self._runtime.stopping.wait((time.thread_time() - used) * (1 / self._share - 1))

    # ---- in the loop

    def _keys(self, table: str) -> Sequence[Key]:
        memory = self._memory
        match table:
            case "domains":
                return [(name,) for name in memory.domains]
            case "desired_lrps":
                return [(guid,) for guid in memory.desired.by_guid]
            case "actual_lrps":
                return list(memory.actual.by_identity)
        return [(guid,) for guid in memory.tasks.by_guid]

    def _held(self, table: str, keys: Iterable[Key]) -> list[Held]:
        return [self._held_one(table, key) for key in keys]

    def _held_one(self, table: str, key: Key) -> Held:
        memory, first = self._memory, key[0]
        match table:
            case "domains":
                return Held(memory.domains.get(first), memory.newest_domain(first))
            case "desired_lrps":
                return Held(memory.desired.by_guid.get(first), memory.newest_desired(first))
            case "actual_lrps":
                guid, index, presence = key
                rows = memory.newest_rows(guid, index)
                newest = {
                    Presence.ORDINARY: rows.ordinary,
                    Presence.EVACUATING: rows.evacuating,
                    Presence.SUSPECT: rows.suspect,
                }[presence]
                return Held(memory.actual.get((guid, index, presence)), newest)
        return Held(memory.tasks.by_guid.get(first), memory.newest_task(first))
