"""What every store of the BBS promises, asked of the one in memory and of the one in MariaDB."""

from collections.abc import Callable, Iterator
from threading import Event
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diego.bbs.store import (
    DeleteActual,
    DeleteDesired,
    DeleteDomain,
    DeleteTask,
    Fenced,
    Loaded,
    PutActual,
    PutDesired,
    PutDomain,
    PutTask,
    Store,
    Write,
)
from diego.bbs.store.batch import identity
from diego.bbs.store.encryption import Encryption
from diego.bbs.store.memory import MemoryDatabase, MemoryStore
from diego.bbs.store.sql import SqlStore
from diego.database import Settings, parse_data_source
from diego.models import ActualLRPState, Domain, Presence, TaskState
from diego.models.domain import NEVER
from support.mariadb import Database
from support.stored import a_desired_lrp, a_task, an_actual_lrp

KEYS = Encryption("key", {"key": "secret"})

MakeStore = Callable[[], Store]


@pytest.fixture(params=["memory", pytest.param("sql", marks=pytest.mark.database)])
def make_store(request: pytest.FixtureRequest) -> Iterator[MakeStore]:
    """Makes stores that share one database."""
    made: list[Store] = []
    if request.param == "memory":
        shared = MemoryDatabase()

        def make() -> Store:
            made.append(MemoryStore(shared))
            return made[-1]

    else:
        database: Database = request.getfixturevalue("database")

        def make() -> Store:
            made.append(SqlStore(settings_for(database), KEYS))
            return made[-1]

    yield make
    for store in made:
        store.close()


def settings_for(database: Database, **changes: Any) -> Settings:
    return Settings(source=parse_data_source(database.dsn), ca_file=database.ca_file, **changes)


def ready(store: Store) -> Store:
    store.take_over()
    store.migrate()
    return store


def sorted_by_key(loaded: Loaded) -> Loaded:
    loaded.domains.sort(key=lambda domain: domain.name)
    loaded.desired.sort(key=lambda record: record.process_guid)
    loaded.actual.sort(key=lambda lrp: lrp.identity)
    loaded.tasks.sort(key=lambda task: task.guid)
    return loaded


def test_a_new_store_is_empty(make_store: MakeStore) -> None:
    assert ready(make_store()).load() == Loaded()


def test_what_was_committed_is_loaded_as_it_was(make_store: MakeStore) -> None:
    store = ready(make_store())
    suspect = an_actual_lrp(presence=Presence.SUSPECT, metric_tags=None, internal_routes=None)
    store.commit(
        [
            PutDomain("cf-apps", 1_700_000_000_000_000_000),
            PutDomain("cf-tasks", NEVER),
            PutDesired(a_desired_lrp("app-1")),
            PutDesired(a_desired_lrp("app-2")),
            PutActual(an_actual_lrp("app-1", 0)),
            PutActual(suspect),
            PutActual(an_actual_lrp("app-1", 1, state=ActualLRPState.CRASHED, net_info=b"")),
            PutTask(a_task()),
        ]
    )

    loaded = sorted_by_key(store.load())

    assert loaded.domains == [Domain("cf-apps", 1_700_000_000_000_000_000), Domain("cf-tasks", NEVER)]
    assert loaded.desired == [a_desired_lrp("app-1"), a_desired_lrp("app-2")]
    assert loaded.actual == [
        an_actual_lrp("app-1", 0),
        suspect,
        an_actual_lrp("app-1", 1, state=ActualLRPState.CRASHED, net_info=b""),
    ]
    assert loaded.tasks == [a_task()]
    assert (loaded.unreadable_desired, loaded.unreadable_actual) == ([], [])


def test_a_record_is_replaced_whole(make_store: MakeStore) -> None:
    store = ready(make_store())
    store.commit(
        [PutActual(an_actual_lrp()), PutTask(a_task()), PutDesired(a_desired_lrp()), PutDomain("d", 1)]
    )

    changed = an_actual_lrp(
        state=ActualLRPState.UNCLAIMED, cell_id="", instance_guid="", net_info=b"", since=7
    )
    store.commit(
        [
            PutActual(changed),
            PutTask(a_task(state=TaskState.RESOLVING, result="")),
            PutDesired(a_desired_lrp(instances=5, index=1)),
            PutDomain("d", 2),
        ]
    )

    loaded = store.load()
    assert loaded.actual == [changed]
    assert loaded.tasks == [a_task(state=TaskState.RESOLVING, result="")]
    assert loaded.desired == [a_desired_lrp(instances=5, index=1)]
    assert loaded.domains == [Domain("d", 2)]


def test_removed_records_are_gone_and_removing_nothing_is_fine(make_store: MakeStore) -> None:
    store = ready(make_store())
    store.commit(
        [PutActual(an_actual_lrp()), PutTask(a_task()), PutDesired(a_desired_lrp()), PutDomain("d", 1)]
    )
    removals: list[Write] = [
        DeleteActual("app-1", 0, Presence.ORDINARY),
        DeleteTask("task-1"),
        DeleteDesired("app-1"),
        DeleteDomain("d"),
    ]

    store.commit(removals)
    store.commit(removals)

    assert store.load() == Loaded()


def test_only_the_named_presence_is_removed(make_store: MakeStore) -> None:
    store = ready(make_store())
    evacuating = an_actual_lrp(presence=Presence.EVACUATING)
    store.commit([PutActual(an_actual_lrp()), PutActual(evacuating)])

    store.commit([DeleteActual("app-1", 0, Presence.ORDINARY)])

    assert store.load().actual == [evacuating]


def test_an_empty_batch_is_fine(make_store: MakeStore) -> None:
    ready(make_store()).commit([])


def test_keys_are_compared_byte_for_byte(make_store: MakeStore) -> None:
    store = ready(make_store())

    store.commit(
        [PutDomain("d", 1), PutDomain("D", 2), PutDomain("d ", 3), PutDomain("ä", 4), PutDomain("a", 5)]
    )

    assert sorted(domain.name for domain in store.load().domains) == ["D", "a", "d", "d ", "ä"]


def test_texts_with_any_sign_come_back(make_store: MakeStore) -> None:
    store = ready(make_store())
    signs = "%s \\ ' \" \n \x00 \U0001f600 ) ON DUPLICATE"
    lrp, task = an_actual_lrp(crash_reason=signs, metric_tags={signs: signs}), a_task(result=signs)

    store.commit([PutActual(lrp), PutTask(task)])

    loaded = store.load()
    assert (loaded.actual, loaded.tasks) == ([lrp], [task])


def test_an_unreadable_definition_stays_in_the_store_when_its_task_changes(make_store: MakeStore) -> None:
    store = ready(make_store())
    store.commit([PutTask(a_task(definition=None, state=TaskState.PENDING))])
    store.commit([PutTask(a_task(definition=None, state=TaskState.COMPLETED))])

    assert [task.state for task in store.load().tasks] in ([], [TaskState.COMPLETED])


def test_who_was_taken_over_from_cannot_write_any_more(make_store: MakeStore) -> None:
    first, second = ready(make_store()), make_store()
    first.commit([PutDomain("d", 1)])

    second.take_over()

    with pytest.raises(Fenced):
        first.commit([PutDomain("d", 2)])
    assert not first.still_mine()
    assert second.still_mine()
    second.commit([PutDomain("d", 3)])
    assert second.load().domains == [Domain("d", 3)]


def test_each_takeover_has_a_higher_epoch(make_store: MakeStore) -> None:
    epochs = [make_store().take_over() for _ in range(3)]

    assert epochs == sorted(set(epochs))


def test_a_store_that_has_not_taken_over_cannot_write(make_store: MakeStore) -> None:
    ready(make_store())

    with pytest.raises(Fenced):
        make_store().commit([PutDomain("d", 1)])


def test_migrating_again_changes_nothing(make_store: MakeStore) -> None:
    store = ready(make_store())
    store.commit([PutTask(a_task())])

    store.migrate()

    assert store.load().tasks == [a_task()]
    store.commit([PutDomain("d", 1)])


def test_there_is_nothing_to_encrypt_anew_while_the_key_stays(make_store: MakeStore) -> None:
    store = ready(make_store())
    store.commit([PutTask(a_task())])

    assert store.reencrypt(Event()) == 0


writes = st.one_of(
    st.builds(PutDomain, st.sampled_from("ab"), st.integers(0, 3)),
    st.builds(DeleteDomain, st.sampled_from("ab")),
    st.builds(
        lambda guid, n: PutDesired(a_desired_lrp(guid, instances=n)), st.sampled_from("ab"), st.integers(0, 3)
    ),
    st.builds(DeleteDesired, st.sampled_from("ab")),
    st.builds(
        lambda index, presence, since: PutActual(an_actual_lrp("a", index, presence=presence, since=since)),
        st.integers(0, 1),
        st.sampled_from(Presence),
        st.integers(0, 3),
    ),
    st.builds(DeleteActual, st.just("a"), st.integers(0, 1), st.sampled_from(Presence)),
    st.builds(
        lambda guid, state: PutTask(a_task(guid, state=state)),
        st.sampled_from("ab"),
        st.sampled_from(TaskState),
    ),
    st.builds(DeleteTask, st.sampled_from("ab")),
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(batches=st.lists(st.lists(writes, max_size=8), max_size=4))
def test_any_history_of_batches_leaves_the_last_write_of_each_record(
    make_store: MakeStore, batches: list[list[Write]]
) -> None:
    store = ready(make_store())
    store.commit(removal_of(store.load()))
    expected: dict[Any, Write] = {}

    for batch in batches:
        store.commit(batch)
        for write in batch:
            expected[identity(write)] = write

    assert puts_of(store.load()) == {
        key: write for key, write in expected.items() if not type(write).__name__.startswith("Delete")
    }
    store.close()


def puts_of(loaded: Loaded) -> dict[Any, Write]:
    puts: list[Write] = [
        *(PutDomain(domain.name, domain.expires_at) for domain in loaded.domains),
        *map(PutDesired, loaded.desired),
        *map(PutActual, loaded.actual),
        *map(PutTask, loaded.tasks),
    ]
    return {identity(put): put for put in puts}


def removal_of(loaded: Loaded) -> list[Write]:
    return [
        *(DeleteDomain(domain.name) for domain in loaded.domains),
        *(DeleteDesired(record.process_guid) for record in loaded.desired),
        *(DeleteActual(*lrp.identity) for lrp in loaded.actual),
        *(DeleteTask(task.guid) for task in loaded.tasks),
    ]
