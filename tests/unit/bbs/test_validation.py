"""contract/lifecycle.md section 12: findings, their words and their order."""

from typing import Any

import pytest

from diego.bbs.core import validation
from diego.models import BbsError
from diego.models.desired_lrp import wanted_metric_tags
from diego.wire import (
    actions_pb2,
    actual_lrp_pb2,
    actual_lrp_requests_pb2,
    cached_dependency_pb2,
    check_definition_pb2,
    desired_lrp_pb2,
    environment_variables_pb2,
    image_layer_pb2,
    log_rate_limit_pb2,
    metric_tags_pb2,
    security_group_pb2,
    sidecar_pb2,
    task_pb2,
    volume_mount_pb2,
)
from support.records import a_definition, a_desired_message, a_run_action

Action: Any = actions_pb2.Action
"""Any: protobuf takes a dict for a message, its stubs do not."""

Rule = security_group_pb2.SecurityGroupRule
Layer = image_layer_pb2.ImageLayer


def said(findings: list[str]) -> str:
    return ", ".join(findings)


def of_desired(**fields: Any) -> str:
    return said(validation.desired_lrp(a_desired_message(**fields)))


def test_a_valid_desired_lrp_has_no_findings() -> None:
    assert of_desired() == ""


@pytest.mark.parametrize(
    ("fields", "findings"),
    [
        ({"domain": ""}, "Invalid field: domain, Invalid field: domain"),
        ({"process_guid": ""}, "Invalid field: process_guid"),
        ({"process_guid": "a b/c"}, "Invalid field: process_guid"),
        ({"process_guid": "guid\n"}, "Invalid field: process_guid"),
        ({"root_fs": ""}, "Invalid field: rootfs, Invalid field: rootfs"),
        ({"root_fs": "cflinuxfs4"}, "Invalid field: rootfs"),
        ({"root_fs": "docker:///a\x01"}, "Invalid field: rootfs"),
        ({"root_fs": "docker:///a%zz"}, "Invalid field: rootfs"),
        ({"instances": -1}, "Invalid field: instances"),
        ({"process_guid": "a-Z_0"}, ""),
        ({"memory_mb": -1}, "Invalid field: memory_mb"),
        ({"disk_mb": -1}, "Invalid field: disk_mb"),
        ({"max_pids": -1}, "Invalid field: max_pids"),
        ({"annotation": "x" * 10240}, ""),
        ({"annotation": "x" * 10241}, "Invalid field: annotation"),
        ({"metric_tags": {}}, "Invalid field: metric_tags"),
        (
            {"metrics_guid": "other"},
            "Invalid field: metric_tags, Invalid field: source_id should match metrics_guid",
        ),
        ({"metrics_guid": "source"}, ""),
        ({"image_username": "u"}, "Invalid field: image_password"),
        ({"image_password": "p"}, "Invalid field: image_username"),
        (
            {"log_rate_limit": log_rate_limit_pb2.LogRateLimit(bytes_per_second=-2)},
            "Invalid field: log_rate_limit_bytes_per_second, Invalid field: log_rate_limit",
        ),
        ({"log_rate_limit": log_rate_limit_pb2.LogRateLimit(bytes_per_second=-1)}, ""),
        (
            {"environment_variables": [environment_variables_pb2.EnvironmentVariable(value="x")]},
            "invalid field: name cannot be blank",
        ),
        ({"action": Action()}, "Invalid field: action, Invalid field: inner-action"),
        ({"setup": Action()}, "Invalid field: setup, Invalid field: inner-action"),
        ({"monitor": Action()}, "Invalid field: monitor, Invalid field: inner-action"),
        (
            {"egress_rules": [Rule(protocol="all"), Rule(protocol="x", destinations=["1.2.3.4"])]},
            (
                "Invalid field: egress_rules, Invalid field: destinations [ Must have at least 1 destination ], "
                "Invalid field: egress_rules, Invalid field: protocol"
            ),
        ),
        (
            {"cached_dependencies": [{}]},
            "Invalid field: cached_dependency, Invalid field: from, Invalid field: to",
        ),
        (
            {"image_layers": [Layer(url="u", destination_path="/x", layer_type=Layer.SHARED)]},
            "Invalid field: image_layer, Invalid field: media_type",
        ),
        ({"volume_mounts": [{"mode": "x"}]}, "invalid volume_mount driver, invalid volume_mount mode"),
        (
            {"check_definition": {"checks": [{}]}},
            "Invalid field: check_definition, Invalid field: port",
        ),
        ({"sidecars": [sidecar_pb2.Sidecar()]}, "Invalid field: sidecars, invalid action type"),
        (
            {"sidecars": [sidecar_pb2.Sidecar(action=a_run_action(), memory_mb=-1, disk_mb=-1)]},
            "Invalid field: sidecars, Invalid field: memory_mb, Invalid field: disk_mb",
        ),
    ],
)
def test_each_field_of_a_desired_lrp(fields: dict[str, Any], findings: str) -> None:
    assert of_desired(**fields) == findings


def test_a_desired_lrp_without_action() -> None:
    message = a_desired_message()
    message.ClearField("action")

    assert said(validation.desired_lrp(message)) == "invalid action type"


def test_findings_come_in_the_originals_order() -> None:
    message = desired_lrp_pb2.DesiredLRP(
        instances=-1, memory_mb=-1, disk_mb=-1, max_pids=-1, annotation="x" * 10241
    )

    assert validation.desired_lrp(message) == [
        "Invalid field: domain",
        "Invalid field: rootfs",
        "Invalid field: rootfs",
        "Invalid field: instances",
        "Invalid field: memory_mb",
        "Invalid field: disk_mb",
        "Invalid field: annotation",
        "Invalid field: max_pids",
        "Invalid field: metric_tags",
        "Invalid field: domain",
        "Invalid field: process_guid",
        "invalid action type",
    ]


def test_findings_on_the_run_info_come_in_the_originals_order() -> None:
    exclusive = Layer(
        url="u", destination_path="/x", layer_type=Layer.EXCLUSIVE, media_type=Layer.TGZ,
        digest_algorithm=Layer.SHA256, digest_value="1",
    )  # fmt: skip
    message = a_desired_message(
        process_guid="",
        setup=Action(),
        action=Action(),
        monitor=Action(),
        environment_variables=[{"value": "x"}],
        egress_rules=[Rule(protocol="x", destinations=["1.2.3.4"])],
        cached_dependencies=[{"from": "u"}],
        image_layers=[exclusive],
        sidecars=[sidecar_pb2.Sidecar()],
        volume_mounts=[{"mode": "r"}],
        image_username="u",
        check_definition={"checks": [{}]},
        log_rate_limit={"bytes_per_second": -2},
    )

    assert validation.desired_lrp(message) == [
        "Invalid field: log_rate_limit_bytes_per_second",
        "Invalid field: process_guid",
        "Invalid field: setup",
        "Invalid field: inner-action",
        "Invalid field: action",
        "Invalid field: inner-action",
        "Invalid field: monitor",
        "Invalid field: inner-action",
        "invalid field: name cannot be blank",
        "Invalid field: egress_rules",
        "Invalid field: protocol",
        "Invalid field: cached_dependency",
        "Invalid field: to",
        "Invalid field: legacy_download_user",
        "Invalid field: sidecars",
        "invalid action type",
        "invalid volume_mount driver",
        "Invalid field: image_password",
        "Invalid field: check_definition",
        "Invalid field: port",
        "Invalid field: log_rate_limit",
    ]


def test_routes_and_mounted_files_are_limited_as_a_whole() -> None:
    message = a_desired_message()
    message.routes.routes["a"] = b"x" * 65536
    message.routes.routes["b"] = b"x" * 65536
    assert validation.desired_lrp(message) == []

    message.volume_mounted_files.add(path="p", content="x" * 1024 * 1024)
    assert validation.desired_lrp(message) == []

    message.routes.routes["b"] += b"x"
    message.volume_mounted_files.add(path="q", content="x")
    assert validation.desired_lrp(message) == [
        "Invalid field: volumeMountedFiles",
        "Invalid field: routes",
        "Invalid field: volumeMountedFiles",
    ]


@pytest.mark.parametrize(
    ("action", "findings"),
    [
        (Action(run_action={"user": "u"}), "path"),
        (Action(run_action={"path": "/x"}), "user"),
        (Action(download_action={}), "from, to, user"),
        (Action(upload_action={}), "to, from, user"),
        (Action(timeout_action={"action": a_run_action()}), "timeout_ms"),
        (Action(timeout_action={"timeout_ms": 1}), "action"),
        (Action(timeout_action={"action": Action(), "timeout_ms": 1}), "inner-action"),
        (Action(timeout_action={"action": Action(), "timeout_ms": 0}), "inner-action, timeout_ms"),
        (Action(try_action={}), "action"),
        (Action(emit_progress_action={}), "action"),
        (Action(serial_action={}), "actions"),
        (Action(parallel_action={}), "actions"),
        (Action(codependent_action={}), "actions"),
        (
            Action(serial_action={"actions": [Action(), a_run_action(), Action()]}),
            "inner-action, inner-action",
        ),
        (Action(try_action={"action": Action(run_action={"user": "u"})}), "path"),
    ],
)
def test_each_kind_of_action(action: actions_pb2.Action, findings: str) -> None:
    assert validation.action(action) == [f"Invalid field: {name}" for name in findings.split(", ")]


@pytest.mark.parametrize(
    ("checksum", "findings"),
    [
        ({}, []),
        ({"checksum_algorithm": "SHA256", "checksum_value": "1"}, []),
        ({"checksum_value": "1"}, ["Invalid field: checksum algorithm"]),
        ({"checksum_algorithm": "md5"}, ["Invalid field: checksum value"]),
        ({"checksum_algorithm": "crc", "checksum_value": "1"}, ["Invalid field: invalid algorithm"]),
    ],
)
def test_a_checksum_needs_a_known_algorithm_and_a_value(
    checksum: dict[str, str], findings: list[str]
) -> None:
    action = Action(download_action={"from": "u", "to": "/x", "user": "u", **checksum})

    assert validation.action(action) == findings


@pytest.mark.parametrize(
    ("dependency", "findings"),
    [
        ({"from": "u", "to": "/x"}, []),
        ({}, ["from", "to"]),
        ({"from": "u", "to": "/x", "checksum_value": "1"}, ["checksum algorithm"]),
        ({"from": "u", "to": "/x", "checksum_algorithm": "md5"}, ["checksum value"]),
        ({"to": "/x", "checksum_algorithm": "crc", "checksum_value": "1"}, ["from", "invalid algorithm"]),
    ],
)
def test_each_fault_of_a_cached_dependency(dependency: dict[str, str], findings: list[str]) -> None:
    found = validation.cached_dependencies([cached_dependency_pb2.CachedDependency(**dependency)])

    assert found == [
        f"Invalid field: {name}" for name in (["cached_dependency", *findings] if findings else [])
    ]


def test_deep_actions_are_followed_to_their_end() -> None:
    action = Action(run_action={"user": "u"})
    for _ in range(40):
        action = Action(try_action={"action": action})

    assert validation.action(action) == ["Invalid field: path"]


@pytest.mark.parametrize(
    ("tag", "findings"),
    [
        ({"static": "x"}, ""),
        ({"dynamic": 1}, ""),
        ({"dynamic": 2}, ""),
        ({}, "Invalid field: static, Invalid field: dynamic"),
        ({"static": "x", "dynamic": 1}, "Invalid field: static, Invalid field: dynamic"),
        ({"dynamic": 7}, "Invalid field: static, Invalid field: dynamic"),
    ],
)
def test_a_metric_tag_is_static_or_dynamic(tag: dict[str, Any], findings: str) -> None:
    value = metric_tags_pb2.MetricTagValue(**tag)

    assert said(validation.metric_tags(wanted_metric_tags({"tag": value}), "")) == findings


PORTS: dict[str, Any] = {"destinations": ["1.2.3.4"], "ports": [80]}
RANGE: dict[str, Any] = {"destinations": ["1.2.3.4"], "port_range": {"start": 1, "end": 9}}
ICMP: dict[str, Any] = {"destinations": ["1.2.3.4"], "icmp_info": {"type": -1}}
ONLY: dict[str, Any] = {"destinations": ["1.2.3.4"]}


@pytest.mark.parametrize(
    ("rule", "findings"),
    [
        ({"protocol": "tcp", **PORTS}, ""),
        ({"protocol": "udp", **RANGE}, ""),
        ({"protocol": "tcp", **ONLY}, "Missing required field: ports or port_range"),
        ({"protocol": "tcp", **PORTS, **RANGE}, "Invalid: ports and port_range provided"),
        ({"protocol": "tcp", **ONLY, "port_range": {"start": 9, "end": 1}}, "Invalid field: port_range"),
        ({"protocol": "tcp", **ONLY, "port_range": {"end": 1}}, "Invalid field: port_range"),
        ({"protocol": "tcp", **ONLY, "port_range": {"start": 1}}, "Invalid field: port_range"),
        ({"protocol": "udp", **PORTS, **ICMP}, "Invalid field: icmp_info"),
        ({"protocol": "udp", **ONLY, "ports": [0]}, "Invalid field: ports"),
        ({"protocol": "tcp", **PORTS, **ICMP}, "Invalid field: icmp_info"),
        ({"protocol": "icmp", **ICMP}, ""),
        ({"protocol": "icmp", **ONLY}, "Invalid field: icmp_info"),
        ({"protocol": "icmpv6", **ONLY}, "Invalid field: icmpv6_info"),
        ({"protocol": "icmp", **PORTS, **RANGE, **ICMP}, "Invalid field: port_range, Invalid field: ports"),
        ({"protocol": "icmpv6", **PORTS, **ICMP}, "Invalid field: ports"),
        ({"protocol": "all", **ONLY}, ""),
        (
            {"protocol": "all", **PORTS, **RANGE, **ICMP},
            "Invalid field: port_range, Invalid field: ports, Invalid field: icmp_info",
        ),
        ({"protocol": "foo", **ONLY}, "Invalid field: protocol"),
        ({"protocol": "all"}, "Invalid field: destinations [ Must have at least 1 destination ]"),
    ],
)
def test_each_kind_of_egress_rule(rule: dict[str, Any], findings: str) -> None:
    assert said(validation.egress_rule(Rule(**rule))) == findings


@pytest.mark.parametrize(
    ("destination", "reason"),
    [
        ("1.2.3.4", ""),
        ("::1", ""),
        ("10.0.0.0/8", ""),
        ("fd00::/8", ""),
        ("1.2.3.4-1.2.3.9", ""),
        ("1.2.3.4,10.0.0.0/8", ""),
        ("nope", "Invalid IP"),
        ("01.2.3.4", "Invalid IP"),
        ("fe80::1%eth0", "Invalid IP"),
        ("1.2.3.4-nope", "Invalid IP"),
        ("1.2.3.4/33", "invalid CIDR address: 1.2.3.4/33"),
        ("1.2.3.4/", "invalid CIDR address: 1.2.3.4/"),
        ("nope/8", "invalid CIDR address: nope/8"),
    ],
)
def test_a_destination_is_an_address_a_network_or_a_range(destination: str, reason: str) -> None:
    findings = validation.egress_rule(Rule(protocol="all", destinations=[destination]))

    assert findings == ([f"Invalid field: destinations [ {reason} ]"] if reason else [])


@pytest.mark.parametrize(
    ("layer", "findings"),
    [
        (Layer(url="u", destination_path="/x", layer_type=Layer.SHARED, media_type=Layer.TGZ), ""),
        (Layer(), "url, destination_path, layer_type, media_type"),
        (
            Layer(url="u", destination_path="/x", layer_type=Layer.EXCLUSIVE, media_type=Layer.TGZ),
            "digest_algorithm, digest_value",
        ),
        (
            Layer(
                url="u",
                destination_path="/x",
                layer_type=Layer.SHARED,
                media_type=Layer.TGZ,
                digest_value="1",
            ),
            "digest_algorithm",
        ),
    ],
)
def test_each_kind_of_image_layer(layer: image_layer_pb2.ImageLayer, findings: str) -> None:
    expected = ["Invalid field: image_layer", *(f"Invalid field: {name}" for name in findings.split(", "))]

    assert validation.image_layers([layer], "user") == (expected if findings else [])


def test_a_digest_is_of_a_known_algorithm() -> None:
    layer = Layer(
        url="u", destination_path="/x", layer_type=Layer.SHARED, media_type=Layer.TGZ, digest_value="1"
    )
    layer.digest_algorithm = 9  # type: ignore[assignment]  # one that is none

    assert validation.image_layers([layer], "") == [
        "Invalid field: image_layer",
        "Invalid field: digest_algorithm",
    ]
    layer.digest_algorithm = Layer.SHA256
    layer.digest_value = ""
    assert validation.image_layers([layer], "") == [
        "Invalid field: image_layer",
        "Invalid field: digest_value",
    ]


def test_an_exclusive_layer_needs_somebody_to_download_it() -> None:
    layer = Layer(
        url="u", destination_path="/x", layer_type=Layer.EXCLUSIVE, media_type=Layer.TGZ,
        digest_algorithm=Layer.SHA256, digest_value="1",
    )  # fmt: skip

    assert validation.image_layers([layer], "") == ["Invalid field: legacy_download_user"]
    assert validation.image_layers([layer], "vcap") == []
    layer.layer_type = Layer.SHARED
    assert validation.image_layers([layer], "") == []


@pytest.mark.parametrize(
    ("mount", "findings"),
    [
        ({"mode": "r"}, "invalid volume_mount driver"),
        ({"driver": "d"}, "invalid volume_mount mode"),
        ({"driver": "d", "mode": "w"}, "invalid volume_mount mode"),
        ({"driver": "d", "mode": "rw", "shared": {}}, "invalid volume_mount volume id"),
        ({"driver": "d", "mode": "rw", "dedicated": {}}, "invalid volume_mount mounter id"),
        ({"driver": "d", "mode": "rw", "shared": {"volume_id": "v"}}, ""),
        ({"driver": "d", "mode": "r", "dedicated": {"mounter_id": "m"}}, ""),
    ],
)
def test_each_fault_of_a_volume_mount(mount: dict[str, Any], findings: str) -> None:
    assert said(validation.volume_mounts([volume_mount_pb2.VolumeMount(**mount)])) == findings


@pytest.mark.parametrize(
    ("check", "findings"),
    [
        ({"tcp_check": {"port": 1}}, []),
        ({"http_check": {"port": 65535}}, []),
        ({}, ["Invalid field: port"]),
        ({"tcp_check": {}}, ["Invalid field: port"]),
        ({"http_check": {"port": 65536}}, ["Invalid field: port"]),
        ({"tcp_check": {"port": 1}, "http_check": {"port": 1}}, ["Invalid field: check"]),
    ],
)
def test_a_check_is_of_one_kind_and_has_a_port(check: dict[str, Any], findings: list[str]) -> None:
    definition: Any = check_definition_pb2.CheckDefinition
    assert validation.checks(definition(checks=[check])) == findings
    assert validation.checks(definition(readiness_checks=[check])) == findings


def test_each_field_of_a_task() -> None:
    def found(**fields: Any) -> str:
        return said(validation.task("guid", "domain", a_definition(**fields)))

    assert found() == ""
    assert found(root_fs="") == "Invalid field: rootfs"
    assert found(action=Action()) == "Invalid field: action, Invalid field: inner-action"
    assert found(memory_mb=-1, disk_mb=-1) == "Invalid field: memory_mb, Invalid field: disk_mb"
    assert found(max_pids=-1) == "Invalid field: max_pids"
    assert found(annotation="x" * 10241) == "Invalid field: annotation"
    assert found(root_fs="cflinuxfs4") == "Invalid field: rootfs"
    assert found(log_rate_limit={"bytes_per_second": -2}) == "Invalid field: log_rate_limit"
    assert found(egress_rules=[Rule(protocol="x")]) == "Invalid field: egress_rules"
    assert found(image_username="u") == "Invalid field: image_password"
    assert found(image_password="p") == "Invalid field: image_username"
    assert found(cached_dependencies=[{"to": "/x"}]) == (
        "Invalid field: cached_dependency, Invalid field: from"
    )
    assert found(image_layers=[Layer(url="u", destination_path="/x", layer_type=Layer.SHARED)]) == (
        "Invalid field: image_layer, Invalid field: media_type"
    )
    assert said(validation.task("a b", "", None)) == (
        "Invalid field: task_guid, Invalid field: domain, Invalid field: task_definition"
    )


def test_findings_on_a_task_come_in_the_originals_order() -> None:
    definition = task_pb2.TaskDefinition(
        memory_mb=-1,
        disk_mb=-1,
        log_rate_limit=log_rate_limit_pb2.LogRateLimit(bytes_per_second=-2),
        max_pids=-1,
        annotation="x" * 10241,
        egress_rules=[Rule(protocol="x"), Rule(protocol="y")],
        image_username="u",
        cached_dependencies=[cached_dependency_pb2.CachedDependency(to="/x")],
        image_layers=[Layer(url="u", destination_path="/x", layer_type=Layer.SHARED)],
    )

    assert said(validation.task_definition(definition)) == (
        "Invalid field: rootfs, invalid action type, Invalid field: memory_mb, Invalid field: disk_mb, "
        "Invalid field: log_rate_limit, Invalid field: max_pids, Invalid field: annotation, "
        "Invalid field: egress_rules, Invalid field: egress_rules, Invalid field: image_password, "
        "Invalid field: cached_dependency, Invalid field: from, "
        "Invalid field: image_layer, Invalid field: media_type"
    )


def test_findings_on_an_update_come_in_the_originals_order() -> None:
    change: Any = desired_lrp_pb2.DesiredLRPUpdate
    wrong = change(
        instances=-1,
        annotation="x" * 10241,
        routes={"routes": {"a": b"x" * 131073}},
        metric_tags={"a": {}},
        image_username="u",
    )

    assert said(validation.update("", wrong)) == (
        "Invalid field: process_guid, Invalid field: instances, Invalid field: annotation, Invalid field: routes, "
        "Invalid field: metric_tags, Invalid field: static, Invalid field: dynamic, Invalid field: image_password"
    )


def test_each_field_of_an_update() -> None:
    def found(process_guid: str = "guid", **fields: Any) -> str:
        return said(validation.update(process_guid, desired_lrp_pb2.DesiredLRPUpdate(**fields)))

    assert found() == ""
    assert found("") == "Invalid field: process_guid"
    assert found(instances=-1) == "Invalid field: instances"
    assert found(annotation="x" * 10241) == "Invalid field: annotation"
    assert found(image_username="u") == "Invalid field: image_password"
    assert found(image_password="p") == "Invalid field: image_username"
    assert found(metric_tags={"a": {}}) == (
        "Invalid field: metric_tags, Invalid field: static, Invalid field: dynamic"
    )


def test_keys_of_instances() -> None:
    start: Any = actual_lrp_requests_pb2.StartActualLRPRequest

    assert validation.request_lrp_key(start()) == ["Invalid field: actual_lrp_key"]
    assert validation.request_instance_key(start()) == ["Invalid field: actual_lrp_instance_key"]
    assert validation.request_net_info(start()) == ["Invalid field: actual_lrp_net_info"]
    assert validation.lrp_key(actual_lrp_pb2.ActualLRPKey(index=-1)) == [
        "Invalid field: process_guid",
        "Invalid field: index",
        "Invalid field: domain",
    ]
    assert validation.instance_key(actual_lrp_pb2.ActualLRPInstanceKey()) == [
        "Invalid field: cell_id",
        "Invalid field: instance_guid",
    ]
    assert validation.request_net_info(start(actual_lrp_net_info={})) == ["Invalid field: address"]


def test_all_findings_are_told_at_once() -> None:
    with pytest.raises(BbsError, match=r"^one, two$"):
        validation.refuse(["one", "two"])
    validation.refuse([])
