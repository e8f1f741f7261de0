"""When a row's time to live is over (contract/locket.md section 3).

The table holds no time. Each locket measures from when it saw a row's present `modified_index`: a row that
nobody refreshed for its whole time to live, as seen from here, is expired, and the store deletes it only
if it is still exactly the row that was seen.

A time in which rows could not have been refreshed must not count against them. So whenever the database or
this process was away (`disturbed`), every row's time to live starts anew, as it does when locket starts.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from diego.locket.core.locks import Row


@dataclass(frozen=True, slots=True)
class Sighting:
    """A row as it was when it was last seen to change, and when that was."""

    row: Row
    since: float


class Timers:
    """All rows known here. Times are any steady clock's seconds. Not safe for threads by itself."""

    def __init__(self, now: float) -> None:
        self._sightings: dict[str, Sighting] = {}
        self._undisturbed_since = now

    def __len__(self) -> int:
        return len(self._sightings)

    def saw(self, row: Row, now: float) -> None:
        """A row was read or written. A known index changes nothing; a newer one, or a new life, starts its time."""
        known = self._sightings.get(row.path)
        same_life = known is not None and known.row.modified_id == row.modified_id
        if same_life and known is not None and row.modified_index <= known.row.modified_index:
            return
        self._sightings[row.path] = Sighting(row, now)

    def saw_all(self, rows: Iterable[Row], *, began: float, now: float) -> None:
        """The whole table was read between `began` and `now`: what it no longer has is forgotten.

        A row written meanwhile may be missing in what was read, and is kept.
        """
        rows = list(rows)
        for row in rows:
            self.saw(row, now)
        present = {row.path for row in rows}
        gone = [
            path
            for path, sighting in self._sightings.items()
            if path not in present and sighting.since < began
        ]
        for path in gone:
            del self._sightings[path]

    def forget(self, row: Row) -> None:
        """A row is gone, or is no longer what was seen here."""
        known = self._sightings.get(row.path)
        if known is not None and known.row == row:
            del self._sightings[row.path]

    def disturbed(self, now: float) -> None:
        """Until `now` nobody could be sure to refresh a row: all times start anew."""
        self._undisturbed_since = max(self._undisturbed_since, now)

    def seen(self, path: str) -> Row | None:
        """A row as it was when it was last seen."""
        sighting = self._sightings.get(path)
        return None if sighting is None else sighting.row

    def left(self, path: str, now: float) -> float | None:
        """How long a row has to live unless it is refreshed; None for one that was not seen yet."""
        sighting = self._sightings.get(path)
        if sighting is None:
            return None
        return max(sighting.since, self._undisturbed_since) + sighting.row.ttl - now

    def due(self, now: float) -> list[Row]:
        """The rows whose time to live is over, longest first."""
        over = [
            (started + sighting.row.ttl, sighting.row)
            for sighting in self._sightings.values()
            if (started := max(sighting.since, self._undisturbed_since)) + sighting.row.ttl <= now
        ]
        return [row for _, row in sorted(over, key=lambda pair: pair[0])]
