"""How a waiting BBS becomes the active one, over a store without a database and a lock that a test gives and takes."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import cast

import pytest

from diego.bbs.memory import Memory
from diego.bbs.store import StoreUnavailable
from diego.bbs.store.memory import MemoryDatabase, MemoryStore
from diego.bbs.takeover import Takeover
from diego.locket.client import LockHolder, State
from diego.runtime.process import Runtime


class Lock:
    """A lock holder whose state is the test's."""

    def __init__(self) -> None:
        self.state = State.HELD
        self.confirmed = 0

    @property
    def held(self) -> bool:
        return self.state is State.HELD

    def wait(self, stopping: threading.Event) -> bool:
        while self.state in (State.PASSIVE, State.WAITING):
            if stopping.wait(0.01):
                return False
        return self.held

    def confirm(self) -> bool:
        self.confirmed += 1
        return self.held


class Store(MemoryStore):
    """What happens before its acts is the test's."""

    def __init__(self, database: MemoryDatabase) -> None:
        super().__init__(database)
        self.before_take_over: Callable[[], None] = lambda: None
        self.before_still_mine: Callable[[], None] = lambda: None
        self.tries = 0

    def take_over(self) -> int:
        self.tries += 1
        self.before_take_over()
        return super().take_over()

    def still_mine(self) -> bool:
        self.before_still_mine()
        return super().still_mine()


class Site:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.ended: list[int] = []
        self.runtime = Runtime("bbs", loop, leave=self.ended.append)
        self.lock = Lock()
        self.database = MemoryDatabase()
        self.store = Store(self.database)
        self.takeover = Takeover(self.runtime, cast("LockHolder", self.lock), self.store, Memory())


@pytest.fixture
def site() -> Iterator[Site]:
    loop = asyncio.new_event_loop()
    yield Site(loop)
    loop.close()


def test_it_raises_the_epoch_and_makes_sure_of_the_lock_once_more(site: Site) -> None:
    loaded = site.takeover.run()

    assert loaded is not None
    assert (site.database.epoch, site.lock.confirmed) == (1, 1)


def test_an_epoch_is_not_raised_again_once_the_lock_is_in_doubt(site: Site) -> None:
    """A raise that failed on a sleeping BBS was once repeated when it woke up, and ended the one that was active."""

    def fail() -> None:
        site.lock.state = State.LOST
        raise StoreUnavailable("sql-deadlock")

    site.store.before_take_over = fail

    assert site.takeover.run() is None
    assert (site.store.tries, site.database.epoch) == (1, 0)


def test_one_that_is_told_to_stop_while_the_database_is_away_stops(site: Site) -> None:
    site.database.away = True
    threading.Timer(0.3, site.runtime.stopping.set).start()

    assert site.takeover.run() is None


def test_one_whose_lock_is_in_doubt_at_the_end_of_loading_waits_for_it(site: Site) -> None:
    looks = 0

    def doubt() -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            site.lock.state = State.PASSIVE
            threading.Timer(0.3, lambda: setattr(site.lock, "state", State.HELD)).start()

    site.store.before_still_mine = doubt

    assert site.takeover.run() is not None
    assert (looks, site.database.epoch) == (2, 1)


def test_one_that_was_taken_over_from_while_it_loaded_ends_instead_of_loading_into_a_full_memory(
    site: Site,
) -> None:
    def another_takes_over() -> None:
        MemoryStore(site.database).take_over()

    site.store.before_still_mine = another_takes_over

    with pytest.raises(SystemExit):
        site.takeover.run()

    assert site.ended == [1]
