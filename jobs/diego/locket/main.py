"""Locket's composition root: table, gRPC server, expiry, in this order (contract/locket.md section 1)."""

from diego.database import DatabaseError, Pool
from diego.database.pool import READ_COMMITTED
from diego.locket.config import LocketConfig
from diego.locket.expiry import Expiry
from diego.locket.measures import PoolMeasures, RequestMeasures, measure_locks
from diego.locket.server import Handlers, Identity, LocketServer
from diego.locket.service import LocketService
from diego.locket.store import LockStore
from diego.locket.store.sql import SqlLockStore
from diego.locket.views import lock_views
from diego.runtime.api import Api
from diego.runtime.debug import debug_api
from diego.runtime.job import Job
from diego.runtime.process import Runtime

FIRST_WAIT = 0.2
LONGEST_WAIT = 2.0
"""Seconds between two attempts to reach the database at start."""


def compose(config: LocketConfig, runtime: Runtime) -> list[Api]:
    pool = Pool(
        config.database(),
        size=config.max_open_database_connections,
        isolation=READ_COMMITTED,
        lifetime=config.max_database_connection_lifetime,
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
    PoolMeasures(pool).register()

    def serve() -> None:
        if not _make_table(store, runtime):
            return
        server = LocketServer(
            handlers, config.listen_address, Identity(config.ca_file, config.cert_file, config.key_file)
        )
        runtime.on_stop(server.stop)
        server.start()
        runtime.log.info("started", address=config.listen_address)
        expiry.run(runtime.stopping)

    runtime.background("locket", serve)
    runtime.on_stop(pool.close)
    debug = debug_api("locket")
    debug.app.register_blueprint(lock_views(service))
    return [debug]


def _make_table(store: LockStore, runtime: Runtime) -> bool:
    """Make the table, waiting for the database as long as it takes; False when told to stop meanwhile."""
    pause = FIRST_WAIT
    while True:
        try:
            store.create_table()
        except DatabaseError as error:
            runtime.log.error("waiting-for-database", error=error.text, cause=error.cause)
        else:
            return True
        if runtime.stopping.wait(pause):
            return False
        pause = min(pause * 2, LONGEST_WAIT)


JOB = Job(name="locket", config=LocketConfig, plain=lambda config: [config.debug_address], compose=compose)
