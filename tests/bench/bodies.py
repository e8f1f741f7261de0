"""What is sent: requests of the size and shape of a buildpack app's, with a process guid of fixed length in its place."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from diego.wire.actual_lrp_pb2 import ActualLRPInstanceKey, ActualLRPKey, ActualLRPNetInfo, PortMapping
from diego.wire.actual_lrp_requests_pb2 import (
    ClaimActualLRPRequest,
    RemoveActualLRPRequest,
    StartActualLRPRequest,
)
from diego.wire.desired_lrp_pb2 import DesiredLRP, DesiredLRPUpdate
from diego.wire.desired_lrp_requests_pb2 import (
    DesiredLRPByProcessGuidRequest,
    DesireLRPRequest,
    RemoveDesiredLRPRequest,
    UpdateDesiredLRPRequest,
)
from diego.wire.gojson import from_go
from diego.wire.task_pb2 import TaskDefinition
from diego.wire.task_requests_pb2 import (
    CompleteTaskRequest,
    DesireTaskRequest,
    StartTaskRequest,
    TaskGuidRequest,
)

GUID_LENGTH = 73
PLACE = "G" * GUID_LENGTH
DOMAIN = "load"
CELLS = 20
TAGS = (
    "source_id",
    "app_id",
    "app_name",
    "organization_id",
    "organization_name",
    "process_id",
    "process_type",
    "space_id",
    "space_name",
)

Call = tuple[str, bytes]
"""A path and a body."""


def guid(prefix: str, number: int) -> str:
    """A process or task guid of the fixed length."""
    return f"{prefix}-{number}-".ljust(GUID_LENGTH, "0")


def cell_of(number: int) -> str:
    return f"load-cell-{number % CELLS}"


def instance_guid(number: int) -> str:
    return f"{number:08d}-aaaa-bbbb-cccc-ddddeeee"


def _rules() -> list[dict[str, Any]]:
    open_ranges = ("0.0.0.0-9.255.255.255", "11.0.0.0-169.253.255.255", "169.255.0.0-172.15.255.255")
    rules: list[dict[str, Any]] = [{"protocol": "all", "destinations": [each]} for each in open_ranges]
    return rules + [
        {"protocol": each, "destinations": ["0.0.0.0/0"], "ports": [53]} for each in ("tcp", "udp")
    ]


def _run(path: str, args: list[str], **more: Any) -> dict[str, Any]:
    return {"run": {"path": path, "args": args, "user": "vcap", "resource_limits": {"nofile": 16384}, **more}}


@cache
def _desire() -> bytes:
    application = {
        "name": "VCAP_APPLICATION",
        "value": '{"application_id": "11111111-2222-3333-4444-555555555555", "application_name": "app", '
        '"application_uris": ["app.example.test"], "limits": {"fds": 16384}, '
        f'"organization_id": "{"o" * 36}", "space_id": "{"s" * 36}", "uris": ["app.example.test"]}}',
    }
    ports = [{"name": name, "value": "8080"} for name in ("PORT", "VCAP_APP_PORT")]
    download = {
        "from": f"https://cc.example.test:9024/internal/v4/droplets/{'a' * 36}/{'b' * 40}/download",
        "to": ".",
        "cache_key": "droplets-" + "c" * 73,
        "user": "vcap",
        "checksum_algorithm": "sha256",
        "checksum_value": "d" * 64,
    }
    app = _run(
        "/tmp/lifecycle/launcher",
        ["app", "", '{"start_command":"bundle exec rackup config.ru -p $PORT"}'],
        env=[application, *ports],
        dir="/home/vcap",
    )
    sshd = _run(
        "/tmp/lifecycle/diego-sshd",
        ["-address=0.0.0.0:2222", f"-hostKey={'k' * 900}", f"-authorizedKey={'p' * 220}", "-logLevel=fatal"],
        env=[application, ports[0]],
        suppress_log_output=True,
    )
    check = _run("/tmp/lifecycle/healthcheck", ["-port=8080", "-timeout=1s"], suppress_log_output=True)
    names = ("app.example.test", "www.example.test")
    lrp = {
        "process_guid": PLACE,
        "domain": DOMAIN,
        "rootfs": "preloaded:cflinuxfs4",
        "instances": 1,
        "env": [{"name": "LANG", "value": "en_US.UTF-8"}],
        "setup": {"serial": {"actions": [{"download": download}]}},
        "action": {"codependent": {"actions": [app, sshd]}},
        "monitor": {"timeout": {"timeout_ms": 600000, "action": {"parallel": {"actions": [check]}}}},
        "start_timeout_ms": 60000,
        "disk_mb": 1024,
        "memory_mb": 256,
        "cpu_weight": 25,
        "ports": [8080, 2222],
        "routes": {
            "cf-router": [{"hostnames": [name], "port": 8080, "protocol": "http1"} for name in names],
            "diego-ssh": {"container_port": 2222, "private_key": "r" * 887, "host_fingerprint": "f" * 43},
        },
        "log_source": "CELL",
        "log_guid": "l" * 36,
        "annotation": "1700000000.123",
        "egress_rules": _rules(),
        "cached_dependencies": [
            {
                "from": "https://files.example.test:8443/buildpack_app_lifecycle/buildpack_app_lifecycle.tgz",
                "to": "/tmp/lifecycle",
                "cache_key": "buildpack-cflinuxfs4-lifecycle",
            }
        ],
        "legacy_download_user": "vcap",
        "trusted_system_certificates_path": "/etc/cf-system-certificates",
        "network": {"properties": {"app_id": "a" * 36, "org_id": "o" * 36, "space_id": "s" * 36}},
        "max_pids": 1024,
        "certificate_properties": {"organizational_unit": [f"organization:{'o' * 36}", f"app:{'a' * 36}"]},
        "check_definition": {"checks": [{"tcp_check": {"port": 8080}}], "log_source": "HEALTH"},
        "metric_tags": {
            **{tag: {"static": f"{tag}-value-0123456789"} for tag in TAGS},
            "instance_id": {"dynamic": "INDEX"},
            "process_instance_id": {"dynamic": "INSTANCE_GUID"},
        },
    }
    return DesireLRPRequest(desired_lrp=from_go(DesiredLRP, lrp, unknown_keys=False)).SerializeToString()


@cache
def _desire_task() -> bytes:
    definition = {
        "rootfs": "preloaded:cflinuxfs4",
        "action": _run("/bin/sh", ["-c", "echo hi > /tmp/result"]),
        "disk_mb": 1024,
        "memory_mb": 256,
        "log_source": "TASK",
        "log_guid": "l" * 36,
        "result_file": "/tmp/result",
        "egress_rules": _rules(),
        "max_pids": 1024,
    }
    request = DesireTaskRequest(
        task_guid=PLACE,
        domain=DOMAIN,
        task_definition=from_go(TaskDefinition, definition, unknown_keys=False),
    )
    return request.SerializeToString()


def _put(template: bytes, name: str) -> bytes:
    return template.replace(PLACE.encode(), name.encode())


def desire(prefix: str, number: int) -> list[Call]:
    return [("/v1/desired_lrp/desire.r2", _put(_desire(), guid(prefix, number)))]


def remove(prefix: str, number: int) -> list[Call]:
    request = RemoveDesiredLRPRequest(process_guid=guid(prefix, number))
    return [("/v1/desired_lrp/remove", request.SerializeToString())]


def annotate(prefix: str, number: int, text: str) -> Call:
    """Change an LRP's annotation."""
    update = UpdateDesiredLRPRequest(
        process_guid=guid(prefix, number), update=DesiredLRPUpdate(annotation=text)
    )
    return "/v1/desired_lrp/update", update.SerializeToString()


def get(prefix: str, number: int) -> list[Call]:
    request = DesiredLRPByProcessGuidRequest(process_guid=guid(prefix, number))
    return [("/v1/desired_lrps/get_by_process_guid.r3", request.SerializeToString())]


def claim_and_start(prefix: str, number: int) -> list[Call]:
    """What a cell says of an instance that it starts; with the tags that the DesiredLRP asks for."""
    name = guid(prefix, number)
    instance = ActualLRPInstanceKey(instance_guid=instance_guid(number), cell_id=cell_of(number))
    claim = ClaimActualLRPRequest(process_guid=name, actual_lrp_instance_key=instance)
    port = PortMapping(
        container_port=8080,
        host_port=40000 + number % 20000,
        container_tls_proxy_port=61001,
        host_tls_proxy_port=40001 + number % 20000,
    )
    start = StartActualLRPRequest(
        actual_lrp_key=ActualLRPKey(process_guid=name, domain=DOMAIN),
        actual_lrp_instance_key=instance,
        actual_lrp_net_info=ActualLRPNetInfo(
            address="10.0.16.10",
            ports=[port],
            instance_address=f"10.255.{number // 250 % 250}.{number % 250}",
            preferred_address=ActualLRPNetInfo.HOST,
        ),
        metric_tags={
            **{tag: f"{tag}-value-0123456789" for tag in TAGS},
            "instance_id": "0",
            "process_instance_id": instance.instance_guid,
        },
        Routable=True,
        availability_zone="z1",
    )
    return [
        ("/v1/actual_lrps/claim", claim.SerializeToString()),
        ("/v1/actual_lrps/start.r1", start.SerializeToString()),
    ]


def remove_actual(prefix: str, number: int) -> list[Call]:
    """What a cell says when the container is gone."""
    instance = ActualLRPInstanceKey(instance_guid=instance_guid(number), cell_id=cell_of(number))
    request = RemoveActualLRPRequest(process_guid=guid(prefix, number), actual_lrp_instance_key=instance)
    return [("/v1/actual_lrps/remove", request.SerializeToString())]


def task(prefix: str, number: int) -> list[Call]:
    """A task's whole life."""
    name = guid(prefix, number)
    named = TaskGuidRequest(task_guid=name).SerializeToString()
    complete = CompleteTaskRequest(task_guid=name, cell_id="load-cell-0", result="ok")
    return [
        ("/v1/tasks/desire.r2", _put(_desire_task(), name)),
        ("/v1/tasks/start", StartTaskRequest(task_guid=name, cell_id="load-cell-0").SerializeToString()),
        ("/v1/tasks/complete", complete.SerializeToString()),
        ("/v1/tasks/resolving", named),
        ("/v1/tasks/delete", named),
    ]


def ping(prefix: str, number: int) -> list[Call]:
    return [("/v1/ping", b"")]


LISTS = {
    "desired LRPs": "/v1/desired_lrps/list.r3",
    "scheduling infos": "/v1/desired_lrp_scheduling_infos/list",
    "actual LRPs": "/v1/actual_lrps/list",
}

CYCLES = {
    "desire": desire,
    "remove": remove,
    "get": get,
    "claim+start": claim_and_start,
    "remove actual": remove_actual,
    "task": task,
    "ping": ping,
}


def calls(cycle: str, prefix: str, first: int, count: int) -> Iterator[list[Call]]:
    """The calls of each round of a cycle; a list, named "list KIND", is one call."""
    if cycle.startswith("list "):
        return iter([[(LISTS[cycle.removeprefix("list ")], b"")]] * count)
    make = CYCLES[cycle]
    return (make(prefix, number) for number in range(first, first + count))
