"""The order for a cell and its answer (contract/auction.md section 4.4)."""

from collections.abc import Sequence
from typing import Any

import orjson

from diego.auctioneer.core.requests import Undecodable, decode_json
from diego.auctioneer.core.starts import Demand, Key, LRPStart, Start, TaskStart, key_of


def encode_work(cell_id: str, starts: Sequence[Start]) -> bytes:
    """The body of `POST /work`, keys in the original's order; an empty list is null."""
    lrps = [_lrp(start) for start in starts if isinstance(start, LRPStart)]
    tasks = [_task(start) for start in starts if isinstance(start, TaskStart)]
    work: dict[str, Any] = {"LRPs": lrps or None, "Tasks": tasks or None}
    if cell_id:
        work["cell_id"] = cell_id
    return orjson.dumps(work)


def handed_back(body: bytes, starts: Sequence[Start]) -> list[Start]:
    """Those of `starts` that the cell did not take. Raises Undecodable: then nothing is known."""
    told = decode_json(body)
    if told is None:
        return []
    if not isinstance(told, dict):
        raise Undecodable("not a work object")
    members = {key.lower(): value for key, value in told.items()}
    returned = set[Key]()
    for lrp in _objects(members, "lrps"):
        index = lrp.get("index", 0)
        if not isinstance(index, int):
            raise Undecodable("LRPs: an index is no number")
        returned.add(Key(is_task=False, guid=str(lrp.get("process_guid", "")), number=index))
    for task in _objects(members, "tasks"):
        returned.add(Key(is_task=True, guid=str(task.get("taskguid", "")), number=0))
    return [start for start in starts if key_of(start) in returned]


def _objects(members: dict[str, Any], name: str) -> list[dict[str, Any]]:
    value = members.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise Undecodable(f"{name}: not a list of objects")
    return [{key.lower(): member for key, member in item.items()} for item in value]


def _lrp(lrp: LRPStart) -> dict[str, Any]:
    return {
        "instance_guid": "",
        "process_guid": lrp.process_guid,
        "index": lrp.index,
        "domain": lrp.domain,
        **_demand(lrp.demand),
        "state": "",
    }


def _task(task: TaskStart) -> dict[str, Any]:
    return {
        "TaskGuid": task.task_guid,
        "Domain": task.domain,
        **_demand(task.demand),
        "state": "Invalid",
        "failed": False,
    }


def _demand(demand: Demand) -> dict[str, Any]:
    return {
        "PlacementTags": demand.placement_tags,
        "VolumeDrivers": demand.volume_drivers,
        "RootFs": demand.rootfs,
        "MemoryMB": demand.memory_mb,
        "DiskMB": demand.disk_mb,
        "MaxPids": demand.max_pids,
    }
