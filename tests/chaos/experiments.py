"""The experiments that need no hosts: numbers and expectations as in docs/operations/chaos.md.

Each gets a control plane under the standing load, does its harm, waits for what must come of it, and notes how long
that took. What is wrong is for the checker to say.
"""

import os
import random
import resource
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from chaos import malformed, points
from chaos.checker import Allowed
from chaos.history import History
from chaos.load import DOMAIN, Load
from chaos.site import Control
from diego.models import BbsError
from support.bbs import BbsProcess
from support.sql_proxy import COMMIT, DEADLOCK, LOCK_WAIT, READ_ONLY, Refusal, Statement, writes_refused
from support.worker import until

FAILOVER_SECONDS = 20.0
TERM_SECONDS = 6.0
CELL_LOSS_SECONDS = 17.0
STATE_TIMEOUT = 10.0
AUCTION = 125
"""Instances of the auction that is disturbed: a quarter of 500."""

FALSE_CLOCK = Path(__file__).with_name("false_clock")
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")


NOTHING = Allowed()


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

    def bound(self, what: str, seconds: float, limit: float) -> None:
        self.control.history.note("bound", what=what, seconds=round(seconds, 2), limit=limit)

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
    active = run.control.active()
    (worker,) = active.workers
    used = len(list(Path(f"/proc/{worker}/fd").iterdir()))
    began = run.fault(f"handle limit of the active BBS lowered to the {used} in use")
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (used, used))
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
        began = run.fault(f"both lockets away for {seconds:g} s")
        for locket in control.lockets:
            locket.kill()
        time.sleep(seconds)
        if seconds > 15 and control.answering():
            run.wrong("a BBS answers as active without a lock")
        for locket in control.lockets:
            locket.start()
        run.first_write(began, seconds + FAILOVER_SECONDS)
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
    """An hour forth and back, for every process of the control plane that starts anew under a false clock."""
    control = run.control
    for offset in ("+3600", "-3600"):
        for locket in control.lockets:
            run.fault(f"a locket with a clock of {offset} s")
            _under_false_clock(offset, locket.kill, locket.start)
            time.sleep(3)
        standby = control.standby()
        run.fault(f"the standby BBS with a clock of {offset} s")
        _under_false_clock(offset, standby.kill, partial(standby.start, wait=False))
        before = control.active()
        time.sleep(20)
        _same_master(run, before)
    for locket in control.lockets:
        locket.kill()
        locket.start()
    run.restart(control.standby())


def restart_the_database(run: Run) -> None:
    control = run.control
    masters = [bbs.pid for bbs in control.bbses] + [locket.running for locket in control.lockets]
    run.fault("the database is away for 30 s")
    control.mariadb.kill()
    time.sleep(30)
    control.mariadb.start()
    began = time.monotonic()
    run.first_write(began, FAILOVER_SECONDS)
    if masters != [bbs.pid for bbs in control.bbses] + [locket.running for locket in control.lockets]:
        run.wrong("a process ended")


def slow_the_database(run: Run) -> None:
    control = run.control
    before = control.active()
    run.fault("500 ms for each statement, for 45 s")
    _delay(control, lambda _statement: 0.5)
    time.sleep(45)
    _same_master(run, before)
    run.fault("stalls of 5 s, one in 15 s")
    until_ = time.monotonic() + 60
    while time.monotonic() < until_:
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


def make_the_database_read_only(run: Run) -> None:
    control = run.control
    before = control.active()
    run.fault("the BBSes' database takes no writes for 30 s")
    for proxy in control.bbs_proxies:
        proxy.fault = writes_refused(READ_ONLY)
    began = time.monotonic()
    while time.monotonic() - began < 30:
        try:
            control.rows()
        except BbsError as error:
            run.wrong(f"a read failed: {error}")
        time.sleep(1)
    for proxy in control.bbs_proxies:
        proxy.fault = None
    run.first_write(time.monotonic(), 5.0)
    _same_master(run, before)


def send_bad_requests(run: Run) -> None:
    """10,000 per API: bodies that are no messages, JSON that is none, what is no TLS, callers that say little."""
    control = run.control
    before, auctioneer = control.active(), control.active_auctioneer()
    workers = before.workers, auctioneer.workers
    good = _seconds_of_good_requests(run, 200)
    resident = _resident(before.workers[0])
    run.fault(f"{malformed.EACH} bad requests to each API")
    found = malformed.Sender(control, run.random).send(before, auctioneer)
    for what in found.wrong:
        run.wrong(what)
    while_bad = found.good_seconds
    run.control.history.note("malformed", counts=found.counts, p99_before=_p99(good), p99=_p99(while_bad))
    run.bound("the BBS's memory grew by percent", 100 * (_resident(before.workers[0]) / resident - 1), 10.0)
    if workers != (before.workers, auctioneer.workers):
        run.wrong("a worker was restarted")
    _same_master(run, before)


def _seconds_of_good_requests(run: Run, count: int) -> list[float]:
    seconds = []
    with run.control.client() as client:
        for _ in range(count):
            began = time.monotonic()
            client.ping()
            seconds.append(time.monotonic() - began)
    return seconds


def _p99(seconds: list[float]) -> float:
    return round(sorted(seconds)[max(0, len(seconds) * 99 // 100 - 1)], 4) if seconds else 0.0


def _resident(pid: int) -> int:
    """Pages of memory that a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1])


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


def _under_false_clock(offset: str, kill: Callable[[], None], start: Callable[[], None]) -> None:
    """Start a process whose wall clock is wrong; its steady clock is right."""
    if not FAKETIME.exists():
        raise RuntimeError(f"{FAKETIME} is missing: `scripts/prepare test` installs faketime")
    kill()
    before = dict(os.environ)
    os.environ.update(
        LD_PRELOAD=str(FAKETIME),
        FAKETIME=offset,
        FAKETIME_DONT_FAKE_MONOTONIC="1",
        PYTHONPATH=os.pathsep.join((str(FALSE_CLOCK), os.environ.get("PYTHONPATH", ""))),
    )
    try:
        start()
    finally:
        os.environ.clear()
        os.environ.update(before)


EXPERIMENTS = {
    one.number: one
    for one in (
        Experiment(1, "kill -9 the active BBS in an auction", kill_the_active_bbs_in_an_auction),
        Experiment(2, "TERM to the active BBS", end_the_active_bbs),
        Experiment(3, "SIGSTOP the active BBS for 60 s", stop_the_active_bbs_for_a_minute),
        Experiment(4, "use up the active BBS's handles", use_up_the_handles_of_the_active_bbs),
        Experiment(5, "kill -9 the auctioneer in an auction", kill_the_auctioneer_before_it_gives_work),
        Experiment(6, "kill -9 one locket of two", kill_one_locket),
        Experiment(7, "both lockets away, 10 s and 60 s", take_both_lockets_away),
        Experiment(8, "kill -9 a rep", kill_a_rep),
        Experiment(9, "power off a cell", power_a_cell_off),
        Experiment(12, "a cell that cannot be reached", silence_a_cell),
        Experiment(14, "clocks an hour off", turn_the_clocks),
        Experiment(15, "database away for 30 s", restart_the_database),
        Experiment(16, "slow and stalling database", slow_the_database),
        Experiment(17, "5 % of transactions fail", fail_one_transaction_in_twenty),
        Experiment(18, "database takes no writes", make_the_database_read_only),
        Experiment(31, "SIGSTOP for 60 s at every point", alone=points.on_one_server),
        Experiment(32, "the same on three Galera nodes", alone=points.on_three_nodes),
        Experiment(21, "10,000 bad requests per API", send_bad_requests),
    )
}
