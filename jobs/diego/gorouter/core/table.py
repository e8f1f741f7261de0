"""The router's table: which endpoints serve a route, and when each was last heard of.

A *pool* is the endpoints of one route. An endpoint stays while it is registered again and again; one that was not
for the stale threshold is pruned, except while the bus is away, when nobody could have registered it
(contract/routing.md section 8). A pool without endpoints is no pool: its route is unknown at once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from diego.gorouter.core.messages import Endpoint, RouteMessage


@dataclass(frozen=True, slots=True)
class Registration:
    """An endpoint in a pool. `heard` is the time of its last registration, `stale_after` in seconds."""

    endpoint: Endpoint
    heard: float
    stale_after: float


Pool = dict[str, Registration]


class Table:
    """Routes and their pools. Every change answers with the routes whose pool is a different one now."""

    def __init__(self, stale_threshold: float) -> None:
        self._stale_threshold = stale_threshold
        self._pools: dict[str, Pool] = {}

    def __len__(self) -> int:
        return len(self._pools)

    @property
    def pools(self) -> Mapping[str, Pool]:
        return self._pools

    def endpoints(self, uri: str) -> list[Endpoint]:
        return [registration.endpoint for registration in self._pools.get(uri, {}).values()]

    def register(self, message: RouteMessage, now: float) -> set[str]:
        """Take note of an endpoint. An endpoint that moved to another instance replaces what had its address."""
        stale_after = self._stale_threshold
        if 0 < message.stale_after <= self._stale_threshold:
            stale_after = message.stale_after
        changed = set()
        for uri in message.uris:
            pool = self._pools.setdefault(uri, {})
            known = pool.get(message.endpoint.address)
            if known is None or known.endpoint != message.endpoint:
                changed.add(uri)
            pool[message.endpoint.address] = Registration(message.endpoint, now, stale_after)
        return changed

    def unregister(self, message: RouteMessage) -> set[str]:
        """Forget an endpoint. One that another instance has taken over meanwhile stays."""
        changed = set()
        for uri in message.uris:
            pool = self._pools.get(uri, {})
            known = pool.get(message.endpoint.address)
            if known is None or _another_instance(known.endpoint, message.endpoint):
                continue
            del pool[message.endpoint.address]
            changed.add(uri)
            if not pool:
                del self._pools[uri]
        return changed

    def prune(self, now: float) -> set[str]:
        """Forget the endpoints that were not heard of for too long."""
        changed = set()
        for uri, pool in list(self._pools.items()):
            stale = [address for address, entry in pool.items() if now - entry.heard > entry.stale_after]
            for address in stale:
                del pool[address]
            if stale:
                changed.add(uri)
            if not pool:
                del self._pools[uri]
        return changed

    def refresh(self, now: float) -> None:
        """Take every endpoint as heard of now: after an outage of the bus, none could have been."""
        for pool in self._pools.values():
            for address, entry in pool.items():
                pool[address] = replace(entry, heard=now)

    def adopt(self, pools: Mapping[str, Iterable[Endpoint]], now: float) -> None:
        """Begin with what nginx still serves, as if just heard of: this job was away, the routes were not."""
        for uri, endpoints in pools.items():
            known = self._pools.setdefault(uri, {})
            for endpoint in endpoints:
                known.setdefault(endpoint.address, Registration(endpoint, now, self._stale_threshold))
            if not known:
                del self._pools[uri]


def _another_instance(known: Endpoint, named: Endpoint) -> bool:
    return bool(named.instance_id and known.instance_id and named.instance_id != known.instance_id)
