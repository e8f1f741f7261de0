"""The fence on three Galera nodes, with two BBSes that write to different ones (ours.md section 2).

There a row's lock holds on its own node only, and two nodes find out at the commit that they wrote the same row. The
lockets, too, are on different nodes. An outsider looks through the third.
"""

import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pymysql
import pytest

from support import galera as galera_cluster
from support.fencing import (
    TAKEOVER_POINTS,
    WRITE_POINTS,
    Site,
    site,
    sleep_in_a_takeover,
    sleep_in_a_write,
    writing,
)
from support.galera import Galera
from support.mariadb import Database

pytestmark = [pytest.mark.database, pytest.mark.timeout(400)]

TTL = 10.0
LONG = 60.0
"""For a lock that nobody waits for: three seconds before its end its holder stops to count on it."""


@pytest.fixture(scope="module")
def galera() -> Iterator[Galera]:
    with galera_cluster.running() as cluster:
        with closing(cluster.nodes[2].root()) as connection, connection.cursor() as cursor:
            cursor.execute("SET GLOBAL wsrep_sync_wait = 15")
        yield cluster


@pytest.fixture(scope="module")
def databases(galera: Galera) -> list[Database]:
    """One schema for all tests: to migrate it takes a cluster a while."""
    return galera.create_database()


@pytest.fixture
def ttl() -> float:
    """How long the lock lives unrefreshed; a test may say another."""
    return TTL


@pytest.fixture
def pair(tmp_path: Path, databases: list[Database], pki: Path, ttl: float) -> Iterator[Site]:
    one, two, three = databases
    for (table,) in one.rows("SHOW TABLES"):
        if table in ("desired_lrps", "actual_lrps", "locks"):
            one.rows(f"DELETE FROM {table}")
    with site(
        tmp_path, pki, databases=[one, two], locket_databases=[one, two], outside=three, ttl=ttl
    ) as made:
        yield made


@pytest.mark.parametrize("point", ["before the commit", "after the commit, before its answer"])
def test_one_that_falls_asleep_in_a_write_writes_nothing_more(pair: Site, point: str) -> None:
    sleep_in_a_write(pair, WRITE_POINTS[point], late=True, ttl=TTL)

    assert ("in-between" in pair.stored()) == WRITE_POINTS[point].answer


def test_one_that_falls_asleep_in_a_takeover_never_opens_on_what_it_saw_then(pair: Site) -> None:
    sleep_in_a_takeover(pair, TAKEOVER_POINTS["before the epoch's commit"], ttl=TTL)


def test_a_killed_master_is_followed_on_another_node_without_a_loss(pair: Site) -> None:
    with writing(pair, "w"):
        pair.expect_more(20)
        pair.bbses[0].kill()
        pair.expect_more(20, seconds=120)

    assert pair.answering() == [pair.bbses[1]]
    assert pair.verdict() == []


@pytest.mark.parametrize("ttl", [LONG])
def test_writes_that_another_node_contests_are_tried_again(pair: Site, galera: Galera) -> None:
    """Somebody writes the fence's row on another node all the time, so that commits fail their certification."""
    name = pair.database.name
    stop = threading.Event()
    contested = 0

    def contest() -> None:
        nonlocal contested
        with closing(galera.nodes[1].root()) as connection, connection.cursor() as cursor:
            while not stop.wait(0.3):
                # two, because the BBS tells its own commits by an odd difference
                with suppress(pymysql.err.OperationalError):  # the BBS was first
                    cursor.execute(f"UPDATE `{name}`.diego_fence SET seq = seq + 2")
                    contested += 1

    thread = threading.Thread(target=contest)
    with writing(pair, "w", pause=0.0):
        thread.start()
        try:
            pair.expect_more(100, seconds=120)
        finally:
            stop.set()
            thread.join(60)

    assert contested > 0
    assert pair.refused == {}
    assert pair.verdict() == []
