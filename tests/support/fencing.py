"""Several BBSes of one deployment, each behind a proxy of its own to the database, and what must hold of them.

The proxies write down every fenced commit that the database acknowledged, with its epoch. Afterwards `verdict` says
what is wrong: an acknowledged write that is not there, a write of an older master after one of a newer, or an
answer that is neither a success nor an error that may be tried again.
"""

import http.client
import itertools
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diego.wire import actual_lrp_requests_pb2, desired_lrp_requests_pb2
from support import bbs as real_bbs
from support import locket as real_locket
from support.bbs import BbsProcess
from support.locket import LocketProcess
from support.mariadb import Database
from support.records import a_desired_message
from support.sql_proxy import SqlProxy, Which, begins, proxying
from support.worker import until

DESIRE = "/v1/desired_lrp/desire.r2"
RETRYABLE = {"503", "no answer"}
"""What a caller takes for "try again": the contract's 503, or a connection that ends without an answer."""

START_SECONDS = 90.0
PATIENCE = 60.0
"""Seconds for what must come, however busy the machine is."""

RENEWAL = 40.0
"""Seconds within which one that lost its lock has noticed: it asks each second, and test machines are busy."""


@dataclass(frozen=True)
class Point:
    """A moment of a write or a takeover: the statement that is held, and whether it has happened by then."""

    which: Which
    answer: bool = False


OUR_COMMIT = begins(b"COMMIT", b"diego_fence SET seq", b"desired_lrps")
WRITE_POINTS = {
    "before the fence is written": Point(begins(b"UPDATE diego_fence SET seq")),
    "after the fence, before the record": Point(begins(b"INSERT INTO desired_lrps")),
    "before the commit": Point(OUR_COMMIT),
    "after the commit, before its answer": Point(OUR_COMMIT, answer=True),
}
TAKEOVER_POINTS = {
    "after the lock, before the epoch": Point(begins(b"UPDATE diego_fence SET epoch")),
    "before the epoch's commit": Point(begins(b"COMMIT", b"diego_fence SET epoch")),
    "after the epoch's commit, before its answer": Point(
        begins(b"COMMIT", b"diego_fence SET epoch"), answer=True
    ),
    "before loading": Point(begins(b"START TRANSACTION WITH CONSISTENT SNAPSHOT")),
    "while loading": Point(begins(b"SELECT process_guid, instance_index", b"FROM actual_lrps"), answer=True),
    "before the last look at the fence": Point(begins(b"SELECT epoch, seq", b"wsrep_sync_wait")),
}


@dataclass
class Site:
    """What is under test, and what its callers were told."""

    bbses: list[BbsProcess]
    proxies: list[SqlProxy]
    lockets: list[LocketProcess]
    database: Database
    """As an outsider reaches it, not through a proxy."""
    acknowledged: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)

    def desire(self, bbs: BbsProcess, guid: str) -> bool:
        """Ask for an LRP of one instance; whether it was acknowledged."""
        message = desired_lrp_requests_pb2.DesireLRPRequest(desired_lrp=a_desired_message(guid, instances=1))
        try:
            status, _, body = bbs.call(DESIRE, message.SerializeToString())
        except (OSError, http.client.HTTPException):
            told = "no answer"
        else:
            told = "" if (status, body) == (200, b"") else f"{status}" if status != 200 else f"200 {body!r}"
        if told:
            self.refused[guid] = told
        else:
            self.acknowledged.append(guid)
        return not told

    def write(self, bbs: BbsProcess, guid: str, seconds: float = PATIENCE) -> None:
        """Have one BBS take a write, asking again, under another name, while it answers that one may."""
        tries = itertools.count()
        until(lambda: self.desire(bbs, f"{guid}-{next(tries)}"), seconds=seconds, pause=0.1)

    def desire_patiently(self, guid: str, seconds: float = PATIENCE) -> None:
        """As a client does that knows all addresses: until one of them takes it, each time under another name."""
        tries = itertools.count()

        def taken() -> bool:
            return any(
                self.desire(bbs, f"{guid}-{next(tries)}") for bbs in self.bbses if bbs.running and bbs.active
            )

        until(taken, seconds=seconds, pause=0.2)

    def expect_more(self, number: int, seconds: float = 60.0) -> None:
        """Wait until so many further writes were acknowledged."""
        enough = len(self.acknowledged) + number
        until(lambda: len(self.acknowledged) >= enough, seconds=seconds)

    def known(self, bbs: BbsProcess) -> set[str]:
        """The processes that a BBS tells of."""
        status, _, body = bbs.call("/v1/actual_lrps/list")
        assert status == 200, status
        rows = actual_lrp_requests_pb2.ActualLRPsResponse.FromString(body).actual_lrps
        return {row.actual_lrp_key.process_guid for row in rows}

    def stored(self) -> set[str]:
        return {str(guid) for (guid,) in self.database.rows("SELECT process_guid FROM desired_lrps")}

    def answering(self) -> list[BbsProcess]:
        """Those that answer a ping as the active one."""
        found = []
        for bbs in self.bbses:
            try:
                if bbs.running and bbs.active and bbs.call("/v1/ping")[0] == 200:
                    found.append(bbs)
            except (OSError, http.client.HTTPException):
                continue
        return found

    def verdict(self) -> list[str]:
        """Everything that is wrong, once one of them answers."""
        active = until(self.answering, seconds=90)
        wrong = [f"{len(active)} active"] if len(active) > 1 else []
        lost = set(self.acknowledged) - self.stored()
        unseen = set(self.acknowledged) - self.known(active[0])
        wrong += [f"acknowledged and lost: {sorted(lost)}"] if lost else []
        wrong += [f"acknowledged and unknown to the active one: {sorted(unseen)}"] if unseen else []
        wrong += [f"{guid}: {told}" for guid, told in self.refused.items() if told not in RETRYABLE]
        return wrong + interleaved(self.proxies)


def interleaved(proxies: Sequence[SqlProxy]) -> list[str]:
    """Writes of an older epoch that were acknowledged after one of a newer."""
    writes = sorted((write for proxy in proxies for write in list(proxy.committed)), key=lambda one: one.at)
    wrong = []
    newest = 0
    for write in writes:
        if write.epoch < newest:
            wrong.append(f"epoch {write.epoch} wrote after epoch {newest}")
        newest = max(newest, write.epoch)
    return wrong


class Caller:
    """Somebody who is asking meanwhile, on a thread of its own."""

    def __init__(self, site: Site, bbs: BbsProcess, guid: str) -> None:
        self._thread = threading.Thread(target=site.desire, args=(bbs, guid))
        self._thread.start()

    def is_kept_waiting(self, seconds: float = 1.0) -> None:
        self._thread.join(seconds)
        assert self._thread.is_alive(), "a caller was answered too soon"

    def wait(self, seconds: float = 60.0) -> None:
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "a caller was left without an answer"


@contextmanager
def writing(site: Site, prefix: str, *, pause: float = 0.02) -> Iterator[None]:
    """Somebody who writes all the time to whoever takes it, one after the other."""
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.wait(pause):
            for bbs in site.bbses:
                if bbs.running and bbs.active:
                    site.desire(bbs, f"{prefix}-{number}")
                    number += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)


def stop(bbs: BbsProcess) -> None:
    """Stop master and worker where they stand."""
    bbs.signal(signal.SIGSTOP)


def go_on(bbs: BbsProcess) -> None:
    bbs.signal(signal.SIGCONT)


def has_ended(bbs: BbsProcess, worker: list[int], seconds: float) -> None:
    """Wait until the worker that slept is gone."""
    until(lambda: not bbs.running or bbs.workers != worker, seconds=seconds)


def sleep_in_a_write(site: Site, point: Point, *, late: bool, ttl: float, asleep: float = 0.0) -> None:
    """The first falls asleep in a write, the second takes over, the first wakes up.

    `late`: what was on its way to the database arrives only then. `asleep`: sleep at least so long.
    """
    first, second = site.bbses
    site.write(first, "before")
    hold = site.proxies[0].hold(point.which, answer=point.answer)
    worker = first.workers
    caller = Caller(site, first, "in-between")
    hold.wait(PATIENCE)
    began = time.monotonic()
    stop(first)
    if not late:
        hold.release()

    second.wait_until_active(ttl + PATIENCE)
    site.write(second, "while-it-slept")
    time.sleep(max(0.0, began + asleep - time.monotonic()))
    go_on(first)
    hold.release()

    caller.wait()
    assert not site.desire(first, "too-late")
    has_ended(first, worker, RENEWAL)
    site.write(second, "afterwards")
    assert site.verdict() == []
    assert "in-between" not in site.acknowledged or "in-between" in site.stored()


def sleep_in_a_takeover(site: Site, point: Point, *, ttl: float, asleep: float = 0.0) -> None:
    """The second falls asleep in a takeover, the first is back and takes over instead, the second wakes up."""
    first, second = site.bbses
    site.write(first, "before")
    hold = site.proxies[1].hold(point.which, answer=point.answer)
    first.kill()
    hold.wait(ttl + PATIENCE)
    began = time.monotonic()
    stop(second)
    worker = second.workers

    first.start(wait=False)
    first.wait_until_active(ttl + PATIENCE)
    site.write(first, "while-it-slept")
    time.sleep(max(0.0, began + asleep - time.monotonic()))
    go_on(second)
    hold.release()

    has_ended(second, worker, RENEWAL)
    site.write(first, "afterwards")
    assert site.verdict() == []
    assert site.answering() == [first]
    first.kill()
    second.wait_until_active(ttl + PATIENCE)
    assert site.verdict() == []


@contextmanager
def site(
    directory: Path,
    pki: Path,
    *,
    databases: Sequence[Database],
    locket_databases: Sequence[Database],
    ttl: float,
    outside: Database | None = None,
    locket_config: dict[str, Any] | None = None,
) -> Iterator[Site]:
    """As many BBSes as databases, all of one schema, and as many lockets as theirs; the first BBS is active.

    `outside` is how an outsider reaches the database, by default as the first BBS does.
    """
    with ExitStack() as stack:
        auctioneer = stack.enter_context(real_bbs.stand_ins("auctioneer"))
        lockets = [
            stack.enter_context(
                real_locket.running(directory / f"locket-{number}", database, pki, **(locket_config or {}))
            )
            for number, database in enumerate(locket_databases)
        ]
        proxies, bbses = [], []
        for number, database in enumerate(databases):
            proxy, seen = stack.enter_context(proxying(database))
            bbs = BbsProcess(
                directory / f"bbs-{number}",
                seen,
                pki,
                lockets[number % len(lockets)].address,
                auctioneer.url("auctioneer"),
                lock_ttl=f"{ttl:g}s",
                sql_ca_cert_file="",
            )
            proxies.append(proxy)
            bbses.append(bbs)
            stack.callback(bbs.stop)
        made = Site(bbses, proxies, lockets, outside or databases[0])
        bbses[0].start(wait=False)
        bbses[0].wait_until_active(START_SECONDS)
        for bbs in bbses[1:]:
            bbs.start(wait=False)
        until(lambda: all(bbs.workers for bbs in bbses), seconds=START_SECONDS)
        try:
            yield made
        finally:
            for proxy in proxies:  # what is held goes on, so that everybody can end
                proxy.close()
            for bbs in bbses:
                go_on(bbs)
