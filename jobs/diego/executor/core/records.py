"""The form in which a container is remembered on disk, so that it outlives the rep (ours.md section 3).

A record is a JSON object of the container, the journal of its steps, and the
cached downloads it holds. Messages of the BBS stand in it as their bytes.
"""

import base64
import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message

from diego.executor.core.containers import Addresses, Container, Outcome, PortMapping, State
from diego.executor.core.journal import Failure, Journal, Note
from diego.executor.core.requests import LogTarget, MetricsTarget, RunRequest
from diego.executor.core.resources import Demand
from diego.wire.actions_pb2 import Action
from diego.wire.cached_dependency_pb2 import CachedDependency
from diego.wire.check_definition_pb2 import CheckDefinition
from diego.wire.security_group_pb2 import SecurityGroupRule

VERSION = 1
M = TypeVar("M", bound=Message)


class BadRecord(ValueError):
    """A record that cannot be understood."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is remembered of one container. `dependencies` are names of cache entries it has mounted."""

    container: Container
    journal: Journal = field(default_factory=Journal)
    dependencies: tuple[str, ...] = ()


def encode(record: Record) -> bytes:
    container = record.container
    return json.dumps(
        {
            "version": VERSION,
            "guid": container.guid,
            "state": container.state.value,
            "demand": dataclasses.asdict(container.demand),
            "tags": dict(container.tags),
            "allocated_at": container.allocated_at,
            "request": _encode_request(container.request) if container.request else None,
            "addresses": dataclasses.asdict(container.addresses) if container.addresses else None,
            "outcome": dataclasses.asdict(container.outcome) if container.outcome else None,
            "stop_wanted": container.stop_wanted,
            "routable": container.routable,
            "internal_routes": list(container.internal_routes),
            "metric_tags": dict(container.metric_tags),
            "journal": {step: dataclasses.asdict(note) for step, note in record.journal.notes.items()},
            "dependencies": list(record.dependencies),
        }
    ).encode()


def decode(text: bytes) -> Record:
    """The record in `text`.

    Raises:
        BadRecord: it is damaged, or of a version that this rep does not know.
    """
    try:
        found = json.loads(text)
        if found["version"] != VERSION:
            raise BadRecord(f"version {found['version']} of a container's record")
        return Record(
            container=_decode_container(found),
            journal=Journal({step: _decode_note(note) for step, note in found["journal"].items()}),
            dependencies=tuple(found["dependencies"]),
        )
    except (KeyError, TypeError, AttributeError, ValueError, DecodeError) as error:
        raise BadRecord(f"{type(error).__name__}: {error}") from error


def _decode_container(found: dict[str, Any]) -> Container:
    return Container(
        guid=found["guid"],
        demand=Demand(**found["demand"]),
        tags=found["tags"],
        allocated_at=found["allocated_at"],
        state=State(found["state"]),
        request=_decode_request(found["request"]) if found["request"] else None,
        addresses=_decode_addresses(found["addresses"]) if found["addresses"] else None,
        outcome=Outcome(**found["outcome"]) if found["outcome"] else None,
        stop_wanted=found["stop_wanted"],
        routable=found["routable"],
        internal_routes=tuple(found["internal_routes"]),
        metric_tags=found["metric_tags"],
    )


def _decode_addresses(found: dict[str, Any]) -> Addresses:
    ports = tuple(PortMapping(**port) for port in found["ports"])
    return Addresses(found["external_ip"], found["internal_ip"], ports, found["internal_ipv6"])


def _decode_note(found: dict[str, Any]) -> Note:
    failure = Failure(**found["failure"]) if found["failure"] else None
    return Note(found["begun_at"], found["started"], found["done"], failure)


def _encode_request(request: RunRequest) -> dict[str, Any]:
    return {
        "guid": request.guid,
        "rootfs": request.rootfs,
        "action": _bytes(request.action),
        "setup": _bytes(request.setup),
        "monitor": _bytes(request.monitor),
        "check_definition": _bytes(request.check_definition),
        "env": [list(pair) for pair in request.env],
        "ports": list(request.ports),
        "log": {**dataclasses.asdict(request.log), "tags": dict(request.log.tags)},
        "metrics": dataclasses.asdict(request.metrics),
        "cpu_weight": request.cpu_weight,
        "privileged": request.privileged,
        "start_timeout_ms": request.start_timeout_ms,
        "cached_dependencies": [_bytes(dependency) for dependency in request.cached_dependencies],
        "egress_rules": [_bytes(rule) for rule in request.egress_rules],
        "network_properties": dict(request.network_properties),
        "trusted_certificates_path": request.trusted_certificates_path,
        "image_username": request.image_username,
        "image_password": request.image_password,
        "internal_routes": list(request.internal_routes),
        "log_bytes_per_second": request.log_bytes_per_second,
        "result_file": request.result_file,
    }


def _decode_request(found: dict[str, Any]) -> RunRequest:
    action = _message(Action, found["action"])
    if action is None:
        raise BadRecord("a run request without an action")
    return RunRequest(
        guid=found["guid"],
        rootfs=found["rootfs"],
        action=action,
        setup=_message(Action, found["setup"]),
        monitor=_message(Action, found["monitor"]),
        check_definition=_message(CheckDefinition, found["check_definition"]),
        env=tuple((name, value) for name, value in found["env"]),
        ports=tuple(found["ports"]),
        log=LogTarget(**found["log"]),
        metrics=MetricsTarget(**found["metrics"]),
        cpu_weight=found["cpu_weight"],
        privileged=found["privileged"],
        start_timeout_ms=found["start_timeout_ms"],
        cached_dependencies=_messages(CachedDependency, found["cached_dependencies"]),
        egress_rules=_messages(SecurityGroupRule, found["egress_rules"]),
        network_properties=found["network_properties"],
        trusted_certificates_path=found["trusted_certificates_path"],
        image_username=found["image_username"],
        image_password=found["image_password"],
        internal_routes=tuple(found["internal_routes"]),
        log_bytes_per_second=found["log_bytes_per_second"],
        result_file=found["result_file"],
    )


def _bytes(message: Message | None) -> str | None:
    return None if message is None else base64.b64encode(message.SerializeToString()).decode()


def _message(cls: type[M], text: str | None) -> M | None:
    if text is None:
        return None
    message = cls()
    message.ParseFromString(base64.b64decode(text))
    return message


def _messages(cls: type[M], texts: list[str]) -> tuple[M, ...]:
    return tuple(message for text in texts if (message := _message(cls, text)) is not None)
