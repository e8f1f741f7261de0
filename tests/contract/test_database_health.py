"""The watch over the database, and what a job without it does when the database is away (reliability.md, fault 15)."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from diego.database import Settings, parse_data_source
from diego.database.health import DatabaseHealth, HealthCheck
from diego.runtime.logs import get_logger
from diego.wire.domain_pb2 import UpsertDomainRequest
from support import bbs as real_bbs
from support import locket as real_locket
from support.bbs import BbsProcess
from support.mariadb import Database, MariaDb
from support.worker import until

pytestmark = [pytest.mark.database, pytest.mark.timeout(240)]

TABLE = "bbs_health_check"
UPSERT = "/v1/domains/upsert"
QUICK = {
    "enable_db_health_check": True,
    "health_check_interval": "300ms",
    "health_check_timeout": "1s",
    "health_check_failure_threshold": 3,
}


@contextmanager
def paused(mariadb: MariaDb) -> Iterator[None]:
    mariadb.pause()
    try:
        yield
    finally:
        mariadb.resume()


def a_watch(database: Database, ended: list[str], *, timeout: float = 5.0) -> DatabaseHealth:
    return DatabaseHealth(
        Settings(source=parse_data_source(database.dsn), ca_file=database.ca_file),
        TABLE,
        HealthCheck(interval=0.1, timeout=timeout, failure_threshold=3),
        get_logger("test"),
        end=ended.append,
    )


class TestTheWatch:
    def test_it_writes_and_reads_the_first_row(self, database: Database) -> None:
        ended: list[str] = []
        watch = a_watch(database, ended, timeout=20)
        watch.create_table()

        assert watch.look()
        assert watch.look()

        ((number, at),) = database.rows(f"SELECT id, time FROM {TABLE}")
        assert number == 1
        assert isinstance(at, int)
        assert at > 1_700_000_000
        assert ended == []

    def test_the_third_failure_in_a_row_is_the_end(self, database: Database, mariadb: MariaDb) -> None:
        ended: list[str] = []
        watch = a_watch(database, ended)
        watch.create_table()

        with paused(mariadb):
            seen = [(watch.look(), list(ended)) for _ in range(3)]

        assert seen == [(False, []), (False, []), (False, ["the database failed 3 health checks in a row"])]

    def test_one_good_look_forgives_the_failures_before_it(
        self, database: Database, mariadb: MariaDb
    ) -> None:
        ended: list[str] = []
        watch = a_watch(database, ended)
        watch.create_table()

        for _ in range(2):
            with paused(mariadb):
                assert [watch.look() for _ in range(2)] == [False, False]
            until(watch.look, seconds=60)

        assert ended == []

    def test_a_table_that_is_still_to_be_made_is_no_failure(self, database: Database) -> None:
        ended: list[str] = []
        watch = a_watch(database, ended, timeout=20)

        assert all(watch.look() for _ in range(4))
        assert ended == []

    def test_it_stops_when_told(self, database: Database) -> None:
        stopping = threading.Event()
        watch = a_watch(database, [], timeout=20)
        thread = threading.Thread(target=watch.run, args=(stopping,))
        thread.start()

        stopping.set()
        thread.join(30)

        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        ({}, []),
        ({"interval": 0.0}, ["health_check_interval: must be positive"]),
        ({"timeout": -1.0}, ["health_check_timeout: must be positive"]),
        ({"failure_threshold": 0}, ["health_check_failure_threshold: must be positive"]),
    ],
)
def test_a_watch_without_sense_is_refused(changes: dict[str, float], faults: list[str]) -> None:
    assert replace(HealthCheck(), **changes).faults() == faults  # type: ignore[arg-type]  # its fields


def upsert(bbs: BbsProcess, name: str) -> tuple[int, dict[str, str]]:
    """Status and headers; 0 where no answer came."""
    body = UpsertDomainRequest(domain=name, ttl=0).SerializeToString()
    try:
        status, headers, _ = bbs.call(UPSERT, body)
    except (OSError, http.client.HTTPException):
        return 0, {}
    return status, headers


def test_a_bbs_that_watches_ends_after_three_failures_and_comes_back(
    tmp_path: Path, mariadb: MariaDb, database: Database, pki: Path
) -> None:
    with (
        real_bbs.stand_ins("auctioneer") as standing,
        real_locket.running(tmp_path / "locket", database, pki) as locket,
        real_bbs.running(
            tmp_path / "bbs", database, pki, locket.address, standing.url("auctioneer"), **QUICK
        ) as bbs,
    ):
        (worker,) = bbs.workers

        with paused(mariadb):
            until(lambda: bbs.lines("bbs.worker-ends"), seconds=60)

        failures = [line["data"]["failures"] for line in bbs.lines("bbs.database-health-check-failed")]
        assert failures[-3:] == [1, 2, 3]
        (end,) = bbs.lines("bbs.worker-ends")[:1]
        assert end["data"]["why"] == "the database failed 3 health checks in a row"
        until(lambda: bbs.workers and bbs.workers != [worker], seconds=60)
        bbs.wait_until_active(90)
        until(lambda: upsert(bbs, "after")[0] == 200, seconds=60)


def test_a_locket_that_watches_ends_after_three_failures_and_comes_back(
    tmp_path: Path, mariadb: MariaDb, database: Database, pki: Path
) -> None:
    with real_locket.running(tmp_path / "locket", database, pki, **QUICK) as locket:
        until(lambda: database.rows("SELECT id FROM locket_health_check"), seconds=60)

        with paused(mariadb):
            until(lambda: '"locket.worker-ends"' in locket.log.read_text(), seconds=60)

        assert "the database failed 3 health checks in a row" in locket.log.read_text()
        until(lambda: locket.log.read_text().count('"locket.started"') == 2, seconds=60)


def test_without_the_watch_a_restart_of_the_database_ends_nothing_and_loses_nothing(
    tmp_path: Path, mariadb: MariaDb, database: Database, pki: Path
) -> None:
    with (
        real_bbs.stand_ins("auctioneer") as standing,
        real_locket.running(tmp_path / "locket", database, pki) as locket,
        real_bbs.running(
            tmp_path / "bbs", database, pki, locket.address, standing.url("auctioneer"), lock_ttl="60s"
        ) as bbs,
    ):
        workers = bbs.workers
        answers: list[dict[str, str]] = []
        assert upsert(bbs, "before")[0] == 200

        mariadb.kill()
        try:
            until(lambda: refused(bbs, answers), seconds=90)
            reading, _, _ = bbs.call("/v1/domains/list")
        finally:
            mariadb.start()

        assert answers[-1]["retry-after"] == "1"
        assert reading == 200
        until(lambda: upsert(bbs, "after")[0] == 200, seconds=90)
        assert bbs.workers == workers
        assert bbs.lines("bbs.worker-ends") == []
        assert {name for (name,) in database.rows("SELECT domain FROM domains")} >= {"before", "after"}


def refused(bbs: BbsProcess, answers: list[dict[str, str]]) -> bool:
    """Whether a write is answered 503; then its headers are kept."""
    status, headers = upsert(bbs, "meanwhile")
    if status == 503:
        answers.append(headers)
    return status == 503
