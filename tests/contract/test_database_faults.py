"""What callers see of a database that hinders a BBS and its locket: as little as possible (reliability.md section 2).

Faults come from a proxy between job and database, or from the server itself. Experiments 15 to 18 in short; `make
chaos` has them whole.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.bbs import BbsProcess
from support.fencing import OUR_COMMIT, Caller, Site, site, writing
from support.mariadb import Database, MariaDb
from support.sql_proxy import (
    COMMIT,
    DEADLOCK,
    LOCK_WAIT,
    READ_ONLY,
    TABLE_FULL,
    Refusal,
    SqlProxy,
    begins,
    every,
    proxying,
    writes_refused,
)
from support.worker import until

pytestmark = [pytest.mark.database, pytest.mark.timeout(180)]

TTL = 15.0


@pytest.fixture
def alone(tmp_path: Path, database: Database, pki: Path) -> Iterator[tuple[Site, SqlProxy]]:
    """One BBS and one locket, each behind a proxy; the second of the pair is the locket's."""
    with ExitStack() as stack:
        proxy, seen = stack.enter_context(proxying(database))
        made = stack.enter_context(
            site(
                tmp_path,
                pki,
                databases=[database],
                locket_databases=[seen],
                ttl=TTL,
                outside=database,
                locket_config={"sql_ca_cert_file": ""},
            )
        )
        yield made, proxy


@pytest.fixture
def working(alone: tuple[Site, SqlProxy]) -> tuple[Site, BbsProcess, SqlProxy]:
    """The same after a first write: with its BBS, and the proxy between that and the database."""
    made, _ = alone
    made.write(made.bbses[0], "before")
    return made, made.bbses[0], made.proxies[0]


@pytest.mark.parametrize("refusal", [DEADLOCK, LOCK_WAIT], ids=["deadlock", "lock wait"])
def test_no_caller_sees_that_each_twentieth_transaction_fails(
    alone: tuple[Site, SqlProxy], refusal: Refusal
) -> None:
    made, locket_proxy = alone
    bbs_proxy = made.proxies[0]
    bbs_proxy.fault = every(20, refusal, first=7)
    locket_proxy.fault = every(20, refusal, first=3)

    with writing(made, "w", pause=0.0):
        made.expect_more(200, seconds=90)

    assert bbs_proxy.refused >= 5
    assert made.refused == {}
    assert made.verdict() == []
    assert made.bbses[0].lines("bbs.lock-in-doubt") == []


def test_no_caller_sees_a_transaction_that_fails_six_times_in_a_row(
    working: tuple[Site, BbsProcess, SqlProxy],
) -> None:
    """Three times were not enough for writes that another node of a cluster contested all the time."""
    made, bbs, proxy = working
    left = iter([DEADLOCK] * 6)
    proxy.fault = lambda statement: next(left, None) if statement.text.startswith(COMMIT) else None

    assert made.desire(bbs, "contested")

    assert made.verdict() == []


@pytest.mark.parametrize("refusal", [DEADLOCK, LOCK_WAIT], ids=["deadlock", "lock wait"])
@pytest.mark.parametrize("times", [1, 3], ids=["once", "and the questions, too"])
def test_who_comes_while_the_fate_of_a_contested_commit_is_asked_for_waits(
    working: tuple[Site, BbsProcess, SqlProxy], refusal: Refusal, times: int
) -> None:
    """Experiment 17 had a caller refused: he came between the deadlock and the word of what had become of it.

    The question writes as well, so that it can meet a deadlock itself.
    """
    made, bbs, proxy = working
    left = iter([refusal] * times)
    earlier = iter([False] * (times - 1))
    question, answered = begins(b"SELECT epoch, seq"), begins(COMMIT, b"SELECT epoch, seq")
    proxy.fault = lambda said: next(left, None) if OUR_COMMIT(said) or answered(said) else None
    asked = proxy.hold(lambda said: question(said) and next(earlier, True))
    contested = Caller(made, bbs, "contested")
    asked.wait()

    meanwhile = Caller(made, bbs, "meanwhile")
    meanwhile.is_kept_waiting()
    asked.release()

    contested.wait()
    meanwhile.wait()
    assert made.refused == {}
    assert made.verdict() == []


@pytest.mark.parametrize("refusal", [READ_ONLY, TABLE_FULL], ids=["read-only", "disk full"])
def test_a_database_that_takes_no_writes_leaves_reads_and_recovers_by_itself(
    working: tuple[Site, BbsProcess, SqlProxy], refusal: Refusal
) -> None:
    made, bbs, proxy = working
    workers = bbs.workers
    proxy.fault = writes_refused(refusal)

    assert not made.desire(bbs, "refused")
    assert made.refused["refused"] == "503"
    assert made.known(bbs) == set(made.acknowledged)
    failed = until(lambda: bbs.lines("bbs.commit-failed"))
    assert refusal.text in failed[0]["data"]["error"]
    proxy.fault = None
    made.write(bbs, "afterwards")

    assert bbs.workers == workers
    assert made.verdict() == []
    assert "refused" not in made.stored()


def test_a_slow_database_costs_time_and_nothing_else(alone: tuple[Site, SqlProxy]) -> None:
    made, locket_proxy = alone
    bbs = made.bbses[0]
    made.write(bbs, "before")
    for proxy in (made.proxies[0], locket_proxy):
        proxy.delay = lambda _statement: 0.5

    with writing(made, "w"):
        began = time.monotonic()
        made.expect_more(6, seconds=60)
        until(
            lambda: time.monotonic() - began > TTL - 2, seconds=TTL
        )  # longer than an unrefreshed lock counts

    assert made.refused == {}
    assert made.answering() == [bbs]
    assert bbs.lines("bbs.lock-in-doubt") == []
    for proxy in (made.proxies[0], locket_proxy):
        proxy.delay = lambda _statement: 0.0
    assert made.verdict() == []


def test_a_database_that_restarts_is_answered_with_503_and_loses_no_acknowledged_write(
    alone: tuple[Site, SqlProxy], mariadb: MariaDb
) -> None:
    made, _ = alone
    bbs = made.bbses[0]
    workers = bbs.workers
    with writing(made, "w"):
        made.expect_more(20)
        mariadb.kill()
        until(lambda: "503" in made.refused.values(), seconds=40)
        status, headers, _ = bbs.call("/v1/domains/upsert", b"\n\x01d")
        mariadb.start()
        made.expect_more(20)

    assert (status, headers.get("retry-after")) == (503, "1")
    assert bbs.workers == workers
    assert made.verdict() == []
