"""What the container engine is asked for: contract/executor.md section 3 and contract/garden.md section 4."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diego.executor.core.containers import Addresses, Container
from diego.executor.core.egress import net_out_rules
from diego.executor.core.requests import LogTarget, RunRequest
from diego.executor.core.resources import MEBIBYTE
from diego.executor.core.steps import Run

OWNER_PROPERTY = "executor:owner"
LOG_PROPERTY = "log_config"
PROXY_C2C_PORT = 61443
"""Never mapped to the host: the container networking's own port."""

TOTAL_SCOPE = 0


@dataclass(frozen=True, slots=True)
class BindMount:
    """A directory of the cell, read-only in the container."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What the cell's configuration adds to a request."""

    owner: str
    max_cpu_shares: int
    inode_limit: int
    set_cpu_weight: bool = False


def container_spec(
    container: Container,
    request: RunRequest,
    limits: Limits,
    *,
    rootfs_bytes: int,
    mounts: Sequence[BindMount],
) -> dict[str, Any]:
    """The ContainerSpec of a container.

    Args:
        container: whose demand counts.
        request: what it is to be.
        limits: the cell's part.
        rootfs_bytes: size of its root filesystem where known, on top of its disk demand.
        mounts: what it sees of the cell.

    Raises:
        BadRule: an egress rule cannot be expressed.
    """
    demand = container.demand
    disk: dict[str, int] = {"inode_hard": limits.inode_limit, "scope": TOTAL_SCOPE}
    if demand.disk_mb > 0:
        disk["byte_hard"] = demand.disk_mb * MEBIBYTE + rootfs_bytes
    cpu = {"limit_in_shares": limits.max_cpu_shares * request.cpu_weight // 100}
    if limits.set_cpu_weight:
        cpu["weight"] = demand.memory_mb
    image = {"uri": request.rootfs}
    if request.image_username:
        image |= {"username": request.image_username, "password": request.image_password}
    ports = dict.fromkeys(port for port in request.ports if port != PROXY_C2C_PORT)
    return {
        "handle": container.guid,
        "image": image,
        "privileged": request.privileged,
        "env": [f"{name}={value}" for name, value in request.env],
        "bind_mounts": [
            {"src_path": mount.source, "dst_path": mount.target, "mode": 0, "origin": 0} for mount in mounts
        ],
        "limits": {
            "memory_limits": {"limit_in_bytes": demand.memory_mb * MEBIBYTE} if demand.memory_mb > 0 else {},
            "disk_limits": disk,
            "pid_limits": {"max": demand.max_pids} if demand.max_pids > 0 else {},
            "cpu_limits": cpu,
        },
        "properties": {
            OWNER_PROPERTY: limits.owner,
            LOG_PROPERTY: log_property(request.log, request.log.tags),
            **{f"network.{name}": value for name, value in request.network_properties.items()},
        },
        "netin": [{"host_port": 0, "container_port": port} for port in ports],
        "netout_rules": net_out_rules(request.egress_rules),
    }


def log_property(log: LogTarget, tags: Mapping[str, str]) -> str:
    """The property by which others find whose log a container's output belongs to."""
    return json.dumps(
        {"guid": log.guid, "index": log.index, "source_name": log.source, "tags": dict(tags)},
        separators=(",", ":"),
    )


def process_spec(run: Run, identity: str, addresses: Addresses) -> dict[str, Any]:
    """The ProcessSpec of a run step; the network's variables come after the action's own and win."""
    spec: dict[str, Any] = {
        "id": identity,
        "path": run.path,
        "args": list(run.args),
        "dir": run.dir,
        "user": run.user,
        "env": [f"{name}={value}" for name, value in (*run.env, *network_env(addresses))],
    }
    if run.nofile is not None:
        spec["rlimits"] = {"nofile": run.nofile}
    return spec


def network_env(addresses: Addresses) -> tuple[tuple[str, str], ...]:
    """How a process learns where it is reached (contract/rep.md section 7.3)."""
    env = [
        ("CF_INSTANCE_IP", addresses.external_ip),
        ("CF_INSTANCE_INTERNAL_IP", addresses.internal_ip),
    ]
    if addresses.internal_ipv6:
        env.append(("CF_INSTANCE_INTERNAL_IPV6", addresses.internal_ipv6))
    if not addresses.ports:
        env += [("CF_INSTANCE_PORT", ""), ("CF_INSTANCE_ADDR", "")]
    elif first := addresses.ports[0].host_port:
        env += [("CF_INSTANCE_PORT", str(first)), ("CF_INSTANCE_ADDR", f"{addresses.external_ip}:{first}")]
    ports = [
        {"external": port.host_port, "internal": port.container_port}
        if port.host_port
        else {"internal": port.container_port}
        for port in addresses.ports
    ]
    env.append(("CF_INSTANCE_PORTS", json.dumps(ports, separators=(",", ":"))))
    return tuple(env)
