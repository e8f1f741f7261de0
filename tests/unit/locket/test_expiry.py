"""When a row is expired, and when it must not be: contract/locket.md section 3, and outages."""

import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diego.database import ConnectionLost
from diego.locket.core.expiry import Timers
from diego.locket.core.locks import Kind, Row
from diego.locket.expiry import DISTURBANCE, Expiry
from diego.locket.service import LocketService
from diego.locket.store.memory import MemoryLockStore


def a_row(index: int = 1, life: str = "id-1", *, path: str = "bbs", ttl: int = 15) -> Row:
    return Row(path, "anna", "", "lock", index, life, ttl)


def test_a_row_that_nobody_refreshes_is_due_after_its_time_to_live() -> None:
    timers = Timers(0)
    timers.saw(a_row(), 100)

    assert timers.due(114.9) == []
    assert timers.due(115) == [a_row()]


def test_a_rows_time_is_what_is_left_since_it_changed_or_since_the_last_outage() -> None:
    timers = Timers(0)
    timers.saw(a_row(), 100)

    assert timers.left("bbs", 104) == 11
    timers.disturbed(103)
    assert timers.left("bbs", 104) == 14
    assert timers.left("nobody", 104) is None


def test_seeing_the_same_index_again_does_not_prolong_a_row() -> None:
    timers = Timers(0)
    timers.saw(a_row(), 100)
    timers.saw(a_row(), 110)

    assert timers.due(115) == [a_row()]


def test_a_higher_index_starts_the_time_anew() -> None:
    timers = Timers(0)
    timers.saw(a_row(1), 100)
    timers.saw(a_row(2), 110)

    assert timers.due(115) == []
    assert timers.due(125) == [a_row(2)]


def test_an_older_reading_does_not_undo_a_refresh() -> None:
    timers = Timers(0)
    timers.saw(a_row(2), 110)
    timers.saw_all([a_row(1)], began=109, now=111)

    assert timers.due(125) == [a_row(2)]


def test_a_new_life_of_a_key_starts_its_own_time() -> None:
    timers = Timers(0)
    timers.saw(a_row(7, "id-1"), 100)
    timers.saw(a_row(1, "id-2"), 110)

    assert timers.due(115) == []


def test_an_outage_starts_every_time_anew() -> None:
    timers = Timers(0)
    timers.saw(a_row(), 100)
    timers.disturbed(112)

    assert timers.due(126) == []
    assert timers.due(127) == [a_row()]


def test_what_a_reading_no_longer_finds_is_forgotten_unless_it_is_newer_than_the_reading() -> None:
    timers = Timers(0)
    timers.saw(a_row(path="old"), 100)
    timers.saw(a_row(path="new"), 105.5)
    timers.saw_all([], began=105, now=106)

    assert [row.path for row in timers.due(1000)] == ["new"]


@given(
    st.lists(
        st.tuples(st.sampled_from(["refresh", "read", "outage", "wait"]), st.floats(0, 20)), max_size=30
    ),
    st.integers(1, 20),
)
def test_no_history_expires_a_row_before_a_quiet_time_to_live(
    history: list[tuple[str, float]], ttl: int
) -> None:
    now, index, quiet_since = 0.0, 1, 0.0
    timers = Timers(0)
    timers.saw(a_row(index, ttl=ttl), now)
    for step, seconds in history:
        now += seconds
        if step == "refresh":
            index += 1
            quiet_since = now
            timers.saw(a_row(index, ttl=ttl), now)
        elif step == "read":
            timers.saw_all([a_row(index, ttl=ttl)], began=now, now=now)
        elif step == "outage":
            quiet_since = now
            timers.disturbed(now)
        if timers.due(now):
            assert now - quiet_since >= ttl


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FlakyStore(MemoryLockStore):
    """A store whose database can be away, or slow."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.away = False
        self.delay = 0.0

    def change(
        self, path: str, decide: Callable[[Row | None], Row | None], *, guess: Row | None = None
    ) -> Row | None:
        self._work()
        return super().change(path, decide, guess=guess)

    def rows(self) -> list[Row]:
        self._work()
        return super().rows()

    def _work(self) -> None:
        self.clock.now += self.delay
        if self.away:
            raise ConnectionLost("away")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> FlakyStore:
    return FlakyStore(clock)


@pytest.fixture
def expiry(store: FlakyStore, clock: Clock) -> Expiry:
    return Expiry(store, clock=clock)


def lock(store: FlakyStore, expiry: Expiry, key: str = "bbs", kind: Kind = Kind.LOCK) -> None:
    LocketService(store, expiry).lock(key=key, owner="anna", value="", type_code=kind, ttl=15)


def pass_seconds(expiry: Expiry, clock: Clock, seconds: int) -> None:
    for _ in range(seconds):
        clock.now += 1
        expiry.expire()


def test_an_expired_row_is_deleted_and_counted_by_its_type(
    store: FlakyStore, expiry: Expiry, clock: Clock
) -> None:
    lock(store, expiry, "bbs")
    lock(store, expiry, "cell", Kind.PRESENCE)

    pass_seconds(expiry, clock, 15)

    assert store.rows() == []
    assert expiry.expired == {Kind.LOCK: 1, Kind.PRESENCE: 1}


def test_a_row_that_another_locket_refreshed_is_not_deleted(
    store: FlakyStore, expiry: Expiry, clock: Clock
) -> None:
    lock(store, expiry)
    lock(store, Expiry(store, clock=clock))

    pass_seconds(expiry, clock, 16)

    assert [row.modified_index for row in store.rows()] == [2]
    assert expiry.expired[Kind.LOCK] == 0


def test_a_database_that_was_away_costs_nobody_a_lock(
    store: FlakyStore, expiry: Expiry, clock: Clock
) -> None:
    lock(store, expiry)
    pass_seconds(expiry, clock, 10)
    store.away = True
    with pytest.raises(ConnectionLost):
        lock(store, expiry)
    store.away = False

    pass_seconds(expiry, clock, 14)

    assert len(store.rows()) == 1


def test_a_database_that_hung_while_a_row_was_to_be_deleted_keeps_the_row(
    store: FlakyStore, expiry: Expiry, clock: Clock
) -> None:
    lock(store, expiry)
    clock.now += 14
    expiry.expire()
    clock.now += 1
    store.delay = DISTURBANCE + 1

    expiry.expire()

    store.delay = 0
    assert len(store.rows()) == 1


def test_a_process_that_was_stopped_expires_nothing_when_it_goes_on(
    store: FlakyStore, expiry: Expiry, clock: Clock
) -> None:
    lock(store, expiry)
    expiry.expire()
    clock.now += 3600

    expiry.expire()

    assert len(store.rows()) == 1


def test_the_loop_reads_the_table_and_stops_when_told() -> None:
    store = MemoryLockStore()
    expiry = Expiry(store)
    store.change("bbs", lambda found: a_row())
    stopping = threading.Event()
    loop = threading.Thread(target=expiry.run, args=(stopping,))

    loop.start()
    try:
        for _ in range(100):
            if expiry.active[Kind.LOCK]:
                break
            stopping.wait(0.05)
    finally:
        stopping.set()
        loop.join(5)

    assert expiry.active[Kind.LOCK] == 1
    assert not loop.is_alive()


def test_while_somebody_waits_for_the_database_nothing_is_deleted(
    store: FlakyStore, expiry: Expiry, clock: Clock
) -> None:
    lock(store, expiry)
    clock.now += 15
    with expiry.watching():
        for _ in range(2):
            clock.now += DISTURBANCE / 2 + 0.1
            expiry._check_pause()

        expiry.expire()

    assert len(store.rows()) == 1
