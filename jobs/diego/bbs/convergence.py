"""The loops that make what runs equal to what is wanted (contract/lifecycle.md sections 7 and 8).

A thread of its own goes through what needs attention, a few indices at a time: each few are decided in the
server's loop, on the newest state, and others get their turns between them. A run ends when all that it decided
is durable; then it asks for one auction of everything that needs a cell.

Between the regular runs the presences are watched: when a cell is lost, or comes back while its instances are in
doubt, what that cell has is looked at once, so that a replacement does not wait for the next regular run
(reliability.md section 1). Nothing else is: what merely waits for a cell is put to auction again by regular runs only.
"""

import threading
import time
from collections.abc import Callable, Sequence, Set
from typing import TypeVar

from diego.bbs.core.convergence import (
    Circumstances,
    Decision,
    TaskDecision,
    TaskLimits,
    converge_index,
    converge_task,
)
from diego.bbs.core.desired_lrps import StartRequest
from diego.bbs.core.lifecycle import Key, Rows, applied
from diego.bbs.counts import Findings, LRPCounts, count_lrps
from diego.bbs.service import Service
from diego.models import BbsError, Task
from diego.runtime import metrics
from diego.runtime.logs import get_logger

AT_ONCE = 50
"""Indices or tasks that are decided in one turn of the loop: a millisecond or two."""

WRITES_AHEAD = 2_000
"""Convergence waits while more writes than these wait for the database."""

log = get_logger("bbs")

T = TypeVar("T")


class Run:
    """One run: what it has begun and not yet seen durable, and what it wants started.

    `only_changed`: an index is started only where its records are changed.
    """

    def __init__(self, *, only_changed: bool = False) -> None:
        self.only_changed = only_changed
        self.starts: dict[str, list[int]] = {}
        self.pending_tasks: list[Task] = []
        self.missing = self.extra = self.pruned = self.kicked = 0
        self._open = 0
        self._done = threading.Condition()

    def begun(self) -> None:
        with self._done:
            self._open += 1

    def ended(self) -> None:
        with self._done:
            self._open -= 1
            self._done.notify()

    def wait(self, stopping: threading.Event) -> None:
        """Until all that was begun has ended."""
        with self._done:
            while self._open and not stopping.is_set():
                self._done.wait(0.2)

    def start(self, key: Key) -> None:
        self.starts.setdefault(key.process_guid, []).append(key.index)


class Convergence:
    """Runs of convergence over one BBS's state."""

    def __init__(
        self,
        service: Service,
        limits: TaskLimits,
        stopping: threading.Event,
        active: Callable[[], bool] = lambda: True,
    ) -> None:
        """`active`: whether this BBS may act; no database holds it back from asking cells to stop something."""
        self._service = service
        self._active = active
        self._context = service.context
        self._memory = service.context.memory
        self._limits = limits
        self._stopping = stopping
        self._running = threading.Lock()
        self._seen: frozenset[str] | None = None
        self.findings = Findings()
        self._lrp_seconds = metrics.histogram("bbs_convergence_lrp_seconds", "How long a run over LRPs took")
        self._task_seconds = metrics.histogram(
            "bbs_convergence_task_seconds", "How long a run over tasks took"
        )

    def run_once(self) -> None:
        """One run over everything; without an answer from Locket nothing is decided."""
        if not self._active():
            log.info("convergence-not-active")
            return
        cells = self._present()
        if cells is None:
            return
        with self._running:
            self._seen = cells
            self._converge_lrps(cells)
            self._converge_tasks(cells)

    def watch_cells(self) -> None:
        """Look whether a cell was lost or is back, and run at once if that matters."""
        if not self._active():
            return
        cells = self._present()
        if cells is None:
            return
        before, self._seen = self._seen, cells
        if before is None:
            return
        lost, came = before - cells, cells - before
        if lost or (came and self._memory.actual.suspect):
            log.info("cells-changed", lost=sorted(lost), came=sorted(came))
            with self._running:
                self._repair(cells)

    def _present(self) -> frozenset[str] | None:
        try:
            return frozenset(cell.cell_id for cell in self._context.cells.all())
        except BbsError as error:
            log.error("convergence-without-cells", error=error.message)
            return None

    def _repair(self, cells: Set[str]) -> None:
        """What only the change of cells asks for: their instances and their tasks."""
        run = Run(only_changed=True)
        call = self._context.runtime.call_in_loop
        for keys in _slices(call(self._memory.indices_of_cells, cells)):
            if not self._may_go_on():
                return
            call(self._decide_indices, keys, cells, run)
        run.wait(self._stopping)
        self._request_starts(run)
        for guids in _slices(call(self._memory.tasks_of_lost_cells, cells)):
            if not self._may_go_on():
                return
            call(self._decide_tasks, guids, cells, run)
        run.wait(self._stopping)
        log.info("cells-repaired", starts=sum(map(len, run.starts.values())))

    # ---- LRPs

    def _converge_lrps(self, cells: Set[str]) -> None:
        began = time.monotonic()
        log.debug("converge-lrps-started")
        run = Run()
        call = self._context.runtime.call_in_loop
        call(self._prune_domains, run)
        run.wait(self._stopping)
        keys = call(self._memory.indices_to_converge, cells)
        for some in _slices(keys):
            if not self._may_go_on():
                return
            call(self._decide_indices, some, cells, run)
        run.wait(self._stopping)
        self._request_starts(run)
        self.findings.lrps = call(self._count_lrps, cells, run)
        self.findings.lrp_runs += 1
        self.findings.lrp_seconds = seconds = time.monotonic() - began
        self._lrp_seconds.observe(seconds)
        log.info(
            "converge-lrps-done",
            seconds=round(seconds, 4),
            looked_at=len(keys),
            starts=sum(map(len, run.starts.values())),
        )

    def _count_lrps(self, cells: Set[str], run: Run) -> LRPCounts:
        return count_lrps(self._memory, cells, missing=run.missing, extra=run.extra, now=self._context.now())

    def _prune_domains(self, run: Run) -> None:
        now = self._context.now()
        expired = [domain.name for domain in self._memory.domains.values() if domain.expired(now=now)]
        if not expired:
            return
        transaction = self._context.committer.begin()
        for name in expired:
            transaction.domain(name, None)
        run.begun()
        transaction.then.append(run.ended)
        transaction.failed = run.ended
        transaction.commit()

    def _decide_indices(self, keys: Sequence[Key], cells: Set[str], run: Run) -> None:
        now = self._context.now()
        for key in keys:
            desired = self._memory.newest_desired(key.process_guid)
            if desired is None and key.process_guid in self._memory.unreadable_desired:
                continue
            domain = self._memory.newest_domain(key.domain)
            around = Circumstances(
                cells=cells,
                listed=domain is not None and not domain.expired(now=now),
                fresh=domain is not None and domain.fresh(now=now),
                now=now,
            )
            rows = self._memory.newest_rows(key.process_guid, key.index)
            decision = converge_index(key, rows, desired, around, epoch=self._context.epoch())
            self._carry_out(key, rows, decision, run)

    def _carry_out(self, key: Key, rows: Rows, decision: Decision, run: Run) -> None:
        run.missing += decision.start and rows.ordinary is None
        run.extra += decision.retire is not None
        if decision.units:
            transaction = self._context.committer.begin()
            for unit in decision.units:
                transaction.actual(rows, unit)
                rows = applied(rows, unit)
            if decision.start:
                transaction.then.append(lambda: run.start(key))
            run.begun()
            transaction.then.append(run.ended)
            transaction.failed = run.ended
            transaction.commit()
        elif decision.start and not run.only_changed:
            run.start(key)
        if decision.retire is not None:
            self._service.actual_lrps.end(decision.retire)
        if decision.update is not None:
            self._context.update_instance(decision.update, None)

    def _request_starts(self, run: Run) -> None:
        """Ask for one auction of everything that the run wants started."""
        requests: list[StartRequest] = []
        for guids in _slices(list(run.starts)):
            requests += self._context.runtime.call_in_loop(self._start_requests, guids, run)
        if requests:
            self._context.auctioneer.start_lrps(requests)

    def _start_requests(self, guids: Sequence[str], run: Run) -> list[StartRequest]:
        found = (self._context.start_request(guid, run.starts[guid]) for guid in guids)
        return [request for request in found if request is not None]

    # ---- tasks

    def _converge_tasks(self, cells: Set[str]) -> None:
        began = time.monotonic()
        log.debug("converge-tasks-started")
        run = Run()
        call = self._context.runtime.call_in_loop
        guids = call(lambda: list(self._memory.tasks.by_guid))
        for some in _slices(guids):
            if not self._may_go_on():
                return
            call(self._decide_tasks, some, cells, run)
        run.wait(self._stopping)
        if run.pending_tasks:
            self._context.auctioneer.start_tasks(run.pending_tasks)
        self.findings.tasks = call(self._memory.tasks.numbers)
        self.findings.tasks_pruned += run.pruned
        self.findings.tasks_kicked += run.kicked
        self.findings.task_runs += 1
        self.findings.task_seconds = seconds = time.monotonic() - began
        self._task_seconds.observe(seconds)
        log.info(
            "converge-tasks-done",
            seconds=round(seconds, 4),
            looked_at=len(guids),
            pending=len(run.pending_tasks),
        )

    def _decide_tasks(self, guids: Sequence[str], cells: Set[str], run: Run) -> None:
        now = self._context.now()
        for task in self._memory.newest_tasks(guids):
            self._carry_out_task(task, converge_task(task, cells, now=now, limits=self._limits), run)

    def _carry_out_task(self, task: Task, decision: TaskDecision, run: Run) -> None:
        after = decision.after
        run.pruned += after is None
        run.kicked += (
            decision.auction or decision.callback or (after is not None and after.state is not task.state)
        )
        if decision.auction:
            run.pending_tasks.append(task)
        if after is not task:
            transaction = self._context.committer.begin()
            transaction.task(task.guid, after)
            if after is None:
                if task.definition is not None:
                    transaction.tell(lambda announcer: announcer.task_removed(task))
            else:
                transaction.tell(lambda announcer: announcer.task_changed(task, after))
            run.begun()
            transaction.then.append(run.ended)
            if decision.callback:
                transaction.then.append(lambda: self._service.tasks.tell_result(task.guid))
            transaction.failed = run.ended
            transaction.commit()
        elif decision.callback:
            self._service.tasks.tell_result(task.guid)

    # ---- shared

    def _may_go_on(self) -> bool:
        """Wait while the database is behind; False when the job stops."""
        while self._context.committer.waiting > WRITES_AHEAD:
            if self._stopping.wait(0.02):
                return False
        return self._active() and not self._stopping.is_set()


def _slices(items: Sequence[T]) -> list[Sequence[T]]:
    return [items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE)]
