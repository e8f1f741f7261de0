"""What cells say and are told: contract/auction.md sections 4.2 to 4.4."""

import json

import pytest

from diego.auctioneer.core.cells import decode_state
from diego.auctioneer.core.filters import parse_rootfs
from diego.auctioneer.core.requests import Undecodable
from diego.auctioneer.core.starts import Start
from diego.auctioneer.core.work import encode_work, handed_back
from support.auctions import a_task, an_lrp

STATE = {
    "cell_id": "cell-a",
    "cell_index": 3,
    "RootFSProviders": {
        "docker": {"type": "arbitrary"},
        "preloaded": {"type": "fixed_set", "set": {"cflinuxfs4": {}}},
        "strange": {"type": "new"},
    },
    "AvailableResources": {"MemoryMB": 1, "DiskMB": 2, "Containers": 3},
    "TotalResources": {"MemoryMB": 4, "DiskMB": 5, "Containers": 6},
    "LRPs": [{"process_guid": "web", "index": 0}, {"process_guid": "web", "index": 1}],
    "Tasks": [{"TaskGuid": "job"}],
    "StartingContainerCount": 7,
    "Zone": "z1",
    "Evacuating": True,
    "VolumeDrivers": None,
    "PlacementTags": ["iso"],
    "ProxyMemoryAllocationMB": 32,
}


def state_with(**changes: object) -> bytes:
    return json.dumps({**STATE, **changes}).encode()


def test_a_state_is_read_whole() -> None:
    state = decode_state(state_with(), "cell-a")

    assert state.rootfs_providers == {"docker": None, "preloaded": frozenset({"cflinuxfs4"})}
    assert (state.available.disk_mb, state.total.containers, state.starting) == (2, 6, 7)
    assert (dict(state.processes), state.tasks, state.evacuating) == ({"web": 2}, 1, True)
    assert (state.zone, set(state.placement_tags)) == ("z1", {"iso"})
    assert not state.volume_drivers


def test_the_state_of_another_cell_is_refused() -> None:
    with pytest.raises(Undecodable):
        decode_state(state_with(), "cell-b")


def test_a_state_without_a_name_is_taken() -> None:
    assert decode_state(state_with(cell_id=""), "cell-b").cell_id == "cell-b"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'"x"', state_with(LRPs=3), state_with(Zone=1), state_with(TotalResources=[])]
)
def test_what_is_no_state_is_refused(body: bytes) -> None:
    with pytest.raises(Undecodable):
        decode_state(body, "cell-a")


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        ("preloaded:cflinuxfs4", ("preloaded", "cflinuxfs4")),
        ("preloaded+layer:cflinuxfs4?layer=x", ("preloaded+layer", "cflinuxfs4")),
        ("PreLoaded:cflinuxfs4", ("preloaded", "cflinuxfs4")),
        ("DOCKER:///a/b#v1", ("docker", "")),
        ("docker://host:5000/a", ("docker", "")),
        ("docker://ho st/a", None),
        ("docker:///a%zz", None),
        ("pre loaded:x", None),
        ("no scheme", None),
        (":x", None),
        ("a:\n", None),
    ],
)
def test_root_filesystems_are_urls(url: str, parsed: tuple[str, str] | None) -> None:
    assert parse_rootfs(url) == parsed


def test_work_is_sent_in_the_originals_form() -> None:
    lrp = an_lrp(volume_drivers=())

    assert encode_work("cell-a", [lrp]) == (
        b'{"LRPs":[{"instance_guid":"","process_guid":"web","index":0,"domain":"apps","PlacementTags":null,'
        b'"VolumeDrivers":[],"RootFs":"preloaded:cflinuxfs4","MemoryMB":128,"DiskMB":256,"MaxPids":0,"state":""}],'
        b'"Tasks":null,"cell_id":"cell-a"}'
    )
    assert encode_work("cell-a", [a_task()]) == (
        b'{"LRPs":null,"Tasks":[{"TaskGuid":"job","Domain":"apps","PlacementTags":null,"VolumeDrivers":null,'
        b'"RootFs":"preloaded:cflinuxfs4","MemoryMB":128,"DiskMB":256,"MaxPids":0,"state":"Invalid","failed":false}],'
        b'"cell_id":"cell-a"}'
    )


def test_what_the_cell_lists_was_not_taken() -> None:
    starts: list[Start] = [an_lrp(), an_lrp(index=1), a_task(), a_task("other")]
    answer = {"LRPs": [{"process_guid": "web", "index": 1}], "Tasks": [{"TaskGuid": "job"}]}

    assert handed_back(json.dumps(answer).encode(), starts) == [starts[1], starts[2]]
    assert handed_back(b'{"LRPs":[],"Tasks":null}', starts) == []


@pytest.mark.parametrize("body", [b"", b"[]", b'{"LRPs":3}', b'{"LRPs":[{"index":"x"}]}'])
def test_an_answer_that_is_no_work_tells_nothing(body: bytes) -> None:
    with pytest.raises(Undecodable):
        handed_back(body, [an_lrp()])
