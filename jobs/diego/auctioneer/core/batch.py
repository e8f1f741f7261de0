"""What one round takes up, and in which order (contract/auction.md sections 3 and 5.1)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from diego.auctioneer.core.starts import Key, LRPStart, Start, TaskStart, key_of


@dataclass(slots=True)
class Batch:
    """What waits for the next round. Of two starts of the same thing the first stays.

    Attributes:
        request_id: of the first request since the last round; it goes with the whole round.
    """

    starts: dict[Key, Start] = field(default_factory=dict)
    request_id: str = ""
    requests: int = 0

    def add(self, starts: Iterable[Start], request_id: str) -> None:
        """Take one request's starts."""
        if not self.requests:
            self.request_id = request_id
        self.requests += 1
        for start in starts:
            self.starts.setdefault(key_of(start), start)


def in_order(starts: Iterable[Start]) -> Sequence[Start]:
    """The starts as they are placed: first instances, tasks, further instances; large before small.

    When no instance has an index above 0 the tasks come first. That is an accident of the original which callers
    may see, so it stays.
    """
    starts = list(starts)
    lrps = sorted(
        (start for start in starts if isinstance(start, LRPStart)),
        key=lambda lrp: (lrp.index, -lrp.demand.memory_mb),
    )
    tasks = sorted(
        (start for start in starts if isinstance(start, TaskStart)), key=lambda task: -task.demand.memory_mb
    )
    split = next((at for at, lrp in enumerate(lrps) if lrp.index > 0), 0)
    return [*lrps[:split], *tasks, *lrps[split:]]
