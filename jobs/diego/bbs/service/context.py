"""What all use-cases share."""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, TypeVar

from diego.bbs.commits import UNAVAILABLE, Committer
from diego.bbs.core.desired_lrps import RepUpdate, StartRequest, start_request
from diego.bbs.events import Announcer
from diego.bbs.memory import Memory
from diego.bbs.outside import Auctioneer, Callbacks, CallFailed, Cells, Outside, Reps
from diego.models import ActualLRP, BbsError
from diego.runtime.api import Answer, Bulk, Pending
from diego.runtime.logs import get_logger, trace
from diego.runtime.process import Runtime

BULK_FROM = 256 << 10
"""Bytes: longer answers are drawn as the client reads."""

PIECE = 256 << 10
"""Bytes, about, of each piece: what one turn of the loop encrypts and sends."""

TURN_SECONDS = 0.002
AT_ONCE = 100
"""Records between two looks at the clock."""

log = get_logger("bbs")

R = TypeVar("R")


def _new_epoch() -> str:
    """A random UUID (version 4) as text, made without the object in between."""
    digits = os.urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


@dataclass
class Context:
    """Memory, the way to the database, and the ways to others. `now` and `epoch` are the world's, or a test's."""

    runtime: Runtime
    memory: Memory
    committer: Committer
    announcer: Announcer
    outside: Outside
    cells: Cells
    auctioneer: Auctioneer
    reps: Reps
    callbacks: Callbacks
    now: Callable[[], int] = field(default=time.time_ns)
    epoch: Callable[[], str] = field(default=_new_epoch)

    def in_loop(self, function: Callable[[], None]) -> None:
        """Have it called in the loop, soon. From any thread."""
        self.runtime.loop.call_soon_threadsafe(function)

    def listed(self, records: Iterable[R], form: Callable[[R], bytes]) -> Answer:
        """The list entries of records. What is listed is decided now, also where the answer takes its time."""
        return _Gathering(self.runtime.loop, iter(list(records)), form).answer()

    def from_outside(self, ask: Callable[[], Answer]) -> Answer:
        """An answer for which somebody else must be asked first; `ask` runs in a thread and may wait."""
        pending = Pending()

        def call() -> None:
            try:
                answer = ask()
            except Exception:
                log.exception("outside-call-failed")
                answer = UNAVAILABLE
            self.runtime.resolve([(pending, answer)])

        return pending if self.outside.do(call) else UNAVAILABLE

    def auction(
        self, process_guid: str, indices: Sequence[int], request_id: str, *, new: bool = False
    ) -> bool:
        """Have cells found for indices of a process; False when nobody wants it any more."""
        request = self.start_request(process_guid, indices, new=new)
        if request is None:
            return False
        self.auctioneer.start_lrps([request], request_id)
        return True

    def start_request(
        self, process_guid: str, indices: Iterable[int], *, new: bool = False
    ) -> StartRequest | None:
        desired = self.memory.newest_desired(process_guid)
        return None if desired is None else start_request(desired, indices, new=new)

    def stop_instance(self, lrp: ActualLRP, request_id: str) -> None:
        """Have its cell stop an instance; if that fails, convergence tries again."""

        def stop() -> None:
            try:
                cell = self.cells.find(lrp.cell_id)
                if cell is not None:
                    self.reps.stop(cell, lrp, request_id)
            except (BbsError, CallFailed) as error:
                log.error(
                    "stop-failed",
                    lrp=lrp.process_guid,
                    index=lrp.index,
                    error=str(error),
                    **trace(request_id or ""),
                )

        self.outside.do(stop)

    def update_instance(self, update: RepUpdate, request_id: str | None) -> None:
        """Tell a cell of other routes or tags; if that fails, convergence tells it again."""
        lrp = update.lrp

        def tell() -> None:
            try:
                cell = self.cells.find(lrp.cell_id)
                if cell is not None:
                    self.reps.update(cell, update, request_id)
            except (BbsError, CallFailed) as error:
                log.error(
                    "update-failed",
                    lrp=lrp.process_guid,
                    index=lrp.index,
                    error=str(error),
                    **trace(request_id or ""),
                )

        self.outside.do(tell)


def frames_answer(frames: Sequence[bytes]) -> Answer:
    """List entries as a whole answer, or as one that is drawn piece by piece when it is long."""
    total = sum(map(len, frames))
    if total <= BULK_FROM:
        return b"".join(frames)
    return Bulk(total, _pieces(frames, max(1, len(frames) * PIECE // total)))


def _pieces(frames: Sequence[bytes], count: int) -> Iterator[bytes]:
    for start in range(0, len(frames), count):
        yield b"".join(frames[start : start + count])


class _Gathering(Generic[R]):
    """A long list on its way: in each turn of the loop the entries that can be had in about two milliseconds.

    Most records have the entry at hand; after a takeover all are made when first asked for.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, records: Iterator[R], form: Callable[[R], bytes]
    ) -> None:
        self._loop = loop
        self._records = records
        self._form = form
        self._frames: list[bytes] = []
        self._pending: Pending | None = None

    def answer(self) -> Answer:
        self._go_on()
        if self._pending is None:
            return frames_answer(self._frames)
        return self._pending

    def _go_on(self) -> None:
        end = time.perf_counter() + TURN_SECONDS
        while some := list(islice(self._records, AT_ONCE)):
            self._frames += map(self._form, some)
            if time.perf_counter() >= end:
                self._pending = self._pending or Pending()
                self._loop.call_soon(self._go_on)
                return
        if self._pending is not None:
            self._pending.settle(frames_answer(self._frames))
