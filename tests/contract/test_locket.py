"""Locket beyond the recordings: mutual TLS, outages, several lockets, what operators see."""

import contextlib
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import grpc
import pytest

from diego.locket.client import LOCK, PRESENCE, LockCollision, LocketClient, LocketError
from diego.wire import locket_pb2
from support import locket as locket_process
from support import pki as test_pki
from support.locket import LocketProcess
from support.mariadb import Database, MariaDb

pytestmark = [pytest.mark.database, pytest.mark.timeout(240)]

ENDED = {0, 128 + signal.SIGTERM}
"""The exit statuses of a job that ended in good order because it was told to."""


@pytest.fixture
def locket(database: Database, pki: Path, tmp_path: Path) -> Iterator[LocketProcess]:
    with locket_process.running(tmp_path / "locket", database, pki) as process:
        yield process


@pytest.fixture
def client(locket: LocketProcess, pki: Path) -> Iterator[LocketClient]:
    client = a_client(locket.address, pki)
    yield client
    client.close()


def a_client(address: str, pki: Path, leaf: str = "diego_locket_client") -> LocketClient:
    return LocketClient(
        address, ca_file=pki / "ca.crt", cert_file=pki / f"{leaf}.crt", key_file=pki / f"{leaf}.key"
    )


def keys(client: LocketClient) -> list[str]:
    return sorted(resource.key for resource in client.fetch_all(LOCK))


def until(seconds: float, true: object) -> float:
    """Wait until `true()`; how long it took."""
    assert callable(true)
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, f"not within {seconds} s"
        time.sleep(0.05)
    return time.monotonic() - began


# ---- requests


def test_the_client_speaks_all_four_methods(client: LocketClient) -> None:
    client.lock("bbs", "anna")
    client.lock("cell", "rep", value="{}", kind=PRESENCE)

    with pytest.raises(LockCollision):
        client.lock("bbs", "bert")
    found = client.fetch("bbs")
    assert found is not None
    assert (found.owner, found.type, found.type_code) == ("anna", "lock", locket_pb2.LOCK)
    assert [resource.key for resource in client.fetch_all(PRESENCE)] == ["cell"]
    client.release("bbs", "anna")
    assert client.fetch("bbs") is None


@pytest.mark.parametrize("method", ["Lock", "Release"])
def test_a_request_without_a_resource_is_answered(locket: LocketProcess, pki: Path, method: str) -> None:
    with locket_process.channel(locket.address, pki) as channel:
        call = channel.unary_unary(
            f"/models.Locket/{method}", request_serializer=None, response_deserializer=None
        )
        with pytest.raises(grpc.RpcError) as refused:
            call(b"", timeout=10, wait_for_ready=True)

    assert cast("grpc.Call", refused.value).code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_value_that_is_too_long_is_a_bad_request(client: LocketClient) -> None:
    client.lock("cell", "rep", value="ä" * 4096, kind=PRESENCE)

    with pytest.raises(LocketError) as refused:
        client.lock("cell", "rep", value="ä" * 4097, kind=PRESENCE)

    assert (refused.value.code, refused.value.text) == ("UNKNOWN", "sql-bad-request")


def test_an_unknown_service_is_told_so(locket: LocketProcess, pki: Path) -> None:
    with locket_process.channel(locket.address, pki) as channel:
        call = channel.unary_unary("/models.Other/Lock", request_serializer=None, response_deserializer=None)
        with pytest.raises(grpc.RpcError) as refused:
            call(b"", timeout=10, wait_for_ready=True)

    failed = cast("grpc.Call", refused.value)
    assert (failed.code(), failed.details()) == (
        grpc.StatusCode.UNIMPLEMENTED,
        "unknown service models.Other",
    )


def test_a_refresh_raises_the_index_and_keeps_the_id(client: LocketClient, database: Database) -> None:
    client.lock("bbs", "anna", ttl=7)
    ((index, first_id, ttl),) = database.rows("SELECT modified_index, modified_id, ttl FROM locks")
    client.lock("bbs", "anna", ttl=9)

    assert (index, ttl) == (1, 7)
    assert database.rows("SELECT modified_index, modified_id, ttl FROM locks") == [(2, first_id, 9)]


def test_a_refresh_is_exact_whatever_became_of_the_row_since_this_locket_saw_it(
    client: LocketClient, database: Database, mariadb: MariaDb
) -> None:
    def elsewhere(statement: str) -> None:
        with contextlib.closing(mariadb.root()) as connection, connection.cursor() as cursor:
            cursor.execute(f"USE {database.name}")
            cursor.execute(statement)
            connection.commit()

    def row() -> tuple[object, ...]:
        return database.rows("SELECT owner, value, modified_index, modified_id FROM locks")[0]

    client.lock("bbs", "anna")
    client.lock("bbs", "anna", value="a ' and a \\ and an ä")
    *_, life = row()
    assert row() == ("anna", "a ' and a \\ and an ä", 2, life)

    elsewhere("UPDATE locks SET modified_index = 40")  # refreshed through another locket
    client.lock("bbs", "anna")
    assert row() == ("anna", "", 41, life)

    elsewhere("UPDATE locks SET owner = 'bert', modified_index = 42")
    with pytest.raises(LockCollision):
        client.lock("bbs", "anna")
    assert row() == ("bert", "", 42, life)

    elsewhere("UPDATE locks SET owner = 'anna', modified_index = 41, modified_id = 'another life'")
    client.lock("bbs", "anna")
    assert row() == ("anna", "", 42, "another life")

    elsewhere("DELETE FROM locks")
    client.lock("bbs", "anna")
    assert row()[2] == 1
    assert row()[3] not in (life, "another life")


def test_a_refresh_asks_the_database_once(locket: LocketProcess, client: LocketClient) -> None:
    refreshes = 200
    client.lock("bbs", "anna")
    before = locket.metric("db_queries_total")

    for _ in range(refreshes):
        client.lock("bbs", "anna")

    # and a few questions a second for expiry
    assert locket.metric("db_queries_total") - before < 2.5 * refreshes


def test_many_take_new_keys_at_once_and_everybody_gets_his(locket: LocketProcess, pki: Path) -> None:
    clients = [a_client(locket.address, pki) for _ in range(8)]
    failures: list[Exception] = []

    def take(number: int) -> None:
        for key in range(20):
            try:
                clients[number].lock(f"cell-{number}-{key}", "rep", kind=PRESENCE)
            except LocketError as error:
                failures.append(error)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(len(clients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert failures == []
    assert len(clients[0].fetch_all(PRESENCE)) == 160
    for client in clients:
        client.close()


def test_of_many_who_want_one_lock_exactly_one_gets_it(locket: LocketProcess, pki: Path) -> None:
    clients = [a_client(locket.address, pki) for _ in range(8)]
    outcome: list[str] = []

    def take(number: int) -> None:
        try:
            clients[number].lock("bbs", f"owner-{number}")
            outcome.append("got it")
        except LockCollision:
            outcome.append("collision")

    threads = [threading.Thread(target=take, args=(number,)) for number in range(len(clients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(outcome) == ["collision"] * 7 + ["got it"]
    for client in clients:
        client.close()


# ---- TLS


def test_a_caller_without_a_certificate_is_turned_away(locket: LocketProcess, pki: Path) -> None:
    credentials = grpc.ssl_channel_credentials((pki / "ca.crt").read_bytes())
    with grpc.secure_channel(locket.address, credentials) as channel:
        call = channel.unary_unary(
            "/models.Locket/Fetch", request_serializer=None, response_deserializer=None
        )

        with pytest.raises(grpc.RpcError) as refused:
            call(b"", timeout=60)

    assert cast("grpc.Call", refused.value).code() is grpc.StatusCode.UNAVAILABLE


def test_a_caller_with_a_certificate_of_another_authority_is_turned_away(
    locket: LocketProcess, pki: Path, tmp_path: Path
) -> None:
    test_pki.write(tmp_path, "nats_client_cert")
    (tmp_path / "ca.crt").write_bytes((pki / "ca.crt").read_bytes())
    stranger = a_client(locket.address, tmp_path, "nats_client_cert")

    with pytest.raises(LocketError) as refused:
        stranger.fetch("bbs", timeout=3)

    assert refused.value.code in {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
    stranger.close()


def test_who_does_not_get_through_the_handshake_is_let_go(
    locket: LocketProcess, client: LocketClient
) -> None:
    host, port = locket.address.split(":")
    with socket.create_connection((host, int(port)), timeout=60) as silent:
        silent.sendall(b"\x16\x03\x01\x02\x00\x01")

        assert silent.recv(100) == b""

    assert keys(client) == []


def test_any_certificate_of_the_authority_is_welcome(locket: LocketProcess, pki: Path) -> None:
    for leaf in ("diego_bbs_server", "diego_rep_client", "diego_bbs_client"):
        client = a_client(locket.address, pki, leaf)
        assert client.fetch("bbs") is None
        client.close()


# ---- expiry


def test_a_row_that_is_not_refreshed_goes_after_its_time_to_live(client: LocketClient) -> None:
    asked = time.monotonic()
    client.lock("bbs", "anna", ttl=2)

    until(12, lambda: client.fetch("bbs") is None)  # sooner than by the usual time, fifteen seconds

    assert time.monotonic() - asked >= 2


def test_after_a_restart_every_row_has_its_whole_time_to_live_anew(
    locket: LocketProcess, client: LocketClient
) -> None:
    client.lock("bbs", "anna", ttl=10)
    time.sleep(5)

    locket.kill()
    began = time.monotonic()
    locket.start()

    until(60, lambda: gone(client, "bbs"))
    assert time.monotonic() - began >= 10


def test_a_row_refreshed_through_another_locket_stays(
    locket: LocketProcess, client: LocketClient, database: Database, pki: Path, tmp_path: Path
) -> None:
    with locket_process.running(tmp_path / "second", database, pki) as second:
        other = a_client(second.address, pki)
        client.lock("bbs", "anna", ttl=8)
        for _ in range(12):
            time.sleep(1)
            other.lock("bbs", "anna", ttl=8)
        found = client.fetch("bbs")
        other.lock("bbs", "anna", ttl=120)
        other.close()

    assert found is not None
    assert client.fetch("bbs") is not None


# ---- outages


def test_a_killed_database_costs_no_lock_and_no_process(
    locket: LocketProcess, client: LocketClient, mariadb: MariaDb
) -> None:
    client.lock("bbs", "anna", ttl=15)
    client.lock("cell", "rep", ttl=15, kind=PRESENCE)
    mariadb.kill()
    try:
        with pytest.raises(LocketError) as away:
            client.lock("bbs", "anna", ttl=15)
        assert away.value.code in {"UNKNOWN", "DEADLINE_EXCEEDED"}
        time.sleep(16)
        assert locket.debug("/ping")[0] == 200
        assert locket.debug("/locks")[0] == 503
    finally:
        mariadb.start()
    back = time.monotonic()

    until(30, lambda: answers(client))
    assert keys(client) == ["bbs"]
    assert [resource.key for resource in client.fetch_all(PRESENCE)] == ["cell"]
    time.sleep(max(0.0, back + 3 - time.monotonic()))
    assert keys(client) == ["bbs"]
    until(60, lambda: keys(client) == [])
    assert locket.running
    assert locket.log.read_text().count("locket.started") == 1


def test_a_database_that_hung_costs_no_lock(
    locket: LocketProcess, client: LocketClient, mariadb: MariaDb
) -> None:
    client.lock("bbs", "anna", ttl=10)
    time.sleep(1)
    mariadb.pause()
    try:
        time.sleep(12)
    finally:
        mariadb.resume()
    time.sleep(2)

    assert keys(client) == ["bbs"]


def test_a_call_is_given_up_when_the_database_hangs_longer_than_its_limit(
    database: Database, mariadb: MariaDb, pki: Path, tmp_path: Path
) -> None:
    with locket_process.running(tmp_path, database, pki, db_operation_timeout="1s") as locket:
        client = a_client(locket.address, pki)
        until(60, lambda: answers(client))
        mariadb.pause()
        began = time.monotonic()
        try:
            with pytest.raises(LocketError) as late:
                client.fetch("bbs", timeout=60)  # as long as the caller would wait
        finally:
            mariadb.resume()

        assert late.value.code == "DEADLINE_EXCEEDED"
        assert time.monotonic() - began < 30
        until(60, lambda: answers(client))
        client.close()


def test_a_stopped_locket_expires_nothing_for_the_time_it_was_stopped(
    locket: LocketProcess, client: LocketClient
) -> None:
    client.lock("bbs", "anna", ttl=10)
    locket.pause()
    time.sleep(11)
    locket.resume()
    time.sleep(2)

    assert keys(client) == ["bbs"]


def test_locket_waits_for_its_database_and_is_healthy_meanwhile(
    database: Database, mariadb: MariaDb, pki: Path, tmp_path: Path
) -> None:
    locket = LocketProcess(tmp_path, database, pki)
    mariadb.stop()
    try:
        locket.start(wait=False)
        until(60, lambda: pinged(locket))
        time.sleep(1)
        assert pinged(locket)
    finally:
        mariadb.start()

    locket.wait_until_serving()
    client = a_client(locket.address, pki)
    client.lock("bbs", "anna")
    client.close()
    assert locket.stop() in ENDED


def test_a_missing_table_ends_the_worker_and_the_next_one_makes_it(
    locket: LocketProcess, client: LocketClient, database: Database
) -> None:
    client.lock("bbs", "anna")
    database.rows("DROP TABLE locks")

    with pytest.raises(LocketError):
        client.lock("bbs", "anna")

    until(60, lambda: answers(client))
    client.lock("bbs", "anna")


def test_a_stop_lets_a_running_call_finish(locket: LocketProcess, client: LocketClient) -> None:
    client.lock("bbs", "anna")

    began = time.monotonic()
    assert locket.stop() in ENDED

    assert time.monotonic() - began < 15  # it ended by itself; a stalled machine takes some seconds for it


# ---- what operators see


def test_the_debug_listener_shows_locks_presences_and_numbers(
    locket: LocketProcess, client: LocketClient
) -> None:
    client.lock("bbs", "anna", ttl=600)
    client.lock("cell", "rep", value='{"cell_id":"cell"}', kind=PRESENCE, ttl=600)
    client.lock("short", "anna", ttl=1)
    with pytest.raises(LockCollision):
        client.lock("bbs", "bert")
    until(60, lambda: locket.metric("locks_expired") == 1)

    (lock,) = json.loads(locket.debug("/locks")[1])
    (presence,) = json.loads(locket.debug("/presences")[1])

    left, life = lock.pop("expires_in_seconds"), lock.pop("modified_id")
    assert 0 < left <= 600
    assert len(life) == 36
    assert lock == {
        "key": "bbs", "owner": "anna", "value": "", "type": "lock", "ttl_in_seconds": 600, "modified_index": 1,
    }  # fmt: skip
    assert presence["value"] == '{"cell_id":"cell"}'
    assert presence["cell"] == {"cell_id": "cell"}
    assert json.loads(locket.debug(f"/presences/{presence['key']}")[1])["owner"] == presence["owner"]
    assert locket.debug("/presences/bbs") == locket.debug("/locks/nothing")
    assert locket.debug("/locks/nothing")[0] == 404
    until(60, lambda: (locket.metric("active_locks"), locket.metric("active_presences")) == (1, 1))
    assert locket.metric("presence_expired") == 0
    assert locket.metric('requests_started{request_type="Lock"}') == 4
    assert locket.metric('requests_succeeded{request_type="Lock"}') == 4
    assert locket.metric('requests_failed{request_type="Lock"}') == 0
    assert locket.metric('requests_in_flight{request_type="Lock"}') == 0
    assert locket.metric('request_latency_max_seconds{request_type="Lock"}') > 0
    assert locket.metric("db_open_connections") >= 1
    assert locket.metric("db_queries_succeeded") > 4


def gone(client: LocketClient, key: str) -> bool:
    """Whether a locket answers, and has no such row."""
    try:
        return client.fetch(key, timeout=5) is None
    except LocketError:
        return False


def answers(client: LocketClient) -> bool:
    try:
        client.fetch("nothing", timeout=5)
    except LocketError:
        return False
    return True


def pinged(locket: LocketProcess) -> bool:
    try:
        return locket.debug("/ping")[0] == 200
    except OSError:
        return False
