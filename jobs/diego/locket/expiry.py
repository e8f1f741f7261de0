"""The loop that deletes rows whose time to live is over, and what it must know of the others' work."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from diego.database import ConnectionLost, DatabaseError, DeadlineExceeded
from diego.locket.core.expiry import Timers
from diego.locket.core.locks import Kind, Row
from diego.locket.store import LockStore
from diego.runtime.logs import get_logger

READ_EVERY = 5.0
"""Seconds between two readings of the whole table."""

READ_AGAIN = 1.0
"""The same after a reading that failed."""

TICK = 0.25
PROBE_EVERY = 1.0
"""Seconds between two questions to the database, so that no outage goes unnoticed for long."""

DISTURBANCE = 3.0
"""Seconds: work of the database, or a pause of this process, longer than this may have kept holders from
refreshing. It then counts as an outage: every row's time to live starts anew. A shorter one that goes unnoticed
costs a holder less than PROBE_EVERY + DISTURBANCE of its 15 s."""

log = get_logger("locket")


class Expiry:
    """Watches rows and deletes the expired.

    `active` holds the number of rows per type at the last reading, `expired` the totals deleted here.
    """

    def __init__(self, store: LockStore, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._last_alive = clock()
        self._timers = Timers(self._last_alive)
        self._lock = threading.Lock()
        self._under_way: dict[object, float] = {}
        self.active = dict.fromkeys(Kind, 0)
        self.expired = dict.fromkeys(Kind, 0)

    def saw(self, row: Row) -> None:
        """A row was locked or refreshed here."""
        with self._lock:
            self._timers.saw(row, self._clock())

    def seen(self, path: str) -> Row | None:
        """A row as it was when it was last seen here, which may no longer be true."""
        with self._lock:
            return self._timers.seen(path)

    def left(self, path: str) -> float | None:
        """How many seconds a row has to live, as seen from here; None for one that was not seen yet."""
        with self._lock:
            return self._timers.left(path, self._clock())

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Around every piece of work in the database: an outage seen by anybody stops the clock for all."""
        work, began = object(), self._clock()
        with self._lock:
            self._under_way[work] = began
        try:
            yield
        except (ConnectionLost, DeadlineExceeded):
            self.disturbed()
            raise
        finally:
            with self._lock:
                del self._under_way[work]
        if self._clock() - began > DISTURBANCE:
            self.disturbed()

    def disturbed(self) -> None:
        with self._lock:
            self._timers.disturbed(self._clock())

    def run(self, stopping: threading.Event) -> None:
        """Read and expire until `stopping`. A database that is away is waited for."""
        next_reading = next_probe = self._clock()
        while not stopping.wait(TICK):
            self._check_pause()
            try:
                if self._clock() >= next_reading:
                    readable = self.read()
                    next_reading = self._clock() + (READ_EVERY if readable else READ_AGAIN)
                    next_probe = self._clock() + PROBE_EVERY
                elif self._clock() >= next_probe:
                    with self.watching():
                        self._store.ping()
                    next_probe = self._clock() + PROBE_EVERY
                self.expire()
            except DatabaseError as error:
                log.error("expiry.failed", error=error.text, cause=error.cause)
                next_reading = self._clock() + READ_AGAIN

    def read(self) -> bool:
        """Look at the whole table; False if the database is away, which starts all times anew."""
        began = self._clock()
        try:
            with self.watching():
                rows = self._store.rows()
        except (ConnectionLost, DeadlineExceeded) as error:
            log.error("expiry.database-away", error=error.text, cause=error.cause)
            return False
        with self._lock:
            self._timers.saw_all(rows, began=began, now=self._clock())
        for kind in Kind:
            self.active[kind] = sum(row.type == kind.text for row in rows)
        return True

    def expire(self) -> None:
        """Delete what is over. Stops at the first sign that the database was away."""
        while due := self._due():
            for row in due:
                try:
                    with self.watching():
                        deleted = self._delete_exactly(row)
                except (ConnectionLost, DeadlineExceeded) as error:
                    log.error("expiry.database-away", error=error.text, cause=error.cause)
                    return
                with self._lock:
                    self._timers.forget(row)
                if deleted:
                    self._count(row)
                self._check_pause()

    def _check_pause(self) -> None:
        """A process that did not run could not take refreshes: that counts as an outage too."""
        now = self._clock()
        if now - self._last_alive > DISTURBANCE:
            log.info("expiry.was-paused", seconds=round(now - self._last_alive, 1))
            self.disturbed()
        self._last_alive = now

    def _due(self) -> list[Row]:
        self._check_pause()
        with self._lock:
            return self._timers.due(self._clock())

    def _delete_exactly(self, seen: Row) -> bool:
        """Delete the row if nobody refreshed or replaced it. Whether it was deleted.

        A database that hung while this was under way has kept the holders from refreshing as well: then
        nothing is deleted.
        """
        deleted = False

        def decide(found: Row | None) -> Row | None:
            nonlocal deleted
            unchanged = found is not None and (found.owner, found.modified_id, found.modified_index) == (
                seen.owner,
                seen.modified_id,
                seen.modified_index,
            )
            deleted = unchanged and not self._hanging()
            return None if deleted else found

        self._store.change(seen.path, decide)
        return deleted

    def _hanging(self) -> bool:
        """Whether anybody waits for the database suspiciously long."""
        with self._lock:
            oldest = min(self._under_way.values(), default=self._clock())
        return self._clock() - oldest > DISTURBANCE

    def _count(self, row: Row) -> None:
        for kind in Kind:
            if row.type == kind.text:
                self.expired[kind] += 1
                self.active[kind] = max(self.active[kind] - 1, 0)
        log.info("expired", key=row.path, owner=row.owner, type=row.type, ttl=row.ttl)
