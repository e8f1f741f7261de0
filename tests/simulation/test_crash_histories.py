"""Whatever dies in the middle, nothing acknowledged is lost and everything ends up running once.

The BBS's memory, committer, service and convergence over a store without a database, the auctioneer's own placement,
and imaginary cells, with deaths of each at any point: a BBS that dies with a commit that took place and was never
answered, or whose fate nobody knows; a commit that is refused; an auctioneer that forgets what it was asked; cells that
vanish, come back with what they had, or with nothing. After any such history come quiet times.
"""

import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from diego.auctioneer.core.cells import CellState
from diego.auctioneer.core.placement import schedule
from diego.auctioneer.core.scoring import Policy
from diego.auctioneer.core.starts import Demand, LRPStart, Start, TaskStart
from diego.bbs.commits import UNAVAILABLE
from diego.bbs.outside import Outside
from diego.bbs.store.memory import MemoryDatabase, MemoryStore
from diego.models import ActualLRP, ActualLRPState, BbsError, CellPresence, ErrorType, Presence, TaskState
from diego.runtime.api import Answer, Pending
from diego.wire import (
    actual_lrp_pb2,
    actual_lrp_requests_pb2,
    desired_lrp_requests_pb2,
    domain_pb2,
    task_requests_pb2,
)
from support.active_bbs import ActiveBbs, FakeReps, active_bbs
from support.auctions import STACK, a_cell
from support.records import KEY, MINUTE, NOW, SECOND, a_definition, a_desired_message
from support.worker import until

GUIDS = ("one", "two")
CELLS = ("cell-a", "cell-b", "cell-c")
TASKS = ("task-1", "task-2")
MOST = 3
ROUNDS = 12
DONE, REFUSED = "done", "refused"


class AtOnce(Outside):
    """Calls to others happen at once, so that a history is the same each time."""

    def do(self, call: Callable[[], None]) -> bool:
        call()
        return True


@dataclass
class CellsThatStop(FakeReps):
    """Notes which instances are to be stopped."""

    stops: list[str] = field(default_factory=list)

    def stop(self, cell: CellPresence, lrp: ActualLRP, request_id: str | None) -> None:
        self.stops.append(lrp.instance_guid)


@dataclass
class Container:
    guid: str
    index: int
    instance: str
    cell: str


class World:
    """One deployment through all its deaths."""

    def __init__(self) -> None:
        self.clock = [NOW]
        self.database = MemoryDatabase()
        self.reps = CellsThatStop()
        self.present = set(CELLS)
        self.containers: dict[str, Container] = {}
        self.wanted: dict[str, int] = {}
        self.asked: list[Start] = []
        """What the auctioneer was asked for and has not done."""
        self.runs: Counter[str] = Counter()
        self.running_tasks: dict[str, str] = {}
        self.tasks: set[str] = set()
        """Tasks whose desire was acknowledged."""
        self.instances = 0
        self._stack = contextlib.ExitStack()
        self.bbs: ActiveBbs
        self.start_bbs()

    # ---- the BBS's life

    def start_bbs(self) -> None:
        self.bbs = self._stack.enter_context(
            active_bbs(database=self.database, outside=AtOnce(), reps=self.reps, clock=self.clock)
        )
        self.bbs.cells.names = set(self.present)

    def restart_bbs(self) -> None:
        self._stack.close()
        self._stack = contextlib.ExitStack()
        self.start_bbs()

    def close(self) -> None:
        self._stack.close()

    def ask(self, use: Callable[[ActiveBbs], Answer]) -> tuple[str, bytes]:
        """What a caller learns, and the answer; an error of the contract is raised."""
        bbs = self.bbs
        bbs.cells.names = set(self.present)
        answer = bbs.answer(lambda: use(bbs))
        self._collect()
        if answer is UNAVAILABLE:
            return REFUSED, b""
        assert isinstance(answer, bytes)
        return DONE, answer

    def ask_and_die(self, use: Callable[[ActiveBbs], Answer], *, takes_place: bool) -> None:
        """The BBS dies with the commit under way, and the caller learns nothing."""
        bbs = self.bbs
        bbs.cells.names = set(self.present)
        commits = self.database.commits
        if not takes_place:
            self.database.break_commits.append(None)

        def begin() -> bool:
            answer = use(bbs)
            return isinstance(answer, Pending) and answer.answer is None

        with contextlib.suppress(BbsError):
            if bbs.call(begin):
                until(lambda: self.database.commits > commits or not self.database.break_commits)
                if not takes_place:
                    bbs.committer._idle.set()  # a dead committer has nothing under way: do not wait for it
        self.database.break_commits.clear()
        self.asked.clear()  # what it would have asked for dies with it
        self.restart_bbs()

    def _collect(self) -> None:
        """Hand to the auctioneer what the BBS asked of it."""
        self.bbs.settle()
        lrps, self.bbs.auctioneer.lrps[:] = list(self.bbs.auctioneer.lrps), []
        tasks, self.bbs.auctioneer.tasks[:] = list(self.bbs.auctioneer.tasks), []
        demand = Demand(rootfs=STACK, memory_mb=8, disk_mb=8)
        for request, _ in lrps:
            self.asked += [
                LRPStart(request.process_guid, index, request.domain, demand) for index in request.indices
            ]
        self.asked += [TaskStart(guid, KEY.domain, demand) for guid in tasks]
        for instance in self.reps.stops:
            container = self.containers.get(instance)
            if container is not None and container.cell in self.present:
                del self.containers[instance]
        self.reps.stops.clear()

    # ---- what callers and cells do

    def told(self, use: Callable[[ActiveBbs], Answer]) -> ErrorType | str:
        """DONE, REFUSED or the error."""
        try:
            return self.ask(use)[0]
        except BbsError as error:
            return error.type

    def want(self, guid: str, instances: int) -> Callable[[ActiveBbs], Answer]:
        if guid in self.wanted:
            update = desired_lrp_requests_pb2.UpdateDesiredLRPRequest(process_guid=guid)
            update.update.instances = instances
            return lambda bbs: bbs.service.desired_lrps.update(update, request_id="")
        desire = desired_lrp_requests_pb2.DesireLRPRequest(
            desired_lrp=a_desired_message(guid, instances=instances)
        )
        return lambda bbs: bbs.service.desired_lrps.desire(desire, request_id="")

    def unwant(self, guid: str) -> Callable[[ActiveBbs], Answer]:
        request = desired_lrp_requests_pb2.RemoveDesiredLRPRequest(process_guid=guid)
        return lambda bbs: bbs.service.desired_lrps.remove(request, request_id="")

    def desire_task(self, guid: str) -> Callable[[ActiveBbs], Answer]:
        request = task_requests_pb2.DesireTaskRequest(
            task_guid=guid, domain=KEY.domain, task_definition=a_definition()
        )
        return lambda bbs: bbs.service.tasks.desire(request)

    def hold_auction(self) -> None:
        """The auctioneer's own decision over the present cells; what it places is claimed and started there."""
        asked, self.asked = self.asked, []
        outcome = schedule([self._state(cell) for cell in sorted(self.present)], asked, Policy())
        for cell, starts in outcome.work.items():
            for start in starts:
                if isinstance(start, LRPStart):
                    self.run(start.process_guid, start.index, cell)
                else:
                    self.run_task(start.task_guid, cell)

    def _state(self, cell: str) -> CellState:
        counts = Counter(one.guid for one in self.containers.values() if one.cell == cell)
        return a_cell(cell, zone=cell, processes=counts)

    def run(self, guid: str, index: int, cell: str) -> None:
        self.instances += 1
        container = Container(guid, index, f"i{self.instances}", cell)
        request = actual_lrp_requests_pb2.ClaimActualLRPRequest(
            process_guid=guid, index=index, actual_lrp_instance_key=_instance(container)
        )
        if self.told(lambda bbs: bbs.service.actual_lrps.claim(request)) == DONE:
            self.containers[container.instance] = container
            self.start(container)

    def start(self, container: Container) -> None:
        """Tell that it runs; only a refusal in the contract's words ends it."""
        told = self.told(lambda bbs: bbs.service.actual_lrps.start(_started(container)))
        if told not in (DONE, REFUSED):
            self.containers.pop(container.instance, None)

    def run_task(self, guid: str, cell: str) -> None:
        request = task_requests_pb2.StartTaskRequest(task_guid=guid, cell_id=cell)
        try:
            told, answer = self.ask(lambda bbs: bbs.service.tasks.start(request))
        except BbsError:
            return
        if told == DONE and task_requests_pb2.StartTaskResponse.FromString(answer).should_start:
            self.runs[guid] += 1
            self.running_tasks[guid] = cell

    def complete(self, guid: str, cell: str, *, failed: bool) -> None:
        request = task_requests_pb2.CompleteTaskRequest(
            task_guid=guid, cell_id=cell, failed=failed, failure_reason="no container" if failed else ""
        )
        told = self.told(lambda bbs: bbs.service.tasks.complete(request))
        if told != REFUSED:
            self.running_tasks.pop(guid, None)

    def sync(self, cell: str) -> None:
        """As a rep does: heartbeats for what runs, removal of what does not."""
        for container in [one for one in self.containers.values() if one.cell == cell]:
            self.start(container)
        for row in self.rows():
            if row.cell_id == cell and row.instance_guid not in self.containers:
                request = actual_lrp_requests_pb2.RemoveActualLRPRequest(
                    process_guid=row.process_guid,
                    index=row.index,
                    actual_lrp_instance_key=actual_lrp_pb2.ActualLRPInstanceKey(
                        instance_guid=row.instance_guid, cell_id=cell
                    ),
                )
                self.told(partial(_remove, request))
        for task in list(self.bbs.memory.tasks.by_guid.values()):
            if task.state is TaskState.RUNNING and task.cell_id == cell:
                gone = self.running_tasks.get(task.guid) != cell
                self.complete(task.guid, cell, failed=gone)

    def converge(self) -> None:
        self.bbs.cells.names = set(self.present)
        self.bbs.convergence.run_once()
        self._collect()

    def rows(self) -> list[ActualLRP]:
        return list(self.bbs.memory.actual)

    def quiet(self) -> None:
        self.clock[0] += 31 * SECOND
        fresh = domain_pb2.UpsertDomainRequest(domain=KEY.domain, ttl=0)
        self.told(lambda bbs: bbs.service.registry.upsert_domain(fresh))
        for cell in sorted(self.present):
            self.sync(cell)
        self.converge()
        self.hold_auction()
        for cell in sorted(self.present):
            self.sync(cell)


def _remove(request: actual_lrp_requests_pb2.RemoveActualLRPRequest, bbs: ActiveBbs) -> Answer:
    return bbs.service.actual_lrps.remove(request)


def _instance(container: Container) -> actual_lrp_pb2.ActualLRPInstanceKey:
    return actual_lrp_pb2.ActualLRPInstanceKey(instance_guid=container.instance, cell_id=container.cell)


def _started(container: Container) -> actual_lrp_requests_pb2.StartActualLRPRequest:
    return actual_lrp_requests_pb2.StartActualLRPRequest(
        actual_lrp_key=actual_lrp_pb2.ActualLRPKey(
            process_guid=container.guid, index=container.index, domain=KEY.domain
        ),
        actual_lrp_instance_key=_instance(container),
        actual_lrp_net_info=actual_lrp_pb2.ActualLRPNetInfo(address="10.0.0.1"),
    )


class Deaths(RuleBasedStateMachine):
    """What may happen, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    # ---- callers, answered or not

    @rule(guid=st.sampled_from(GUIDS), instances=st.integers(0, MOST))
    def somebody_wants(self, guid: str, instances: int) -> None:
        assert self.world.told(self.world.want(guid, instances)) == DONE
        self.world.wanted[guid] = instances

    @rule(guid=st.sampled_from(GUIDS))
    def somebody_no_longer_wants(self, guid: str) -> None:
        told = self.world.told(self.world.unwant(guid))
        assert told == (DONE if guid in self.world.wanted else ErrorType.RESOURCE_NOT_FOUND)
        self.world.wanted.pop(guid, None)

    @rule(guid=st.sampled_from(TASKS))
    def somebody_wants_a_task(self, guid: str) -> None:
        told = self.world.told(self.world.desire_task(guid))
        assert told in (DONE, ErrorType.RESOURCE_EXISTS)
        self.world.tasks.add(guid)

    @rule(guid=st.sampled_from(GUIDS), instances=st.integers(0, MOST))
    def the_database_refuses_what_somebody_wants(self, guid: str, instances: int) -> None:
        world = self.world
        world.database.break_commits.append(False)
        told = world.told(world.want(guid, instances))
        refused = not world.database.break_commits  # nothing to write, nothing to refuse
        world.database.break_commits.clear()
        assert told == (REFUSED if refused else DONE)
        if not refused:
            world.wanted[guid] = instances

    @rule(guid=st.sampled_from(GUIDS), instances=st.integers(0, MOST), takes_place=st.booleans())
    def the_bbs_dies_in_a_write(self, guid: str, instances: int, takes_place: bool) -> None:
        world = self.world
        before = world.wanted.get(guid)
        world.ask_and_die(world.want(guid, instances), takes_place=takes_place)
        found = world.bbs.memory.desired.by_guid.get(guid)
        now = None if found is None else found.instances
        assert now == (instances if takes_place else before)
        if now is not None:
            world.wanted[guid] = now

    @rule(guid=st.sampled_from(TASKS), takes_place=st.booleans())
    def the_bbs_dies_as_a_task_begins(self, guid: str, takes_place: bool) -> None:
        """The cell is not told whether it must run the task, so it does not."""
        request = task_requests_pb2.StartTaskRequest(task_guid=guid, cell_id=CELLS[0])
        self.world.ask_and_die(lambda bbs: bbs.service.tasks.start(request), takes_place=takes_place)

    @rule(takes_place=st.booleans(), data=st.data())
    def the_bbs_dies_as_an_instance_crashes(self, takes_place: bool, data: st.DataObject) -> None:
        world = self.world
        if not world.containers:
            return
        container = world.containers.pop(data.draw(st.sampled_from(sorted(world.containers))))
        request = actual_lrp_requests_pb2.CrashActualLRPRequest(
            actual_lrp_key=_started(container).actual_lrp_key,
            actual_lrp_instance_key=_instance(container),
            error_message="exit 1",
        )
        world.ask_and_die(lambda bbs: bbs.service.actual_lrps.crash(request), takes_place=takes_place)

    @rule()
    def the_bbs_dies(self) -> None:
        self.world.restart_bbs()

    # ---- the auctioneer

    @rule()
    def an_auction_is_held(self) -> None:
        self.world.hold_auction()

    @rule()
    def the_auctioneer_dies(self) -> None:
        self.world.asked.clear()

    # ---- cells

    @rule(cell=st.sampled_from(CELLS))
    def a_cell_is_cut_off(self, cell: str) -> None:
        self.world.present.discard(cell)

    @rule(cell=st.sampled_from(CELLS))
    def a_cell_is_back(self, cell: str) -> None:
        self.world.present.add(cell)

    @rule(cell=st.sampled_from(CELLS))
    def a_cell_dies_and_is_back_with_nothing(self, cell: str) -> None:
        world = self.world
        world.containers = {name: one for name, one in world.containers.items() if one.cell != cell}
        world.running_tasks = {guid: at for guid, at in world.running_tasks.items() if at != cell}

    @rule(cell=st.sampled_from(CELLS))
    def a_cell_syncs(self, cell: str) -> None:
        if cell in self.world.present:
            self.world.sync(cell)

    @rule()
    def convergence_runs(self) -> None:
        self.world.converge()

    @rule(nanoseconds=st.sampled_from([SECOND, 31 * SECOND, 6 * MINUTE]))
    def time_passes(self, nanoseconds: int) -> None:
        self.world.clock[0] += nanoseconds

    # ---- what always holds

    @invariant()
    def memory_and_database_are_the_same(self) -> None:
        world = self.world
        world.bbs.settle()
        loaded = MemoryStore(world.database).load()
        assert {row.identity: row for row in loaded.actual} == {row.identity: row for row in world.rows()}
        assert {lrp.process_guid: lrp.instances for lrp in loaded.desired} == world.wanted
        assert {task.guid: task for task in loaded.tasks} == world.bbs.memory.tasks.by_guid

    @invariant()
    def a_record_is_held_by_both_instance_and_cell_or_by_none(self) -> None:
        for row in self.world.rows():
            held = row.state in (ActualLRPState.CLAIMED, ActualLRPState.RUNNING)
            assert held == bool(row.instance_guid) == bool(row.cell_id)

    @invariant()
    def no_task_ran_twice(self) -> None:
        assert all(count == 1 for count in self.world.runs.values()), self.world.runs

    def teardown(self) -> None:
        world = self.world
        try:
            world.present = set(CELLS)
            for _ in range(ROUNDS):
                world.quiet()
            rows = world.rows()
            wanted = {(guid, index) for guid, count in world.wanted.items() for index in range(count)}
            assert sorted((row.process_guid, row.index) for row in rows) == sorted(wanted)
            assert all(
                row.presence is Presence.ORDINARY and row.state is ActualLRPState.RUNNING for row in rows
            )
            assert {row.instance_guid for row in rows} == set(world.containers)
            states = {guid: task.state for guid, task in world.bbs.memory.tasks.by_guid.items()}
            assert all(state in (TaskState.COMPLETED, TaskState.RESOLVING) for state in states.values())
            self.no_task_ran_twice()
        finally:
            world.close()


TestDeaths = Deaths.TestCase
TestDeaths.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
