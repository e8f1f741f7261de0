"""Garden's configuration: the original's job properties where it has them (contract/garden.md section 10)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class HostServiceConfig:
    """Something on the host that containers may reach, besides the name servers."""

    address: str
    protocol: Literal["tcp", "udp"]
    port: int


@dataclass(frozen=True)
class GardenConfig:
    """Bytes and plain numbers, unless the name says otherwise."""

    listen_address: Path = Path("/var/vcap/data/garden/garden.sock")
    listen_group: str = "vcap"
    debug_listen_address: str = field(default="127.0.0.1:17019", metadata={"kind": "address"})
    keeper_socket: Path = Path("/var/vcap/sys/run/garden/keeper.sock")
    data_dir: Path = Path("/var/vcap/data/garden")
    """Containers' disks and unpacked images: not on an overlay file system."""
    runtime_plugin: str = "/usr/sbin/runc"
    runtime_root: Path = Path("/run/runc")
    init_bin: str = "/usr/bin/catatonit"
    cgroup_parent: str = "garden"

    default_container_rootfs: str = ""
    default_container_grace_time: int = 0
    """Nanoseconds; 0 is never."""
    max_containers: int = 250
    destroy_containers_on_start: bool = False
    cleanup_process_dirs_on_wait: bool = False
    """Whether a process's exit can be asked for once only."""

    network_pool: str = "10.255.0.0/24"
    """This cell's own: one address per container."""
    network_table: str = "garden"
    network_mtu: int = 0
    """0 is that of the interface that leads out."""
    external_ip: str = ""
    """Empty is the host's address towards the world."""
    port_pool_start: int = 61001
    port_pool_size: int = 4534
    allow_host_access: bool = False
    deny_networks: list[str] = field(default_factory=list)
    dns_servers: list[str] = field(default_factory=list)
    additional_dns_servers: list[str] = field(default_factory=list)
    additional_host_entries: list[str] = field(default_factory=list)
    host_services: list[HostServiceConfig] = field(default_factory=list)
    enable_container_network_metrics: bool = False

    uid_map_start: int = 100_000
    uid_map_size: int = 65_536
    no_new_privileges: bool = False
    default_nofile: int = 65_536
    disable_swap_limit: bool = False
    cpu_quota_per_share_in_us: int = 0
    cpu_entitlement_per_share_in_percent: float = 0.0
    """0 is the machine's cores over its memory in MiB."""
    unlimited_disk_bytes: int = 0
    """The disk of a container without a limit; 0 is as large as the file system that holds it."""
    reserved_space_for_other_jobs_in_mb: int = 15360

    log_level: Literal["debug", "info", "error", "fatal"] = "info"

    def check(self) -> list[str]:
        """Faults that no single field shows."""
        faults = self._network_faults()
        if self.port_pool_size < 1 or not 1 <= self.port_pool_start <= 65536 - self.port_pool_size:
            faults.append("port_pool_start, port_pool_size: not a range of ports")
        positive = ("max_containers", "uid_map_start", "uid_map_size", "default_nofile")
        faults += [f"{name}: must be positive" for name in positive if getattr(self, name) < 1]
        paths = ("listen_address", "keeper_socket", "data_dir", "runtime_root")
        faults += [f"{name}: must be absolute" for name in paths if not getattr(self, name).is_absolute()]
        return faults

    def _network_faults(self) -> list[str]:
        faults = []
        for name in ("network_pool", "deny_networks"):
            value = getattr(self, name)
            for network in value if isinstance(value, list) else [value]:
                try:
                    ipaddress.IPv4Network(network)
                except ValueError as error:
                    faults.append(f"{name}: {error}")
        for name in ("dns_servers", "additional_dns_servers"):
            for server in getattr(self, name):
                try:
                    ipaddress.IPv4Address(server)
                except ValueError as error:
                    faults.append(f"{name}: {error}")
        if not faults and ipaddress.IPv4Network(self.network_pool).num_addresses < 4:
            faults.append(f"network_pool: {self.network_pool} has no room for containers")
        return faults
