"""One BBS is active at a time, another takes its place, and no acknowledged write is lost (ours.md section 2).

Real processes on a real MariaDB and a real locket. The lock lives ten seconds instead of fifteen where a test must
wait for its end; what follows from it is proportional. Where none must, it lives a minute.
"""

import http.client
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from diego.wire import actual_lrp_requests_pb2, desired_lrp_requests_pb2
from support import bbs as real_bbs
from support import locket as real_locket
from support.bbs import BbsProcess, StandIns
from support.locket import LocketProcess
from support.mariadb import Database, MariaDb
from support.records import a_desired_message
from support.worker import until

pytestmark = [pytest.mark.database, pytest.mark.timeout(300)]

TTL = 10.0
LONG = 60.0
"""For who shall have his lock for as long as he lives: three seconds before its end he stops to count on it."""

PATIENCE = 60.0
"""Seconds for what must come, however busy the machine is."""

DESIRE = "/v1/desired_lrp/desire.r2"


@dataclass
class Pair:
    """Two BBSes of one deployment."""

    first: BbsProcess
    second: BbsProcess
    locket: LocketProcess
    mariadb: MariaDb
    database: Database
    standing: StandIns
    wrote: list[str] = field(default_factory=list)

    def desire(self, bbs: BbsProcess, guid: str) -> bool:
        """Whether the write was acknowledged."""
        request = desired_lrp_requests_pb2.DesireLRPRequest(desired_lrp=a_desired_message(guid, instances=1))
        try:
            status, _, body = bbs.call(DESIRE, request.SerializeToString())
        except (OSError, http.client.HTTPException):
            return False
        if (status, body) != (200, b""):
            return False
        self.wrote.append(guid)
        return True

    def active(self) -> BbsProcess | None:
        return next((bbs for bbs in (self.first, self.second) if bbs.running and bbs.active), None)

    def known(self, bbs: BbsProcess) -> set[str]:
        status, _, body = bbs.call("/v1/actual_lrps/list")
        assert status == 200
        rows = actual_lrp_requests_pb2.ActualLRPsResponse.FromString(body).actual_lrps
        return {row.actual_lrp_key.process_guid for row in rows}


@pytest.fixture
def ttl() -> float:
    """How long the lock lives unrefreshed; a test may say another."""
    return TTL


@pytest.fixture
def pair(tmp_path: Path, mariadb: MariaDb, database: Database, pki: Path, ttl: float) -> Iterator[Pair]:
    with ExitStack() as stack:
        standing = stack.enter_context(real_bbs.stand_ins("auctioneer"))
        locket = stack.enter_context(real_locket.running(tmp_path / "locket", database, pki))
        processes = [
            BbsProcess(
                tmp_path / name,
                database,
                pki,
                locket.address,
                standing.url("auctioneer"),
                lock_ttl=f"{ttl:g}s",
            )
            for name in ("bbs-0", "bbs-1")
        ]
        for process in processes:
            stack.callback(process.stop)
        processes[0].start()
        processes[1].start(wait=False)
        until(lambda: processes[1].lines("bbs.http.listening") or processes[1].workers, seconds=PATIENCE)
        yield Pair(processes[0], processes[1], locket, mariadb, database, standing)


def test_the_passive_one_refuses_connections(pair: Pair) -> None:
    assert pair.first.active
    assert not pair.second.active
    with pytest.raises(ConnectionRefusedError):
        pair.second.call("/v1/ping")


def test_after_a_kill_the_other_one_has_everything_that_was_acknowledged(pair: Pair) -> None:
    writing = threading.Event()

    def write() -> None:
        number = 0
        while not writing.is_set():
            pair.desire(pair.first, f"guid-{number}")
            number += 1

    writers = [threading.Thread(target=write) for _ in range(1)]
    for writer in writers:
        writer.start()
    until(lambda: len(pair.wrote) > 20, seconds=PATIENCE)
    assert pair.database.rows("SELECT ttl FROM locks WHERE path = 'bbs'") == [(round(TTL),)]
    pair.first.kill()
    writing.set()
    for writer in writers:
        writer.join()

    pair.second.wait_until_active(TTL + PATIENCE)

    assert set(pair.wrote) <= pair.known(pair.second)


@pytest.mark.parametrize("ttl", [LONG])
def test_after_a_term_the_other_one_is_active_within_seconds(pair: Pair) -> None:
    assert pair.desire(pair.first, "guid")
    ended = time.monotonic()
    pair.first.stop()

    pair.second.wait_until_active(LONG)

    assert time.monotonic() - ended < LONG / 2  # the lock was given up: it would have lived on
    assert pair.known(pair.second) == {"guid"}


def test_one_that_slept_through_a_takeover_ends_and_writes_nothing(pair: Pair) -> None:
    assert pair.desire(pair.first, "before")
    worker = pair.first.workers
    pair.first.signal(signal.SIGSTOP)
    pair.second.wait_until_active(TTL + PATIENCE)
    assert pair.desire(pair.second, "while-it-slept")

    pair.first.signal(signal.SIGCONT)
    late = pair.desire(pair.first, "too-late")

    assert not late
    until(lambda: pair.first.workers != worker, seconds=PATIENCE)
    assert pair.known(pair.second) == {"before", "while-it-slept"}
    assert pair.database.rows("SELECT process_guid FROM desired_lrps WHERE process_guid = 'too-late'") == []


def test_while_locket_is_away_it_answers_503_and_goes_on_afterwards_without_loading(pair: Pair) -> None:
    assert pair.desire(pair.first, "before")
    pair.second.stop()
    workers = pair.first.workers
    pair.locket.kill()

    until(lambda: pair.first.call("/v1/ping")[0] == 503, seconds=PATIENCE)
    assert not pair.desire(pair.first, "meanwhile")
    pair.locket.start()
    until(lambda: pair.first.call("/v1/ping")[0] == 200, seconds=PATIENCE)

    assert pair.first.workers == workers
    assert pair.known(pair.first) == {"before"}
    assert pair.desire(pair.first, "after")


def test_a_database_that_was_killed_loses_no_acknowledged_write(pair: Pair) -> None:
    assert pair.desire(pair.first, "before")
    pair.second.stop()

    pair.mariadb.kill()
    refused = [pair.desire(pair.first, f"while-away-{number}") for number in range(3)]
    pair.mariadb.start()
    until(lambda: pair.desire(pair.first, f"after-{time.monotonic_ns()}"), seconds=90)

    assert not any(refused)
    assert set(pair.wrote) <= pair.known(pair.first)


@pytest.mark.parametrize(
    "ttl", [20.0]
)  # the one that was killed comes back under its name, and has its lock at once
def test_a_restart_finds_everything_again(pair: Pair) -> None:
    pair.second.stop()
    for number in range(50):
        assert pair.desire(pair.first, f"guid-{number}")

    pair.first.kill()
    pair.first.start()

    assert pair.known(pair.first) == {f"guid-{number}" for number in range(50)}
