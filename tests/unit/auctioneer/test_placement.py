"""Which cell gets what: contract/auction.md section 5, rule by rule."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diego.auctioneer.core import failures
from diego.auctioneer.core.cells import CellState
from diego.auctioneer.core.explanations import Explanation, Memory
from diego.auctioneer.core.placement import schedule
from diego.auctioneer.core.scoring import Policy
from diego.auctioneer.core.starts import Demand, LRPStart, Start, TaskStart, key_of
from support.auction_reference import naive_schedule
from support.auctions import a_cell, a_task, an_lrp, resources

DEFAULT = Policy()


def placed(cells: Sequence[CellState], starts: Sequence[Start], policy: Policy = DEFAULT) -> dict[str, int]:
    """How many starts each cell got."""
    return {cell: len(work) for cell, work in schedule(cells, starts, policy).work.items()}


def refusal(cells: Sequence[CellState], start: Start, policy: Policy = DEFAULT) -> str:
    outcome = schedule(cells, [start], policy)

    assert not outcome.work
    return outcome.refused[0][1]


# ---- where


def test_instances_of_a_process_spread_over_the_cells() -> None:
    cells = [a_cell("a"), a_cell("b"), a_cell("c")]

    assert placed(cells, [an_lrp(index=i) for i in range(6)]) == {"a": 2, "b": 2, "c": 2}


def test_a_zone_with_fewer_instances_comes_first_even_when_its_cell_is_fuller() -> None:
    empty = a_cell("a", zone="z1", processes={"web": 1})
    full = a_cell("b", zone="z2", available=resources(memory_mb=200), starting=9)

    assert placed([empty, full], [an_lrp()]) == {"b": 1}


def test_a_zone_without_room_is_passed_over() -> None:
    cells = [a_cell("a", zone="z1", available=resources(memory_mb=10)), a_cell("b", zone="z2")]

    assert placed(cells, [an_lrp(index=i) for i in range(3)]) == {"b": 3}


def test_zones_with_equally_many_instances_compete_by_score() -> None:
    cells = [a_cell("a", zone="z1", available=resources(memory_mb=500)), a_cell("b", zone="z2")]

    assert placed(cells, [an_lrp()]) == {"b": 1}


def test_instances_on_a_cell_that_the_filters_exclude_still_count_for_its_zone() -> None:
    excluded = a_cell("a", zone="z1", rootfs_providers={}, processes={"web": 2})
    cells = [excluded, a_cell("b", zone="z1"), a_cell("c", zone="z2", processes={"web": 1})]

    assert placed(cells, [an_lrp()]) == {"c": 1}


def test_a_starting_container_counts_against_a_cell() -> None:
    cells = [a_cell("a", starting=1), a_cell("b", available=resources(memory_mb=800))]

    assert placed(cells, [an_lrp()]) == {"b": 1}
    assert placed(cells, [an_lrp()], Policy(starting_container_weight=0)) == {"a": 1}


def test_a_neighbour_of_the_same_process_weighs_more_than_any_use() -> None:
    cells = [a_cell("a", processes={"web": 1}), a_cell("b", available=resources(memory_mb=128), starting=50)]

    assert placed(cells, [an_lrp()]) == {"b": 1}


def test_tasks_avoid_cells_with_tasks_and_do_not_care_for_zones() -> None:
    cells = [a_cell("a", zone="z1", tasks=1), a_cell("b", zone="z2"), a_cell("c", zone="z2")]

    assert placed(cells, [a_task("1"), a_task("2")]) == {"b": 1, "c": 1}


def test_proxy_memory_is_needed_by_instances_and_not_by_tasks() -> None:
    cell = a_cell(available=resources(memory_mb=128), proxy_memory_mb=32)

    assert refusal([cell], an_lrp()) == "insufficient resources: memory"
    assert placed([cell], [a_task()]) == {"cell-a": 1}


def test_proxy_memory_of_earlier_placements_is_left_for_the_cell_to_count() -> None:
    cell = a_cell(available=resources(memory_mb=288), proxy_memory_mb=32)

    assert placed([cell], [an_lrp("x"), an_lrp("y")]) == {"cell-a": 2}


def test_instances_on_cells_that_may_not_run_the_new_one_do_not_draw_it_there() -> None:
    cells = [
        a_cell("a", rootfs_providers={}, processes={"web": 1}),
        a_cell("b", available=resources(memory_mb=100)),
        a_cell("c", available=resources(memory_mb=100)),
    ]

    assert refusal(cells, an_lrp()) == "insufficient resources: memory"


def test_packing_fills_cells_by_their_deployment_index() -> None:
    cells = [a_cell("a", cell_index=7), a_cell("b", cell_index=3)]
    policy = Policy(bin_pack_first_fit_weight=1.0, starting_container_weight=0)

    assert placed(cells, [an_lrp("x"), an_lrp("y")], policy) == {"b": 2}


def test_packing_holds_among_cells_that_have_the_process_already() -> None:
    full = [a_cell(f"full-{n}", cell_index=n, available=resources(memory_mb=0)) for n in (1, 2, 3)]
    low = a_cell("low", cell_index=0, available=resources(memory_mb=500), processes={"web": 1})
    high = a_cell("high", cell_index=4, processes={"web": 1})

    assert placed([*full, low, high], [an_lrp()], Policy(bin_pack_first_fit_weight=1.0)) == {"low": 1}


# ---- why not


def test_no_cell_at_all() -> None:
    assert refusal([], an_lrp()) == "unable to communicate to compatible cells"


@pytest.mark.parametrize(
    ("lacking", "text"),
    [
        ({"memory_mb": 1}, "insufficient resources: memory"),
        ({"memory_mb": 1, "disk_mb": 1}, "insufficient resources: disk, memory"),
        ({"memory_mb": 1, "disk_mb": 1, "containers": 0}, "insufficient resources: containers, disk, memory"),
    ],
)
def test_the_refusal_names_what_every_cell_lacks(lacking: dict[str, int], text: str) -> None:
    assert refusal([a_cell("a", available=resources(**lacking))], an_lrp()) == text


def test_what_is_lacking_is_told_in_alphabetical_order() -> None:
    text = failures.insufficient_resources(["memory", "containers", "disk"])

    assert text == "insufficient resources: containers, disk, memory"


def test_what_only_some_cells_lack_is_not_named() -> None:
    cells = [
        a_cell("a", available=resources(memory_mb=1)),
        a_cell("b", available=resources(disk_mb=1)),
    ]

    assert refusal(cells, an_lrp()) == "insufficient resources"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"rootfs": "preloaded:windows"}, "found no compatible cell for required rootfs"),
        ({"volume_drivers": ("nfs",)}, "found no compatible cell with required volume drivers"),
        ({"placement_tags": ("iso",)}, 'found no compatible cell with placement tag "iso"'),
        (
            {"placement_tags": ("a", "b", "c")},
            'found no compatible cell with placement tags "a", "b" and "c"',
        ),
    ],
)
def test_the_refusal_names_the_filter_that_stopped_the_work(changes: dict[str, Any], text: str) -> None:
    assert refusal([a_cell()], an_lrp(**changes)) == text
    assert refusal([a_cell()], a_task(**changes)) == text


def test_a_cell_with_required_tags_refuses_work_without_tags() -> None:
    text = "found no compatible cell with no placement tags"

    assert refusal([a_cell(placement_tags=frozenset({"iso"}))], an_lrp()) == text


def test_optional_tags_may_be_asked_for_or_not() -> None:
    cell = a_cell(placement_tags=frozenset({"iso"}), optional_placement_tags=frozenset({"gpu"}))

    assert placed([cell], [an_lrp(placement_tags=("iso",)), an_lrp("b", placement_tags=("iso", "gpu"))])
    assert refusal([cell], an_lrp(placement_tags=("gpu",)))


def test_the_furthest_stage_of_any_zone_is_told() -> None:
    cells = [a_cell("a", zone="z1"), a_cell("b", zone="z2", rootfs_providers={})]

    assert refusal(cells, an_lrp(placement_tags=("iso",))) == (
        'found no compatible cell with placement tag "iso"'
    )


def test_the_limit_of_starting_containers_counts_those_of_this_round() -> None:
    cells = [a_cell("a", starting=2), a_cell("b")]
    outcome = schedule(cells, [an_lrp("x"), an_lrp("y")], Policy(starting_container_maximum=3))

    assert [text for _, text in outcome.refused] == [
        "waiting to start instance: reached in-flight start limit"
    ]


# ---- what is remembered


def test_an_explanation_names_the_cell_its_rivals_and_what_was_excluded() -> None:
    cells = [a_cell("a", zone="z1"), a_cell("b", zone="z2"), a_cell("c", zone="z2", rootfs_providers={})]

    found = schedule(cells, [an_lrp()], DEFAULT).explanations[0]

    assert found.cell == "a"
    assert [cell for cell, _ in found.best] == ["a", "b"]
    assert (found.considered, found.zones) == (2, {"z1": 0, "z2": 0})
    assert [(each.reason, each.cells) for each in found.excluded] == [("rootfs", ("c",))]


def test_in_a_small_round_every_cell_that_may_run_it_is_looked_at_as_it_was_just_before() -> None:
    cells = [
        a_cell("a", available=resources(100, 2000, 3), total=resources(100, 2000, 3)),
        a_cell("full", available=resources(10, 2000, 0), total=resources(100, 2000, 3)),
    ]

    first, second = schedule(
        cells, [an_lrp(memory_mb=40), an_lrp(index=1, memory_mb=40)], DEFAULT
    ).explanations

    assert [(cell.cell, cell.neighbours, cell.memory_mb, list(cell.lacks)) for cell in first.looked_at] == [
        ("a", 0, 100, []),
        ("full", 0, 10, ["containers", "memory"]),
    ]
    assert [(cell.cell, cell.neighbours, cell.memory_mb) for cell in second.looked_at] == [
        ("a", 1, 60),
        ("full", 0, 10),
    ]
    assert first.looked_at[0].score == first.score
    assert first.looked_at[1].score is None


def test_in_a_large_round_only_the_best_cell_of_each_zone_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diego.auctioneer.core.placement.CLOSELY_UP_TO", 3)

    found = schedule([a_cell("a"), a_cell("b")], [an_lrp("x"), an_lrp("y")], DEFAULT).explanations

    assert [list(each.looked_at) for each in found] == [[], []]
    assert all(each.best for each in found)


def test_the_memory_keeps_the_newest_decisions_and_why_cells_took_no_part() -> None:
    memory = Memory(limit=4)
    for number in range(5):
        memory.note([Explanation(key_of(an_lrp("web")), cell=f"cell-{number}")], number, {"gone": "silent"})
    memory.note([Explanation(key_of(an_lrp(f"other-{number}"))) for number in range(3)], 5.0)

    assert [list(memory.of(f"other-{number}")) != [] for number in range(3)] == [True, True, True]
    assert memory.of("web") == [], "the guid that was heard of longest ago is forgotten first"
    memory.note([Explanation(key_of(an_lrp("web")), cell="a")], 6.0, {"gone": "silent"})
    assert [(found.at, found.explanation.cell, dict(found.left_out)) for found in memory.of("web")] == [
        (6.0, "a", {"gone": "silent"})
    ]


# ---- against the slow way

NAMES = ("p0", "p1", "p2")
TAGS = st.frozensets(st.sampled_from(("iso", "gpu")))


@st.composite
def cell_states(draw: st.DrawFn) -> list[CellState]:
    cells = []
    for number in range(draw(st.integers(0, 10))):
        total = resources(*draw(st.sampled_from([(1024, 2048, 6), (512, 512, 3)])))
        cells.append(
            a_cell(
                f"cell-{number}",
                zone=draw(st.sampled_from(("z1", "z2", "z3"))),
                cell_index=number,
                total=total,
                available=resources(
                    draw(st.integers(0, total.memory_mb)),
                    draw(st.integers(0, total.disk_mb)),
                    draw(st.integers(0, total.containers)),
                ),
                processes=Counter(draw(st.lists(st.sampled_from(NAMES), max_size=3))),
                tasks=draw(st.integers(0, 2)),
                starting=draw(st.integers(0, 3)),
                rootfs_providers={
                    "preloaded": frozenset(draw(st.sampled_from([("linux",), ("linux", "win")])))
                },
                volume_drivers=draw(st.frozensets(st.just("nfs"))),
                placement_tags=draw(st.sampled_from([frozenset(), frozenset({"iso"})])),
                optional_placement_tags=draw(TAGS),
                proxy_memory_mb=draw(st.sampled_from((0, 32))),
            )
        )
    return cells


DEMANDS = st.builds(
    Demand,
    rootfs=st.sampled_from(("preloaded:linux", "preloaded:win", "preloaded:mac")),
    memory_mb=st.sampled_from((0, 64, 128, 300)),
    disk_mb=st.sampled_from((0, 128, 256)),
    placement_tags=st.sampled_from((None, (), ("iso",), ("iso", "gpu"))),
    volume_drivers=st.sampled_from((None, ("nfs",))),
)
STARTS = st.lists(
    st.one_of(
        st.builds(LRPStart, st.sampled_from(NAMES), st.integers(0, 5), st.just("d"), DEMANDS),
        st.builds(TaskStart, st.uuids().map(str), st.just("d"), DEMANDS),
    ),
    max_size=30,
)
POLICIES = st.builds(
    Policy,
    st.sampled_from((0.0, 0.25, 400.0)),
    st.sampled_from((0.0, 0.5, 900.0)),
    st.sampled_from((0, 0, 12)),
)


@settings(max_examples=80, deadline=None)
@given(
    cells=cell_states(),
    starts=STARTS,
    policy=POLICIES,
    own_heap=st.sampled_from(((0, 0.5), (1, 9.0), (48, 9.0))),
)
def test_every_placement_is_the_one_that_visiting_every_cell_finds(
    cells: list[CellState], starts: list[Start], policy: Policy, own_heap: tuple[int, float]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diego.auctioneer.core.placement.OWN_HEAP_FROM", own_heap[0])
        patch.setattr("diego.auctioneer.core.placement.OWN_HEAP_SHARE", own_heap[1])
        outcome = schedule(cells, starts, policy)

    expected = naive_schedule(cells, starts, policy)
    assert [(each.cell, each.error) for each in outcome.explanations] == [
        (cell, error) for _, cell, error in expected
    ]
