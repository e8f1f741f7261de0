"""Auctions over 3 to 1,000 imaginary cells: the scenarios of the original's simulation, and its report card.

What each cell gets must be at least as even as the original's (the figures stand beside each test).
"""

import random
from collections import Counter

import pytest

from diego.auctioneer.core.cells import CellState
from diego.auctioneer.core.placement import schedule
from diego.auctioneer.core.scoring import Policy
from diego.auctioneer.core.starts import LRPStart, Start
from support import auction_scenarios as scenarios
from support.auction_reference import naive_schedule
from support.auction_scenarios import Scenario, hold
from support.auctions import a_task, an_lrp


def names(scenario: Scenario) -> str:
    return scenario.name


@pytest.mark.parametrize(("scenario", "each"), list(zip(scenarios.COLD_STARTS, (2, 4, 10, 20), strict=True)))
def test_on_empty_cells_every_cell_gets_exactly_as_much(scenario: Scenario, each: int) -> None:
    assert hold(scenario).spread == str(each)


@pytest.mark.parametrize("scenario", scenarios.PACKED, ids=names)
def test_packing_gives_no_cell_less_than_one_behind_it(scenario: Scenario) -> None:
    given = hold(scenario).given

    assert given == sorted(given, reverse=True)
    assert given[0] > given[-1]


@pytest.mark.parametrize(
    ("scenario", "range_"), list(zip(scenarios.FULL, ((91, 100), (96, 96)), strict=True))
)
def test_sizes_that_fill_the_cells_fill_them_evenly(scenario: Scenario, range_: tuple[int, int]) -> None:
    result = hold(scenario)

    assert not result.outcome.refused
    assert range_[0] <= min(result.memory) <= max(result.memory) <= range_[1]


@pytest.mark.parametrize(("scenario", "each"), list(zip(scenarios.IMBALANCED, (5, 1), strict=True)))
def test_a_new_process_goes_everywhere_however_the_cells_are_loaded(scenario: Scenario, each: int) -> None:
    assert hold(scenario).spread == str(each)


def test_zones_are_even_though_one_has_half_the_cells_and_a_load() -> None:
    assert hold(scenarios.ZONES).given == [10, 10, 20]


@pytest.mark.parametrize(("scenario", "spread"), list(zip(scenarios.DEMOS, ("8", "6-7", "4"), strict=True)))
def test_on_loaded_cells_a_new_process_is_spread_as_well(scenario: Scenario, spread: str) -> None:
    assert hold(scenario).spread == spread


def test_a_large_instance_is_placed_before_small_ones_fill_the_cell() -> None:
    outcome = hold(scenarios.BOULDERS).outcome

    assert len(outcome.refused) == 31
    assert {text for _, text in outcome.refused} == {"insufficient resources: memory"}
    assert "boulder" in {
        start.process_guid for start in outcome.work["cell-0000"] if isinstance(start, LRPStart)
    }


def test_on_a_thousand_loaded_cells_everything_is_placed_evenly() -> None:
    result = hold(scenarios.LARGE[0])

    assert not result.outcome.refused
    assert max(result.given) - min(result.given) <= 3
    assert Counter(type(start).__name__ for work in result.outcome.work.values() for start in work) == {
        "LRPStart": 10_000,
        "TaskStart": 1_000,
    }


def test_when_all_is_full_the_rest_is_refused_and_nothing_is_lost() -> None:
    cells = scenarios.empty_cells(250, zones=3)
    starts = scenarios.many_processes(30_000)

    outcome = schedule(cells, starts, Policy())

    placed = [start for work in outcome.work.values() for start in work]
    assert (len(placed), len(outcome.refused)) == (25_000, 5_000)
    assert len({*placed, *(start for start, _ in outcome.refused)}) == 30_000
    assert {text for _, text in outcome.refused} == {"insufficient resources: containers, disk, memory"}


@pytest.mark.parametrize("seed", range(4))
def test_a_hundred_cells_get_what_visiting_every_cell_for_every_start_finds(seed: int) -> None:
    chance = random.Random(seed)
    cells = [random_cell(chance, number) for number in range(100)]
    starts: list[Start] = [
        a_task(f"task-{number}", memory_mb=chance.choice((1, 5)), disk_mb=1) for number in range(60)
    ]
    for number in range(25):
        memory = chance.choice((1, 2, 8))
        starts += [
            an_lrp(f"app-{number}", index, memory_mb=memory, disk_mb=1)
            for index in range(chance.choice((1, 3, 60)))
        ]
    policy = Policy(bin_pack_first_fit_weight=chance.choice((0.0, 0.5)))

    outcome = schedule(cells, starts, policy)

    assert [(each.cell, each.error) for each in outcome.explanations] == [
        (cell, error) for _, cell, error in naive_schedule(cells, starts, policy)
    ]


def random_cell(chance: random.Random, number: int) -> CellState:
    cell = scenarios.loaded_cell(number, chance.randrange(101), zones=3, index=True)
    running = {f"app-{chance.randrange(25)}": chance.randrange(1, 3) for _ in range(chance.randrange(3))}
    return scenarios.with_processes(cell, running)
