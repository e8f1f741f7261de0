"""How long auctions take over imaginary cells, and how even they end, beside the original's own simulation.

Only the placement is measured; the cells' states are there already. How even the results must be is held by
tests/simulation/test_auction.py.
"""

import gc
import time
from dataclasses import dataclass

from bench.driver import accounting, median
from bench.step import Reporter
from support import auction_scenarios as scenarios
from support.auction_scenarios import Result, Scenario, hold

MOST_RUNS = 5
ENOUGH_SECONDS = 4.0
KEYS = {
    "large cold start, 8200 on 100": "auction-8200",
    "10,000 on 1,000, in 3 zones, 250 instances on each": "auction-10k",
}


@dataclass(frozen=True)
class Balance:
    """How even the original's auction ended: the fewest and the most, of new instances or of memory, per cell."""

    fewest: int
    most: int
    of_memory: bool = False

    def at_least_as_good(self, result: Result) -> bool:
        """Whether ours is no more uneven, and no cell has more than the original's fullest."""
        fewest, most = self.range_of(result)
        return most - fewest <= self.most - self.fewest and most <= self.most

    def range_of(self, result: Result) -> tuple[int, int]:
        values = result.memory if self.of_memory else result.given
        return min(values), max(values)

    def __str__(self) -> str:
        return shown(self.fewest, self.most, "memory " * self.of_memory)


ORIGINAL = {
    "small cold start, 8 on 4": Balance(2, 2),
    "small cold start, 40 on 10": Balance(4, 4),
    "small cold start, 200 on 20": Balance(10, 10),
    "small cold start, 800 on 40": Balance(20, 20),
    "large cold start, 2050 on 25": Balance(91, 100, of_memory=True),
    "large cold start, 8200 on 100": Balance(96, 96, of_memory=True),
    "imbalanced, as in a deploy, 500 on 100": Balance(6, 6),
    "imbalanced, as in a deploy, 100 on 100": Balance(2, 2),
    "zones, 40 on 3": Balance(10, 20),
    "demo with loaded cells, 80 on 10": Balance(8, 8),
    "demo with loaded cells, 200 on 30": Balance(6, 7),
    "demo with loaded cells, 400 on 100": Balance(4, 4),
    "boulders before pebbles, 82 on 1": Balance(51, 51),
}
"""Packing scenarios are not here: there the first cells are meant to get more than the last."""

PACKED = {
    "bin pack first fit 0.25, 800 on 40": "15-23",
    "bin pack first fit 0.5, 800 on 40": "11-25",
    "bin pack first fit 0.75, 800 on 40": "6-28",
}


def shown(fewest: int, most: int, word: str = "") -> str:
    return f"{word}{fewest}" if fewest == most else f"{word}{fewest}-{most}"


def auctions(report: Reporter) -> None:
    """Every scenario; those of the issue's table have rows of their own."""
    for scenario in scenarios.ALL:
        with accounting({}) as used:
            result, seconds = measure(scenario)
        key = KEYS.get(scenario.name, f"auction: {scenario.name}")
        report.keep(
            key, median(seconds), runs=seconds, note=card(scenario, result), other_cores=used.other_cores
        )


def measure(scenario: Scenario) -> tuple[Result, list[float]]:
    """Hold it a few times; the last result and each one's seconds."""
    results: list[Result] = []
    began = time.monotonic()
    while not results or (len(results) < MOST_RUNS and time.monotonic() - began < ENOUGH_SECONDS):
        gc.collect()
        results.append(hold(scenario))
    return results[-1], [result.seconds for result in results]


def card(scenario: Scenario, result: Result) -> str:
    """The scenario's line of the report card, its columns apart by bars."""
    balance = ORIGINAL.get(scenario.name)
    good = "" if balance is None else "yes" if balance.at_least_as_good(result) else "no"
    ours = shown(*balance.range_of(result), "memory " * balance.of_memory) if balance else result.spread
    original = str(balance) if balance else PACKED.get(scenario.name, "")
    if scenario.name in PACKED:
        behind = all(a >= b for a, b in zip(result.given, result.given[1:], strict=False))
        good = f"packs: {'no cell has less than one behind it' if behind else 'a cell has less than one behind it'}"
    seconds = "" if scenario.original_s is None else f"{scenario.original_s:g}"
    return "|".join((scenario.name, seconds, original, ours, str(len(result.outcome.refused)), good))
