"""Routes and endpoints as the emitter reads them from the BBS's records (contract/routing.md section 1)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from diego.models.actual_lrp import ModificationTag
from diego.wire.actual_lrp_pb2 import ActualLRP, ActualLRPNetInfo
from diego.wire.desired_lrp_pb2 import DesiredLRP
from diego.wire.events_pb2 import ActualLRPInstanceChangedEvent
from diego.wire.metric_tags_pb2 import MetricTagValue

CF_ROUTER = "cf-router"
RUNNING = "RUNNING"


@dataclass(frozen=True, slots=True)
class Route:
    """One host name (perhaps with a path) on one container port."""

    hostname: str
    port: int
    route_service_url: str = ""
    isolation_segment: str = ""
    protocol: str = ""
    options: str = ""
    """JSON text, empty when there are none."""


@dataclass(frozen=True, slots=True)
class Process:
    """What a DesiredLRP says of its routes. `tags`: name to (static text, dynamic kind)."""

    process_guid: str
    domain: str
    log_guid: str
    instances: int
    tag: ModificationTag
    routes: tuple[Route, ...]
    tags: tuple[tuple[str, tuple[str, int]], ...] = ()


@dataclass(frozen=True, slots=True)
class PortMapping:
    container_port: int
    host_port: int
    container_tls_port: int = 0
    host_tls_port: int = 0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A running instance. Its identity is the instance guid with whether it is evacuating."""

    process_guid: str
    index: int
    domain: str
    instance_guid: str
    evacuating: bool
    host: str
    container_ip: str
    ports: tuple[PortMapping, ...]
    prefers_instance: bool | None
    """Whether to be called at the container's own address; None: not said."""
    tag: ModificationTag
    since: int
    availability_zone: str = ""

    @property
    def key(self) -> tuple[str, bool]:
        return self.instance_guid, self.evacuating


@dataclass(frozen=True, slots=True)
class Change:
    """An instance event read: what its record is like now, if it is to have an endpoint, and what it was."""

    endpoint: Endpoint
    runs: bool
    """Whether it runs and may be routed to."""
    ran: bool
    was_evacuating: bool = field(default=False)


def process_of(desired: DesiredLRP) -> Process:
    """The routes of a DesiredLRP or of a routing info; undecodable JSON means no routes of that kind."""
    return Process(
        desired.process_guid,
        desired.domain,
        desired.log_guid,
        desired.instances,
        ModificationTag(desired.modification_tag.epoch, desired.modification_tag.index),
        routes_of(desired.routes.routes),
        tuple(sorted((name, (value.static, value.dynamic)) for name, value in desired.metric_tags.items())),
    )


def routes_of(routes: Mapping[str, bytes]) -> tuple[Route, ...]:
    try:
        entries = orjson.loads(routes.get(CF_ROUTER, b"[]"))
    except orjson.JSONDecodeError:
        return ()
    if not isinstance(entries, list):
        return ()
    found: list[Route] = []
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("port"), int):
            return ()
        hostnames = entry.get("hostnames") or []
        if not isinstance(hostnames, list) or not all(isinstance(name, str) for name in hostnames):
            return ()
        options = entry.get("options")
        found += [
            Route(
                hostname,
                entry["port"],
                _text(entry, "route_service_url"),
                _text(entry, "isolation_segment"),
                _text(entry, "protocol"),
                orjson.dumps(options, option=orjson.OPT_SORT_KEYS).decode() if options else "",
            )
            for hostname in hostnames
        ]
    return tuple(found)


def endpoint_of(lrp: ActualLRP) -> Endpoint:
    return _endpoint(
        lrp.actual_lrp_key, lrp.actual_lrp_instance_key, lrp.actual_lrp_net_info, lrp, int(lrp.presence)
    )


def runs(lrp: ActualLRP) -> bool:
    """Whether the instance is an endpoint: it runs, and is routable or says nothing about it."""
    return lrp.state == RUNNING and (lrp.routable or not lrp.HasField("routable"))


def change_of(event: ActualLRPInstanceChangedEvent) -> Change:
    before, after = event.before, event.after
    info = after if after.state == RUNNING else before
    return Change(
        _endpoint(
            event.actual_lrp_key,
            event.actual_lrp_instance_key,
            info.actual_lrp_net_info,
            info,
            int(info.presence),
            ModificationTag(after.modification_tag.epoch, after.modification_tag.index),
        ),
        runs=after.state == RUNNING and (after.Routable or not after.HasField("Routable")),
        ran=before.state == RUNNING,
        was_evacuating=before.presence == ActualLRP.EVACUATING,
    )


def _endpoint(
    key: Any,
    instance: Any,
    net: ActualLRPNetInfo,
    info: Any,
    presence: int,
    tag: ModificationTag | None = None,
) -> Endpoint:
    prefers = {ActualLRPNetInfo.INSTANCE: True, ActualLRPNetInfo.HOST: False}.get(net.preferred_address)
    return Endpoint(
        key.process_guid,
        key.index,
        key.domain,
        instance.instance_guid,
        presence == ActualLRP.EVACUATING,
        net.address,
        net.instance_address,
        tuple(
            PortMapping(
                port.container_port, port.host_port, port.container_tls_proxy_port, port.host_tls_proxy_port
            )
            for port in net.ports
        ),
        prefers,
        tag or ModificationTag(info.modification_tag.epoch, info.modification_tag.index),
        info.since,
        info.availability_zone,
    )


def resolved(tags: tuple[tuple[str, tuple[str, int]], ...], endpoint: Endpoint) -> dict[str, str]:
    """Metric tags with what follows from the instance put in, and who sends the message."""
    values = {"component": "route-emitter"}
    for name, (static, dynamic) in tags:
        if dynamic == MetricTagValue.INDEX:
            values[name] = str(endpoint.index)
        elif dynamic == MetricTagValue.INSTANCE_GUID:
            values[name] = endpoint.instance_guid
        else:
            values[name] = static
    return values


def _text(entry: dict[str, Any], name: str) -> str:
    value = entry.get(name)
    return value if isinstance(value, str) else ""
