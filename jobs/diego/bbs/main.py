"""The BBS's composition root (contract/bbs-api.md section 8, ours.md sections 1 and 2).

Health and debug listen from the start. Then, in a thread of its own: the lock, the takeover, the committer, the
API, re-encryption where the active key has changed, and convergence.
"""

import sys
import threading
import time
from pathlib import Path
from ssl import SSLContext

from diego.bbs.commits import Committer
from diego.bbs.comparison import Comparison
from diego.bbs.config import BbsConfig
from diego.bbs.convergence import Convergence
from diego.bbs.events import Announcer
from diego.bbs.history import History, keep_bounded
from diego.bbs.measures import Beginning, Requests, measure, measure_convergence
from diego.bbs.memory import Memory
from diego.bbs.outside import Auctioneer, Callbacks, Cells, Outside, Reps
from diego.bbs.reading import make_whole
from diego.bbs.recorder import Recorder
from diego.bbs.service import Context, Service
from diego.bbs.status import Status
from diego.bbs.store import Fenced, Loaded, Store, StoreUnavailable
from diego.bbs.store.encryption import Encryption
from diego.bbs.store.history import HistoryReader
from diego.bbs.store.pages import TablePages
from diego.bbs.store.sql import SqlStore
from diego.bbs.takeover import Takeover
from diego.bbs.views import bbs_api
from diego.database.health import DatabaseHealth
from diego.database.measures import measure_database
from diego.locket.client import LocketClient, LockHolder
from diego.runtime import handles, loops, tls
from diego.runtime.access_log import AccessLog
from diego.runtime.api import Api
from diego.runtime.debug import debug_api, health_api
from diego.runtime.job import Job
from diego.runtime.process import Runtime

LOCK_KEY = "bbs"
HEALTH_TABLE = "bbs_health_check"
LOCKET_SECONDS = 10.0
WATCH_SECONDS = 1.0
LAST_COMMIT_SECONDS = 0.7
"""How long a stopping BBS waits for what is on its way to the database."""

SWITCH_SECONDS = 0.0005
"""How long a thread keeps the interpreter from the loop, where callers wait."""


def compose(config: BbsConfig, runtime: Runtime) -> list[Api]:
    sys.setswitchinterval(SWITCH_SECONDS)
    locket = LocketClient(
        config.locket_address,
        ca_file=config.locket_ca_cert_file,
        cert_file=config.locket_client_cert_file,
        key_file=config.locket_client_key_file,
        timeout=LOCKET_SECONDS,
    )
    encryption = Encryption(config.active_key_label, config.encryption_keys)
    store = SqlStore(
        config.database(),
        encryption,
        with_history=config.keeps_history,
        lifetime=config.max_database_connection_lifetime,
        period=config.report_interval,
    )
    memory, announcer, recorder = Memory(), Announcer(), Recorder()
    reader = HistoryReader(config.database())
    committer = Committer(runtime, memory, announcer, recorder if config.keeps_history else None)
    server_tls = tls.server_context(config.cert_file, config.key_file, config.ca_file)
    auctioneer = Auctioneer(
        config.auctioneer_address,
        _client_tls(config.auctioneer_ca_cert, config.auctioneer_client_cert, config.auctioneer_client_key),
        timeout=config.communication_timeout,
        require_tls=config.auctioneer_require_tls,
    )
    outside = Outside()
    context = Context(
        runtime,
        memory,
        committer,
        announcer,
        outside,
        Cells(locket, timeout=config.communication_timeout),
        auctioneer,
        Reps(
            _client_tls(config.rep_ca_cert, config.rep_client_cert, config.rep_client_key),
            timeout=config.communication_timeout,
            require_tls=config.rep_require_tls,
        ),
        Callbacks(
            tls.client_context(config.cert_file, config.key_file, config.ca_file),
            timeout=config.communication_timeout,
        ),
    )
    service = Service(context, max_task_retries=config.max_task_retries)
    regained = threading.Event()

    def passive() -> None:
        takeover.doubtful = True
        runtime.log.error("lock-in-doubt", lock=LOCK_KEY, owner=config.uuid)

    holder = LockHolder(
        locket,
        LOCK_KEY,
        config.uuid,
        ttl=config.lock_ttl,
        passive=passive,
        regained=regained.set,
        lost=runtime.end,
    )
    takeover = Takeover(runtime, holder, store, memory)

    def active() -> bool:
        return holder.held and not takeover.doubtful

    kept = History(runtime, memory, reader) if config.keeps_history else None
    pages = TablePages(config.database(), encryption)
    comparison = Comparison(runtime, memory, pages, store.still_mine)
    api = bbs_api(service, announcer, active, kept)
    Status(memory, context.cells, locket, context.now, active).add_to(api)
    convergence = Convergence(service, config.task_limits(), runtime.stopping, active)
    beginning = Beginning()
    measure(memory, announcer, holder, beginning)
    measure_convergence(convergence.findings)
    measure_database(store.statistics)
    requests = Requests(api, counted=config.advanced_metrics.counted, timed=config.advanced_metrics.timed)

    def activate() -> None:
        loaded = takeover.run()
        if loaded is None:
            return
        recorder.begin(*store.history_position)
        runtime.background("committer", lambda: committer.run(store))
        runtime.background("auctioneer", lambda: auctioneer.run(runtime.stopping))
        runtime.on_stop(announcer.close)
        beginning.migration_seconds = takeover.migration_seconds
        runtime.open_listener(config.listen_address, api, server_tls)
        beginning.elected = True
        runtime.log.info("started", address=config.listen_address)
        runtime.call_in_loop(make_whole, runtime.loop, memory.desired.by_guid.values())
        runtime.background("unreadable", lambda: _delete_unreadable(context, loaded))
        runtime.background("reencryption", lambda: _reencrypt(store, runtime, beginning))
        loops.every(runtime, "convergence", config.converge_repeat_interval, convergence.run_once)
        loops.every(runtime, "cells", WATCH_SECONDS, convergence.watch_cells)
        keep_bounded(runtime, store, reader, config.history_max_age, config.history_max_rows)
        comparison.run(config.comparison_interval, active)
        while not runtime.stopping.is_set():
            if regained.wait(0.5):
                regained.clear()
                takeover.regain()

    runtime.on_stop(store.close)
    runtime.on_stop(reader.close)
    runtime.on_stop(pages.close)
    runtime.on_stop(locket.close)
    runtime.on_stop(holder.release)
    runtime.on_stop(lambda: committer.stop(LAST_COMMIT_SECONDS))
    runtime.on_stop(outside.close)
    runtime.background("lock", lambda: holder.run(runtime.stopping))
    runtime.background("activate", activate)
    if config.enable_db_health_check:
        health = DatabaseHealth(
            config.database(), HEALTH_TABLE, config.health_check(), runtime.log, end=runtime.end
        )
        runtime.background("database-health", lambda: health.run(runtime.stopping))
    if config.access_log_path:
        access_log = AccessLog("bbs", Path(config.access_log_path))
        api.access = access_log
        runtime.background("access-log", lambda: access_log.run(runtime.stopping))
    loops.every(
        runtime, "request-period", config.report_interval, lambda: runtime.call_in_loop(requests.turn)
    )
    handles.watch(runtime)
    return [health_api(), debug_api("bbs")]


def _client_tls(ca: str, cert: str, key: str) -> SSLContext | None:
    """The BBS as somebody's client; None where it shows no certificate."""
    return tls.client_context(Path(cert), Path(key), Path(ca)) if ca and cert and key else None


def _delete_unreadable(context: Context, loaded: Loaded) -> None:
    """What nobody can read any more is deleted, as the original does when it meets it."""
    deletable = [lrp.process_guid for lrp in loaded.unreadable_desired if lrp.deletable]
    if not deletable and not loaded.unreadable_actual:
        return

    def delete() -> None:
        transaction = context.committer.begin()
        for guid in deletable:
            transaction.desired(guid, None)
        transaction.forget_rows(loaded.unreadable_actual)
        transaction.commit()

    context.runtime.log.error(
        "unreadable-deleted", desired=deletable, actual=[list(row) for row in loaded.unreadable_actual]
    )
    context.runtime.call_in_loop(delete)


def _reencrypt(store: Store, runtime: Runtime, beginning: Beginning) -> None:
    """Rewrite what an older key encrypted, while the API serves; again until the database lets it."""
    began = time.monotonic()
    while not runtime.stopping.is_set():
        try:
            rows = store.reencrypt(runtime.stopping)
        except StoreUnavailable as error:
            runtime.log.error("reencryption-interrupted", error=error.text)
            runtime.stopping.wait(5)
        except Fenced as error:
            runtime.end(error.text)
        else:
            if rows:
                beginning.encryption_seconds = time.monotonic() - began
            runtime.log.info("reencrypted", rows=rows)
            return


JOB = Job(
    name="bbs",
    config=BbsConfig,
    plain=lambda config: [config.health_address, config.debug_address],
    compose=compose,
)
