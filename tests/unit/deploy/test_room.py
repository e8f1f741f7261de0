"""Whether cells can be emptied one window at a time (contract/deployment.md section 12)."""

from typing import Any

from diego.deploy.core.room import Cell, cell_of, faults_of, missing
from diego.deploy.core.update import Update, update_of


def update(max_in_flight: object = 1) -> Update:
    return update_of("diego-cell", {"max_in_flight": max_in_flight}, {})


def a_cell(
    number: int, zone: str = "z1", *, used: int = 0, free: int = 0, kind: tuple[str, ...] = ("cflinuxfs4",)
) -> Cell:
    """A cell that is short of nothing but memory."""
    return Cell(
        f"diego-cell-{number}",
        zone,
        kind,
        {"MemoryMB": used, "DiskMB": 0, "Containers": 0},
        {"MemoryMB": free, "DiskMB": 9999, "Containers": 250},
    )


def ids(*numbers: int) -> set[str]:
    return {f"diego-cell-{number}" for number in numbers}


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
    cells = [a_cell(0, used=300, free=100), a_cell(1, "z2", used=100, free=299)]

    assert faults_of(cells, ids(0, 1), update()) == [
        "zone z1: 300 MB of memory on diego-cell-0, 299 free on the other cells"
    ]
    assert faults_of([cells[0], a_cell(1, "z2", used=100, free=300)], ids(0, 1), update()) == []


def test_the_largest_cells_of_a_window_are_away_at_once() -> None:
    cells = [a_cell(0, used=10, free=200), a_cell(1, used=100, free=50), a_cell(2, used=90, free=50)]

    assert faults_of(cells, ids(0, 1, 2), update(2)) == []
    assert faults_of(cells, ids(0, 1, 2), update(3)) == [
        "zone z1: 200 MB of memory on diego-cell-1, diego-cell-2, diego-cell-0, 0 free on the other cells"
    ]


def test_the_window_is_of_the_zones_changed_cells() -> None:
    cells = [a_cell(number, "z1" if number < 4 else "z2", used=50, free=30) for number in range(8)]

    assert faults_of(cells, ids(*range(8)), update("50%")) == []
    assert len(faults_of(cells, ids(*range(8)), update("75%"))) == 0
    assert len(faults_of(cells, ids(*range(8)), update("100%"))) == 2


def test_a_cell_that_does_not_change_leaves_nothing_and_gives_its_room() -> None:
    cells = [a_cell(0, used=300, free=0), a_cell(1, used=100, free=100)]

    assert faults_of(cells, ids(1), update()) == [
        "zone z1: 100 MB of memory on diego-cell-1, 0 free on the other cells"
    ]
    assert faults_of(cells, set(), update()) == []


def test_room_of_another_kind_is_no_room() -> None:
    cells = [a_cell(0, used=10, free=0), a_cell(1, free=500, kind=("cflinuxfs4", "", "gpu"))]

    assert len(faults_of(cells, ids(0), update())) == 1


def test_an_empty_cell_alone_may_be_changed() -> None:
    assert faults_of([a_cell(0, free=400)], ids(0), update()) == []


def test_each_resource_is_counted_with_its_own_largest_cells() -> None:
    used = {"MemoryMB": 0, "DiskMB": 0, "Containers": 0}
    none = {"MemoryMB": 500, "DiskMB": 10, "Containers": 3}
    cells = [
        Cell("diego-cell-0", "z1", (), {**used, "DiskMB": 11}, none),
        Cell("diego-cell-1", "z1", (), {**used, "Containers": 4}, none),
    ]

    assert faults_of(cells, ids(0, 1), update()) == [
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


def test_a_cell_that_has_not_told_its_state_is_missed() -> None:
    assert missing([a_cell(0)], ids(0, 1)) == ["diego-cell-1"]
