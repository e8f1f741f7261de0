"""One BBS at a time may write, whatever sleeps, hangs or restarts (ours.md section 2).

A BBS is stopped (SIGSTOP) with a statement of its own held between it and the database, at each moment of a write;
another one takes over; then the first goes on where it was. The lock lives ten seconds here. The same with the
deployed fifteen and a minute's sleep is `make chaos`.
"""

import itertools
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from support.fencing import (
    OUR_COMMIT,
    PATIENCE,
    WRITE_POINTS,
    Caller,
    Site,
    go_on,
    site,
    sleep_in_a_write,
    stop,
    writing,
)
from support.mariadb import Database, MariaDb
from support.worker import until

pytestmark = [pytest.mark.database, pytest.mark.timeout(300)]

TTL = 10.0


@pytest.fixture
def pair(tmp_path: Path, database: Database, pki: Path) -> Iterator[Site]:
    with site(tmp_path, pki, databases=[database, database], locket_databases=[database], ttl=TTL) as made:
        yield made


@pytest.mark.parametrize("point", WRITE_POINTS)
def test_one_that_falls_asleep_in_a_write_writes_nothing_more(pair: Site, point: str) -> None:
    sleep_in_a_write(pair, WRITE_POINTS[point], late=True, ttl=TTL)

    assert ("in-between" in pair.stored()) == WRITE_POINTS[point].answer


def test_what_arrives_while_its_sender_sleeps_is_durable_and_known_to_the_next(pair: Site) -> None:
    sleep_in_a_write(pair, WRITE_POINTS["before the commit"], late=False, ttl=TTL)

    assert "in-between" in pair.stored()


def test_one_that_sleeps_while_it_waits_for_the_lock_goes_on_waiting(pair: Site) -> None:
    first, second = pair.bbses
    stop(second)
    pair.write(first, "before")
    first.kill()
    first.start()
    pair.write(first, "while-it-slept")

    go_on(second)

    pair.write(first, "afterwards")
    assert pair.answering() == [first]
    assert pair.verdict() == []


def test_a_locket_that_restarts_under_load_changes_no_master(pair: Site) -> None:
    with writing(pair, "w"):
        pair.expect_more(20)
        for _ in range(2):
            pair.lockets[0].kill()
            pair.lockets[0].start()
            pair.expect_more(20)

    assert pair.answering() == [pair.bbses[0]]
    assert pair.verdict() == []
    assert {write.epoch for proxy in pair.proxies for write in proxy.committed} == {1}


def test_a_database_that_stalls_for_longer_than_the_lock_lives_loses_nothing_and_has_one_writer(
    pair: Site, mariadb: MariaDb
) -> None:
    with writing(pair, "w"):
        pair.expect_more(20)
        mariadb.pause()
        try:
            first = pair.bbses[0]
            until(lambda: first.call("/v1/ping")[0] == 503, seconds=TTL + PATIENCE)
            until(lambda: bool(pair.refused), seconds=PATIENCE)
        finally:
            mariadb.resume()
        pair.expect_more(20)

    assert pair.verdict() == []
    assert len({write.epoch for proxy in pair.proxies for write in proxy.committed}) <= 2


def test_a_commit_on_its_way_for_longer_than_an_operation_may_take_is_settled(pair: Site) -> None:
    """The network holds the commit itself, while everything else goes by: its fate is asked, not guessed."""
    first = pair.bbses[0]
    hold = pair.proxies[0].hold(OUR_COMMIT)
    caller = Caller(pair, first, "in-between")
    hold.wait(PATIENCE)
    caller.wait(90)
    hold.release()

    pair.desire_patiently("afterwards")

    assert pair.verdict() == []
    assert ("in-between" in pair.acknowledged) <= ("in-between" in pair.stored())


def test_an_active_one_without_file_handles_begins_anew(pair: Site) -> None:
    """It would keep its lock and answer nobody (reliability.md experiment 4)."""
    first, _ = pair.bbses
    pair.write(first, "before")
    (worker,) = first.workers
    limit = resource.prlimit(worker, resource.RLIMIT_NOFILE)[0]

    def begun_anew() -> bool:
        """Also a handle that became free since the last look, as that of a caller who has gone, is taken away."""
        nonlocal limit
        with suppress(FileNotFoundError, ProcessLookupError):
            used = {int(handle.name) for handle in Path(f"/proc/{worker}/fd").iterdir()}
            limit = min(limit, next(number for number in itertools.count() if number not in used))
            resource.prlimit(worker, resource.RLIMIT_NOFILE, (limit, limit))
        return first.workers != [worker]

    until(begun_anew, seconds=PATIENCE)
    pair.desire_patiently("afterwards")
    assert pair.verdict() == []
