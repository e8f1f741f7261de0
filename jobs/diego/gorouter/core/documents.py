"""The table as others read it: what nginx is given and gives back, and the listing for operators."""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from diego.gorouter.core.messages import Endpoint
from diego.gorouter.core.table import Pool


def pool_for_nginx(endpoints: Iterable[Endpoint]) -> str:
    """A pool as the Lua code decodes it: the endpoints in a settled order, and how to choose among them."""
    ordered = sorted(endpoints, key=lambda endpoint: endpoint.address)
    algorithms = [endpoint.algorithm for endpoint in ordered if endpoint.algorithm]
    document = {
        "algorithm": algorithms[-1] if algorithms else "round-robin",
        "endpoints": [
            {
                "address": endpoint.address,
                "app": endpoint.app,
                "id": endpoint.instance_id,
                "index": endpoint.instance_index,
                "zone": endpoint.availability_zone,
                "segment": endpoint.isolation_segment,
                "protocol": endpoint.protocol,
                "process": endpoint.tags.get("process_id", ""),
                "tags": dict(endpoint.tags),
            }
            for endpoint in ordered
        ],
    }
    return orjson.dumps(document).decode()


def endpoints_from_nginx(document: str) -> list[Endpoint]:
    """What `pool_for_nginx` wrote, read again."""
    read = orjson.loads(document)
    algorithm = read["algorithm"] if read["algorithm"] != "round-robin" else ""
    return [
        Endpoint(
            address=entry["address"],
            app=entry["app"],
            instance_id=entry["id"],
            instance_index=entry["index"],
            availability_zone=entry["zone"],
            isolation_segment=entry["segment"],
            protocol=entry["protocol"],
            algorithm=algorithm,
            tags=entry["tags"],
        )
        for entry in read["endpoints"]
    ]


def depth(uri: str) -> int:
    """How many path segments a route has: `host/a/b` has two."""
    return uri.count("/")


def depths(uris: Iterable[str]) -> dict[str, int]:
    """For each host, the number of path segments of its deepest route, so that nginx need not look deeper."""
    deepest: dict[str, int] = {}
    for uri in uris:
        host = uri.partition("/")[0]
        deepest[host] = max(deepest.get(host, 0), depth(uri))
    return deepest


def listing(pools: Mapping[str, Pool], now: float) -> dict[str, list[dict[str, Any]]]:
    """The body of `/routes` (contract/routing.md section 12)."""
    return {
        uri: [
            {
                "address": entry.endpoint.address,
                "availability_zone": entry.endpoint.availability_zone,
                "protocol": entry.endpoint.protocol,
                "tls": False,
                "ttl": max(0, round(entry.stale_after - (now - entry.heard))),
                "tags": dict(entry.endpoint.tags),
                **_given("route_service_url", entry.endpoint.route_service_url),
                **_given("isolation_segment", entry.endpoint.isolation_segment),
                **_given("private_instance_id", entry.endpoint.instance_id),
                **_given("load_balancing_algorithm", entry.endpoint.algorithm),
            }
            for entry in pool.values()
        ]
        for uri, pool in pools.items()
    }


def _given(name: str, value: str) -> dict[str, str]:
    return {name: value} if value else {}
