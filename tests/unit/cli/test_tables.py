"""What people read of a record."""

import pytest

from diego.cli.core import tables, words
from diego.wire.actual_lrp_pb2 import ActualLRP
from diego.wire.cells_pb2 import CellPresence
from diego.wire.gojson import from_go
from diego.wire.task_pb2 import Task

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("megabytes", "text"),
    [(0, "0 MB"), (128, "128 MB"), (1024, "1 GB"), (1500, "1500 MB"), (10240, "10 GB"), (15872, "15.5 GB")],
)
def test_sizes_are_in_the_unit_that_reads_best(megabytes: int, text: str) -> None:
    assert words.size(megabytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59, "59s"), (60, "1m"), (7199, "1h"), (90000, "1d"), (-5, "0s")]
)
def test_ages_are_in_the_largest_unit_that_fits(seconds: int, text: str) -> None:
    assert words.age(10**18, 10**18 + seconds * SECOND) == text


def test_numbers_in_names_are_in_their_order() -> None:
    assert sorted(["cell-10", "cell-2", "a", "cell"], key=words.natural) == [
        "a",
        "cell",
        "cell-2",
        "cell-10",
    ]


def test_no_time_has_no_age() -> None:
    assert words.age(0, 10**18) == ""


def test_a_cells_row_has_its_room_and_stacks() -> None:
    cell = from_go(
        CellPresence,
        {
            "cell_id": "cell-1",
            "zone": "z1",
            "capacity": {"memory_mb": 4096, "disk_mb": 8192, "containers": 250},
            "rootfs_provider_list": [
                {"name": "preloaded", "properties": ["cflinuxfs4"]},
                {"name": "preloaded+layer", "properties": ["cflinuxfs4"]},
                {"name": "docker"},
            ],
            "optional_placement_tags": ["gpu"],
            "rep_url": "https://cell-1:1801",
        },
    )

    assert tables.cell_rows([cell]) == [
        ["cell-1", "z1", "4 GB", "8 GB", "250", "cflinuxfs4", "(gpu)", "https://cell-1:1801"]
    ]


def test_a_cells_state_shows_what_is_left_of_what() -> None:
    state: dict[str, object] = {
        "cell_id": "cell-1",
        "Zone": "z1",
        "AvailableResources": {"MemoryMB": 1, "DiskMB": 2, "Containers": 3},
        "TotalResources": {"MemoryMB": 4, "DiskMB": 5, "Containers": 6},
        "LRPs": [{}, {}],
        "Tasks": None,
        "Evacuating": True,
    }

    assert tables.state_row(state) == ["cell-1", "z1", "1/4", "2/5", "3/6", "2", "0", "evacuating"]


def an_instance(**value: object) -> ActualLRP:
    return from_go(
        ActualLRP, {"process_guid": "web", "index": 0, "state": "RUNNING", "since": 10 * SECOND} | value
    )


def test_an_instances_row_tells_where_it_is_reached() -> None:
    lrp = an_instance(
        cell_id="cell-1",
        instance_guid="i",
        address="10.0.0.5",
        ports=[{"container_port": 8080, "host_port": 61000}],
    )

    assert tables.actual_rows([lrp], 70 * SECOND) == [
        ["web", "0", "RUNNING", "1m", "cell-1", "10.0.0.5:61000", "i", ""]
    ]


def test_an_instance_out_of_the_ordinary_is_noted() -> None:
    assert tables.note(an_instance(state="UNCLAIMED", placement_error="full")) == "full"
    assert tables.note(an_instance(crash_count=2, crash_reason="exited")) == "crashed 2 times: exited"
    assert tables.note(an_instance(OptionalRoutable={"routable": False})) == "not ready"
    assert tables.actual_rows([an_instance(presence="SUSPECT")], 0)[0][2] == "RUNNING suspect"


def test_a_tasks_row_tells_why_it_failed() -> None:
    task = from_go(
        Task, {"task_guid": "t", "domain": "d", "state": "Completed", "failed": True, "failure_reason": "no"}
    )

    assert tables.task_rows([task], 0) == [["t", "d", "Completed", "", "", "failed: no"]]
