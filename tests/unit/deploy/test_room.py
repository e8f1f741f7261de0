"""Whether cells can be emptied one window at a time (contract/deployment.md section 12)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diego.deploy.core.room import RESOURCES, Cell, NotKnown, cell_of, cells_heard, faults_of, silent
from diego.deploy.core.update import Update, update_of


def update(max_in_flight: object = 1) -> Update:
    return update_of("diego-cell", {"max_in_flight": max_in_flight}, {})


def a_cell(number: int, *, used: int = 0, free: int = 0, kind: tuple[str, ...] = ("cflinuxfs4",)) -> Cell:
    """A cell that is short of nothing but memory."""
    return Cell(
        f"diego-cell-{number}",
        kind,
        {"MemoryMB": used, "DiskMB": 0, "Containers": 0},
        {"MemoryMB": free, "DiskMB": 9999, "Containers": 250},
    )


def changed(*numbers: int, z2: tuple[int, ...] = ()) -> dict[str, str]:
    """Cells that change: of z1, and of z2."""
    zones = {**dict.fromkeys(numbers, "z1"), **dict.fromkeys(z2, "z2")}
    return {f"diego-cell-{number}": zone for number, zone in zones.items()}


def a_state(**other: Any) -> dict[str, Any]:
    return {
        "cell_id": "diego-cell-0",
        "Zone": "z1",
        "RootFSProviders": {"docker": {"type": "arbitrary"}, "preloaded": {"set": {"b": {}, "a": {}}}},
        "AvailableResources": {"MemoryMB": 100, "DiskMB": 1000, "Containers": 240},
        "TotalResources": {"MemoryMB": 400, "DiskMB": 1500, "Containers": 250},
        "Evacuating": False,
        "PlacementTags": ["gpu"],
        "OptionalPlacementTags": ["big"],
        **other,
    }


def test_what_a_cell_holds_must_fit_into_the_others() -> None:
    cells = [a_cell(0, used=300, free=100), a_cell(1, used=100, free=299)]

    assert faults_of(cells, changed(0, z2=(1,)), update()) == [
        "zone z1: 300 MB of memory on diego-cell-0, 299 free on the other cells"
    ]
    assert faults_of([cells[0], a_cell(1, used=100, free=300)], changed(0, z2=(1,)), update()) == []


def test_the_largest_cells_of_a_window_are_away_at_once() -> None:
    cells = [a_cell(0, used=10, free=200), a_cell(1, used=100, free=50), a_cell(2, used=90, free=50)]

    assert faults_of(cells, changed(0, 1, 2), update(2)) == []
    assert faults_of(cells, changed(0, 1, 2), update(3)) == [
        "zone z1: 200 MB of memory on diego-cell-1, diego-cell-2, diego-cell-0, 0 free on the other cells"
    ]


def test_the_window_is_of_the_zones_changed_cells() -> None:
    cells = [a_cell(number, used=50, free=30) for number in range(8)]
    all_change = changed(0, 1, 2, 3, z2=(4, 5, 6, 7))

    assert faults_of(cells, all_change, update("50%")) == []
    assert len(faults_of(cells, all_change, update("75%"))) == 0
    assert len(faults_of(cells, all_change, update("100%"))) == 2


def test_a_silent_cell_that_changes_counts_for_its_zones_window() -> None:
    """Half of four are away at once, whether or not one of them was heard of."""
    heard = [a_cell(number, used=50, free=30) for number in range(3)]

    assert faults_of(heard, changed(0, 1, 2), update("50%")) == []
    assert faults_of(heard, changed(0, 1, 2, 3), update("50%")) == [
        "zone z1: 100 MB of memory on diego-cell-0, diego-cell-1, 30 free on the other cells"
    ]
    assert faults_of(heard, changed(0, 1, 2, z2=(3,)), update("50%")) == []


def test_a_cell_that_does_not_change_leaves_nothing_and_gives_its_room() -> None:
    cells = [a_cell(0, used=300, free=0), a_cell(1, used=100, free=100)]

    assert faults_of(cells, changed(1), update()) == [
        "zone z1: 100 MB of memory on diego-cell-1, 0 free on the other cells"
    ]
    assert faults_of(cells, {}, update()) == []


def test_room_of_another_kind_is_no_room() -> None:
    cells = [a_cell(0, used=10, free=0), a_cell(1, free=500, kind=("cflinuxfs4", "", "gpu"))]

    assert len(faults_of(cells, changed(0), update())) == 1


def test_an_empty_cell_alone_may_be_changed() -> None:
    assert faults_of([a_cell(0, free=400)], changed(0), update()) == []


def test_each_resource_is_counted_with_its_own_largest_cells() -> None:
    used = {"MemoryMB": 0, "DiskMB": 0, "Containers": 0}
    none = {"MemoryMB": 500, "DiskMB": 10, "Containers": 3}
    cells = [
        Cell("diego-cell-0", (), {**used, "DiskMB": 11}, none),
        Cell("diego-cell-1", (), {**used, "Containers": 4}, none),
    ]

    assert faults_of(cells, changed(0, 1), update()) == [
        "zone z1: 11 MB of disk on diego-cell-0, 10 free on the other cells",
        "zone z1: 4 containers on diego-cell-1, 3 free on the other cells",
    ]


def test_a_cell_is_read_from_its_state() -> None:
    cell = cell_of(a_state())

    assert cell.kind == ("a", "b", "", "big", "gpu")
    assert cell.used == {"MemoryMB": 300, "DiskMB": 500, "Containers": 10}
    assert cell.free == {"MemoryMB": 100, "DiskMB": 1000, "Containers": 240}


def test_a_cell_that_is_being_emptied_offers_no_room() -> None:
    assert set(cell_of(a_state(Evacuating=True)).free.values()) == {0}


def test_a_cell_of_the_original_may_tell_null_for_no_tags() -> None:
    assert cell_of(a_state(PlacementTags=None, OptionalPlacementTags=None)).kind == ("a", "b", "")


def test_a_cell_that_has_not_told_its_state_is_silent() -> None:
    assert silent([a_cell(0)], changed(0, 1)) == ["diego-cell-1"]


ROOM = st.fixed_dictionaries({name: st.integers(0, 20) for name in RESOURCES})
KINDS = st.sampled_from([("cflinuxfs4", ""), ("cflinuxfs4", "", "gpu")])
ID = st.integers(0, 5).map("diego-cell-{}".format)
SOME_CELLS = st.lists(st.builds(Cell, ID, KINDS, ROOM, ROOM), min_size=1, unique_by=lambda cell: cell.id)


@given(SOME_CELLS, st.dictionaries(ID, st.sampled_from(["z1", "z2"])), st.integers(1, 3), st.sets(ID))
def test_the_silence_of_cells_that_stay_lets_nothing_through(
    cells: list[Cell], change: dict[str, str], window: int, mute: set[str]
) -> None:
    heard = [cell for cell in cells if cell.id in change or cell.id not in mute]

    def needs(known: list[Cell]) -> set[str]:
        return {fault.rsplit(", ", 1)[0] for fault in faults_of(known, change, update(window))}

    assert needs(cells) <= needs(heard)


# ---- what the command said


def lines(*states: object) -> list[str]:
    return [json.dumps(state) for state in states]


def test_those_that_answered_are_heard_whether_or_not_others_were_silent() -> None:
    assert [cell.id for cell in cells_heard(0, lines(a_state()), "")] == ["diego-cell-0"]
    assert [cell.id for cell in cells_heard(4, [*lines(a_state()), ""], "cell diego-cell-1: refused")] == [
        "diego-cell-0"
    ]


@pytest.mark.parametrize(
    ("status", "printed", "complaint", "told"),
    [
        (5, [], "diego: the BBS cannot be reached", "ended with 5 (diego: the BBS cannot be reached)"),
        (3, [], "no file", "ended with 3 (no file)"),
        (1, lines(a_state()), "Traceback", "ended with 1 (Traceback)"),
        (-9, lines(a_state()), " \n", "ended with -9"),
        (None, [], "No such file", "could not be run (No such file)"),
        (4, [], "cell diego-cell-0: refused", "heard of no cell (cell diego-cell-0: refused)"),
        (0, ["", " "], "", "heard of no cell"),
    ],
)
def test_a_question_that_failed_as_a_whole_is_no_answer(
    status: int | None, printed: list[str], complaint: str, told: str
) -> None:
    with pytest.raises(NotKnown) as raised:
        cells_heard(status, printed, complaint)

    assert str(raised.value) == f"`diego cell-states` {told}"


@pytest.mark.parametrize("printed", ["{", "Usage: diego", "7", "[]", "null", "{}", '{"cell_id": "a"}'])
def test_what_cannot_be_read_is_no_answer_either(printed: str) -> None:
    with pytest.raises(NotKnown, match="cannot be read"):
        cells_heard(0, [*lines(a_state()), printed], "")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda each: st.lists(each, max_size=2) | st.dictionaries(st.text(max_size=3), each, max_size=2),
    max_leaves=4,
)


@given(st.sampled_from(sorted(a_state())), JSON)
def test_a_state_with_any_wrong_part_is_read_or_not_known(key: str, value: object) -> None:
    try:
        (cell,) = cells_heard(0, lines(a_state(**{key: value})), "")
    except NotKnown:
        return
    assert faults_of([cell], {cell.id: "z1"}, update()) is not None
