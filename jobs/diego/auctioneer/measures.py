"""The auctioneer's numbers, by the original's names (contract/auction.md section 8)."""

from prometheus_client import Counter

from diego.runtime.metrics import Kind, Unit, counter, histogram, name_of, original


class Measures:
    """What a round and a call of the API leave behind. Only the loop writes here."""

    def __init__(self) -> None:
        self.fetch_seconds: float | None = None
        """How long reading all cells' states took in the last round."""
        self.request_seconds: float | None = None
        """How long the last call of the API took."""
        self.requests = 0
        original(
            "AuctioneerFetchStatesDuration",
            "Time to read all cells' states in the last round",
            lambda: self.fetch_seconds,
            unit=Unit.NANOS,
        )
        original(
            "RequestLatency",
            "Time of the last call of the API",
            lambda: self.request_seconds,
            unit=Unit.NANOS,
        )
        original("RequestCount", "Calls of the API", lambda: self.requests, kind=Kind.COUNTER)
        self.failed_states = _counted("AuctioneerFailedCellStateRequests", "Cells that gave no usable state")
        self.lrps_started = _counted("AuctioneerLRPAuctionsStarted", "Instances placed")
        self.tasks_started = _counted("AuctioneerTaskAuctionsStarted", "Tasks placed")
        self.lrps_failed = _counted("AuctioneerLRPAuctionsFailed", "Instances not placed")
        self.tasks_failed = _counted("AuctioneerTaskAuctionsFailed", "Tasks not placed")
        self.rounds = histogram("auctioneer_round_seconds", "Length of a round, cells included")


def _counted(name: str, meaning: str) -> Counter:
    return counter(name_of(name, kind=Kind.COUNTER), meaning)
