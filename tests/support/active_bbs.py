"""The active BBS without a network: its service, memory and committer over a store without a database."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from diego.bbs.commits import Committer
from diego.bbs.convergence import Convergence
from diego.bbs.core.convergence import TaskLimits
from diego.bbs.core.desired_lrps import RepUpdate, StartRequest
from diego.bbs.events import Announcer
from diego.bbs.memory import Memory
from diego.bbs.outside import Auctioneer, Callbacks, CallFailed, Cells, Outside, Reps
from diego.bbs.service import Context, Service
from diego.bbs.store.memory import MemoryDatabase, MemoryStore
from diego.bbs.takeover import fill
from diego.models import ActualLRP, BbsError, CellPresence, Task
from diego.runtime.api import Answer, Bulk, Pending, Reply
from diego.runtime.hub import Hub, Run
from diego.runtime.process import Runtime
from support.records import NOW
from support.worker import running, until

T = TypeVar("T")
WAIT = 60.0


@dataclass
class FakeCells(Cells):
    """Cells that are there by being named; `error` stands for a Locket that does not answer."""

    names: set[str] = field(default_factory=lambda: {"cell"})
    error: BbsError | None = None

    def all(self) -> list[CellPresence]:
        if self.error is not None:
            raise self.error
        return [CellPresence(name) for name in sorted(self.names)]

    def find(self, cell_id: str) -> CellPresence | None:
        return next((cell for cell in self.all() if cell.cell_id == cell_id), None)


@dataclass
class FakeReps(Reps):
    """Remembers what cells are asked; the first `failures` calls fail."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)
    failures: int = 0

    def stop(self, cell: CellPresence, lrp: ActualLRP, request_id: str | None) -> None:
        self._called("stop", cell.cell_id, lrp.process_guid, lrp.index, request_id)

    def update(self, cell: CellPresence, update: RepUpdate, request_id: str | None) -> None:
        lrp = update.lrp
        self._called(
            "update", cell.cell_id, lrp.index, update.internal_routes, update.metric_tags, request_id
        )

    def cancel_task(self, cell: CellPresence, task_guid: str, request_id: str | None) -> None:
        self._called("cancel", cell.cell_id, task_guid, request_id)

    def _called(self, *call: Any) -> None:
        self.calls.append(call)
        if self.failures:
            self.failures -= 1
            raise CallFailed("http error: status code 500 (Internal Server Error)")


@dataclass
class FakeAuctioneer(Auctioneer):
    """Remembers what is asked of it."""

    lrps: list[tuple[StartRequest, str]] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)

    def start_lrps(self, requests: Any, request_id: str = "") -> None:
        self.lrps.extend((request, request_id) for request in requests)

    def start_tasks(self, tasks: Any, request_id: str = "") -> None:
        self.tasks.extend(task.guid for task in tasks)


@dataclass
class FakeCallbacks(Callbacks):
    """Whether who waits for tasks hears of them."""

    heard: bool = True
    told: list[tuple[str, str]] = field(default_factory=list)

    def tell(self, task: Task, url: str) -> bool:
        heard = self.heard  # before a test sees that it was asked, and changes it
        self.told.append((task.guid, url))
        return heard


class Listener:
    """One who listens to everything."""

    def __init__(self, runtime: Runtime, hub: Hub) -> None:
        self._runtime, self._hub = runtime, hub
        self._heard: list[str] = []
        runtime.call_in_loop(hub.join, self, None, runtime.loop)

    @property
    def heard(self) -> list[str]:
        """The names of all events that were published before this look."""
        self._runtime.call_in_loop(self._hub.flush)
        return self._heard

    def send_events(self, run: Run) -> bool:
        self._heard += [text.split(b"event: ")[1].split(b"\n")[0].decode() for text in run.texts]
        return True

    def end_stream(self) -> None:
        self._heard.append("end")


@dataclass
class ActiveBbs:
    """Everything that stands on a store, driven from a test's thread."""

    runtime: Runtime
    database: MemoryDatabase
    memory: Memory
    committer: Committer
    service: Service
    convergence: Convergence
    cells: FakeCells
    reps: FakeReps
    auctioneer: FakeAuctioneer
    callbacks: FakeCallbacks
    instances: Listener
    groups: Listener
    tasks: Listener
    clock: list[int]

    def call(self, use: Callable[[], T]) -> T:
        """In the loop."""
        return self.runtime.call_in_loop(use)

    def ask(self, use: Callable[[], Answer]) -> bytes:
        """What a caller gets in the end; raises BbsError as the use-case does."""
        answer = self.answer(use)
        if isinstance(answer, Bulk):
            return b"".join(answer.chunks)
        assert isinstance(answer, bytes), answer
        return answer

    def answer(self, use: Callable[[], Answer]) -> Answer:
        come = threading.Event()

        def begin() -> Answer:
            answer = use()
            if isinstance(answer, Pending):
                answer.then(lambda _: come.set())
            else:
                come.set()
            return answer

        answer = self.call(begin)
        assert come.wait(WAIT), "no answer came"
        self.call(lambda: None)  # what the loop does after it has answered, is done
        if isinstance(answer, Pending):
            assert answer.answer is not None
            return answer.answer
        return answer

    def refused(self, use: Callable[[], Answer]) -> bool:
        """Whether the caller is told to try again."""
        answer = self.answer(use)
        return isinstance(answer, Reply) and answer.status == 503

    def settle(self) -> None:
        """Until nothing is on its way."""
        until(lambda: self.committer.waiting == 0 and self.call(lambda: True), seconds=WAIT)
        until(self.committer.idle, seconds=WAIT)

    @property
    def now(self) -> int:
        return self.clock[0]

    def pass_time(self, nanoseconds: int) -> None:
        self.clock[0] += nanoseconds


@contextlib.contextmanager
def active_bbs(
    *,
    max_task_retries: int = 3,
    limits: TaskLimits | None = None,
    database: MemoryDatabase | None = None,
    outside: Outside | None = None,
    reps: FakeReps | None = None,
    clock: list[int] | None = None,
) -> Iterator[ActiveBbs]:
    """A BBS that has taken over a database, by default an empty one."""
    with running(job="bbs") as runtime:
        database = database or MemoryDatabase()
        store = MemoryStore(database)
        store.take_over()
        memory, announcer = Memory(), Announcer()
        fill(memory, store.load())
        committer = Committer(runtime, memory, announcer)
        reps = reps or FakeReps()
        cells, auctioneer, callbacks = FakeCells(), FakeAuctioneer(), FakeCallbacks()
        clock = clock or [NOW]
        epochs = iter(range(10**9))
        outside = outside or Outside(threads=4)
        context = Context(
            runtime, memory, committer, announcer, outside, cells, auctioneer, reps, callbacks,
            now=lambda: clock[0], epoch=lambda: f"epoch-{next(epochs)}",
        )  # fmt: skip
        service = Service(context, max_task_retries=max_task_retries)
        convergence = Convergence(service, limits or TaskLimits(), runtime.stopping)
        hubs = announcer.instances, announcer.groups, announcer.tasks
        instances, groups, tasks = (Listener(runtime, hub) for hub in hubs)
        runtime.background("committer", lambda: committer.run(store))
        until(lambda: committer.ready)
        try:
            yield ActiveBbs(
                runtime, database, memory, committer, service, convergence, cells, reps, auctioneer, callbacks,
                instances, groups, tasks, clock,
            )  # fmt: skip
        finally:
            committer.stop(1)
            outside.close()
