"""How a waiting BBS becomes the active one (ours.md section 2), and what it does when its lock is in doubt.

Lock; raise the epoch in the database, so that nobody before us can write any more; make sure of the lock once
more; load everything; open the API. Whoever holds a lock and cannot refresh it in time answers nothing until it
has it again; if somebody else had it meanwhile, or may have written, the process ends.
"""

import gc
import time
from collections.abc import Callable

from diego.bbs.memory import Memory
from diego.bbs.store import Loaded, Store, StoreError, StoreUnavailable
from diego.locket.client import LockHolder, State
from diego.runtime.logs import get_logger
from diego.runtime.process import Runtime

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 2.0
"""Seconds between two attempts to reach the database."""

COLLECT_AFTER = 10_000, 10, 1_000
"""Records hold no cycles, and there are many of them: the collector walks only what is new, a few milliseconds each
time, and everything hardly ever."""

log = get_logger("bbs")


class Takeover:
    """From the lock to a complete view."""

    def __init__(self, runtime: Runtime, holder: LockHolder, store: Store, memory: Memory) -> None:
        self._runtime = runtime
        self._holder = holder
        self._store = store
        self._memory = memory
        self.migration_seconds: float | None = None
        """How long the schema's migrations took; None until they are done."""
        self.doubtful = False
        """Whether the lock was not refreshed in time, and nobody has looked yet whether the fence is still ours."""

    def run(self) -> Loaded | None:
        """Wait for the lock, and take over. None when told to stop meanwhile."""
        stopping = self._runtime.stopping
        while self._holder.wait(stopping) and not stopping.is_set():
            began = time.monotonic()
            log.info("lock-held")
            try:
                if not self._raise_epoch():
                    continue  # the lock was in doubt before the epoch was raised: wait for it again
            except StoreError as error:
                self._runtime.end(error.text)
            while not self._holder.confirm():
                self._end_if_lost()
                if stopping.wait(FIRST_PAUSE):
                    return None
            try:
                loaded = self._load()
            except StoreError as error:  # a newer schema, an unknown key, a missing table
                self._runtime.end(error.text)
            if loaded is None or not self._make_sure():
                return None
            log.info(
                "taken-over",
                seconds=round(time.monotonic() - began, 3),
                lrps=len(self._memory.actual.by_identity),
            )
            return loaded
        return None

    def regain(self) -> None:
        """The lock is held again after a while without: go on only if nobody else could write meanwhile."""
        while not self._runtime.stopping.is_set():
            try:
                mine = self._store.still_mine()
            except StoreUnavailable as error:
                log.error("waiting-for-database", error=error.text)
                if self._runtime.stopping.wait(FIRST_PAUSE):
                    return
                continue
            if not mine:
                self._runtime.end("another BBS has taken over")
            self.doubtful = False
            log.info("lock-regained")
            return

    def _raise_epoch(self) -> bool:
        """Raise it as soon as the database lets us, but only while the lock is held: it ends whoever is active."""
        pause = FIRST_PAUSE
        while self._holder.held and not self._runtime.stopping.is_set():
            try:
                self._store.take_over()
            except StoreUnavailable as error:
                log.error("waiting-for-database", error=error.text)
            else:
                return True
            self._runtime.stopping.wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        return False

    def _make_sure(self) -> bool:
        """Wait until the lock is held and the fence has our epoch; False when told to stop.

        What was loaded is complete only if nobody else could write since: otherwise the process ends.
        """
        while not self._runtime.stopping.is_set():
            self._end_if_lost()
            if self._holder.held:
                try:
                    mine = self._store.still_mine()
                except StoreUnavailable as error:
                    log.error("waiting-for-database", error=error.text)
                else:
                    if not mine:
                        self._runtime.end("another BBS has taken over during the takeover")
                    if self._holder.held:  # that look may have taken long
                        return True
            self._runtime.stopping.wait(FIRST_PAUSE)
        return False

    def _end_if_lost(self) -> None:
        if self._holder.state is State.LOST:
            self._runtime.end("another BBS took the lock during the takeover")

    def _load(self) -> Loaded | None:
        found: list[Loaded] = []
        began = time.monotonic()
        if not self._patiently(self._store.migrate):
            return None
        self.migration_seconds = time.monotonic() - began
        gc.disable()  # nothing of what is read is garbage
        try:
            if not self._patiently(lambda: found.append(self._store.load())):
                return None
            fill(self._memory, found[0])
        finally:
            gc.enable()
        gc.freeze()
        gc.set_threshold(*COLLECT_AFTER)
        return found[0]

    def _patiently(self, act: Callable[[], object]) -> bool:
        """Do it as soon as the database is there; False when told to stop meanwhile."""
        pause = FIRST_PAUSE
        while True:
            try:
                act()
            except StoreUnavailable as error:
                log.error("waiting-for-database", error=error.text)
            else:
                return True
            if self._runtime.stopping.wait(pause):
                return False
            pause = min(pause * 2, LONGEST_PAUSE)


def fill(memory: Memory, loaded: Loaded) -> None:
    """Move all records into an empty memory. In any thread, as long as nobody else looks at it."""
    for domain in loaded.domains:
        memory.put_domain(domain.name, domain)
    for unreadable in loaded.unreadable_desired:
        memory.unreadable_desired[unreadable.process_guid] = unreadable.domain
    for lrp in loaded.desired:
        memory.put_desired(lrp.process_guid, lrp)
    for row in loaded.actual:
        memory.put_actual(row.identity, row)
    for task in loaded.tasks:
        memory.put_task(task.guid, task)
    for records in (loaded.domains, loaded.desired, loaded.actual, loaded.tasks):
        records.clear()  # else what they were lives as long as the list of what could not be read
