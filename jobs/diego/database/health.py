"""The watch over the database, where the configuration turns it on (contract/lifecycle.md section 11, locket.md 7).

A row of a table of its own is written and read again. When that has failed some times in a row, the process ends, and
supervisor starts another one, which waits for the database. It is off unless asked for: without it a job waits for
the database as long as it takes, which is what ours.md section 5 wants.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from diego.database.connections import Connection, Settings
from diego.database.errors import DatabaseError, MissingTable
from diego.database.pool import Pool
from diego.runtime import metrics
from diego.runtime.logs import Logger

ROW = 1


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """How often is looked, how long that may take, and how many failures in a row are the end."""

    interval: float = 10.0
    timeout: float = 5.0
    failure_threshold: int = 3

    def faults(self) -> list[str]:
        """What is wrong with it, by the keys of the configuration."""
        found = [
            f"health_check_{name}: must be positive"
            for name in ("interval", "timeout")
            if getattr(self, name) <= 0
        ]
        if self.failure_threshold < 1:
            found.append("health_check_failure_threshold: must be positive")
        return found


class DatabaseHealth:
    """The watch of one job, over connections of its own: a pool that is used up is no outage."""

    def __init__(
        self,
        settings: Settings,
        table: str,
        check: HealthCheck,
        log: Logger,
        *,
        end: Callable[[str], object],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`end` is called with the reason when the database has failed too often."""
        self._pool = Pool(
            replace(
                settings,
                connect_timeout=min(settings.connect_timeout, check.timeout),
                operation_timeout=check.timeout,
            ),
            size=1,
        )
        self._table = table
        self._check = check
        self._log = log
        self._end = end
        self._clock = clock
        self._failures = 0
        """In a row."""
        self._failed = metrics.counter(
            "database_health_checks_failed", "Looks at the database that failed, where it is watched"
        )

    def create_table(self) -> None:
        """Make the table if it is missing.

        Raises:
            DatabaseError
        """
        self._pool.transact(
            lambda connection: connection.run(
                f"CREATE TABLE IF NOT EXISTS {self._table}"
                " (id INT AUTO_INCREMENT PRIMARY KEY, time BIGINT NOT NULL)"
            )
        )

    def run(self, stopping: threading.Event) -> None:
        """Look until `stopping`."""
        while not stopping.wait(self._check.interval):
            self.look()
        self._pool.close()

    def look(self) -> bool:
        """Write and read the row; whether that succeeded. After too many failures in a row: the end."""
        try:
            self._pool.transact(self._write_and_read)
        except MissingTable:  # its schema is still to be made, by whoever becomes active
            self._log.debug("database-health-table-missing", table=self._table)
            return True
        except DatabaseError as error:
            self._failures += 1
            self._failed.inc()
            self._log.error(
                "database-health-check-failed",
                error=error.text,
                cause=error.cause,
                failures=self._failures,
                threshold=self._check.failure_threshold,
            )
            self._pool.purge()
            if self._failures >= self._check.failure_threshold:
                self._end(f"the database failed {self._failures} health checks in a row")
            return False
        self._failures = 0
        return True

    def _write_and_read(self, connection: Connection) -> None:
        now = int(self._clock())
        connection.run(
            f"INSERT INTO {self._table} (id, time) VALUES (%s, %s) ON DUPLICATE KEY UPDATE time = %s",  # noqa: S608 - a constant of ours
            (ROW, now, now),
        )
        found = connection.row(f"SELECT time FROM {self._table} WHERE id = %s", (ROW,))  # noqa: S608 - the same
        if found is None or found[0] != now:
            raise DatabaseError("the row of the health check does not hold what was written")
