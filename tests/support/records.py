"""Records with good defaults, for tests that care about one or two of their fields."""

from typing import Any

from diego.bbs.core.lifecycle import Instance, Key, Rows, Started
from diego.models import (
    ActualLRP,
    ActualLRPState,
    DesiredLRP,
    ModificationTag,
    Presence,
    Task,
    TaskState,
)
from diego.wire import actions_pb2, actual_lrp_pb2, actual_lrp_requests_pb2, desired_lrp_pb2, task_pb2

SECOND = 10**9
MINUTE = 60 * SECOND
NOW = 1_700_000_000 * SECOND

KEY = Key("process", 0, "domain")
HERE = Instance("instance", "cell")
ELSEWHERE = Instance("other-instance", "other-cell")
NET_INFO = actual_lrp_pb2.ActualLRPNetInfo(
    address="10.0.0.1", ports=[actual_lrp_pb2.PortMapping(container_port=8080, host_port=61000)]
).SerializeToString(deterministic=True)


def an_actual_lrp(**fields: Any) -> ActualLRP:
    """An UNCLAIMED record of index 0; in a held state it is held by `HERE`, a minute old."""
    state = fields.get("state", ActualLRPState.UNCLAIMED)
    defaults: dict[str, Any] = {
        "process_guid": KEY.process_guid,
        "index": KEY.index,
        "domain": KEY.domain,
        "since": NOW - MINUTE,
        "tag": ModificationTag("epoch", 7),
        "internal_routes": (),
        "metric_tags": {},
    }
    if state in {ActualLRPState.CLAIMED, ActualLRPState.RUNNING}:
        defaults |= {"instance_guid": HERE.instance_guid, "cell_id": HERE.cell_id}
    if state is ActualLRPState.RUNNING:
        defaults |= {"net_info": NET_INFO, "routable": True}
    return ActualLRP(**{**defaults, **fields})


def unclaimed(**fields: Any) -> ActualLRP:
    return an_actual_lrp(state=ActualLRPState.UNCLAIMED, **fields)


def claimed(**fields: Any) -> ActualLRP:
    return an_actual_lrp(state=ActualLRPState.CLAIMED, **fields)


def running(**fields: Any) -> ActualLRP:
    return an_actual_lrp(state=ActualLRPState.RUNNING, **fields)


def crashed(**fields: Any) -> ActualLRP:
    return an_actual_lrp(
        **{"state": ActualLRPState.CRASHED, "crash_count": 3, "crash_reason": "exit 1", **fields}
    )


def suspect(**fields: Any) -> ActualLRP:
    return an_actual_lrp(**{"state": ActualLRPState.RUNNING, "presence": Presence.SUSPECT, **fields})


def evacuating(**fields: Any) -> ActualLRP:
    return an_actual_lrp(**{"state": ActualLRPState.RUNNING, "presence": Presence.EVACUATING, **fields})


def rows(*records: ActualLRP) -> Rows:
    """The records of one key, each in its place."""
    by_presence = {record.presence: record for record in records}
    return Rows(
        by_presence.get(Presence.ORDINARY),
        by_presence.get(Presence.EVACUATING),
        by_presence.get(Presence.SUSPECT),
    )


def told(**fields: Any) -> Started:
    """What a cell tells of an instance that runs, by default of `HERE`."""
    return Started(**{"key": KEY, "instance": HERE, "net_info": NET_INFO, **fields})


def a_run_action() -> actions_pb2.Action:
    return actions_pb2.Action(run_action=actions_pb2.RunAction(path="/bin/app", user="vcap"))


def a_desired_message(process_guid: str = KEY.process_guid, **fields: Any) -> desired_lrp_pb2.DesiredLRP:
    """A message that is valid."""
    message = desired_lrp_pb2.DesiredLRP(
        **{
            "process_guid": process_guid,
            "domain": KEY.domain,
            "root_fs": "preloaded:cflinuxfs4",
            "instances": 1,
            "action": a_run_action(),
            "memory_mb": 128,
            "disk_mb": 256,
            "log_guid": "log",
            **fields,
        }
    )
    if "metric_tags" not in fields:
        message.metric_tags["source_id"].static = "source"
    return message


def a_desired_lrp(process_guid: str = KEY.process_guid, **fields: Any) -> DesiredLRP:
    message = a_desired_message(process_guid, **fields)
    message.modification_tag.epoch = "desired-epoch"
    return DesiredLRP.of(message, NOW - MINUTE)


def with_internal_routes(*hostnames: str, **fields: Any) -> DesiredLRP:
    entries = ",".join(f'{{"hostname":"{hostname}"}}' for hostname in hostnames)
    routes = desired_lrp_pb2.ProtoRoutes(routes={"internal-router": f"[{entries}]".encode()})
    return a_desired_lrp(routes=routes, **fields)


def a_definition(**fields: Any) -> task_pb2.TaskDefinition:
    return task_pb2.TaskDefinition(
        **{
            "root_fs": "preloaded:cflinuxfs4",
            "action": a_run_action(),
            "memory_mb": 64,
            "disk_mb": 64,
            **fields,
        }
    )


def a_task(**fields: Any) -> Task:
    """A Pending task, a minute old; a Running one is on the cell `cell`."""
    defaults: dict[str, Any] = {
        "guid": "task",
        "domain": KEY.domain,
        "definition": a_definition().SerializeToString(deterministic=True),
        "created_at": NOW - MINUTE,
        "updated_at": NOW - MINUTE,
    }
    if fields.get("state") is TaskState.RUNNING:
        defaults["cell_id"] = "cell"
    if fields.get("state") in {TaskState.COMPLETED, TaskState.RESOLVING}:
        defaults["first_completed_at"] = NOW - MINUTE
    return Task(**{**defaults, **fields})


def an_lrp_key(index: int = 0) -> actual_lrp_pb2.ActualLRPKey:
    return actual_lrp_pb2.ActualLRPKey(process_guid=KEY.process_guid, index=index, domain=KEY.domain)


def an_instance_key(instance: Instance = HERE) -> actual_lrp_pb2.ActualLRPInstanceKey:
    return actual_lrp_pb2.ActualLRPInstanceKey(instance_guid=instance.instance_guid, cell_id=instance.cell_id)


def a_start_request(
    index: int = 0, instance: Instance = HERE, **fields: Any
) -> actual_lrp_requests_pb2.StartActualLRPRequest:
    return actual_lrp_requests_pb2.StartActualLRPRequest(
        actual_lrp_key=an_lrp_key(index),
        actual_lrp_instance_key=an_instance_key(instance),
        actual_lrp_net_info=actual_lrp_pb2.ActualLRPNetInfo(address="10.0.0.1"),
        **fields,
    )
