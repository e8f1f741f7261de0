"""The auctioneer's composition root: measures, callers' side, cells' side, rounds, and the API behind the lock."""

import asyncio
import queue
from collections.abc import Sequence

from diego.auctioneer.cells import Cell, Cells, reachable
from diego.auctioneer.config import AuctioneerConfig
from diego.auctioneer.measures import Measures
from diego.auctioneer.reports import Reports
from diego.auctioneer.runner import Runner
from diego.auctioneer.views import auction_api
from diego.bbs.client import BbsClient
from diego.locket.client import LocketClient, LockHolder
from diego.runtime import handles, metrics, tls
from diego.runtime.api import Api
from diego.runtime.debug import debug_api
from diego.runtime.job import Job
from diego.runtime.process import Runtime
from diego.runtime.server import Listener

LOCK = "auctioneer"


def compose(config: AuctioneerConfig, runtime: Runtime) -> list[Api]:
    measures = Measures()
    bbs = BbsClient(
        config.bbs_address,
        ca_file=config.bbs_ca_cert_file,
        cert_file=config.bbs_client_cert_file,
        key_file=config.bbs_client_key_file,
        timeout=config.communication_timeout,
    )
    locket = LocketClient(
        config.locket_address,
        ca_file=config.locket_ca_cert_file,
        cert_file=config.locket_client_cert_file,
        key_file=config.locket_client_key_file,
    )
    to_reps = (
        tls.client_context(config.rep_client_cert, config.rep_client_key, config.rep_ca_cert)
        if config.rep_ca_cert
        else None
    )
    cells = Cells(
        to_reps,
        state_timeout=config.cell_state_timeout,
        work_timeout=config.communication_timeout,
        workers=config.auction_runner_workers,
        failed=measures.failed_states.inc,
    )
    reports = Reports(bbs)
    changes: queue.SimpleQueue[str] = queue.SimpleQueue()
    holder = LockHolder(
        locket,
        LOCK,
        config.uuid,
        acquired=lambda: changes.put("held"),
        regained=lambda: changes.put("held"),
        passive=lambda: changes.put("passive"),
        lost=runtime.end,
    )
    metrics.original("LockHeld", "1 while this auctioneer holds the lock, else 0", lambda: float(holder.held))

    async def list_cells(request_id: str) -> Sequence[Cell]:
        presences = await asyncio.to_thread(bbs.cells, request_id=request_id)
        return reachable(presences, require_tls=config.rep_require_tls)

    runner = Runner(list_cells, cells, reports, config.policy(), measures, may_act=lambda: holder.held)
    gate = Gate(config, runtime, auction_api(runner, measures), changes)

    runtime.background("lock", lambda: holder.run(runtime.stopping))
    runtime.background("gate", gate.run)
    runtime.task("rounds", runner.run)
    runtime.on_stop(bbs.close)
    runtime.on_stop(holder.release)
    runtime.on_stop(reports.close)
    runtime.on_stop(lambda: asyncio.run_coroutine_threadsafe(cells.close(), runtime.loop).result(1.0))
    handles.watch(runtime)
    return [debug_api("auctioneer")]


class Gate:
    """The API's listener: open while the lock is held, so that the BBS finds the active auctioneer by trying."""

    def __init__(
        self, config: AuctioneerConfig, runtime: Runtime, api: Api, changes: "queue.SimpleQueue[str]"
    ) -> None:
        self._address = config.listen_address
        self._runtime = runtime
        self._api = api
        self._changes = changes
        self._listener: Listener | None = None
        self._tls = (
            tls.server_context(config.server_cert_file, config.server_key_file, config.ca_cert_file)
            if config.server_cert_file
            else None
        )

    def run(self) -> None:
        """Open and close as the lock comes and goes."""
        while not self._runtime.stopping.is_set():
            try:
                change = self._changes.get(timeout=0.2)
            except queue.Empty:
                continue
            if change == "held" and self._listener is None:
                self._listener = self._runtime.open_listener(self._address, self._api, self._tls)
                self._runtime.log.info("active", address=self._address)
            elif change == "passive" and self._listener is not None:
                self._listener.close()
                self._listener = None
                self._runtime.log.error("passive", address=self._address)


JOB = Job(
    name="auctioneer", config=AuctioneerConfig, plain=lambda config: [config.debug_address], compose=compose
)
