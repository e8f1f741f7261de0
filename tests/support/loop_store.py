"""The store as the BBS's committer uses it: a commit begins in a loop, and a thread does only what the loop cannot."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import uvloop

from diego.bbs.core.history import Row
from diego.bbs.store import Write
from diego.bbs.store.sql import SqlStore

LONGEST_SECONDS = 120.0


class LoopStore(SqlStore):
    """`commit` waits for what `commit_in_loop` began, in a loop of its own, and then does the rest itself."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.began_in_loop = 0
        self.left_to_thread = 0
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loop", daemon=True)
        self._thread.start()

    def commit(self, writes: Sequence[Write], told: Sequence[Row] = ()) -> None:
        ended = threading.Event()
        rest: list[Callable[[], None]] = [lambda: SqlStore.commit(self, writes, told)]

        def done(left: Callable[[], None] | None) -> None:
            rest[:] = [] if left is None else [left]
            ended.set()

        def begin() -> None:
            try:
                begun = self.commit_in_loop(asyncio.get_running_loop(), writes, told, done)
            except Exception as error:  # noqa: BLE001 - raised again, by the thread
                rest[:] = [partial(_raise, error)]
                begun = False
            self.began_in_loop += begun
            if not begun:
                ended.set()

        self._loop.call_soon_threadsafe(begin)
        assert ended.wait(LONGEST_SECONDS), "the loop has not ended what it began"
        for act in rest:
            self.left_to_thread += 1
            act()

    def close(self) -> None:
        super().close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


def _raise(error: Exception) -> None:
    raise error
