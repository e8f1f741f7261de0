"""What follows from processes and endpoints for the routers, and what changes when one of them does.

An *association* is a route of a process with an endpoint of it on the route's port: one message to the routers.
Its identity leaves out what does not matter to where a request goes (options, metric tags), so a change of
those alone says nothing at once; the periodic emission carries it (contract/routing.md section 3).

Records come by events and by whole looks in any order; modification tags decide which is newer, so that an old
one arriving late changes nothing.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from diego.route_emitter.core.routes import Endpoint, PortMapping, Process, Route, resolved

Association = tuple[str, str, str, str, str, str, int, int, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """Messages for `router.register` and `router.unregister`, by association."""

    register: dict[Association, bytes]
    unregister: dict[Association, bytes]

    def __bool__(self) -> bool:
        return bool(self.register or self.unregister)


NOTHING = Difference({}, {})


class Table:
    """The emitter's whole knowledge. Every change answers with the messages that it causes."""

    def __init__(self, *, direct: bool = False) -> None:
        self._direct = direct
        self._processes: dict[str, Process] = {}
        self._endpoints: dict[str, dict[tuple[str, bool], Endpoint]] = {}

    def knows(self, process_guid: str) -> bool:
        """Whether the process's routes are known; if not, they have to be asked for."""
        return process_guid in self._processes

    def endpoints(self) -> list[Endpoint]:
        return [endpoint for of_process in self._endpoints.values() for endpoint in of_process.values()]

    def everything(self) -> dict[Association, bytes]:
        """All registrations, for the periodic emission."""
        messages: dict[Association, bytes] = {}
        for process_guid in self._endpoints:
            messages |= self._messages(process_guid)
        return messages

    def collisions(self) -> int:
        """How many endpoints share their address with another."""
        seen: set[tuple[str, int]] = set()
        doubled = 0
        for endpoint in self.endpoints():
            for port in endpoint.ports:
                address = (endpoint.host, port.host_port)
                doubled += address in seen
                seen.add(address)
        return doubled

    def set_process(self, process: Process) -> Difference:
        """A DesiredLRP is there, or has changed."""
        known = self._processes.get(process.process_guid)
        if known and not process.tag.newer_than(known.tag):
            return NOTHING
        before = self._messages(process.process_guid)
        self._processes[process.process_guid] = process
        return self._difference(process.process_guid, before)

    def remove_process(self, process: Process) -> Difference:
        """A DesiredLRP is gone. One that is newer than the removed one stays."""
        known = self._processes.get(process.process_guid)
        if known is None or (known.tag != process.tag and not process.tag.newer_than(known.tag)):
            return NOTHING
        before = self._messages(process.process_guid)
        del self._processes[process.process_guid]
        return self._difference(process.process_guid, before)

    def add(self, endpoint: Endpoint) -> Difference:
        """An instance runs."""
        of_process = self._endpoints.setdefault(endpoint.process_guid, {})
        known = of_process.get(endpoint.key)
        if known and not endpoint.tag.newer_than(known.tag):
            return NOTHING
        before = self._messages(endpoint.process_guid)
        of_process[endpoint.key] = endpoint
        return difference(before, self._messages(endpoint.process_guid, new=endpoint.key))

    def remove(self, endpoint: Endpoint) -> Difference:
        """An instance runs no more, or may not be routed to."""
        of_process = self._endpoints.get(endpoint.process_guid, {})
        known = of_process.get(endpoint.key)
        if known is None or (known.tag != endpoint.tag and not endpoint.tag.newer_than(known.tag)):
            return NOTHING
        before = self._messages(endpoint.process_guid)
        del of_process[endpoint.key]
        if not of_process:
            del self._endpoints[endpoint.process_guid]
        return self._difference(endpoint.process_guid, before)

    def swap(
        self, processes: Iterable[Process], endpoints: Iterable[Endpoint], fresh: Collection[str]
    ) -> None:
        """Take over a whole look. Routes that it lacks are kept where the process's domain is not fresh."""
        new = {process.process_guid: process for process in processes}
        for guid, process in self._processes.items():
            if guid not in new and process.domain not in fresh:
                new[guid] = process
        self._processes = new
        self._endpoints = {}
        for endpoint in endpoints:
            self._endpoints.setdefault(endpoint.process_guid, {})[endpoint.key] = endpoint

    def _difference(self, process_guid: str, before: dict[Association, bytes]) -> Difference:
        return difference(before, self._messages(process_guid))

    def _messages(
        self, process_guid: str, *, new: tuple[str, bool] | None = None
    ) -> dict[Association, bytes]:
        process = self._processes.get(process_guid)
        if process is None:
            return {}
        messages: dict[Association, bytes] = {}
        for endpoint in self._endpoints.get(process_guid, {}).values():
            if endpoint.index >= process.instances:
                continue
            for route in process.routes:
                port = next((port for port in endpoint.ports if port.container_port == route.port), None)
                if port is None:
                    continue
                address = self._address(endpoint, port)
                association = (
                    route.hostname,
                    route.route_service_url,
                    route.isolation_segment,
                    process.log_guid,
                    route.protocol,
                    address[0],
                    address[1],
                    address[2],
                    endpoint.instance_guid,
                )
                messages[association] = _message(
                    process,
                    endpoint,
                    route,
                    address,
                    updated_at=endpoint.since if endpoint.key == new else 0,
                    options=not self._is_direct(endpoint),
                )
        return messages

    def _is_direct(self, endpoint: Endpoint) -> bool:
        return self._direct if endpoint.prefers_instance is None else endpoint.prefers_instance

    def _address(self, endpoint: Endpoint, port: PortMapping) -> tuple[str, int, int]:
        if self._is_direct(endpoint):
            return endpoint.container_ip, port.container_port, port.container_tls_port
        return endpoint.host, port.host_port, port.host_tls_port


def difference(before: dict[Association, bytes], after: dict[Association, bytes]) -> Difference:
    """What is to be said so that routers who know `before` know `after`."""
    return Difference(
        {key: message for key, message in after.items() if key not in before},
        {key: message for key, message in before.items() if key not in after},
    )


def _message(
    process: Process,
    endpoint: Endpoint,
    route: Route,
    address: tuple[str, int, int],
    *,
    updated_at: int,
    options: bool,
) -> bytes:
    """The fields of contract/routing.md section 4, empty ones left out where the original does."""
    host, port, tls_port = address
    fields: dict[str, Any] = {"host": host, "port": port}
    optional = {
        "tls_port": tls_port,
        "uris": [route.hostname],
        "protocol": route.protocol,
        "app": process.log_guid,
        "route_service_url": route.route_service_url,
        "private_instance_id": endpoint.instance_guid,
        "private_instance_index": str(endpoint.index),
        "server_cert_domain_san": endpoint.instance_guid,
        "isolation_segment": route.isolation_segment,
        "endpoint_updated_at_ns": updated_at,
        "tags": resolved(process.tags, endpoint),
        "availability_zone": endpoint.availability_zone,
        "options": orjson.loads(route.options) if route.options and options else None,
    }
    fields |= {name: value for name, value in optional.items() if value}
    return orjson.dumps(fields)
