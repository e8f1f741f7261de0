"""The rows of the tables: what a person wants to know of a record, in few words."""

from collections.abc import Iterable, Mapping
from typing import Any

from diego.cli.core.words import Row, age, natural, size
from diego.models.desired_lrp import hostnames
from diego.wire.actual_lrp_pb2 import ActualLRP
from diego.wire.cells_pb2 import CellPresence
from diego.wire.desired_lrp_pb2 import DesiredLRP, DesiredLRPSchedulingInfo
from diego.wire.locket_pb2 import Resource
from diego.wire.task_pb2 import Task

Json = Mapping[str, Any]

CELL_COLUMNS = ("CELL", "ZONE", "MEMORY", "DISK", "CONTAINERS", "STACKS", "TAGS", "REP")
STATE_COLUMNS = ("CELL", "ZONE", "FREE MEMORY", "FREE DISK", "FREE CONTAINERS", "LRPS", "TASKS", "STATE")
DESIRED_COLUMNS = ("PROCESS", "DOMAIN", "INSTANCES", "MEMORY", "DISK", "ROOTFS", "ROUTES")
ACTUAL_COLUMNS = ("PROCESS", "INDEX", "STATE", "FOR", "CELL", "ADDRESS", "INSTANCE", "NOTE")
TASK_COLUMNS = ("TASK", "DOMAIN", "STATE", "AGE", "CELL", "NOTE")
RESOURCE_COLUMNS = ("KEY", "OWNER", "VALUE")


def cell_rows(cells: Iterable[CellPresence]) -> list[Row]:
    """The cells that are present, by name."""
    return [
        [
            cell.cell_id,
            cell.zone,
            size(cell.capacity.memory_mb),
            size(cell.capacity.disk_mb),
            str(cell.capacity.containers),
            " ".join(dict.fromkeys(name for each in cell.rootfs_providers for name in each.properties)),
            " ".join([*cell.placement_tags, *(f"({tag})" for tag in cell.optional_placement_tags)]),
            cell.rep_url or cell.rep_address,
        ]
        for cell in sorted(cells, key=lambda cell: natural(cell.cell_id))
    ]


def state_row(state: Json) -> Row:
    """What a cell says of itself."""
    free, total = state.get("AvailableResources") or {}, state.get("TotalResources") or {}

    def left(key: str) -> str:
        return f"{free.get(key, 0)}/{total.get(key, 0)}"

    return [
        str(state.get("cell_id", "")),
        str(state.get("Zone", "")),
        left("MemoryMB"),
        left("DiskMB"),
        left("Containers"),
        str(len(state.get("LRPs") or [])),
        str(len(state.get("Tasks") or [])),
        "evacuating" if state.get("Evacuating") else "ready",
    ]


def desired_rows(lrps: Iterable[DesiredLRP]) -> list[Row]:
    """What is wanted, by process guid."""
    return [
        [
            lrp.process_guid,
            lrp.domain,
            str(lrp.instances),
            size(lrp.memory_mb),
            size(lrp.disk_mb),
            lrp.root_fs,
            " ".join(hostnames(lrp.routes.routes)),
        ]
        for lrp in sorted(lrps, key=lambda lrp: lrp.process_guid)
    ]


def scheduling_rows(infos: Iterable[DesiredLRPSchedulingInfo]) -> list[Row]:
    """The same of scheduling infos."""
    return [
        [
            info.desired_lrp_key.process_guid,
            info.desired_lrp_key.domain,
            str(info.instances),
            size(info.desired_lrp_resource.memory_mb),
            size(info.desired_lrp_resource.disk_mb),
            info.desired_lrp_resource.root_fs,
            " ".join(hostnames(info.routes.routes)),
        ]
        for info in sorted(infos, key=lambda info: info.desired_lrp_key.process_guid)
    ]


def _order(lrp: ActualLRP) -> tuple[str, int, int]:
    return lrp.actual_lrp_key.process_guid, lrp.actual_lrp_key.index, lrp.presence


def actual_rows(lrps: Iterable[ActualLRP], now: int) -> list[Row]:
    """The instances, by process guid and index."""
    return [
        [
            lrp.actual_lrp_key.process_guid,
            str(lrp.actual_lrp_key.index),
            lrp.state + (f" {presence_word(lrp)}" if lrp.presence else ""),
            age(lrp.since, now),
            lrp.actual_lrp_instance_key.cell_id,
            address(lrp),
            lrp.actual_lrp_instance_key.instance_guid,
            note(lrp),
        ]
        for lrp in sorted(lrps, key=_order)
    ]


def presence_word(lrp: ActualLRP) -> str:
    """The presence of an instance that is not the ordinary one: evacuating, or suspect."""
    return ActualLRP.Presence.Name(lrp.presence).lower()


def address(lrp: ActualLRP) -> str:
    """Where the instance's first port is reached, from outside its cell."""
    net = lrp.actual_lrp_net_info
    return f"{net.address}:{net.ports[0].host_port}" if net.ports else net.address


def note(lrp: ActualLRP) -> str:
    """What is out of the ordinary with an instance."""
    if lrp.state != "RUNNING" and lrp.placement_error:
        return lrp.placement_error
    if lrp.crash_count:
        return f"crashed {lrp.crash_count} times: {lrp.crash_reason}"
    if lrp.state == "RUNNING" and lrp.HasField("routable") and not lrp.routable:
        return "not ready"
    return ""


def task_rows(tasks: Iterable[Task], now: int) -> list[Row]:
    """The tasks, by guid."""
    return [
        [
            task.task_guid,
            task.domain,
            Task.State.Name(task.state),
            age(task.created_at, now),
            task.cell_id,
            f"failed: {task.failure_reason}" if task.failed else task.rejection_reason,
        ]
        for task in sorted(tasks, key=lambda task: task.task_guid)
    ]


def resource_rows(resources: Iterable[Resource]) -> list[Row]:
    """Locks or presences, by key."""
    return [
        [each.key, each.owner, each.value] for each in sorted(resources, key=lambda each: natural(each.key))
    ]
