"""Why something is where it is, or nowhere: what the auctioneer remembers of its last decisions."""

from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
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


class Explanation(NamedTuple):
    """One decision. A tuple, since one is made for every start.

    Attributes:
        cell: the chosen one, empty for a refusal.
        best: the best cell of each zone that was walked (of all zones, for a task) with its score, best first.
        zones: instances of the process per compatible zone, before this one.
        considered: cells that may run it, whether or not they had room.
        error: what the BBS was told.
    """

    key: Key
    cell: str = ""
    score: float | None = None
    best: Sequence[tuple[str, float]] = ()
    zones: Mapping[str, int] = MappingProxyType({})
    considered: int = 0
    excluded: Sequence[Excluded] = ()
    error: str = ""


class Memory:
    """The last decisions, found by guid: `limit` of them at most, and the newest few per index."""

    PER_INDEX = 3

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._by_guid: OrderedDict[str, dict[Key, deque[tuple[float, Explanation]]]] = OrderedDict()

    def note(self, explanations: Sequence[Explanation], at: float) -> None:
        """Remember decisions made at `at` (Unix seconds); the guids heard of longest ago are forgotten."""
        for explanation in explanations:
            guid = explanation.key.guid
            indices = self._by_guid.setdefault(guid, {})
            self._by_guid.move_to_end(guid)
            kept = indices.setdefault(explanation.key, deque(maxlen=self.PER_INDEX))
            self._count += len(kept) < self.PER_INDEX
            kept.append((at, explanation))
        while self._count > self._limit and self._by_guid:
            _, forgotten = self._by_guid.popitem(last=False)
            self._count -= sum(map(len, forgotten.values()))

    def of(self, guid: str) -> list[tuple[float, Explanation]]:
        """What is remembered of `guid`: when and what, by index, oldest first."""
        indices = self._by_guid.get(guid, {})
        return [entry for key in sorted(indices) for entry in indices[key]]

    def __len__(self) -> int:
        return self._count
