"""Builders of stored records with something in every kind of column."""

from dataclasses import replace
from typing import Any

from diego.models import ActualLRP, ActualLRPState, DesiredLRP, ModificationTag, Presence, Task, TaskState
from diego.wire import actions_pb2, actual_lrp_pb2, desired_lrp_pb2, metric_tags_pb2, task_pb2

EPOCH = "5ba0c9f2-0c3f-4d0e-9d35-4a3c1f6d5a77"
NOW = 1_700_000_000_123_456_789


def a_desired_lrp(process_guid: str = "app-1", *, instances: int = 2, index: int = 0) -> DesiredLRP:
    """A desired LRP with something in every kind of column."""
    message = desired_lrp_pb2.DesiredLRP(
        process_guid=process_guid,
        domain="cf-apps",
        root_fs="preloaded:cflinuxfs4",
        instances=instances,
        memory_mb=256,
        disk_mb=1024,
        max_pids=100,
        log_guid=process_guid,
        log_source="APP",
        metrics_guid=process_guid,
        annotation="ändern ✓ \U0001f600",
        ports=[8080, 2222],
        privileged=False,
        cpu_weight=10,
        start_timeout_ms=60_000,
        PlacementTags=["isolated", "z/1"],
        update_strategy=desired_lrp_pb2.DesiredLRP.RECREATE,
        action=actions_pb2.Action(run_action=actions_pb2.RunAction(path="/bin/server", user="vcap")),
    )
    message.environment_variables.add(name="LANG", value="C")
    message.volume_mounts.add(driver="nfs", container_dir="/data", mode="rw")
    message.routes.routes["cf-router"] = b'[{"hostnames":["app.example.org"],"port":8080}]'
    message.routes.routes["internal-router"] = b'[{"hostname": "app.apps.internal"}]'
    message.metric_tags["source_id"].static = process_guid
    message.metric_tags["instance_id"].dynamic = metric_tags_pb2.MetricTagValue.INDEX
    message.modification_tag.epoch = EPOCH
    message.modification_tag.index = index
    return DesiredLRP.of(message, NOW)


def an_actual_lrp(process_guid: str = "app-1", index: int = 0, **changes: Any) -> ActualLRP:
    """A running instance."""
    net_info = actual_lrp_pb2.ActualLRPNetInfo(address="10.0.16.4", instance_address="10.255.0.2")
    net_info.ports.add(container_port=8080, host_port=61000, container_tls_proxy_port=61001)
    lrp = ActualLRP(
        process_guid=process_guid,
        index=index,
        domain="cf-apps",
        presence=Presence.ORDINARY,
        state=ActualLRPState.RUNNING,
        instance_guid="instance-1",
        cell_id="diego-cell-0",
        net_info=net_info.SerializeToString(deterministic=True),
        internal_routes=("app.apps.internal",),
        metric_tags={"source_id": process_guid},
        routable=True,
        availability_zone="z1",
        crash_count=1,
        crash_reason="ärger",
        placement_error="insufficient resources",
        since=NOW,
        tag=ModificationTag(EPOCH, 3),
    )
    return replace(lrp, **changes)


def a_task(guid: str = "task-1", **changes: Any) -> Task:
    """A completed task."""
    definition = task_pb2.TaskDefinition(root_fs="preloaded:cflinuxfs4", log_guid=guid, memory_mb=64)
    task = Task(
        guid=guid,
        domain="cf-tasks",
        definition=definition.SerializeToString(deterministic=True),
        created_at=NOW,
        updated_at=NOW + 1,
        first_completed_at=NOW + 2,
        state=TaskState.COMPLETED,
        cell_id="diego-cell-0",
        result="fertig ✓",
        failed=True,
        failure_reason="it failed",
        rejection_count=2,
        rejection_reason="no room",
    )
    return replace(task, **changes)
