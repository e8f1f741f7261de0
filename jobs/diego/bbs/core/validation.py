"""What makes a request invalid: the findings, in the original's order and words (contract/lifecycle.md section 12).

Each function gives a list of findings; an empty list is a valid message. The caller joins them with ", ".
A part inside another (an action, an egress rule) is named first by its own field, then by its details.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Literal, Protocol

from diego.bbs.core.urls import has_scheme
from diego.models import BbsError
from diego.models.desired_lrp import MetricTag, wanted_metric_tags
from diego.wire import (
    actions_pb2,
    actual_lrp_pb2,
    cached_dependency_pb2,
    check_definition_pb2,
    desired_lrp_pb2,
    environment_variables_pb2,
    file_pb2,
    image_layer_pb2,
    log_rate_limit_pb2,
    security_group_pb2,
    sidecar_pb2,
    task_pb2,
    volume_mount_pb2,
)

ANNOTATION_BYTES = 10 * 1024
ROUTES_BYTES = 128 * 1024
MOUNTED_FILES_BYTES = 1024 * 1024
PORT_MAX = 65535
NAME_CHARACTERS = 255
ROOTFS_CHARACTERS = 1024
TEXT_BYTES = 2**16 - 1
LONG_BYTES = 8 << 20
"""The long columns of one record together must fit one packet of the database."""

KNOWN_URLS = 256
KNOWN_URL_CHARACTERS = 256

GUID = re.compile(r"[a-zA-Z0-9_-]+")
CHECKSUMS = frozenset({"md5", "sha1", "sha256"})
NO_ACTION = "invalid action type"
BLANK_NAME = "invalid field: name cannot be blank"

Findings = list[str]


def field(name: str) -> str:
    """The usual finding."""
    return f"Invalid field: {name}"


def refuse(findings: Findings) -> None:
    """Raise InvalidRequest with all findings, if there are any."""
    if findings:
        raise BbsError.invalid_request(", ".join(findings))


def fits(*values: str, characters: int = NAME_CHARACTERS) -> None:
    """Refuse texts that no column takes; the original learns it from the database, without naming the field."""
    if any(len(value) > characters for value in values):
        raise BbsError.invalid_request()


def _missing(name: str, value: object) -> Findings:
    return [] if value else [field(name)]


# Actual LRPs


def lrp_key(key: actual_lrp_pb2.ActualLRPKey) -> Findings:
    findings = _missing("process_guid", key.process_guid)
    if key.index < 0:
        findings.append(field("index"))
    return findings + _missing("domain", key.domain)


def instance_key(key: actual_lrp_pb2.ActualLRPInstanceKey) -> Findings:
    return _missing("cell_id", key.cell_id) + _missing("instance_guid", key.instance_guid)


class _HasLrpKey(Protocol):
    @property
    def actual_lrp_key(self) -> actual_lrp_pb2.ActualLRPKey: ...
    def HasField(self, field_name: Literal["actual_lrp_key"]) -> bool: ...  # noqa: N802 (protobuf's own name)


class _HasInstanceKey(Protocol):
    @property
    def actual_lrp_instance_key(self) -> actual_lrp_pb2.ActualLRPInstanceKey: ...
    def HasField(self, field_name: Literal["actual_lrp_instance_key"]) -> bool: ...  # noqa: N802 (protobuf's own name)


class _HasNetInfo(Protocol):
    @property
    def actual_lrp_net_info(self) -> actual_lrp_pb2.ActualLRPNetInfo: ...
    def HasField(self, field_name: Literal["actual_lrp_net_info"]) -> bool: ...  # noqa: N802 (protobuf's own name)


def request_lrp_key(request: "_HasLrpKey") -> Findings:
    if not request.HasField("actual_lrp_key"):
        return [field("actual_lrp_key")]
    return lrp_key(request.actual_lrp_key)


def request_instance_key(request: "_HasInstanceKey") -> Findings:
    if not request.HasField("actual_lrp_instance_key"):
        return [field("actual_lrp_instance_key")]
    return instance_key(request.actual_lrp_instance_key)


def request_net_info(request: "_HasNetInfo") -> Findings:
    if not request.HasField("actual_lrp_net_info"):
        return [field("actual_lrp_net_info")]
    return _missing("address", request.actual_lrp_net_info.address)


def lrp_columns(*names: str, net_info: bytes, texts: Iterable[str] = ()) -> None:
    """Refuse what no column of an actual LRP takes."""
    fits(*names)
    if len(net_info) > LONG_BYTES or sum(map(len, texts)) > LONG_BYTES // 2:
        raise BbsError.invalid_request()


# Desired LRPs


def desired_lrp(lrp: desired_lrp_pb2.DesiredLRP, tags: Sequence[MetricTag] | None = None) -> Findings:
    """The findings on a whole desired LRP; the run info's come second, and name some fields again.

    `tags` are its metric tags, where the caller has them already.

    A desire is the dearest of all calls, so that what is not there is not asked about.
    """
    files = mounted_files(lrp.volume_mounted_files) if lrp.volume_mounted_files else []
    findings = list(files)
    if not lrp.domain:
        findings.append(field("domain"))
    if not lrp.root_fs:
        findings.append(field("rootfs"))
    findings += root_fs(lrp.root_fs)
    if lrp.instances < 0 or lrp.memory_mb < 0 or lrp.disk_mb < 0:
        findings += _not_negative(instances=lrp.instances, memory_mb=lrp.memory_mb, disk_mb=lrp.disk_mb)
    limited = lrp.HasField("log_rate_limit")
    if limited:
        findings += log_rate_limit(lrp.log_rate_limit, "log_rate_limit_bytes_per_second")
    findings += annotation(lrp.annotation)
    if lrp.max_pids < 0:
        findings.append(field("max_pids"))
    findings += routes(lrp.routes)
    if tags is None:
        tags = wanted_metric_tags(lrp.metric_tags)
    if tags:
        findings += named("metric_tags", metric_tags(tags, lrp.metrics_guid))
    else:
        findings.append(field("metric_tags"))
    if not lrp.domain:
        findings.append(field("domain"))
    findings += guid("process_guid", lrp.process_guid)
    findings += files
    findings += _run_info(lrp)
    if limited:
        findings += log_rate_limit(lrp.log_rate_limit, "log_rate_limit")
    return findings


def _run_info(lrp: desired_lrp_pb2.DesiredLRP) -> Findings:
    findings: Findings = []
    if lrp.HasField("setup"):
        findings += named("setup", action(lrp.setup))
    findings += named("action", action(lrp.action)) if lrp.HasField("action") else [NO_ACTION]
    if lrp.HasField("monitor"):
        findings += named("monitor", action(lrp.monitor))
    findings += environment(lrp.environment_variables)
    for rule in lrp.egress_rules:
        if found := egress_rule(rule):
            findings += named("egress_rules", found)
    if dependencies := lrp.cached_dependencies:
        findings += cached_dependencies(dependencies)
    if layers := lrp.image_layers:
        findings += image_layers(layers, lrp.legacy_download_user)
    for each in lrp.sidecars:
        findings += named("sidecars", sidecar(each))
    if mounts := lrp.volume_mounts:
        findings += volume_mounts(mounts)
    findings += image_credentials(lrp.image_username, lrp.image_password)
    if lrp.HasField("check_definition"):
        findings += named("check_definition", checks(lrp.check_definition))
    return findings


def desired_lrp_columns(lrp: desired_lrp_pb2.DesiredLRP) -> None:
    """Refuse what no column takes."""
    fits(lrp.process_guid, lrp.domain, lrp.log_guid)
    fits(lrp.root_fs, characters=ROOTFS_CHARACTERS)
    if sum(len(tag) + 4 for tag in lrp.PlacementTags) > TEXT_BYTES:
        raise BbsError.invalid_request()


def update(process_guid: str, change: desired_lrp_pb2.DesiredLRPUpdate) -> Findings:
    findings = _missing("process_guid", process_guid)
    findings += _not_negative(instances=change.instances)
    findings += annotation(change.annotation)
    findings += routes(change.routes)
    findings += named("metric_tags", metric_tags(wanted_metric_tags(change.metric_tags), ""))
    if change.HasField("image_username") and not change.HasField("image_password"):
        findings.append(field("image_password"))
    if change.HasField("image_password") and not change.HasField("image_username"):
        findings.append(field("image_username"))
    return findings


# Tasks


def task(task_guid: str, domain: str, definition: task_pb2.TaskDefinition | None) -> Findings:
    findings = guid("task_guid", task_guid) + _missing("domain", domain)
    if definition is None:
        return [*findings, field("task_definition")]
    return findings + task_definition(definition)


def task_definition(definition: task_pb2.TaskDefinition) -> Findings:
    findings = root_fs(definition.root_fs)
    findings += named("action", action(definition.action)) if definition.HasField("action") else [NO_ACTION]
    findings += _not_negative(memory_mb=definition.memory_mb, disk_mb=definition.disk_mb)
    if definition.HasField("log_rate_limit"):
        findings += log_rate_limit(definition.log_rate_limit, "log_rate_limit")
    findings += _not_negative(max_pids=definition.max_pids)
    findings += annotation(definition.annotation)
    findings += [field("egress_rules") for rule in definition.egress_rules if egress_rule(rule)]
    findings += image_credentials(definition.image_username, definition.image_password)
    findings += cached_dependencies(definition.cached_dependencies)
    return findings + image_layers(definition.image_layers, definition.legacy_download_user)


# Parts


def guid(name: str, value: str) -> Findings:
    return [] if GUID.fullmatch(value) else [field(name)]


def named(name: str, details: Findings) -> Findings:
    """The findings inside a part, preceded by the part's own."""
    return [field(name), *details] if details else []


def _not_negative(**values: int) -> Findings:
    return [field(name) for name, value in values.items() if value < 0]


def root_fs(value: str) -> Findings:
    """A root filesystem is a URL with a scheme; there are few of them."""
    asked = _is_known_url if len(value) <= KNOWN_URL_CHARACTERS else has_scheme
    return [] if asked(value) else [field("rootfs")]


_is_known_url = lru_cache(maxsize=KNOWN_URLS)(has_scheme)


def annotation(value: str) -> Findings:
    return [field("annotation")] if len(value.encode()) > ANNOTATION_BYTES else []


def routes(value: desired_lrp_pb2.ProtoRoutes) -> Findings:
    total = 0
    for text in value.routes.values():
        total += len(text)
    return [field("routes")] if total > ROUTES_BYTES else []


def mounted_files(files: Iterable[file_pb2.File]) -> Findings:
    total = sum(len(each.content.encode()) for each in files)
    return [field("volumeMountedFiles")] if total > MOUNTED_FILES_BYTES else []


def log_rate_limit(limit: log_rate_limit_pb2.LogRateLimit, name: str) -> Findings:
    return [field(name)] if limit.bytes_per_second < -1 else []


def image_credentials(username: str, password: str) -> Findings:
    if username and not password:
        return [field("image_password")]
    if password and not username:
        return [field("image_username")]
    return []


def metric_tags(tags: Iterable[MetricTag], metrics_guid: str) -> Findings:
    findings: Findings = []
    source = None
    for name, static, number in tags:
        dynamic = number == 1 or number == 2
        if bool(static) == dynamic or (number and not dynamic):
            findings += [field("static"), field("dynamic")]
        if name == "source_id":
            source = static
    if metrics_guid and source != metrics_guid:
        findings.append(field("source_id should match metrics_guid"))
    return findings


def environment(variables: Iterable[environment_variables_pb2.EnvironmentVariable]) -> Findings:
    return [BLANK_NAME for each in variables if not each.name]


def action(wrapper: actions_pb2.Action, depth: int = 0) -> Findings:
    """The findings on the action inside a wrapper; the first member that is set counts."""
    members = wrapper.ListFields()
    if members:
        descriptor, member = members[0]
        return _ACTIONS[descriptor.name](member, depth + 1)
    return [field("inner-action")]


def _download(each: actions_pb2.DownloadAction, _depth: int) -> Findings:
    findings = _checksum(each.checksum_algorithm, each.checksum_value)
    if getattr(each, "from") and each.to and each.user:
        return findings
    return (
        _missing("from", getattr(each, "from"))
        + _missing("to", each.to)
        + _missing("user", each.user)
        + findings
    )


def _upload(each: actions_pb2.UploadAction, _depth: int) -> Findings:
    return _missing("to", each.to) + _missing("from", getattr(each, "from")) + _missing("user", each.user)


def _run(each: actions_pb2.RunAction, _depth: int) -> Findings:
    if each.path and each.user:
        return []
    return _missing("path", each.path) + _missing("user", each.user)


def _timeout(each: actions_pb2.TimeoutAction, depth: int) -> Findings:
    findings = action(each.action, depth) if each.HasField("action") else [field("action")]
    if each.timeout_ms <= 0:
        findings.append(field("timeout_ms"))
    return findings


def _wrapping(each: actions_pb2.TryAction | actions_pb2.EmitProgressAction, depth: int) -> Findings:
    return action(each.action, depth) if each.HasField("action") else [field("action")]


def _several(
    each: actions_pb2.ParallelAction | actions_pb2.SerialAction | actions_pb2.CodependentAction, depth: int
) -> Findings:
    findings: Findings = []
    empty = True
    for inner in each.actions:
        empty = False
        findings += action(inner, depth)
    return [field("actions")] if empty else findings


_ACTIONS: dict[str, Callable[..., Findings]] = {
    "download_action": _download,
    "upload_action": _upload,
    "run_action": _run,
    "timeout_action": _timeout,
    "emit_progress_action": _wrapping,
    "try_action": _wrapping,
    "parallel_action": _several,
    "serial_action": _several,
    "codependent_action": _several,
}


def _checksum(algorithm: str, value: str) -> Findings:
    if value and not algorithm:
        return [field("checksum algorithm")]
    if algorithm and not value:
        return [field("checksum value")]
    if algorithm and algorithm.lower() not in CHECKSUMS:
        return [field("invalid algorithm")]
    return []


def cached_dependencies(dependencies: Iterable[cached_dependency_pb2.CachedDependency]) -> Findings:
    findings: Findings = []
    for each in dependencies:
        findings += named(
            "cached_dependency",
            _missing("from", getattr(each, "from"))
            + _missing("to", each.to)
            + _checksum(each.checksum_algorithm, each.checksum_value),
        )
    return findings


def image_layers(layers: Iterable[image_layer_pb2.ImageLayer], download_user: str) -> Findings:
    findings: Findings = []
    exclusive = False
    for each in layers:
        exclusive |= each.layer_type == image_layer_pb2.ImageLayer.EXCLUSIVE
        findings += named("image_layer", _layer(each))
    if exclusive and not download_user:
        findings.append(field("legacy_download_user"))
    return findings


def _layer(each: image_layer_pb2.ImageLayer) -> Findings:
    exclusive = each.layer_type == image_layer_pb2.ImageLayer.EXCLUSIVE
    findings = _missing("url", each.url) + _missing("destination_path", each.destination_path)
    if each.layer_type not in image_layer_pb2.ImageLayer.Type.values()[1:]:
        findings.append(field("layer_type"))
    if each.media_type not in image_layer_pb2.ImageLayer.MediaType.values()[1:]:
        findings.append(field("media_type"))
    if (each.digest_value or exclusive) and not each.digest_algorithm:
        findings.append(field("digest_algorithm"))
    if (each.digest_algorithm or exclusive) and not each.digest_value:
        findings.append(field("digest_value"))
    if each.digest_algorithm not in image_layer_pb2.ImageLayer.DigestAlgorithm.values():
        findings.append(field("digest_algorithm"))
    return findings


def sidecar(each: sidecar_pb2.Sidecar) -> Findings:
    findings = action(each.action) if each.HasField("action") else [NO_ACTION]
    return findings + _not_negative(memory_mb=each.memory_mb, disk_mb=each.disk_mb)


def volume_mounts(mounts: Iterable[volume_mount_pb2.VolumeMount]) -> Findings:
    findings: Findings = []
    for each in mounts:
        if not each.driver:
            findings.append("invalid volume_mount driver")
        if each.mode not in {"r", "rw"}:
            findings.append("invalid volume_mount mode")
        if each.HasField("shared") and not each.shared.volume_id:
            findings.append("invalid volume_mount volume id")
        if each.HasField("dedicated") and not each.dedicated.mounter_id:
            findings.append("invalid volume_mount mounter id")
    return findings


def checks(definition: check_definition_pb2.CheckDefinition) -> Findings:
    findings: Findings = []
    for each in chain(definition.checks, definition.readiness_checks):
        tcp, http = each.HasField("tcp_check"), each.HasField("http_check")
        if tcp and http:
            findings.append(field("check"))
            continue
        port = each.tcp_check.port if tcp else each.http_check.port
        if not 0 < port <= PORT_MAX:
            findings.append(field("port"))
    return findings


# Egress rules

KNOWN_RULES = 4096
KNOWN_RULE_BYTES = 1024


def egress_rule(rule: security_group_pb2.SecurityGroupRule) -> Findings:
    """The findings on one rule. Many apps have the same ones, so what was found on short ones is remembered."""
    encoded = rule.SerializeToString()
    if len(encoded) > KNOWN_RULE_BYTES:
        return _egress_rule(rule)
    found = _known_rule(encoded)
    return list(found) if found else []


@lru_cache(maxsize=KNOWN_RULES)
def _known_rule(encoded: bytes) -> tuple[str, ...]:
    return tuple(_egress_rule(security_group_pb2.SecurityGroupRule.FromString(encoded)))


def _egress_rule(rule: security_group_pb2.SecurityGroupRule) -> Findings:
    match rule.protocol:
        case "tcp" | "udp":
            findings = _ports(rule)
            if rule.HasField("icmp_info"):
                findings.append(field("icmp_info"))
        case "icmp" | "icmpv6":
            findings = [field("port_range")] if rule.HasField("port_range") else []
            findings += [field("ports")] if rule.ports else []
            findings += _missing(f"{rule.protocol}_info", rule.HasField("icmp_info"))
        case "all":
            findings = [field("port_range")] if rule.HasField("port_range") else []
            findings += [field("ports")] if rule.ports else []
            findings += [field("icmp_info")] if rule.HasField("icmp_info") else []
        case _:
            findings = [field("protocol")]
    return findings + _destinations(rule.destinations)


def _ports(rule: security_group_pb2.SecurityGroupRule) -> Findings:
    findings: Findings = []
    if not rule.HasField("port_range") and not rule.ports:
        findings.append("Missing required field: ports or port_range")
    if rule.HasField("port_range") and rule.ports:
        findings.append("Invalid: ports and port_range provided")
    if rule.HasField("port_range"):
        start, end = rule.port_range.start, rule.port_range.end
        if start < 1 or end < 1 or start > end:
            findings.append(field("port_range"))
    return findings + [field("ports") for port in rule.ports if port == 0]


def _destinations(destinations: Iterable[str]) -> Findings:
    parts = [part for text in destinations for part in text.split(",")]
    reasons = [reason for part in parts for reason in _destination(part)]
    if not parts:
        reasons = ["Must have at least 1 destination"]
    return [field(f"destinations [ {', '.join(reasons)} ]")] if reasons else []


def _destination(text: str) -> list[str]:
    divider = re.search("[-/]", text)
    if divider is None:
        return [] if _address(text) else ["Invalid IP"]
    if divider.group() == "-":
        ends = text[: divider.start()], text[divider.end() :]
        return [] if all(map(_address, ends)) else ["Invalid IP"]
    return [] if _network(text) else [f"invalid CIDR address: {text}"]


def _address(text: str) -> bool:
    """Whether it is an address in Go's eyes: no zone, no leading zeros."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def _network(text: str) -> bool:
    address, _, bits = text.partition("/")
    if not _address(address) or not re.fullmatch(r"0|[1-9][0-9]{0,2}", bits):
        return False
    return int(bits) <= (128 if ":" in address else 32)
