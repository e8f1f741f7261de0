"""The auctioneer's numbers, by the original's names (contract/auction.md section 8)."""

from diego.runtime import metrics


class Measures:
    """What a round counts. Gauges of time are nanoseconds."""

    def __init__(self) -> None:
        self.fetch_states = metrics.gauge(
            "AuctioneerFetchStatesDuration", "time to read all cells' states in the last round, nanoseconds"
        )
        self.failed_states = metrics.counter(
            "AuctioneerFailedCellStateRequests", "cells that gave no usable state"
        )
        self.lrps_started = metrics.counter("AuctioneerLRPAuctionsStarted", "instances placed")
        self.tasks_started = metrics.counter("AuctioneerTaskAuctionsStarted", "tasks placed")
        self.lrps_failed = metrics.counter("AuctioneerLRPAuctionsFailed", "instances not placed")
        self.tasks_failed = metrics.counter("AuctioneerTaskAuctionsFailed", "tasks not placed")
        self.requests = metrics.counter("RequestCount", "calls of the API")
        self.latency = metrics.gauge("RequestLatency", "time that the last call of the API took, nanoseconds")
        self.rounds = metrics.histogram("auctioneer_round_seconds", "length of a round, cells included")
