"""Egress rules of a definition as rules of the container engine (contract/executor.md section 8)."""

import ipaddress
from collections.abc import Iterable
from typing import Any

from diego.wire.security_group_pb2 import SecurityGroupRule

PROTOCOLS = {"all": 0, "tcp": 1, "udp": 2, "icmp": 3, "icmpv6": 4}


class BadRule(ValueError):
    """An egress rule that cannot be expressed; it fails the container's creation."""


def net_out_rules(rules: Iterable[SecurityGroupRule]) -> list[dict[str, Any]]:
    """One engine rule per destination, in the order of the definition.

    Raises:
        BadRule: a rule names no known protocol, no destination, or ports where there are none.
    """
    return [engine_rule for rule in rules for engine_rule in _engine_rules(rule)]


def _engine_rules(rule: SecurityGroupRule) -> list[dict[str, Any]]:
    if rule.protocol not in PROTOCOLS:
        raise BadRule(f"unknown protocol: {rule.protocol}")
    common: dict[str, Any] = {"protocol": PROTOCOLS[rule.protocol]}
    ports = _ports(rule)
    if rule.protocol in {"tcp", "udp"}:
        if not ports:
            raise BadRule(f"{rule.protocol} rule needs either ports or a port range")
        common["ports"] = ports
    elif ports:
        raise BadRule(f"{rule.protocol} rule cannot have ports")
    common |= _icmp(rule)
    if rule.log:
        common["log"] = True
    destinations = [part.strip() for text in rule.destinations for part in text.split(",")]
    if not destinations:
        raise BadRule("rule has no destination")
    return [{**common, "networks": [_range(destination)]} for destination in destinations]


def _ports(rule: SecurityGroupRule) -> list[dict[str, int]]:
    if rule.ports and rule.HasField("port_range"):
        raise BadRule("rule has both ports and a port range")
    if rule.HasField("port_range"):
        return [{"start": rule.port_range.start, "end": rule.port_range.end}]
    return [{"start": port, "end": port} for port in rule.ports]


def _icmp(rule: SecurityGroupRule) -> dict[str, Any]:
    wanted = rule.protocol in {"icmp", "icmpv6"}
    if wanted != rule.HasField("icmp_info"):
        raise BadRule(f"{rule.protocol} rule {'needs' if wanted else 'cannot have'} ICMP information")
    if not wanted:
        return {}
    icmp: dict[str, int] = {"code": rule.icmp_info.code & 0xFF}
    if rule.icmp_info.type:
        icmp["type"] = rule.icmp_info.type
    return {"icmps": icmp}


def _range(destination: str) -> dict[str, str]:
    try:
        if "-" in destination:
            start, end = (ipaddress.ip_address(part.strip()) for part in destination.split("-", 1))
            return {"start": str(start), "end": str(end)}
        network = ipaddress.ip_network(destination, strict=False)
    except ValueError:
        raise BadRule(f"not an address, network or range: {destination}") from None
    return {"start": str(network[0]), "end": str(network[-1])}
