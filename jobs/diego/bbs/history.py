"""The history's answers, and its bounds (docs/operations/history.md).

Answers are made in the pool of threads: they wait for the database. What was at a moment is worked out backwards
from what is visible now, so that also an instance that has not changed for longer than the history goes back is
there. The present is looked at before the rows are read: a change that comes between is then undone as well.
"""

import time

from diego.bbs.core import history
from diego.bbs.core.history import Json
from diego.bbs.core.history_questions import Moment, Page
from diego.bbs.memory import Memory
from diego.bbs.store import Fenced, Store, StoreUnavailable
from diego.bbs.store.history import HistoryReader
from diego.models import ActualLRP
from diego.runtime import loops, metrics
from diego.runtime.logs import get_logger
from diego.runtime.process import Runtime

TRIM_SECONDS = 10.0
TRIM_ROWS = 200
"""Rows that one transaction deletes: a few milliseconds, in which no commit takes place."""

TRIM_PAUSE = 0.05
SECOND = 10**9

log = get_logger("bbs")


class History:
    """Answers what happened, and what was."""

    def __init__(self, runtime: Runtime, memory: Memory, reader: HistoryReader) -> None:
        self._runtime = runtime
        self._memory = memory
        self._reader = reader

    def page(self, asked: Page) -> Json:
        """Entries in order, where the next page begins, and since when nothing is missing.

        Raises:
            StoreUnavailable
        """
        rows = self._reader.page(
            guid=asked.guid,
            since=asked.since,
            until=asked.until,
            after=asked.after,
            limit=asked.limit,
            newest=asked.newest,
        )
        full = len(rows) >= asked.limit
        if asked.events and full:
            rows += history.continuation(rows[-1], self._reader.following(rows[-1].id))
        entries = [history.entry_json(row) for row in rows]
        if asked.events:
            heard = history.events(rows)
            for entry in entries:
                entry["events"] = [history.event_json(event) for event in heard.get(entry["id"], ())]
        return {
            "entries": entries,
            "next": rows[-1].id if full and not asked.newest else None,
            "begins": self._reader.begins(),
        }

    def actual_lrps_at(self, asked: Moment) -> Json:
        """The actual LRPs of a moment, and whether the history goes back that far.

        Raises:
            StoreUnavailable
        """
        present = self._runtime.call_in_loop(self._present, asked.process_guid)
        was = history.as_of(present, self._reader.first_changes(asked.time, asked.process_guid))
        begins = self._reader.begins()
        complete = begins is not None and asked.time >= begins
        return {
            "time": asked.time,
            "complete": complete,
            "begins": begins,
            "actual_lrps": [
                history.actual_lrp_json(row)
                for row in sorted(was.values(), key=lambda row: row.identity)
                if (not asked.domain or row.domain == asked.domain)
                and (not asked.cell_id or row.cell_id == asked.cell_id)
                and (asked.index is None or row.index == asked.index)
            ],
        }

    def _present(self, process_guid: str) -> list[ActualLRP]:
        if process_guid:
            return list(self._memory.actual.by_process.get(process_guid, {}).values())
        return list(self._memory.actual)


def keep_bounded(
    runtime: Runtime, store: Store, reader: HistoryReader, max_age: float, max_rows: int
) -> None:
    """Have what is too old or too much deleted, a little at a time. A history that is turned off stays as it is."""
    if not max_age or not max_rows:
        return
    deleted = metrics.counter("bbs_history_rows_deleted", "Rows of history that were too old or too many")

    def trim() -> None:
        try:
            first_kept = reader.surplus(time.time_ns() - round(max_age * SECOND), max_rows)
            count = TRIM_ROWS if first_kept else 0
            while count == TRIM_ROWS and not runtime.stopping.wait(TRIM_PAUSE):
                count = store.trim_history(first_kept, TRIM_ROWS)
                deleted.inc(count)
        except StoreUnavailable as error:
            log.error("history-not-trimmed", error=error.text)
        except Fenced as error:
            runtime.end(error.text)

    loops.every(runtime, "history", TRIM_SECONDS, trim)
