"""The experiments that need no hosts: numbers and expectations as in docs/operations/chaos.md.

Each gets a control plane under the standing load, does its harm, waits for what must come of it, and notes how long
that took. What is wrong is for the checker to say.
"""

import json
import random
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from chaos import malformed, points
from chaos.cells import unanswered
from chaos.checker import Allowed
from chaos.history import History
from chaos.load import DOMAIN, Load
from chaos.site import Control, Extras
from diego.models import BbsError
from diego.wire.desired_lrp_pb2 import DesiredLRP
from support.bbs import BbsProcess
from support.records import a_desired_message
from support.sql_proxy import COMMIT, DEADLOCK, LOCK_WAIT, READ_ONLY, Refusal, Statement, writes_refused
from support.worker import until

FAILOVER_SECONDS = 20.0
TERM_SECONDS = 6.0
CELL_LOSS_SECONDS = 17.0
STATE_TIMEOUT = 10.0
AUCTION = 125
"""Instances of the auction that is disturbed: a quarter of 500."""

FEW_HANDLES = 8
"""Of these none is given back: output, the master's sockets, the loop's own."""

DISK_MB = 384
"""The database's disk, when it is to be filled: what an empty server has of it, and as much again."""

LARGE = 2_000
"""Bytes of an app's environment: some such apps soon need new room."""

PING_SECONDS = 0.1
"""What the slowest good request in a hundred may always take beside bad ones, on two cores that are shared."""

GROWTH_PERCENT = 5.0
GIANTS_MB = 300.0
"""A BBS at rest and two bodies as large as it takes at once."""

SLOW_SECONDS = {
    "bbs, handshake": 8.0, "bbs, head": 13.0, "bbs, body": 33.0,
    "auctioneer, handshake": 8.0, "auctioneer, head": 13.0, "auctioneer, body": 33.0,
    "locket, handshake": 13.0,
}  # fmt: skip
"""The deadlines for a handshake, a head and a body, and 3 s."""

CLOCK_SECONDS = 3.0
"""Between two clocks that are turned."""

BACK_OFF = 30.0
CONVERGENCE = 15.0

NOTHING = Allowed()
USUAL = Extras()


@dataclass
class Run:
    """One run of an experiment: what it may use."""

    control: Control
    load: Load
    random: random.Random
    seed: int

    def fault(self, what: str) -> float:
        """Note the harm; when it was done."""
        self.control.history.note("fault", what=what)
        return time.monotonic()

    def wrong(self, what: str) -> None:
        self.control.history.note("wrong", what=what)

    def bound(self, what: str, seen: float, limit: float, unit: str = "s") -> None:
        self.control.history.note("bound", what=what, seen=round(seen, 2), limit=round(limit, 2), unit=unit)

    def found(self, what: str, found: malformed.Found, usual: float, good: list[float]) -> None:
        """What came of bad requests, and what good ones had to wait beside them."""
        for wrong in found.wrong:
            self.wrong(wrong)
        p99 = _p99(good)
        self.control.history.note("bad", what=what, counts=found.counts, usual=usual, p99=p99, good=len(good))
        self.bound(f"p99 of a ping beside {what}", p99, max(2 * usual, PING_SECONDS))

    def first_write(self, since: float, limit: float, patience: float = 120.0) -> None:
        """Wait for the first write that is acknowledged after a fault; it must come within `limit`."""
        with self.control.client(timeout=3.0) as client:

            def written() -> bool:
                try:
                    client.upsert_domain(DOMAIN, 0)
                except BbsError:
                    return False
                return True

            until(written, seconds=patience, pause=0.05)
        self.bound("first write", time.monotonic() - since, limit)

    def restart(self, bbs: BbsProcess) -> None:
        bbs.kill()
        bbs.start(wait=False)


Act = Callable[[Run], None]


@dataclass(frozen=True)
class Experiment:
    number: int
    name: str
    act: Act | None = None
    alone: Callable[[Path, History], None] | None = None
    """Instead of `act`, for what makes deployments of its own, without the standing load."""

    allowed: Allowed = NOTHING
    config: dict[str, Any] = field(default_factory=dict)
    """Of the BBSes, beyond the usual."""

    site: Extras = USUAL
    seconds: float = 90.0
    """About how long it takes: the longest begin first."""

    crowd: bool = False
    """Whether it makes many deployments at once: two such do not run at the same time."""

    exclusive: bool = False
    """Whether it needs the machine for itself."""


def kill_the_active_bbs_in_an_auction(run: Run) -> None:
    control = run.control
    active = control.active()
    with control.client() as client:
        run.load.want(client, AUCTION, "auctioned")
    time.sleep(run.random.uniform(0.0, 1.0))
    began = run.fault("kill -9 of the active BBS")
    active.kill()
    run.first_write(began, FAILOVER_SECONDS)
    active.start(wait=False)


def end_the_active_bbs(run: Run) -> None:
    active = run.control.active()
    began = run.fault("TERM to the active BBS")
    active.stop()
    run.first_write(began, TERM_SECONDS)
    active.start(wait=False)


def stop_the_active_bbs_for_a_minute(run: Run) -> None:
    active = run.control.active()
    worker = active.workers
    began = run.fault("SIGSTOP of the active BBS")
    active.signal(signal.SIGSTOP)
    # the standby is asked itself: connections to the sleeping one hang, as they do to a host that hangs
    standby = next(bbs for bbs in run.control.bbses if bbs is not active)
    standby.wait_until_active(60)
    run.bound("standby active", time.monotonic() - began, FAILOVER_SECONDS)
    time.sleep(max(0.0, 60 - (time.monotonic() - began)))
    woken = run.fault("SIGCONT")
    active.signal(signal.SIGCONT)
    until(lambda: active.workers != worker, seconds=60)
    run.bound("the old one ends", time.monotonic() - woken, 5.0)


def use_up_the_handles_of_the_active_bbs(run: Run) -> None:
    """Not one more, also not where one is given back: a limit of what is in use would leave it those."""
    active = run.control.active()
    (worker,) = active.workers
    began = run.fault(f"the active BBS gets no handle any more, its limit being {FEW_HANDLES}")
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (FEW_HANDLES, FEW_HANDLES))
    standby = next(bbs for bbs in run.control.bbses if bbs is not active)

    def useful() -> bool:
        return standby.active or active.workers != [worker]

    until(useful, seconds=120)
    run.bound("it gives up", time.monotonic() - began, FAILOVER_SECONDS)
    run.first_write(began, FAILOVER_SECONDS + 20)


def kill_the_auctioneer_before_it_gives_work(run: Run) -> None:
    control = run.control
    auctioneer = control.active_auctioneer()
    killed = threading.Event()

    def kill() -> None:
        if not killed.is_set():
            killed.set()
            auctioneer.kill()

    control.cells[run.random.randrange(len(control.cells))].asked_for_state = kill
    with control.client() as client:
        run.load.want(client, AUCTION, "auctioned")
    until(killed.is_set, seconds=60)
    began = run.fault("kill -9 of the auctioneer that has a cell's answer")
    for cell in control.cells:
        cell.asked_for_state = lambda: None
    other = next(one for one in control.auctioneers if one is not auctioneer)
    until(lambda: other.active, seconds=60)
    run.bound("the other one is active", time.monotonic() - began, FAILOVER_SECONDS)
    auctioneer.start(wait=False)


def kill_one_locket(run: Run) -> None:
    control = run.control
    before = control.active()
    locket = run.random.choice(control.lockets)
    run.fault("kill -9 of one locket of two")
    locket.kill()
    time.sleep(30)
    _same_master(run, before)
    locket.start()


def take_both_lockets_away(run: Run) -> None:
    control = run.control
    before = control.active()
    for seconds in (10.0, 60.0):
        run.fault(f"both lockets away for {seconds:g} s")
        for locket in control.lockets:
            locket.kill()
        time.sleep(seconds)
        if seconds > 15 and control.answering():
            run.wrong("a BBS answers as active without a lock")
        for locket in control.lockets:
            locket.start(wait=False)
        control.lockets[0].wait_until_serving()
        run.first_write(time.monotonic(), FAILOVER_SECONDS)
        control.lockets[1].wait_until_serving()
    _same_master(run, before)


def kill_a_rep(run: Run) -> None:
    """Supervisor starts it again within its time to live: its containers go on, and nothing is started twice."""
    control = run.control
    cell = run.random.choice(control.cells)
    before = set(cell.containers)
    run.fault(f"kill -9 of the rep of {cell.cell_id}")
    cell.kill()
    time.sleep(run.random.uniform(2.0, 6.0))
    cell.start()
    time.sleep(20)
    gone = before - set(cell.containers)
    unwanted = {instance for instance in gone if _still_wanted(run, instance)}
    if unwanted:
        run.wrong(f"{len(unwanted)} instances of a rep that came back were lost")


def power_a_cell_off(run: Run) -> None:
    control = run.control
    cell = max(control.cells, key=lambda one: len(one.containers))
    lost = {(one.guid, one.index) for one in cell.containers.values()}
    began = run.fault(f"{cell.cell_id} loses its power, with {len(lost)} instances")
    cell.power_off()

    def replaced() -> bool:
        """Whether everything that is still wanted of them has another cell's claim."""
        try:
            rows = control.rows()
        except BbsError:
            return False
        elsewhere = {(row[0], row[1]) for row in rows if row[5] not in ("", cell.cell_id)}
        return {key for key in lost if key[1] < run.load.wanted.get(key[0], 0)} <= elsewhere

    until(replaced, seconds=90, pause=0.1)
    run.bound("replacements are placed", time.monotonic() - began, CELL_LOSS_SECONDS)
    cell.start()


def silence_a_cell(run: Run) -> None:
    """It tells its presence and cannot be reached: others' placements are not kept waiting longer than its limit."""
    control = run.control
    cell = run.random.choice(control.cells)
    run.fault(f"{cell.cell_id} accepts connections and answers nobody")
    cell.silent = 30.0
    with control.client() as client:
        began = time.monotonic()
        guid = run.load.want(client, 6, "beside")

        def placed() -> bool:
            try:
                rows = control.rows()
            except BbsError:
                return False
            return len([row for row in rows if row[0] == guid and row[3] == "RUNNING"]) == 6

        until(placed, seconds=90, pause=0.1)
        run.bound("placed beside a silent cell", time.monotonic() - began, STATE_TIMEOUT + 2.0)
    cell.silent = 0.0


def turn_the_clocks(run: Run) -> None:
    """Hosts' wall clocks jump an hour forth, then back, one after the other, while everything runs.

    The active BBS's own stays right: an instance that has crashed three times waits its time by that one, whatever
    the cell, the database and the others think of the hour.
    """
    control, clocks = run.control, run.control.clocks
    before = control.active()
    active = f"bbs-{control.bbses.index(before)}"
    with control.client() as client:
        guid = run.load.want(client, 1, "crashing")
    _crash_thrice(run, guid)
    for offset in (3600, -3600):
        for name, clock in clocks.items():
            if name != active:
                run.fault(f"the clock of {name} jumps to {offset:+d} s")
                clock.turn(offset)
                time.sleep(CLOCK_SECONDS)
        time.sleep(20)
        _same_master(run, before)
        _really_off(run, offset)
        until(lambda: _state(run, guid) == "RUNNING", seconds=60)
    run.fault("the clocks are right again")
    for clock in clocks.values():
        clock.turn(0)
    time.sleep(20)
    _same_master(run, before)


def _really_off(run: Run, offset: int) -> None:
    """Whether the database and the cells think what they shall think of the hour."""
    apart = run.control.apart
    assert apart is not None
    ((database,),) = run.control.database.rows("SELECT UNIX_TIMESTAMP()")
    for name, wall in (("the database", float(str(database))), ("the cells", apart.wall_clock())):
        if abs(wall - time.time() - offset) > 60:
            run.wrong(f"{name} should be {offset:+d} s off, and is {wall - time.time():+.0f} s")


def _crash_thrice(run: Run, guid: str) -> None:
    """Let an app of one instance crash until it has to wait, and watch from then on that it does."""
    apart = run.control.apart
    assert apart is not None
    instance = ""
    for _ in range(3):
        instance = until(partial(_another_instance, run, guid, instance), seconds=60)
        apart.crash(guid)
    until(lambda: _state(run, guid) == "CRASHED", seconds=30)
    began = time.monotonic()

    def watch() -> None:
        until(lambda: _state(run, guid) in ("UNCLAIMED", "CLAIMED", "RUNNING"), seconds=120, pause=0.2)
        waited = time.monotonic() - began
        if waited < BACK_OFF - 1:
            run.wrong(f"a back-off of {BACK_OFF:g} s was over after {waited:.1f} s")
        run.bound("the end of a back-off of 30 s", waited, BACK_OFF + CONVERGENCE + 5)

    threading.Thread(target=watch, daemon=True).start()


def _another_instance(run: Run, guid: str, before: str) -> str:
    """The instance of an app that runs, when it is not the one of before."""
    row = _row(run, guid)
    return str(row[4]) if row and row[3] == "RUNNING" and row[4] != before else ""


def _state(run: Run, guid: str) -> str:
    """The state of an app's only instance; nothing when nobody can tell."""
    row = _row(run, guid)
    return str(row[3]) if row else ""


def _row(run: Run, guid: str) -> list[Any]:
    try:
        return next((row for row in run.control.rows() if row[0] == guid), [])
    except BbsError:
        return []


def restart_the_database(run: Run) -> None:
    control = run.control
    before = _processes(control)
    run.fault("the database is away for 30 s")
    control.mariadb.kill()
    time.sleep(30)
    control.mariadb.start()
    began = time.monotonic()
    run.first_write(began, FAILOVER_SECONDS)
    if before != _processes(control):
        run.wrong("a process ended")


def slow_the_database(run: Run) -> None:
    control = run.control
    before = control.active()
    run.fault("500 ms for each statement, for 45 s")
    _delay(control, lambda _statement: 0.5)
    time.sleep(45)
    _same_master(run, before)
    run.fault("stalls of 5 s, one in 15 s")
    end = time.monotonic() + 60
    while time.monotonic() < end:
        _delay(control, partial(_left_until, time.monotonic() + 5))
        time.sleep(15)
    _delay(control, lambda _statement: 0.0)
    began = time.monotonic()
    run.first_write(began, FAILOVER_SECONDS)
    epochs = {write.epoch for proxy in control.bbs_proxies for write in list(proxy.committed)}
    if len(epochs) > 2:
        run.wrong(f"masters changed {len(epochs) - 1} times")


def fail_one_transaction_in_twenty(run: Run) -> None:
    control = run.control
    before = control.active()
    run.fault("5 % of the transactions that write fail as deadlocks or lock waits")
    refusals = run.load.refusals
    guard = threading.Lock()

    def fault(statement: Statement) -> Refusal | None:
        wrote = any(said.startswith((b"INSERT", b"UPDATE", b"DELETE")) for said in statement.before)
        if not (statement.text.startswith(COMMIT) and wrote):
            return None
        with guard:
            if run.random.random() >= 0.05:
                return None
            return run.random.choice((DEADLOCK, LOCK_WAIT))

    for proxy in (*control.bbs_proxies, *control.locket_proxies):
        proxy.fault = fault
    with control.client() as client:
        for number in range(10):
            run.load.want(client, 5, f"contested-{number}")
    time.sleep(45)
    for proxy in (*control.bbs_proxies, *control.locket_proxies):
        proxy.fault = None
    if run.load.refusals != refusals:
        run.wrong(f"callers saw {run.load.refusals - refusals} refusals")
    if not sum(proxy.refused for proxy in control.bbs_proxies):
        run.wrong("nothing was refused")
    _same_master(run, before)


def refuse_the_databases_writes(run: Run) -> None:
    """A database that may not write, then one that cannot: its disk is full."""
    control = run.control
    before = control.active()
    run.fault("the BBSes' database takes no writes for 30 s")
    for proxy in control.bbs_proxies:
        proxy.fault = writes_refused(READ_ONLY)
    _reads_go_on(run, 30.0)
    for proxy in control.bbs_proxies:
        proxy.fault = None
    run.first_write(time.monotonic(), 5.0)
    _same_master(run, before)
    _fill_the_disk(run)


def _reads_go_on(run: Run, seconds: float) -> None:
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        _read(run)
        time.sleep(0.5)


def _read(run: Run) -> None:
    try:
        run.control.rows()
    except BbsError as error:
        run.wrong(f"a read failed: {error}")


def _fill_the_disk(run: Run) -> None:
    """What needs new room is refused, and the log says why; once there is room, it is taken.

    A MariaDB may end itself when it has no room to take a transaction back. It is started again when there is room, and
    the callers' case is from then on that of a database that was away.
    """
    control = run.control
    active, processes, database = control.active(), _processes(control), control.mariadb
    taken = refused = 0
    run.fault("the database's disk is full for 30 s")
    database.fill_the_disk()
    began = time.monotonic()
    with control.client(timeout=30.0) as client:
        while time.monotonic() - began < 30:
            if not database.has_ended:
                _read(run)
            try:
                client.desire_lrp(_some_kilobytes(f"kilobytes-{taken}"))
            except BbsError as error:
                refused += 1
                if not unanswered(error):
                    run.wrong(f"a write without room: {error.type.name} {error}")
                time.sleep(0.5)
            else:
                run.load.expect(f"kilobytes-{taken}", 0)
                taken += 1
        if not refused:
            run.wrong("the disk was full, and nothing was refused")
        if not any("full" in json.dumps(line) for line in active.lines("bbs.commit-failed")):
            run.wrong("no log says that the disk is full")
        database.free_the_disk()
        had_ended = database.has_ended
        if had_ended:
            database.start()
        began = time.monotonic()
        run.load.want_so(client, _some_kilobytes(f"kilobytes-{taken}"))
        limit = FAILOVER_SECONDS if had_ended else 5.0
        run.bound("first write that needs room, after there is some", time.monotonic() - began, limit)
        control.history.note("full", taken=taken, refused=refused, server_ended=had_ended)
    if processes != _processes(control):
        run.wrong("a process ended")


def _some_kilobytes(guid: str) -> DesiredLRP:
    """An app of no instance, that takes about a quarter of a page in the database."""
    variables = [{"name": "LARGE", "value": "x" * LARGE}]
    return a_desired_message(guid, instances=0, environment_variables=variables)


def _processes(control: Control) -> list[object]:
    """What must not end when only the database does."""
    return [bbs.workers for bbs in control.bbses] + [locket.running for locket in control.lockets]


def send_bad_requests(run: Run) -> None:
    """10,000 per API: bodies that are no messages, JSON that is none, what is no TLS; bodies of 1 GB; slow clients."""
    control = run.control
    before, auctioneer = control.active(), control.active_auctioneer()
    workers = before.workers, auctioneer.workers
    sender = malformed.Sender(control, before, auctioneer, run.random)
    with malformed.good_requests(control) as good:
        time.sleep(15)
    usual = _p99(good)

    first = sender.malformed(
        malformed.WARM_UP
    )  # who never had as many connections at once takes room for them
    run.found("the first malformed", first, usual, [])
    resident = _resident(before.workers[0])
    run.fault(f"{malformed.EACH} bad requests to each API")
    with malformed.good_requests(control) as good:
        found = sender.malformed()
    run.found("malformed", found, usual, good)
    grown = 100 * (_resident(before.workers[0]) / resident - 1)
    run.bound("the BBS's memory grew by", grown, GROWTH_PERCENT, "%")

    run.fault("bodies of 1 GB to each API")
    with malformed.good_requests(control) as good, _peak(before.workers[0]) as peak:
        found = sender.giants()
    run.found("1 GB bodies", found, usual, good)
    run.bound("the BBS's memory beside bodies of 1 GB", max(peak), GIANTS_MB, "MB")

    run.fault(f"{malformed.SLOW} connections of each kind that give a byte each second")
    with malformed.good_requests(control) as good:
        slow = sender.slow()
    run.found("slow clients", malformed.Found(), usual, good)
    for name, seconds in slow.items():
        run.bound(f"slow clients closed: {name}", max(seconds), SLOW_SECONDS[name])

    if workers != (before.workers, auctioneer.workers):
        run.wrong("a worker was restarted")
    _same_master(run, before)


@contextmanager
def _peak(pid: int) -> Iterator[list[float]]:
    """How much memory a process has meanwhile, in MB."""
    seen = [_resident(pid)]
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.05):
            seen.append(_resident(pid))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join(10)


def _p99(seconds: list[float]) -> float:
    return round(sorted(seconds)[max(0, len(seconds) * 99 // 100 - 1)], 4) if seconds else 0.0


def _resident(pid: int) -> float:
    """How much memory a process has, in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / (1 << 20)


def _still_wanted(run: Run, instance: str) -> bool:
    """Whether a record still names an instance."""
    return any(row[4] == instance for row in run.control.rows())


def _same_master(run: Run, before: BbsProcess) -> None:
    if run.control.active() is not before:
        run.wrong("the master changed")


def _delay(control: Control, delay: Callable[[Statement], float]) -> None:
    for proxy in (*control.bbs_proxies, *control.locket_proxies):
        proxy.delay = delay


def _left_until(end: float, _statement: Statement) -> float:
    return max(0.0, end - time.monotonic())


EXPERIMENTS = {
    one.number: one
    for one in (
        Experiment(1, "kill -9 the active BBS in an auction", kill_the_active_bbs_in_an_auction),
        Experiment(2, "TERM to the active BBS", end_the_active_bbs),
        Experiment(3, "SIGSTOP the active BBS for 60 s", stop_the_active_bbs_for_a_minute, seconds=140),
        Experiment(4, "use up the active BBS's handles", use_up_the_handles_of_the_active_bbs),
        Experiment(5, "kill -9 the auctioneer in an auction", kill_the_auctioneer_before_it_gives_work),
        Experiment(6, "kill -9 one locket of two", kill_one_locket),
        Experiment(7, "both lockets away, 10 s and 60 s", take_both_lockets_away, seconds=180),
        Experiment(8, "kill -9 a rep", kill_a_rep),
        Experiment(9, "power off a cell", power_a_cell_off),
        Experiment(12, "a cell that cannot be reached", silence_a_cell),
        Experiment(14, "clocks an hour off", turn_the_clocks, site=Extras(clocks=True), seconds=240),
        Experiment(15, "database away for 30 s", restart_the_database),
        Experiment(16, "slow and stalling database", slow_the_database, seconds=180),
        Experiment(17, "5 % of transactions fail", fail_one_transaction_in_twenty, seconds=115),
        Experiment(
            18,
            "database takes no writes",
            refuse_the_databases_writes,
            site=Extras(disk_mb=DISK_MB),
            seconds=130,
        ),
        Experiment(
            31, "SIGSTOP for 60 s at every point", alone=points.on_one_server, seconds=270, crowd=True
        ),
        Experiment(
            32, "the same on three Galera nodes", alone=points.on_three_nodes, seconds=280, crowd=True
        ),
        Experiment(21, "10,000 bad requests per API", send_bad_requests, seconds=300, exclusive=True),
    )
}
