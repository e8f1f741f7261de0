"""The history's ear: hears of each change as listeners do, only earlier, and makes rows of it.

A listener hears what is durable. The recorder hears of a batch just before it is handed to the store, so that its rows
become durable with the batch or not at all.
"""

import time
from collections.abc import Callable, Iterable, Sequence

from diego.bbs.core import history
from diego.bbs.core.history import CHANGED, CREATED, REMOVED, Recorded, Row, numbered
from diego.bbs.core.lifecycle import Change, Crash, Rows
from diego.bbs.events import Heard
from diego.models import DesiredLRP, Task


class Recorder:
    """Numbers and dates what it hears. Time does not go backwards in it, whatever the host's clock does."""

    def __init__(self, now: Callable[[], int] = time.time_ns) -> None:
        self._now = now
        self._id = 0
        self._at = 0
        self._heard: list[Recorded] = []

    def begin(self, newest_id: int, newest_at: int) -> None:
        """Go on after the newest row that there is."""
        self._id, self._at = newest_id, newest_at

    def rows_of(self, told: Iterable[Callable[[Heard], None]]) -> list[Row]:
        """The rows of a batch, whose listeners will be told this."""
        self._heard = []
        for tell in told:
            tell(self)
        if not self._heard:
            return []
        self._at = at = max(self._now(), self._at)
        first = self._id + 1
        self._id += len(self._heard)
        return [numbered(each, number, at) for number, each in enumerate(self._heard, first)]

    # ---- as a listener

    def actual(
        self, rows: Rows, changes: Sequence[Change], crash: Crash | None = None, trace_id: str = ""
    ) -> None:
        """Changes to the records of one key; what they were is in the changes."""
        del rows
        self._heard += history.actual(changes, crash, trace_id)

    def desired_created(self, lrp: DesiredLRP, trace_id: str) -> None:
        self._heard.append(history.desired(CREATED, None, lrp, trace_id))

    def desired_changed(self, before: DesiredLRP, after: DesiredLRP, trace_id: str) -> None:
        self._heard.append(history.desired(CHANGED, before, after, trace_id))

    def desired_removed(self, lrp: DesiredLRP, trace_id: str) -> None:
        self._heard.append(history.desired(REMOVED, lrp, None, trace_id))

    def task_created(self, task: Task) -> None:
        self._heard.append(history.task(CREATED, None, task))

    def task_changed(self, before: Task, after: Task) -> None:
        self._heard.append(history.task(CHANGED, before, after))

    def task_removed(self, task: Task) -> None:
        self._heard.append(history.task(REMOVED, task, None))
