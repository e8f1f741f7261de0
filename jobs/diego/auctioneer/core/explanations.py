"""Why something is where it is, or nowhere: what the auctioneer remembers of its last decisions."""

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from diego.auctioneer.core.starts import Key

NAMED_CELLS = 10
"""Cells named per reason; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Excluded:
    """Cells that may not run something for one reason: how many, and some of their names."""

    reason: str
    count: int
    cells: tuple[str, ...]


class Looked(NamedTuple):
    """A cell that may run it, as it was just before.

    Attributes:
        score: None where there is no room.
        lacks: of which resources it has too little.
        neighbours: instances of the process that are there already; tasks, for a task.
        memory_mb, disk_mb, containers: what was free.
    """

    cell: str
    zone: str
    score: float | None
    lacks: Sequence[str]
    neighbours: int
    memory_mb: int
    disk_mb: int
    containers: int


class Explanation(NamedTuple):
    """One decision. A tuple, since one is made for every start.

    Attributes:
        cell: the chosen one, empty for a refusal.
        best: the best cell of each zone that was walked (of all zones, for a task) with its score, best first.
        zones: instances of the process per compatible zone, before this one.
        considered: cells that may run it, whether or not they had room.
        looked_at: the best of those, and what the others lacked; only in rounds small enough to look so closely.
        error: what the BBS was told.
    """

    key: Key
    cell: str = ""
    score: float | None = None
    best: Sequence[tuple[str, float]] = ()
    zones: Mapping[str, int] = MappingProxyType({})
    considered: int = 0
    looked_at: Sequence[Looked] = ()
    excluded: Sequence[Excluded] = ()
    error: str = ""


class Decision(NamedTuple):
    """An explanation, when it was made (Unix seconds), and why cells took no part in its round, by their id."""

    at: float
    explanation: Explanation
    left_out: Mapping[str, str] = MappingProxyType({})


class Memory:
    """The last decisions, found by guid: `limit` of them at most, and the newest few per index."""

    PER_INDEX = 3

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._by_guid: OrderedDict[str, dict[Key, deque[Decision]]] = OrderedDict()

    def note(
        self,
        explanations: Iterable[Explanation],
        at: float,
        left_out: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Remember decisions made at `at` (Unix seconds); the guids heard of longest ago are forgotten."""
        for explanation in explanations:
            guid = explanation.key.guid
            indices = self._by_guid.setdefault(guid, {})
            self._by_guid.move_to_end(guid)
            kept = indices.setdefault(explanation.key, deque(maxlen=self.PER_INDEX))
            self._count += len(kept) < self.PER_INDEX
            kept.append(Decision(at, explanation, left_out))
        while self._count > self._limit and self._by_guid:
            _, forgotten = self._by_guid.popitem(last=False)
            self._count -= sum(map(len, forgotten.values()))

    def of(self, guid: str) -> list[Decision]:
        """What is remembered of `guid`, by index, oldest first."""
        indices = self._by_guid.get(guid, {})
        return [entry for key in sorted(indices) for entry in indices[key]]

    def __len__(self) -> int:
        return self._count
