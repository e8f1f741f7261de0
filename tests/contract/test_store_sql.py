"""The store in MariaDB where it is more than a store: outages, the fence, the schema, the keys."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from threading import Event
from typing import Any

import pytest

from diego.bbs.store import (
    CommitFailed,
    CommitUnknown,
    DeleteTask,
    Fenced,
    PutActual,
    PutDesired,
    PutDomain,
    PutTask,
    SchemaTooNew,
    StoreUnavailable,
    UnknownKeyLabel,
    UnreadableDesired,
    Unrecoverable,
    rows,
    schema,
)
from diego.bbs.store.encryption import Encryption
from diego.bbs.store.sql import SqlStore
from diego.database import Connection, DataSource, Settings, parse_data_source
from diego.database.pool import READ_COMMITTED
from diego.models import Domain, Presence
from diego.wire import desired_lrp_pb2
from support.loop_store import LoopStore
from support.mariadb import Database, MariaDb
from support.stored import a_desired_lrp, a_task, an_actual_lrp
from support.tcp_proxy import Break, TcpProxy, proxying
from support.worker import until

pytestmark = [pytest.mark.database, pytest.mark.timeout(300)]

KEYS = Encryption("key", {"key": "secret"})
VERSIONS = [
    1461790966, 1471030898, 1472757022, 1474908092, 1474993971, 1481761088, 1502289152, 1522700600, 1523050077,
    1528928964, 1529530809, 1643660541, 1674146125, 1676360874, 1686692176, 1698182853, 1722634733, 1764949919,
    1772581987,
]  # fmt: skip


def settings_for(database: Database, *, port: int = 0, **changes: Any) -> Settings:
    source = parse_data_source(database.dsn)
    if port:
        source = DataSource(source.user, source.password, "127.0.0.1", port, source.schema)
    return Settings(source=source, **changes)


def a_store(
    database: Database,
    keys: Encryption = KEYS,
    *,
    way: type[SqlStore] = SqlStore,
    settle: float = 20.0,
    **changes: Any,
) -> SqlStore:
    return way(settings_for(database, **changes), keys, settle_seconds=settle)


def ready(store: SqlStore) -> SqlStore:
    store.take_over()
    store.migrate()
    return store


@pytest.fixture(params=[SqlStore, LoopStore], ids=["thread", "loop"])
def way(request: pytest.FixtureRequest) -> type[SqlStore]:
    """Both ways in which a batch comes into the database: by a thread that waits, and begun in a loop."""
    kind: type[SqlStore] = request.param
    return kind


@pytest.fixture
def store(database: Database) -> Iterator[SqlStore]:
    store = ready(a_store(database))
    yield store
    store.close()


@pytest.fixture
def either(database: Database, way: type[SqlStore]) -> Iterator[SqlStore]:
    store = ready(a_store(database, way=way))
    yield store
    store.close()


@pytest.fixture
def proxy(database: Database) -> Iterator[TcpProxy]:
    with proxying(database.host, database.port) as proxy:
        yield proxy


@pytest.fixture
def proxied(database: Database, proxy: TcpProxy, way: type[SqlStore]) -> Iterator[SqlStore]:
    store = ready(a_store(database, way=way, port=proxy.port))
    yield store
    store.close()


# ---- outages


def test_what_can_be_done_in_the_loop_is_done_there(database: Database) -> None:
    store = ready(a_store(database, way=LoopStore))
    assert isinstance(store, LoopStore)

    for number in range(3):
        store.commit([PutDomain("d", number), PutActual(an_actual_lrp("p", 0))])
    assert (store.began_in_loop, store.left_to_thread) == (3, 0)
    database.rows("DROP TABLE tasks")
    with pytest.raises(Unrecoverable, match="tasks"):
        store.commit([DeleteTask("t")])

    assert (store.began_in_loop, store.left_to_thread) == (4, 1)
    store.close()


def test_a_long_batch_is_left_to_a_thread(database: Database) -> None:
    store = ready(a_store(database, way=LoopStore))
    assert isinstance(store, LoopStore)
    tasks = [PutTask(replace(a_task(f"t{number}"), result="x" * (1 << 20))) for number in range(5)]

    store.commit(tasks)

    assert (store.began_in_loop, store.left_to_thread) == (0, 1)
    assert len(store.load().tasks) == 5
    store.close()


def test_a_commit_whose_answer_was_lost_but_took_place_succeeds(
    proxied: SqlStore, proxy: TcpProxy, database: Database
) -> None:
    proxy.break_next(b"COMMIT", Break.AFTER)

    proxied.commit([PutDomain("d", 1)])

    assert proxy.broken == 1
    assert database.rows("SELECT domain FROM domains") == [("d",)]


def test_a_commit_that_never_arrived_fails_and_leaves_nothing(
    proxied: SqlStore, proxy: TcpProxy, database: Database
) -> None:
    proxy.break_next(b"COMMIT", Break.BEFORE)

    with pytest.raises(CommitFailed):
        proxied.commit([PutDomain("d", 1)])

    assert proxy.broken == 1
    assert database.rows("SELECT domain FROM domains") == []


def test_after_a_broken_commit_the_store_goes_on(proxied: SqlStore, proxy: TcpProxy) -> None:
    for number, how in enumerate([Break.AFTER, Break.BEFORE, Break.AFTER, Break.AFTER, Break.BEFORE]):
        proxy.break_next(b"COMMIT", how)
        if how is Break.BEFORE:
            with pytest.raises(CommitFailed):
                proxied.commit([PutDomain(f"d{number}", number)])
        else:
            proxied.commit([PutDomain(f"d{number}", number)])
        proxied.commit([PutDomain("between", number)])

    assert sorted(domain.name for domain in proxied.load().domains) == ["between", "d0", "d2", "d3"]


def test_when_the_question_itself_is_lost_it_is_asked_again(
    proxied: SqlStore, proxy: TcpProxy, database: Database
) -> None:
    proxied.commit([PutDomain("before", 1)])
    proxy.break_next(b"COMMIT", Break.AFTER, times=2)

    proxied.commit([PutDomain("d", 1)])

    assert proxy.broken == 2
    assert database.rows("SELECT COUNT(*) FROM domains") == [(2,)]


def test_a_database_that_does_not_come_back_leaves_the_fate_unknown(
    database: Database, proxy: TcpProxy, way: type[SqlStore]
) -> None:
    store = ready(a_store(database, way=way, port=proxy.port, settle=0.6))
    proxy.break_next(b"COMMIT", Break.AFTER)
    proxy.refuse = True

    with pytest.raises(CommitUnknown):
        store.commit([PutDomain("d", 1)])

    assert not store.settling
    store.close()


def test_connections_that_died_while_idle_are_replaced_without_an_error(
    proxied: SqlStore, proxy: TcpProxy
) -> None:
    proxied.commit([PutDomain("d", 1)])
    proxy.drop_all()

    proxied.commit([PutDomain("d", 2)])

    proxy.drop_all()
    assert proxied.still_mine()
    assert proxied.load().domains == [Domain("d", 2)]


def test_a_database_that_is_away_fails_the_commit_and_the_next_one_after_it_is_back_succeeds(
    database: Database, mariadb: MariaDb, way: type[SqlStore]
) -> None:
    store = ready(a_store(database, way=way, connect_timeout=20.0))
    store.commit([PutDomain("d", 1)])
    mariadb.kill()
    try:
        with pytest.raises(CommitFailed):
            store.commit([PutDomain("d", 2)])
        with pytest.raises(StoreUnavailable):
            store.still_mine()
        with pytest.raises(StoreUnavailable):
            store.load()
    finally:
        mariadb.start()

    assert store.still_mine()
    store.commit([PutDomain("d", 3)])
    assert store.load().domains == [Domain("d", 3)]
    store.close()


def test_no_acknowledged_write_is_lost_and_no_failed_one_appears_when_the_database_is_killed(
    database: Database, mariadb: MariaDb, way: type[SqlStore]
) -> None:
    store = ready(a_store(database, way=way, settle=90.0))
    acknowledged: list[str] = []
    failed: list[str] = []
    stopping = Event()

    def write() -> None:
        number = 0
        while not stopping.is_set():
            number += 1
            try:
                store.commit([PutDomain(f"d{number}", number)])
                acknowledged.append(f"d{number}")
            except CommitFailed:
                failed.append(f"d{number}")
                time.sleep(0.05)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            until(lambda so_far=40 * number: len(acknowledged) > so_far + 40)  # type: ignore[misc]  # a lambda's default
            mariadb.kill()
            mariadb.start()
        until(lambda: len(acknowledged) > 4 * 40)
    finally:
        stopping.set()
        writer.join(120)

    stored = {domain.name for domain in store.load().domains}
    assert set(acknowledged) == stored
    assert not stored & set(failed)
    assert len(acknowledged) > 100
    store.close()


def test_a_database_that_hangs_is_given_up_at_the_deadline(
    database: Database, mariadb: MariaDb, way: type[SqlStore]
) -> None:
    store = ready(a_store(database, way=way, operation_timeout=4.0, settle=60.0))
    store.commit([PutDomain("d", 1)])
    mariadb.pause()
    resume = threading.Timer(7.0, mariadb.resume)
    resume.start()
    try:
        with pytest.raises(CommitFailed):  # it would succeed, if it were waited for
            store.commit([PutDomain("d", 2)])
    finally:
        resume.join()
        mariadb.resume()

    store.commit([PutDomain("d", 3)])
    assert store.load().domains == [Domain("d", 3)]
    store.close()


def test_a_batch_that_meets_a_deadlock_is_tried_again(either: SqlStore, database: Database) -> None:
    either.commit([PutDomain("a", 1), PutDomain("b", 1)])
    other = Connection(
        settings_for(database), tls=None, isolation=READ_COMMITTED, deadline=time.monotonic() + 30
    )
    other.allow(time.monotonic() + 30)
    other.run("SET SESSION innodb_lock_wait_timeout = 20")
    other.begin_work()
    other.run("UPDATE domains SET expire_time = 5 WHERE domain = 'b'")
    ours = threading.Thread(target=either.commit, args=([PutDomain("a", 2), PutDomain("b", 2)],))
    ours.start()
    time.sleep(0.5)
    for number in range(200):  # the heavier transaction survives
        other.run("INSERT INTO domains (domain, expire_time) VALUES (%s, 1)", (f"x{number}",))

    other.run("UPDATE domains SET expire_time = 5 WHERE domain = 'a'")
    other.commit_work()
    ours.join(60)
    assert not ours.is_alive()

    other.discard()
    stored = database.rows("SELECT domain, expire_time FROM domains WHERE domain IN ('a', 'b')")
    assert sorted(map(str, stored)) == ["('a', 2)", "('b', 2)"]


def test_a_failing_row_rolls_the_whole_batch_back(either: SqlStore, database: Database) -> None:
    with pytest.raises(CommitFailed, match="sql-bad-request"):
        either.commit([PutDomain("fine", 1), PutTask(a_task("t" * 300))])

    assert database.rows("SELECT domain FROM domains") == []
    either.commit([PutDomain("fine", 1)])


def test_a_missing_table_is_unrecoverable(store: SqlStore, database: Database) -> None:
    database.rows("DROP TABLE tasks")

    with pytest.raises(Unrecoverable, match=r"Unrecoverable Error: Table '.*tasks' doesn't exist"):
        store.commit([DeleteTask("t")])


# ---- the fence


def test_a_takeover_during_a_commit_lets_only_one_of_both_win(
    database: Database, way: type[SqlStore]
) -> None:
    first, second = ready(a_store(database, way=way)), a_store(database, way=way)
    outcome: list[str] = []
    stopping = Event()

    def write() -> None:
        number = 0
        try:
            while not stopping.is_set():
                number += 1
                first.commit([PutDomain("d", number)])
        except Fenced:
            outcome.append("fenced")

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(0.3)
    second.take_over()
    seen = second.load()
    writer.join(60)
    stopping.set()
    writer.join(60)

    assert outcome == ["fenced"]
    assert second.load() == seen
    first.close()
    second.close()


def test_a_store_that_is_asking_for_its_commits_fate_is_fenced_too(
    proxied: SqlStore, proxy: TcpProxy, database: Database
) -> None:
    other = a_store(database)
    proxy.refuse = True
    proxy.break_next(b"COMMIT", Break.AFTER)
    outcome: list[BaseException] = []

    def commit() -> None:
        try:
            proxied.commit([PutDomain("d", 1)])
        except (Fenced, CommitFailed, CommitUnknown) as error:
            outcome.append(error)

    committing = threading.Thread(target=commit)
    committing.start()
    until(lambda: proxied.settling)
    other.take_over()
    proxy.refuse = False
    committing.join(60)

    assert [type(error) for error in outcome] == [Fenced]
    other.close()


# ---- schema


def columns_of(database: Database, table: str) -> dict[str, tuple[str, bool, Any]]:
    """Type, whether NULL is allowed, and default of each column."""
    found = database.rows(
        "SELECT column_name, column_type, is_nullable, column_default FROM information_schema.columns"
        " WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position",
        database.name,
        table,
    )
    return {
        str(name): (str(kind), nullable == "YES", None if default == "NULL" else default)
        for name, kind, nullable, default in found
    }


def test_an_empty_database_gets_every_version_in_order(database: Database) -> None:
    store = ready(a_store(database))

    assert [migration.version for migration in schema.MIGRATIONS] == VERSIONS
    assert database.rows("SELECT id, value FROM configurations ORDER BY id") == [
        ("encryption_key_label", "key"),
        ("version", json.dumps({"CurrentVersion": 1772581987})),
    ]
    store.close()


def test_the_tables_are_the_originals(store: SqlStore, database: Database) -> None:
    tables = {str(name) for (name,) in database.rows("SHOW TABLES")}

    assert tables == {
        "domains", "desired_lrps", "actual_lrps", "tasks", "configurations", "bbs_health_check", "diego_fence",
        "diego_history",
    }  # fmt: skip
    name, empty = ("varchar(255)", False, None), ("varchar(255)", False, "''")
    number, zero, big = ("int(11)", False, None), ("int(11)", False, "0"), ("bigint(20)", True, "0")
    reason = ("varchar(1024)", False, "''")
    long = ("longtext", False, None)
    assert columns_of(database, "domains") == {"domain": name, "expire_time": big}
    assert columns_of(database, "desired_lrps") == {
        "process_guid": name, "domain": name, "log_guid": name, "annotation": ("longtext", True, None),
        "instances": number, "memory_mb": number, "disk_mb": number, "rootfs": ("varchar(1024)", False, None),
        "routes": long, "volume_placement": long, "modification_tag_epoch": name,
        "modification_tag_index": ("int(11)", True, None), "run_info": long, "placement_tags": ("text", True, None),
        "max_pids": ("int(11)", True, "0"), "metric_tags": ("mediumtext", True, None), "update_strategy": zero,
    }  # fmt: skip
    assert columns_of(database, "actual_lrps") == {
        "process_guid": name, "instance_index": number, "evacuating": ("tinyint(1)", False, "0"), "domain": name,
        "state": name, "instance_guid": empty, "cell_id": empty, "placement_error": reason, "since": big,
        "net_info": long, "modification_tag_epoch": name, "modification_tag_index": ("int(11)", True, None),
        "crash_count": zero, "crash_reason": reason, "expire_time": big, "presence": zero,
        "internal_routes": ("mediumtext", True, None), "metric_tags": ("mediumtext", True, None),
        "routable": ("tinyint(1)", True, "0"), "availability_zone": empty,
    }  # fmt: skip
    assert columns_of(database, "tasks") == {
        "guid": name, "domain": name, "updated_at": big, "created_at": big, "first_completed_at": big,
        "state": ("int(11)", True, None), "cell_id": empty, "result": ("longtext", True, None),
        "failed": ("tinyint(1)", True, "0"), "failure_reason": reason, "task_definition": long,
        "rejection_count": zero, "rejection_reason": reason,
    }  # fmt: skip
    assert columns_of(database, "bbs_health_check") == {
        "id": ("int(11)", False, None), "time": ("bigint(20)", False, None),
    }  # fmt: skip


def test_keys_and_indices_are_the_originals(store: SqlStore, database: Database) -> None:
    found = database.rows(
        "SELECT table_name, index_name, GROUP_CONCAT(column_name ORDER BY seq_in_index) FROM"
        " information_schema.statistics WHERE table_schema = %s AND table_name NOT LIKE 'diego!_%%' ESCAPE '!'"
        " GROUP BY table_name, index_name",
        database.name,
    )

    assert {(str(table), str(index), str(columns)) for table, index, columns in found} == {
        ("domains", "PRIMARY", "domain"),
        ("domains", "domains_expire_time_idx", "expire_time"),
        ("desired_lrps", "PRIMARY", "process_guid"),
        ("desired_lrps", "desired_lrps_domain_idx", "domain"),
        ("actual_lrps", "PRIMARY", "process_guid,instance_index,presence"),
        *(
            ("actual_lrps", f"actual_lrps_{column}_idx", column)
            for column in ("domain", "cell_id", "since", "state", "expire_time")
        ),
        ("tasks", "PRIMARY", "guid"),
        *(
            ("tasks", f"tasks_{column}_idx", column)
            for column in ("domain", "state", "cell_id", "updated_at", "created_at", "first_completed_at")
        ),
        ("configurations", "PRIMARY", "id"),
        ("bbs_health_check", "PRIMARY", "id"),
    }


@pytest.mark.parametrize("version", VERSIONS[:-1])
def test_from_every_older_version_the_newest_is_reached_even_after_a_migration_that_was_cut_short(
    database: Database, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = [migration for migration in schema.MIGRATIONS if migration.version <= version]
    with monkeypatch.context() as patch:
        patch.setattr("diego.bbs.store.schema.runner.MIGRATIONS", tuple(older))
        first = ready(a_store(database))
        first.close()
    for statement in schema.MIGRATIONS[len(older)].statements:
        database.rows(statement)

    store = ready(a_store(database))

    store.commit([PutDesired(a_desired_lrp()), PutActual(an_actual_lrp()), PutTask(a_task())])
    assert store.load().desired == [a_desired_lrp()]
    assert set(columns_of(database, "desired_lrps")) >= {"metric_tags", "update_strategy"}
    store.close()


def test_rows_of_old_versions_are_carried_over(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("diego.bbs.store.schema.runner.MIGRATIONS", schema.MIGRATIONS[:4])
        first = ready(a_store(database))
        first.close()
    record = a_desired_lrp()
    columns = dict(zip(rows.DESIRED_COLUMNS, rows.desired_columns(record, KEYS), strict=True))
    run_info = desired_lrp_pb2.DesiredLRPRunInfo.FromString(KEYS.decrypt(columns["run_info"])[2:])
    run_info.metric_tags["source_id"].static = "from the run info"
    database.rows(
        "INSERT INTO desired_lrps (process_guid, domain, log_guid, instances, memory_mb, disk_mb, rootfs, routes,"
        " volume_placement, modification_tag_epoch, modification_tag_index, run_info)"
        " VALUES ('app-1', 'cf-apps', 'app-1', 1, 2, 3, 'r', %s, %s, 'e', 1, %s)",
        '{"cf-router":[1]}',
        columns["volume_placement"],
        KEYS.encrypt(rows.HEADER + run_info.SerializeToString()),
    )
    for evacuating, state in ((0, "RUNNING"), (1, "RUNNING")):
        database.rows(
            "INSERT INTO actual_lrps (process_guid, instance_index, evacuating, domain, state, net_info,"
            " modification_tag_epoch, modification_tag_index) VALUES ('app-1', 0, %s, 'cf-apps', %s, %s, 'e', 1)",
            evacuating,
            state,
            KEYS.encrypt(rows.HEADER),
        )

    store = ready(a_store(database))

    loaded = store.load()
    (desired,) = loaded.desired
    message = desired.message()
    assert dict(message.routes.routes) == {"cf-router": b"[1]"}
    assert message.metric_tags["source_id"].static == "from the run info"
    (stored,) = database.rows("SELECT routes, metric_tags FROM desired_lrps")
    assert all(str(text).startswith("02") for text in stored)
    assert {lrp.presence for lrp in loaded.actual} == {Presence.ORDINARY, Presence.EVACUATING}
    assert all(lrp.routable and lrp.metric_tags is None for lrp in loaded.actual)
    store.close()


def test_a_newer_database_is_left_alone(store: SqlStore, database: Database) -> None:
    database.rows(
        "UPDATE configurations SET value = %s WHERE id = 'version'", '{"CurrentVersion":1999999999}'
    )

    with pytest.raises(SchemaTooNew) as refused:
        store.migrate()

    assert refused.value.text == "Existing DB version (1999999999) exceeds bbs version (1772581987)"


# ---- keys and unreadable rows


def test_with_a_new_active_key_everything_is_encrypted_anew(database: Database) -> None:
    old = ready(a_store(database))
    actual = an_actual_lrp()
    old.commit([PutDesired(a_desired_lrp()), PutActual(actual), PutTask(a_task())])
    old.commit([PutTask(a_task(f"task-{number}")) for number in range(2, 300)])
    new = ready(a_store(database, Encryption("new", {"key": "secret", "new": "another"})))

    before = new.load()
    count = new.reencrypt(Event())

    assert count == 301
    assert new.reencrypt(Event()) == 0
    assert new.load() == before
    only_new = a_store(database, Encryption("new", {"new": "another"}))
    only_new.take_over()
    only_new.migrate()
    assert only_new.load() == before
    for store in (old, new, only_new):
        store.close()


def test_what_cannot_be_read_is_skipped_when_all_is_encrypted_anew(database: Database) -> None:
    old = ready(a_store(database))
    old.commit([PutTask(a_task("good")), PutTask(a_task("bad"))])
    database.rows("UPDATE tasks SET task_definition = '02nonsense' WHERE guid = 'bad'")
    new = ready(a_store(database, Encryption("new", {"key": "secret", "new": "another"})))

    assert new.reencrypt(Event()) == 1

    assert database.rows("SELECT task_definition FROM tasks WHERE guid = 'bad'") == [("02nonsense",)]
    assert database.rows("SELECT value FROM configurations WHERE id = 'encryption_key_label'") == [("new",)]
    for store in (old, new):
        store.close()


def test_encrypting_anew_and_writing_at_the_same_time_loses_nothing(database: Database) -> None:
    old = ready(a_store(database))
    old.commit([PutTask(a_task(f"task-{number}")) for number in range(500)])
    store = ready(a_store(database, Encryption("new", {"key": "secret", "new": "another"})))
    rewriting = threading.Thread(target=store.reencrypt, args=(Event(),))

    rewriting.start()
    number = 0
    while rewriting.is_alive():
        store.commit(
            [
                PutTask(a_task(f"task-{number % 500}", updated_at=7)),
                DeleteTask(f"task-{(number + 250) % 500}"),
            ]
        )
        number += 1
    rewriting.join()

    only_new = a_store(database, Encryption("new", {"new": "another"}))
    only_new.take_over()
    assert all(task.definition is not None for task in only_new.load().tasks)
    old.close()
    store.close()
    only_new.close()


def test_a_database_encrypted_with_an_unknown_key_is_refused(store: SqlStore, database: Database) -> None:
    other = a_store(database, Encryption("other", {"other": "x"}))
    other.take_over()

    with pytest.raises(UnknownKeyLabel):
        other.migrate()

    other.close()


def test_unreadable_rows_are_told_apart_from_the_rest(store: SqlStore, database: Database) -> None:
    store.commit([PutDesired(a_desired_lrp(guid)) for guid in ("good", "no-run-info", "no-routes")])
    store.commit([PutActual(an_actual_lrp("good")), PutActual(an_actual_lrp("bad", 3)), PutTask(a_task())])
    database.rows("UPDATE desired_lrps SET run_info = '02nonsense' WHERE process_guid = 'no-run-info'")
    database.rows("UPDATE desired_lrps SET routes = '02nonsense' WHERE process_guid = 'no-routes'")
    database.rows("UPDATE actual_lrps SET net_info = '02nonsense' WHERE process_guid = 'bad'")
    database.rows("UPDATE tasks SET task_definition = '02nonsense'")

    loaded = store.load()

    assert [record.process_guid for record in loaded.desired] == ["good"]
    assert sorted(loaded.unreadable_desired, key=lambda found: found.process_guid) == [
        UnreadableDesired("no-routes", "cf-apps", deletable=False),
        UnreadableDesired("no-run-info", "cf-apps", deletable=True),
    ]
    assert [lrp.process_guid for lrp in loaded.actual] == ["good"]
    assert loaded.unreadable_actual == [("bad", 3, Presence.ORDINARY)]
    assert loaded.tasks == [a_task(definition=None)]


def test_a_task_whose_definition_is_unreadable_keeps_it_through_changes(
    store: SqlStore, database: Database
) -> None:
    store.commit([PutTask(a_task())])
    database.rows("UPDATE tasks SET task_definition = '02nonsense'")

    store.commit([PutTask(a_task(definition=None, result="changed"))])

    assert database.rows("SELECT result, task_definition FROM tasks") == [("changed", "02nonsense")]


# ---- connections


def test_the_database_must_show_a_certificate_of_the_configured_authority(
    database: Database, pki: Any
) -> None:
    trusted = a_store(database, ca_file=database.ca_file)
    ready(trusted)
    stranger = a_store(database, ca_file=pki / "ca.crt")

    with pytest.raises(StoreUnavailable, match="certificate verify failed"):
        stranger.take_over()

    trusted.close()
    stranger.close()


def test_the_certificate_must_name_the_host_unless_told_otherwise(database: Database) -> None:
    source = parse_data_source(database.dsn)
    elsewhere = DataSource(source.user, source.password, "127.0.0.2", 0, source.schema)
    with proxying(database.host, database.port, listen="127.0.0.2") as proxy:
        elsewhere = replace(elsewhere, port=proxy.port)
        strict = SqlStore(Settings(source=elsewhere, ca_file=database.ca_file), KEYS)
        lax = SqlStore(Settings(source=elsewhere, ca_file=database.ca_file, verify_identity=False), KEYS)

        with pytest.raises(StoreUnavailable, match="IP address mismatch"):
            strict.take_over()
        assert lax.take_over() == 1

        lax.close()
