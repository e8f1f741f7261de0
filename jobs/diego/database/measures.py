"""A pool's numbers for /metrics, by the original's names (contract/config-and-metrics.md section 11)."""

from collections.abc import Callable

from diego.database.pool import PoolStatistics
from diego.runtime.metrics import Unit, original


def measure_database(statistics: Callable[[], PoolStatistics]) -> None:
    """Have a pool's numbers told: they are taken whenever somebody looks."""
    original(
        "DBOpenConnections",
        "Connections to the database that are open",
        lambda: statistics().open_connections,
    )
    original("DBWaitCount", "Waits for a free connection, in all", lambda: statistics().wait_count)
    original(
        "DBWaitDuration",
        "Time waited for a free connection, in all",
        lambda: statistics().wait_seconds,
        unit=Unit.NANOS,
    )
    original("DBQueriesTotal", "Exchanges with the database, in all", lambda: statistics().queries_total)
    original("DBQueriesSucceeded", "Those that succeeded, in all", lambda: statistics().queries_succeeded)
    original("DBQueriesFailed", "Those that failed, in all", lambda: statistics().queries_failed)
    original(
        "DBQueriesInFlight",
        "Most exchanges at one time, in the present and the last period",
        lambda: statistics().queries_in_flight,
    )
    original(
        "DBQueryDurationMax",
        "Longest exchange of the present and the last period",
        lambda: statistics().query_seconds_max,
        unit=Unit.NANOS,
    )
