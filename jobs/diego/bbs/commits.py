"""From a decision to a durable fact: transactions, and how they are handed to the store.

A transaction is put together in the loop. From then on every further decision builds upon it (it is *ahead* in
memory), but no reader sees it. The committer takes half of those that wait and has the store make them durable together. Then
they become visible, listeners hear of them, callers get their answers, and what they ask for is begun: in this order,
and in the order in which they were put together. One batch is with the store at a time.

Ordinarily all of this happens in the loop. Where the store must wait (there is no connection yet, or a commit failed and
its fate has to be found out) the committer's thread does it.

When the store refuses a batch for certain, everything that was decided upon it falls with it: callers are told to
try again. When nobody knows what became of it, or another BBS has taken over, the process ends, because memory and
database may then differ.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, islice, takewhile
from queue import SimpleQueue

from diego.bbs.core.history import Row
from diego.bbs.core.lifecycle import Change, Crash, Rows
from diego.bbs.events import Announcer, Heard
from diego.bbs.memory import Memory
from diego.bbs.recorder import Recorder
from diego.bbs.store import (
    CommitFailed,
    DeleteActual,
    DeleteDesired,
    DeleteDomain,
    DeleteTask,
    PutActual,
    PutDesired,
    PutDomain,
    PutTask,
    Store,
    StoreError,
    Write,
    fits,
)
from diego.models import ActualLRP, BbsError, DesiredLRP, Domain, Task
from diego.models.actual_lrp import Identity
from diego.runtime import metrics
from diego.runtime.api import Answer, Pending, Reply
from diego.runtime.logs import get_logger
from diego.runtime.process import Runtime

UNAVAILABLE = Reply(503, b"", "text/plain; charset=utf-8", {"Retry-After": "1"})
"""What a caller gets who had better try again: not protobuf, so that every client counts it as no answer."""

WRITES_IN_A_BATCH = 500
TRANSACTIONS_AT_LEAST = 4
"""A batch takes half of what waits, but no fewer than this. Callers who wait for one commit come back together: with
all of what waits in one batch the database would have nothing to do while the loop decides, and the other way round."""
WRITES_WAITING = 50_000
"""Beyond this the database has been too slow for too long, and callers are told so at once."""

log = get_logger("bbs")


class Transaction:
    """One change in the making. Nothing happens before `commit`; then everything or nothing."""

    __slots__ = (
        "_committer", "answer", "failed", "ops", "pending", "submitted", "then", "told", "writer", "writes",
    )  # fmt: skip

    def __init__(self, committer: "Committer") -> None:
        self._committer = committer
        self.told: list[Callable[[Heard], None]] = []
        self.writes: list[Write] = []
        self.ops: list[tuple[str, object, object]] = []
        self.then: list[Callable[[], None]] = []
        self.failed: Callable[[], None] | None = None
        self.pending: Pending | None = None
        self.answer: Answer = b""
        self.writer = 0
        self.submitted = 0.0

    def domain(self, name: str, after: Domain | None) -> None:
        self._put("domain", name, after)
        self.writes.append(DeleteDomain(name) if after is None else PutDomain(name, after.expires_at))

    def desired(self, guid: str, after: DesiredLRP | None) -> None:
        """The caller has made sure that it fits its columns: its parts are at hand there."""
        self._put("desired", guid, after)
        self.writes.append(DeleteDesired(guid) if after is None else PutDesired(after))

    def task(self, guid: str, after: Task | None) -> None:
        self._put("task", guid, after)
        self.writes.append(DeleteTask(guid) if after is None else PutTask(after))

    def actual(
        self, rows: Rows, changes: Sequence[Change], crash: Crash | None = None, trace_id: str = ""
    ) -> None:
        """Changes to the records of one key, which are `rows` now. The caller has made sure that they fit."""
        after: dict[Identity, ActualLRP | None] = {}
        for change in changes:
            if change.before is not None:
                after.setdefault(change.before.identity, None)
            if change.after is not None:
                after[change.after.identity] = change.after
        for identity, row in after.items():
            self._put("actual", identity, row)
            self.writes.append(DeleteActual(*identity) if row is None else PutActual(row))
        self.tell(lambda announcer: announcer.actual(rows, changes, crash, trace_id))

    def forget_rows(self, identities: Sequence[Identity]) -> None:
        """Delete records that nobody knows, because they cannot be read."""
        self.writes.extend(DeleteActual(*identity) for identity in identities)

    def tell(self, event: Callable[[Heard], None]) -> None:
        """Have listeners told once it is durable, and the history with it."""
        self.told.append(event)

    def commit(self, answer: Answer = b"", *, pending: Pending | None = None) -> Pending:
        """Have it made durable; `answer` is given once it is.

        Raises:
            BbsError: a text is too long for its column. Nothing has happened.
        """
        for write in self.writes:
            if isinstance(write, PutTask | PutDomain) and fits(write) is not None:
                raise BbsError.invalid_request()
        self.answer = answer
        self.pending = pending or Pending()
        self._committer.submit(self)
        return self.pending

    def _put(self, kind: str, key: object, value: object) -> None:
        self.ops.append((kind, key, value))

    # ---- by the committer, in the loop

    def go_ahead(self, memory: Memory) -> None:
        for kind, key, value in self.ops:
            _AHEAD[kind](memory, key, value, self.writer)

    def become_visible(self, memory: Memory, announcer: Announcer) -> None:
        for kind, key, value in self.ops:
            _PUT[kind](memory, key, value, self.writer)
        for event in self.told:
            event(announcer)


_AHEAD: dict[str, Callable[..., None]] = {
    "domain": Memory.domain_ahead,
    "desired": Memory.desired_ahead,
    "actual": Memory.actual_ahead,
    "task": Memory.task_ahead,
}
_PUT: dict[str, Callable[..., None]] = {
    "domain": Memory.put_domain,
    "desired": Memory.put_desired,
    "actual": Memory.put_actual,
    "task": Memory.put_task,
}


def share(waiting: int, writes: Iterable[int]) -> int:
    """How many of so many waiting transactions are the next batch, given how many writes each has, in their order.

    Half of them, and at least `TRANSACTIONS_AT_LEAST`, as far as there are so many and as they share
    `WRITES_IN_A_BATCH`; the first one always.
    """
    most = max(TRANSACTIONS_AT_LEAST, (waiting + 1) // 2)
    sums = accumulate(islice(writes, most))
    fitting = sum(1 for _ in takewhile(lambda together: together <= WRITES_IN_A_BATCH, sums))
    return max(fitting, min(1, waiting))


class Committer:
    """Makes transactions durable, many at once, one batch after the other."""

    def __init__(
        self, runtime: Runtime, memory: Memory, announcer: Announcer, recorder: Recorder | None = None
    ) -> None:
        """Without a recorder no history is written."""
        self._recorder = recorder
        self._runtime = runtime
        self._memory = memory
        self._announcer = announcer
        self._store: Store | None = None
        self._waiting: deque[Transaction] = deque()
        self._writes_waiting = 0
        self._handing_over = False
        self._busy = False
        self._writers = 0
        self._stopped = False
        self._idle = threading.Event()
        self._idle.set()
        self._for_thread: SimpleQueue[_Work | None] = SimpleQueue()
        self._batches = metrics.histogram(
            "bbs_commit_writes", "Writes that shared a commit", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500)
        )
        self._seconds = metrics.histogram("bbs_commit_seconds", "How long a commit took")
        self._transactions = metrics.histogram(
            "bbs_commit_transactions",
            "Transactions that shared a commit",
            buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500),
        )
        self._failures = metrics.counter("bbs_commits_failed", "Commits that the database refused")
        self._oldest = 0.0
        metrics.measured("bbs_commit_waiting", "Writes that wait for a commit", lambda: self._writes_waiting)
        metrics.measured("bbs_commit_lag_seconds", "Age of the oldest change that is not durable", self.lag)

    @property
    def waiting(self) -> int:
        """Writes that wait for a commit."""
        return self._writes_waiting

    def lag(self) -> float:
        """Seconds since the oldest transaction came that is not durable yet. From any thread."""
        oldest = self._oldest
        return time.monotonic() - oldest if oldest else 0.0

    @property
    def ready(self) -> bool:
        """Whether transactions are taken."""
        return self._store is not None and not self._stopped

    def idle(self) -> bool:
        """Whether nothing waits and nothing is with the store."""
        return self._idle.is_set()

    def begin(self) -> Transaction:
        return Transaction(self)

    def submit(self, transaction: Transaction) -> None:
        """Take a transaction on its way. In the loop."""
        store = self._store
        if store is None or self._stopped or store.settling or self._writes_waiting > WRITES_WAITING:
            self._refuse([transaction])
            return
        self._writers += 1
        transaction.writer = self._writers
        transaction.submitted = time.monotonic()
        transaction.go_ahead(self._memory)
        if not self._oldest:
            self._oldest = transaction.submitted
            self._idle.clear()
        self._waiting.append(transaction)
        self._writes_waiting += len(transaction.writes)
        if not (self._busy or self._handing_over):
            self._handing_over = True
            self._runtime.loop.call_soon(self._hand_over)

    def stop(self, seconds: float) -> None:
        """Take nothing more, and wait for what is on its way. From any thread."""
        self._stopped = True
        self._idle.wait(seconds)
        self._for_thread.put(None)

    # ---- the committer's thread

    def run(self, store: Store) -> None:
        """Do what the loop cannot, until stopped. Transactions are taken from now on."""
        self._store = store
        while (work := self._for_thread.get()) is not None:
            try:
                work.act()
            except CommitFailed as error:
                self._failures.inc()
                log.error("commit-failed", error=error.text, transactions=len(work.batch))
                self._runtime.call_in_loop(self._fall, work.batch)
            except StoreError as error:  # fenced, of unknown fate, or without hope
                self._runtime.end(f"{type(error).__name__}: {error.text}")
            else:
                self._runtime.loop.call_soon_threadsafe(self._arrived, work)

    # ---- the loop

    def _hand_over(self) -> None:
        """Have all that waits made durable: what came in one turn of the loop, or while the store was busy."""
        self._handing_over = False
        store = self._store
        if self._busy or store is None:
            return
        batch = self._next_batch()
        if not batch:
            self._oldest = 0.0
            self._idle.set()
            return
        self._busy = True
        self._oldest = batch[0].submitted
        writes = [write for transaction in batch for write in transaction.writes]
        work = _Work(batch, len(writes), time.monotonic(), lambda: store.commit(writes, told))
        try:
            told = self._history_of(batch)
            begun = store.commit_in_loop(self._runtime.loop, writes, told, partial(self._ended, work))
        except Exception as error:  # noqa: BLE001 - it is raised again, where it ends the process
            self._for_thread.put(replace(work, act=partial(_raise, error)))
        else:
            if not begun:
                self._for_thread.put(work)

    def _ended(self, work: "_Work", rest: Callable[[], None] | None) -> None:
        """The store is done with a batch, or a thread has to do the rest."""
        if rest is None:
            self._arrived(work)
        else:
            self._for_thread.put(replace(work, act=rest))

    def _next_batch(self) -> list[Transaction]:
        count = share(len(self._waiting), (len(each.writes) for each in self._waiting))
        batch = [self._waiting.popleft() for _ in range(count)]
        self._writes_waiting -= sum(len(transaction.writes) for transaction in batch)
        return batch

    def _history_of(self, batch: Sequence[Transaction]) -> Sequence[Row]:
        if self._recorder is None:
            return ()
        return self._recorder.rows_of(tell for transaction in batch for tell in transaction.told)

    def _arrived(self, work: "_Work") -> None:
        batch = work.batch
        self._seconds.observe(time.monotonic() - work.began)
        self._transactions.observe(len(batch))
        self._batches.observe(work.writes)
        self._busy = False
        for transaction in batch:
            transaction.become_visible(self._memory, self._announcer)
        for transaction in batch:
            if transaction.pending is not None:
                transaction.pending.settle(transaction.answer)
            for act in transaction.then:
                act()
        self._hand_over()

    def _fall(self, batch: Sequence[Transaction]) -> None:
        fallen = [*batch, *self._waiting]
        self._waiting.clear()
        self._writes_waiting = 0
        self._busy = False
        self._memory.forget_ahead()
        self._refuse(fallen)
        self._hand_over()

    def _refuse(self, transactions: Sequence[Transaction]) -> None:
        for transaction in transactions:
            if transaction.pending is not None:
                transaction.pending.settle(UNAVAILABLE)
            if transaction.failed is not None:
                transaction.failed()


@dataclass(frozen=True, slots=True)
class _Work:
    """A batch with the store: what a thread must do, if one has to."""

    batch: list[Transaction]
    writes: int
    began: float
    act: Callable[[], None]


def _raise(error: Exception) -> None:
    raise error
