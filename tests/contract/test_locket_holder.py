"""Lock holders and presence keepers against a real locket: stopped, killed, cut off (ours.md section 2)."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from diego.locket.client import MARGIN, PRESENCE, LocketClient, LockHolder, PresenceKeeper, State
from support import locket as locket_process
from support.lock_holder import holding
from support.locket import LocketProcess
from support.mariadb import Database, MariaDb
from support.tcp_proxy import proxying

pytestmark = [pytest.mark.database, pytest.mark.timeout(240)]

PATIENCE = 60.0
"""Seconds for what must come, however busy the machine is."""


@pytest.fixture
def locket(database: Database, pki: Path, tmp_path: Path) -> Iterator[LocketProcess]:
    with locket_process.running(tmp_path / "locket", database, pki) as process:
        yield process


def a_client(address: str, pki: Path) -> LocketClient:
    return LocketClient(
        address,
        ca_file=pki / "ca.crt",
        cert_file=pki / "diego_locket_client.crt",
        key_file=pki / "diego_locket_client.key",
    )


def within(seconds: float, true: object) -> bool:
    assert callable(true)
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def refreshed(locket: LocketProcess) -> bool:
    """Whether a locket that was started anew has taken a refresh already."""
    try:
        return locket.metric('requests_succeeded{request_type="Lock"}') >= 1
    except OSError:
        return False


def just_refreshed(database: Database, key: str) -> float:
    """Wait until a row is refreshed; a moment shortly before it was."""

    def index() -> object:
        return database.rows("SELECT modified_index FROM locks WHERE path = %s", key)

    first, looked = index(), time.monotonic()
    deadline = looked + PATIENCE
    while True:
        before, looked = looked, time.monotonic()
        if index() != first:
            return before
        assert time.monotonic() < deadline, f"{key} is not refreshed"
        time.sleep(0.02)


def test_a_stopped_holder_loses_the_lock_to_the_next_and_knows_it_at_once_when_it_goes_on(
    locket: LocketProcess, database: Database, pki: Path
) -> None:
    with holding(locket.address, pki, "bbs", "anna", ttl=6) as anna:
        assert anna.wait_for("acquired", PATIENCE)
        with holding(locket.address, pki, "bbs", "bert", ttl=120) as bert:
            time.sleep(3)
            assert bert.told == []
            refreshed = just_refreshed(database, "bbs")
            anna.pause()

            assert bert.wait_for("acquired", PATIENCE)
            assert time.monotonic() - refreshed > 6
            anna.resume()

            assert not anna.held()
            assert anna.wait_for("lost", PATIENCE)
            assert bert.held()


def test_a_killed_holder_is_followed_by_the_next_after_the_time_to_live(
    locket: LocketProcess, pki: Path
) -> None:
    with holding(locket.address, pki, "bbs", "bert", ttl=5) as bert:
        assert bert.wait_for("acquired", PATIENCE)
        with holding(locket.address, pki, "bbs", "anna", ttl=5) as anna:
            bert.kill()
            assert anna.wait_for("acquired", PATIENCE)


def test_a_holder_that_comes_back_with_its_own_name_has_its_lock_at_once(
    locket: LocketProcess, pki: Path
) -> None:
    with holding(locket.address, pki, "bbs", "anna", ttl=600) as anna:
        assert anna.wait_for("acquired", PATIENCE)
    with holding(locket.address, pki, "bbs", "anna", ttl=600) as again:
        assert again.wait_for("acquired", PATIENCE)  # long before it could have expired


def test_a_restart_of_locket_does_not_make_a_holder_passive(locket: LocketProcess, pki: Path) -> None:
    client = a_client(locket.address, pki)
    told: list[str] = []
    holder = LockHolder(client, "bbs", "anna", ttl=60, passive=lambda: told.append("passive"))
    stopping = threading.Event()
    thread = threading.Thread(target=holder.run, args=(stopping,), daemon=True)
    thread.start()
    assert holder.wait(threading.Event())

    for _ in range(2):
        locket.kill()
        locket.start()
        assert within(PATIENCE, lambda: refreshed(locket))

    assert holder.held
    assert told == []
    stopping.set()
    thread.join(10)
    holder.release()
    client.close()


def test_a_holder_that_is_cut_off_is_passive_in_time_and_goes_on_when_it_reaches_locket_again(
    locket: LocketProcess, pki: Path
) -> None:
    told: list[str] = []
    with proxying("127.0.0.1", locket.port) as proxy:
        client = a_client(f"127.0.0.1:{proxy.port}", pki)
        holder = LockHolder(
            client,
            "bbs",
            "anna",
            ttl=9,
            acquired=lambda: told.append("acquired"),
            passive=lambda: told.append("passive"),
            regained=lambda: told.append("regained"),
        )
        stopping = threading.Event()
        thread = threading.Thread(target=holder.run, args=(stopping,), daemon=True)
        thread.start()
        assert holder.wait(threading.Event())
        proxy.refuse = True
        proxy.drop_all()
        cut = time.monotonic()

        time.sleep(max(0.0, cut + 9 - MARGIN + 0.05 - time.monotonic()))
        assert not holder.held  # whether or not its thread has got so far
        assert holder.state is State.PASSIVE
        assert within(PATIENCE, lambda: told == ["acquired", "passive"])
        proxy.refuse = False
        assert within(PATIENCE, lambda: holder.held)

        assert within(PATIENCE, lambda: told == ["acquired", "passive", "regained"])
        stopping.set()
        thread.join(10)
        client.close()


def test_a_holder_loses_for_good_when_another_one_took_the_lock_meanwhile(
    locket: LocketProcess, pki: Path
) -> None:
    why: list[str] = []
    with proxying("127.0.0.1", locket.port) as proxy:
        client, other = a_client(f"127.0.0.1:{proxy.port}", pki), a_client(locket.address, pki)
        holder = LockHolder(client, "bbs", "anna", ttl=5, lost=why.append)
        thread = threading.Thread(target=holder.run, args=(threading.Event(),), daemon=True)
        thread.start()
        assert holder.wait(threading.Event())
        proxy.refuse = True
        proxy.drop_all()
        other.release("bbs", "anna")
        other.lock("bbs", "bert")
        proxy.refuse = False

        thread.join(PATIENCE)

        assert not thread.is_alive()
        assert (holder.state, holder.held) == (State.LOST, False)
        assert why == ["another owner has the lock 'bbs'"]
        assert not holder.confirm()
        client.close()
        other.close()


def test_confirming_tells_whether_the_lock_is_still_ours(locket: LocketProcess, pki: Path) -> None:
    client = a_client(locket.address, pki)
    holder = LockHolder(client, "bbs", "anna")

    assert holder.confirm()
    assert holder.held
    client.release("bbs", "anna")
    client.lock("bbs", "bert")
    assert not holder.confirm()
    assert holder.state is State.LOST
    client.close()


def test_a_released_lock_is_free_at_once(locket: LocketProcess, pki: Path) -> None:
    client = a_client(locket.address, pki)
    holder = LockHolder(client, "bbs", "anna")
    assert holder.confirm()

    holder.release()

    assert not holder.held
    client.lock("bbs", "bert")
    client.close()


def test_with_one_of_two_lockets_gone_the_other_one_answers(
    database: Database, pki: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        locket_process.running(tmp_path / "one", database, pki) as one,
        locket_process.running(tmp_path / "two", database, pki) as two,
    ):
        both = [(2, 1, 6, "", ("127.0.0.1", process.port)) for process in (one, two)]
        monkeypatch.setattr("socket.getaddrinfo", lambda *_words, **_named: both)
        client = a_client("localhost:1", pki)
        client.lock("bbs", "anna")

        one.kill()
        began = time.monotonic()
        client.lock("bbs", "anna", timeout=120)
        assert time.monotonic() - began < 50  # it does not wait for the other one's share of the time
        one.start()
        two.kill()
        client.lock("bbs", "anna", timeout=120)
        client.close()


def test_a_locket_that_does_not_answer_is_left_for_the_other_one(
    database: Database, pki: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        locket_process.running(tmp_path / "one", database, pki) as one,
        locket_process.running(tmp_path / "two", database, pki) as two,
    ):
        both = [(2, 1, 6, "", ("127.0.0.1", process.port)) for process in (one, two)]
        monkeypatch.setattr("socket.getaddrinfo", lambda *_words, **_named: both)
        client = a_client("localhost:1", pki)
        holder = LockHolder(client, "bbs", "anna", ttl=15)
        stopping = threading.Event()
        thread = threading.Thread(target=holder.run, args=(stopping,), daemon=True)
        thread.start()
        assert holder.wait(threading.Event())

        for process in (one, two):
            process.pause()
            time.sleep(14)
            assert holder.held
            process.resume()
            time.sleep(1)

        stopping.set()
        thread.join(10)
        client.close()


def test_a_presence_stands_until_its_keeper_is_gone_and_survives_a_restart_of_it(
    locket: LocketProcess, pki: Path
) -> None:
    client = a_client(locket.address, pki)
    taken = threading.Event()

    def keep(seconds: float) -> None:
        stopping = threading.Event()
        keeper = PresenceKeeper(
            client, "cell-0", "uuid", '{"cell_id":"cell-0"}', ttl=9, interval=1, taken=taken.set
        )
        thread = threading.Thread(target=keeper.run, args=(stopping,), daemon=True)
        thread.start()
        assert keeper.wait(threading.Event())
        time.sleep(seconds)
        assert keeper.held
        stopping.set()
        thread.join(10)

    keep(10)
    assert taken.is_set()
    found = client.fetch("cell-0")
    assert found is not None
    assert found.value == '{"cell_id":"cell-0"}'
    keep(1)
    assert within(PATIENCE, lambda: client.fetch("cell-0") is None)
    client.close()


def test_a_presence_of_another_owner_is_waited_for(locket: LocketProcess, pki: Path) -> None:
    client = a_client(locket.address, pki)
    client.lock("cell-0", "old", kind=PRESENCE, ttl=8)
    keeper = PresenceKeeper(client, "cell-0", "new", "{}")
    stopping = threading.Event()
    thread = threading.Thread(target=keeper.run, args=(stopping,), daemon=True)

    thread.start()
    assert not keeper.held
    assert within(PATIENCE, lambda: keeper.held)

    stopping.set()
    thread.join(10)
    found = client.fetch("cell-0")
    assert found is not None
    assert found.owner == "new"
    client.close()


def test_a_database_outage_longer_than_the_time_to_live_costs_a_holder_no_lock(
    locket: LocketProcess, pki: Path, mariadb: MariaDb
) -> None:
    with holding(locket.address, pki, "bbs", "anna", ttl=9) as anna:
        assert anna.wait_for("acquired", PATIENCE)
        with holding(locket.address, pki, "bbs", "bert", ttl=9) as bert:
            mariadb.kill()
            try:
                assert anna.wait_for("passive", PATIENCE)
                time.sleep(4)
            finally:
                mariadb.start()

            assert anna.wait_for("regained", PATIENCE)
            time.sleep(3)
            assert anna.held()
            assert bert.told == []
