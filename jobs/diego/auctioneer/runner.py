"""The rounds: cells, states, batch, placement, work, reports (contract/auction.md section 3).

One round at a time. What is asked for while it goes on makes the next one, and what is asked for until the states are
there still joins it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from diego.auctioneer.cells import Cell, CellFailed, Cells, side_by_side
from diego.auctioneer.core import failures
from diego.auctioneer.core.batch import Batch
from diego.auctioneer.core.cells import CellState
from diego.auctioneer.core.explanations import Explanation, Memory
from diego.auctioneer.core.placement import Outcome, schedule
from diego.auctioneer.core.scoring import Policy
from diego.auctioneer.core.starts import LRPStart, Start, key_of
from diego.auctioneer.measures import Measures
from diego.auctioneer.reports import Reports
from diego.models.errors import BbsError
from diego.runtime.logs import get_logger, trace

STATE_ATTEMPTS = 4
"""How often the cells are asked when not one gives a usable state."""
CELLS_PAUSE = 1.0
"""Seconds after the BBS could not list the cells."""
QUEUE_LIMIT = 1_000_000
"""Starts that may wait for the next round."""
EXPLANATIONS = 20_000

log = get_logger("auctioneer")


class QueueFull(Exception):
    """More waits than can be kept; the BBS asks again by itself."""


class Runner:
    """Takes starts and runs rounds. Everything but `list_cells` happens on one event loop."""

    def __init__(
        self,
        list_cells: Callable[[str], Awaitable[Sequence[Cell]]],
        cells: Cells,
        reports: Reports,
        policy: Policy,
        measures: Measures,
        *,
        may_act: Callable[[], bool],
    ) -> None:
        self._list_cells = list_cells
        self._cells = cells
        self._reports = reports
        self._policy = policy
        self._measures = measures
        self._may_act = may_act
        self._batch = Batch()
        self._wake = asyncio.Event()
        self.memory = Memory(EXPLANATIONS)
        self.seen: tuple[float, Sequence[CellState], Mapping[str, str]] = (0.0, (), {})
        """When the cells were last asked (Unix seconds), what they said, and why others said nothing."""

    def ask(self, starts: Iterable[Start], request_id: str) -> None:
        """Take starts for the next round; none at all also makes a round. Raises QueueFull."""
        starts = list(starts)
        if len(self._batch.starts) + len(starts) > QUEUE_LIMIT:
            raise QueueFull
        self._batch.add(starts, request_id)
        self._wake.set()

    @property
    def waiting(self) -> int:
        return len(self._batch.starts)

    async def run(self) -> None:
        """Round after round, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not self._may_act():
                # Passive: the API is closed, and what waits is taken up if the lock comes back.
                await asyncio.sleep(CELLS_PAUSE)
                self._wake.set()
                continue
            try:
                await self._round()
            except BbsError as error:
                request_id = self._batch.request_id
                log.error("cells-not-listed", error=str(error), **trace(request_id))
                await asyncio.sleep(CELLS_PAUSE)
                self._wake.set()
            except Exception:
                log.exception("round-failed")
                await asyncio.sleep(CELLS_PAUSE)

    async def _round(self) -> None:
        began = time.monotonic()
        request_id = self._batch.request_id
        cells = {cell.cell_id: cell for cell in await self._list_cells(request_id)}
        states = await self._states(list(cells.values()), request_id)
        batch, self._batch = self._batch, Batch()
        if not batch.starts:
            return
        starts = list(batch.starts.values())
        self._reports.withdraw(starts)
        outcome = await asyncio.to_thread(schedule, states, starts, self._policy)
        if not self._may_act():
            log.error("round-dropped", starts=len(starts), why="the lock was lost", **trace(request_id))
            return
        left_out = self._cells.left_out
        self.memory.note(outcome.explanations, time.time(), left_out)
        returned = await self._commit(cells, outcome.work, request_id)
        refusals = [Explanation(key_of(start), error=reason) for start, reason in returned]
        self.memory.note(refusals, time.time(), left_out)
        self._reports.send([*outcome.refused, *returned], request_id)
        self._count(outcome, returned)
        seconds = time.monotonic() - began
        self._measures.rounds.observe(seconds)
        log.info(
            "round-done",
            starts=len(starts),
            cells=len(states),
            refused=len(outcome.refused),
            handed_back=len(returned),
            seconds=round(seconds, 4),
            request_id=request_id,
            **trace(request_id),
        )

    async def _states(self, cells: Sequence[Cell], request_id: str) -> list[CellState]:
        began = time.monotonic()
        states: list[CellState] = []
        for _ in range(STATE_ATTEMPTS):
            states = await self._cells.states(cells, request_id)
            if states or not cells:
                break
        self.seen = (time.time(), states, self._cells.left_out)
        self._measures.fetch_seconds = time.monotonic() - began
        return states

    async def _commit(
        self, cells: Mapping[str, Cell], work: Mapping[str, Sequence[Start]], request_id: str
    ) -> list[tuple[Start, str]]:
        """Hand out the work. Returns what was handed back; of a cell that did not answer nothing is known."""
        answers = await side_by_side(
            {cell_id: self._cells.hand_out(cells[cell_id], work[cell_id], request_id) for cell_id in work}
        )
        returned: list[tuple[Start, str]] = []
        for cell_id, answer in answers.items():
            if isinstance(answer, CellFailed):
                log.error(
                    "work-of-unknown-fate",
                    cell_id=cell_id,
                    starts=len(work[cell_id]),
                    error=str(answer),
                    **trace(request_id),
                )
                unknown = failures.of_unknown_fate(cell_id, str(answer))
                self.memory.note(
                    [Explanation(key_of(start), error=unknown) for start in work[cell_id]], time.time()
                )
            elif isinstance(answer, BaseException):
                raise answer
            else:
                returned += [(start, failures.handed_back(cell_id)) for start in answer]
        return returned

    def _count(self, outcome: Outcome, returned: Sequence[tuple[Start, str]]) -> None:
        placed = [start for starts in outcome.work.values() for start in starts]
        failed = [start for start, _ in (*outcome.refused, *returned)]
        lrps, failed_lrps = _lrps(placed) - _lrps([start for start, _ in returned]), _lrps(failed)
        self._measures.lrps_started.inc(lrps)
        self._measures.tasks_started.inc(len(placed) - len(returned) - lrps)
        self._measures.lrps_failed.inc(failed_lrps)
        self._measures.tasks_failed.inc(len(failed) - failed_lrps)


def _lrps(starts: Sequence[Start]) -> int:
    return sum(isinstance(start, LRPStart) for start in starts)
