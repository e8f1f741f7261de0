"""contract/locket.md section 6: what a cell says of itself."""

import json

import pytest

from diego.models import CellPresence

CELL = CellPresence(
    cell_id="cell-a",
    rep_address="http://10.0.0.1:1800",
    zone="z1",
    memory_mb=4096,
    disk_mb=8192,
    containers=250,
    rootfs_providers=(("preloaded", ("cflinuxfs4",)), ("docker", ())),
    placement_tags=("tag",),
    optional_placement_tags=("optional",),
    rep_url="https://cell-a.cell.service.cf.internal:1801",
    annotations={"a": "b"},
)


def test_a_presence_is_read_as_it_was_written() -> None:
    assert CellPresence.parse(CELL.value()) == CELL


def test_a_presence_has_the_originals_keys_in_its_order() -> None:
    told = json.loads(CELL.value())

    assert list(told) == [
        "cell_id", "rep_address", "zone", "capacity", "rootfs_provider_list", "placement_tags",
        "optional_placement_tags", "rep_url", "annotations",
    ]  # fmt: skip
    assert told["rootfs_provider_list"] == [
        {"name": "preloaded", "properties": ["cflinuxfs4"]},
        {"name": "docker"},
    ]


def test_what_is_empty_is_left_out_where_the_original_leaves_it_out() -> None:
    told = json.loads(CellPresence("cell-a").value())

    assert list(told) == ["cell_id", "rep_address", "zone", "capacity", "rep_url", "annotations"]
    assert told["annotations"] == {}


def test_keys_match_in_any_case_and_unknown_ones_are_ignored() -> None:
    assert CellPresence.parse('{"Cell_ID": "x", "unknown": 1, "capacity": null}') == CellPresence("x")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "not json", '{"cell_id": 1}', '{"capacity": {"memory_mb": "1"}}', '{"placement_tags": "x"}',
     '{"capacity": {"memory_mb": 99999999999}}', "[" * 100_000],
)  # fmt: skip
def test_what_is_no_cell_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        CellPresence.parse(text)


def test_the_message_of_a_cell_has_everything() -> None:
    message = CELL.message()

    assert (message.cell_id, message.zone, message.rep_url) == (CELL.cell_id, CELL.zone, CELL.rep_url)
    assert message.capacity.memory_mb == 4096
    assert [provider.name for provider in message.rootfs_providers] == ["preloaded", "docker"]
    assert dict(message.annotations) == {"a": "b"}
