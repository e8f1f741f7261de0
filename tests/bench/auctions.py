"""How long auctions take over imaginary cells, beside the original's own simulation: `python -m bench.auctions`.

Only the placement is measured; the cells' states are there already. For how even the results are see
tests/simulation/test_auction.py.
"""

import statistics
import sys
from collections.abc import Sequence

from bench.report import table
from support import auction_scenarios as scenarios
from support.auction_scenarios import Scenario, hold

HEAD = ("auction", "original, s", "ours, s", "times faster", "per cell", "refused")


def measure(scenario: Scenario, repeats: int) -> Sequence[str]:
    """One row of the table: the median of `repeats` auctions."""
    results = [hold(scenario) for _ in range(repeats)]
    seconds = statistics.median(result.seconds for result in results)
    original = scenario.original_s
    return (
        scenario.name,
        "" if original is None else f"{original:g}",
        f"{seconds:.4f}",
        "" if original is None else f"{original / seconds:.1f}",
        results[0].spread,
        str(len(results[0].outcome.refused)),
    )


def rows(repeats: int = 3) -> list[Sequence[str]]:
    """Every scenario, measured."""
    return [measure(scenario, repeats) for scenario in scenarios.ALL]


def main() -> None:
    print(table(HEAD, rows(int(sys.argv[1]) if len(sys.argv) > 1 else 3)))


if __name__ == "__main__":
    main()
