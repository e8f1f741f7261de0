"""A bounded set of connections, handed out one at a time."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from diego.database.connections import Connection, Settings
from diego.database.errors import ConnectionLost, DeadlineExceeded, Deadlock
from diego.runtime.metrics import Highest

TRIES = 3
PAUSE_SECONDS = 0.5
READ_COMMITTED = "READ COMMITTED"
REPEATABLE_READ = "REPEATABLE READ"
PERIOD = 60.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """What a pool's connections did since it was made; times in seconds. A query is one exchange with the server."""

    open_connections: int = 0
    wait_count: int = 0
    wait_seconds: float = 0.0
    queries_total: int = 0
    queries_succeeded: int = 0
    queries_failed: int = 0
    queries_in_flight: int = 0
    """The most at one time in the present and the last period."""
    query_seconds_max: float = 0.0
    """The longest in the present and the last period."""


class Pool:
    """At most `size` connections, made when needed, the freshest used first.

    A connection older than `lifetime` seconds is not used again (0: no limit). `period` is that of the statistics'
    maxima.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        size: int,
        isolation: str = REPEATABLE_READ,
        autocommit: bool = False,
        sees_all: bool = False,
        lifetime: float = 0.0,
        period: float = PERIOD,
    ) -> None:
        self._settings = settings
        self._tls = settings.tls()
        self._size = size
        self._autocommit = autocommit
        self._session = {"isolation": isolation, "autocommit": autocommit, "sees_all": sees_all}
        self._lifetime = lifetime
        self._idle: list[Connection] = []
        self._lent = 0
        self._changed = threading.Condition()
        self._statistics = _Counters(period)

    @property
    def operation_timeout(self) -> float:
        return self._settings.operation_timeout

    def deadline(self) -> float:
        """When a piece of work that begins now must be done, on the monotonic clock."""
        return time.monotonic() + self._settings.operation_timeout

    @contextmanager
    def connection(self, deadline: float) -> Iterator[Connection]:
        """A connection for the length of the block; what was not committed is rolled back at its end.

        Raises:
            ConnectionLost: the server cannot be reached.
            DeadlineExceeded: all connections were lent until the deadline.

        """
        connection = self._take(deadline)
        try:
            connection.allow(deadline)
            yield connection
        except BaseException:
            self.give_back(connection, clean=False)
            raise
        self.give_back(connection, clean=True)

    def take_idle(self, deadline: float) -> Connection | None:
        """A connection that is there already, to be given back; None where one would have to be waited for or made."""
        with self._changed:
            if not self._idle:
                return None
            self._lent += 1
            connection = self._idle.pop()
        connection.allow(deadline)
        return connection

    def give_back(self, connection: Connection, *, clean: bool) -> None:
        """Take back what was lent. Where it is not `clean`, what was not committed is rolled back, and this waits."""
        if not clean and connection.usable:
            connection.try_roll_back()
        worn = self._lifetime and time.monotonic() - connection.opened > self._lifetime
        if connection.usable and worn:
            connection.discard()
        with self._changed:
            self._lent -= 1
            if connection.usable:
                self._idle.append(connection)
            self._changed.notify()

    def transact(self, work: Callable[[Connection], T], *, deadline: float | None = None) -> T:
        """Do `work` in one transaction and commit.

        A deadlock is tried again, three times in all and half a second apart; a kept connection that turns
        out to be dead is replaced at once. So `work` may run more than once, and, when the connection was
        lost during the commit, after it had its effect: it must be harmless to repeat.
        """

        def transaction(connection: Connection) -> T:
            if self._autocommit:
                connection.begin_work()  # otherwise its first statement does
            result = work(connection)
            connection.commit_work()
            return result

        return self._patiently(transaction, deadline)

    def outright(self, work: Callable[[Connection], T], *, deadline: float | None = None) -> T:
        """Do `work`, whose statements are transactions by themselves, with the patience of `transact`.

        Only where `autocommit` is on; otherwise the work would be rolled back in the end.
        """
        return self._patiently(work, deadline)

    def statistics(self) -> PoolStatistics:
        with self._changed:
            open_connections = len(self._idle) + self._lent
        return self._statistics.taken(open_connections)

    def purge(self) -> None:
        """Close what is idle: after an outage no kept connection is worth a try."""
        with self._changed:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.discard()

    close = purge

    def _patiently(self, work: Callable[[Connection], T], deadline: float | None) -> T:
        deadline = deadline or self.deadline()
        replaced = False
        tries = 0
        while True:
            kept = bool(self._idle)
            try:
                with self.connection(deadline) as connection:
                    return work(connection)
            except Deadlock:
                tries += 1
                if tries >= TRIES or time.monotonic() + PAUSE_SECONDS >= deadline:
                    raise
                time.sleep(PAUSE_SECONDS)
            except ConnectionLost:
                self.purge()
                if replaced or not kept:
                    raise
                replaced = True

    def _take(self, deadline: float) -> Connection:
        with self._changed:
            if not self._idle and self._lent >= self._size:
                self._wait_for_one(deadline)
            self._lent += 1
            connection = self._idle.pop() if self._idle else None
        if connection is not None:
            return connection
        try:
            return _CountedConnection(
                self._settings, self._statistics, tls=self._tls, deadline=deadline, **self._session
            )
        except BaseException:
            self._forget_one()
            raise

    def _wait_for_one(self, deadline: float) -> None:
        started = time.monotonic()
        free = self._changed.wait_for(lambda: bool(self._idle) or self._lent < self._size, deadline - started)
        self._statistics.waited(time.monotonic() - started)
        if not free:
            raise DeadlineExceeded("all connections to the database are in use")

    def _forget_one(self) -> None:
        with self._changed:
            self._lent -= 1
            self._changed.notify()


class _Counters:
    """The pool's running totals, under a lock of their own."""

    def __init__(self, period: float) -> None:
        self._lock = threading.Lock()
        self._waits = 0
        self._wait_seconds = 0.0
        self._succeeded = 0
        self._failed = 0
        self._in_flight = 0
        self._most = Highest(period)
        self._longest = Highest(period)

    def began(self) -> float:
        with self._lock:
            self._in_flight += 1
        return time.monotonic()

    def ended(self, began: float, *, succeeded: bool) -> None:
        seconds = time.monotonic() - began
        with self._lock:
            self._most.saw(self._in_flight)  # who ends first of many sees them all
            self._longest.saw(seconds)
            self._in_flight -= 1
            if succeeded:
                self._succeeded += 1
            else:
                self._failed += 1

    def waited(self, seconds: float) -> None:
        with self._lock:
            self._waits += 1
            self._wait_seconds += seconds

    def taken(self, open_connections: int) -> PoolStatistics:
        with self._lock:
            return PoolStatistics(
                open_connections=open_connections,
                wait_count=self._waits,
                wait_seconds=self._wait_seconds,
                queries_total=self._succeeded + self._failed,
                queries_succeeded=self._succeeded,
                queries_failed=self._failed,
                queries_in_flight=round(self._most.value()),
                query_seconds_max=self._longest.value(),
            )


class _CountedConnection(Connection):
    """A pool's connection: each exchange with the server is counted."""

    def __init__(self, settings: Settings, counters: _Counters, **more: Any) -> None:
        self._counters = counters
        super().__init__(settings, **more)

    def query(self, sql: str | bytes, unbuffered: bool = False) -> int:  # noqa: FBT001 - the driver's
        with self._counted():
            return super().query(sql, unbuffered)

    def run_all(self, statements: Sequence[bytes]) -> list[int]:
        with self._counted():
            return super().run_all(statements)

    def exchange_began(self) -> float:
        return self._counters.began()

    def exchange_ended(self, began: float, *, succeeded: bool) -> None:
        self._counters.ended(began, succeeded=succeeded)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        began = self._counters.began()
        try:
            yield
        except BaseException:
            self._counters.ended(began, succeeded=False)
            raise
        self._counters.ended(began, succeeded=True)
