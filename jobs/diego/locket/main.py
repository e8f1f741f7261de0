"""Locket's composition root: table, gRPC server, expiry, in this order (contract/locket.md section 1)."""

from collections.abc import Callable

from diego.database import DatabaseError, Pool
from diego.database.health import DatabaseHealth
from diego.database.measures import measure_database
from diego.database.pool import READ_COMMITTED
from diego.locket.config import LocketConfig
from diego.locket.expiry import Expiry
from diego.locket.measures import RequestMeasures, measure_locks
from diego.locket.server import Handlers, Identity, LocketServer
from diego.locket.service import LocketService
from diego.locket.store.sql import SqlLockStore
from diego.locket.views import lock_views
from diego.runtime.api import Api
from diego.runtime.debug import debug_api
from diego.runtime.job import Job
from diego.runtime.process import Runtime

HEALTH_TABLE = "locket_health_check"
FIRST_WAIT = 0.2
LONGEST_WAIT = 2.0
"""Seconds between two attempts to reach the database at start."""


def compose(config: LocketConfig, runtime: Runtime) -> list[Api]:
    pool = Pool(
        config.database(),
        size=config.max_open_database_connections,
        isolation=READ_COMMITTED,
        autocommit=True,
        sees_all=True,
        lifetime=config.max_database_connection_lifetime,
        period=config.report_interval,
    )
    store = SqlLockStore(pool)
    expiry = Expiry(store)
    service = LocketService(store, expiry)
    handlers = Handlers(
        service,
        RequestMeasures(config.report_interval),
        table_missing=lambda cause: runtime.end(f"the table is missing: {cause}"),
    )
    measure_locks(expiry)
    measure_database(pool.statistics)
    health = DatabaseHealth(
        config.database(), HEALTH_TABLE, config.health_check(), runtime.log, end=runtime.end
    )

    def serve() -> None:
        if not _made(store.create_table, runtime):
            return
        server = LocketServer(
            handlers, config.listen_address, Identity(config.ca_file, config.cert_file, config.key_file)
        )
        runtime.on_stop(server.stop)
        server.start()
        runtime.log.info("started", address=config.listen_address)
        expiry.run(runtime.stopping)

    def watch() -> None:
        if _made(health.create_table, runtime):
            health.run(runtime.stopping)

    runtime.background("locket", serve)
    if config.enable_db_health_check:
        runtime.background("database-health", watch)
    runtime.on_stop(pool.close)
    debug = debug_api("locket")
    debug.app.register_blueprint(lock_views(service))
    return [debug]


def _made(make_table: Callable[[], None], runtime: Runtime) -> bool:
    """Make a table, waiting for the database as long as it takes; False when told to stop meanwhile."""
    pause = FIRST_WAIT
    while True:
        try:
            make_table()
        except DatabaseError as error:
            runtime.log.error("waiting-for-database", error=error.text, cause=error.cause)
        else:
            return True
        if runtime.stopping.wait(pause):
            return False
        pause = min(pause * 2, LONGEST_WAIT)


JOB = Job(name="locket", config=LocketConfig, plain=lambda config: [config.debug_address], compose=compose)
