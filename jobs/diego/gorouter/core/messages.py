"""What route emitters say on the bus: `router.register` and `router.unregister` (contract/routing.md sections 4, 8)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

MAX_URIS = 1000
ALGORITHMS = ("round-robin", "least-connection")


class BadMessage(ValueError):
    """The message cannot be understood; the text names the field."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An instance of an app at an address. `address` is `host:port`, its identity in a pool."""

    address: str
    app: str = ""
    instance_id: str = ""
    instance_index: str = ""
    availability_zone: str = ""
    isolation_segment: str = ""
    protocol: str = "http1"
    route_service_url: str = ""
    algorithm: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RouteMessage:
    """One endpoint and the routes it serves, or serves no more. `stale_after` is in seconds, 0 when not said."""

    uris: tuple[str, ...]
    endpoint: Endpoint
    stale_after: float = 0.0


def parse(data: bytes) -> RouteMessage:
    """Read a message of either subject; missing fields have their zero value.

    Raises:
        BadMessage: it is no JSON object, a field has the wrong type, there is no plain port to talk to, or the
            route service's URL is not `https`.
    """
    try:
        fields = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BadMessage(f"not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise BadMessage("not a JSON object")
    host, port = _text(fields, "host"), _number(fields, "port")
    if not host or any(character in host for character in " /\"'\\"):
        raise BadMessage(f"host: {host!r}")
    if not 0 < port < 65536:
        raise BadMessage(f"port: {port}: a plain port is needed")
    service = _text(fields, "route_service_url")
    if service and not service.startswith("https"):
        raise BadMessage(f"route_service_url: {service!r} is not https")
    uris = fields.get("uris") or []
    if not isinstance(uris, list) or not all(isinstance(uri, str) for uri in uris) or len(uris) > MAX_URIS:
        raise BadMessage("uris: not a list of texts")
    options = fields.get("options")
    algorithm = options.get("loadbalancing") if isinstance(options, dict) else ""
    endpoint = Endpoint(
        address=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        app=_text(fields, "app"),
        instance_id=_text(fields, "private_instance_id"),
        instance_index=_text(fields, "private_instance_index"),
        availability_zone=_text(fields, "availability_zone"),
        isolation_segment=_text(fields, "isolation_segment"),
        protocol=_text(fields, "protocol") or "http1",
        route_service_url=service,
        algorithm=algorithm if algorithm in ALGORITHMS else "",
        tags=_tags(fields),
    )
    return RouteMessage(
        tuple(filter(None, map(normal, uris))), endpoint, float(_number(fields, "stale_threshold_in_seconds"))
    )


def normal(uri: str) -> str:
    """The key of a route: lower case, without query and without a last slash."""
    return uri.partition("?")[0].rstrip("/").lower()


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadMessage(f"{name}: not a text")
    return value


def _number(fields: dict[str, Any], name: str) -> int:
    value = fields.get(name)
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadMessage(f"{name}: not a whole number")
    return value


def _tags(fields: dict[str, Any]) -> dict[str, str]:
    tags = fields.get("tags") or {}
    if not isinstance(tags, dict):
        raise BadMessage("tags: not an object")
    return {str(key): str(value) for key, value in tags.items()}
