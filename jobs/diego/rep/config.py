"""The rep's configuration: the original's keys, flat, with the executor's among them.

Key names, meanings and deployed values are those of contract/rep.md section 9,
contract/executor.md section 1 and contract/config-and-metrics.md section 6. The
defaults are the deployed values, so a role sets little more than who the cell
is, whom it calls, and its certificates.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from diego.executor.core.resources import BadCapacity, memory_capacity
from diego.runtime.config import Duration

_ADDRESS = {"kind": "address"}


@dataclass(frozen=True)
class RepConfig:
    """What the rep reads at start. MiB and bytes as the names say; intervals as Go texts."""

    # Who this cell is
    cell_id: str
    """Its name in the BBS: `diego-cell-0`."""
    cert_file: Path
    """Server and client certificate, with the IP SAN 127.0.0.1."""
    key_file: Path
    ca_cert_file: Path
    """Signs callers, the BBS, and Locket."""
    cell_index: int = 0
    zone: str = ""
    placement_tags: list[str] = field(default_factory=list)
    optional_placement_tags: list[str] = field(default_factory=list)
    preloaded_root_fs: list[str] = field(default_factory=list)
    """`name:path` of each stack; the path is a tar file on this cell."""
    supported_providers: list[str] = field(default_factory=lambda: ["docker"])
    """Schemes of root filesystems that this cell takes whatever follows them."""
    memory_mb: Any = "auto"
    """MiB that the cell offers, as a number or its text, or `auto`: what the engine says."""
    disk_mb: Any = "auto"
    auto_disk_capacity_overhead_mb: int = 0
    use_schedulable_disk_size: bool = False

    # Where it listens, and what it says of itself
    listen_addr: str = field(default="127.0.0.1:1800", metadata=_ADDRESS)
    """The admin listener: mutual TLS, `/ping` and `/evacuate`."""
    listen_addr_securable: str = field(default="0.0.0.0:1801", metadata=_ADDRESS)
    debug_address: str = field(default="127.0.0.1:17008", metadata=_ADDRESS)
    advertise_domain: str = "cell.service.cf.internal"
    advertise_preference_for_instance_address: bool = False

    # Whom it calls
    bbs_address: str = "https://bbs.service.cf.internal:8889"
    bbs_client_session_cache_size: int = 0
    bbs_max_idle_conns_per_host: int = 0
    communication_timeout: Duration = 10.0
    locket_address: str = field(default="locket.service.cf.internal:8891", metadata=_ADDRESS)
    locket_ca_cert_file: str = ""
    """Empty: `ca_cert_file`; the same for the next two and the rep's own certificate."""
    locket_client_cert_file: str = ""
    locket_client_key_file: str = ""
    locket_client_keepalive_time: int = 10
    locket_client_keepalive_timeout: int = 22
    lock_ttl: Duration = 15.0
    lock_retry_interval: Duration = 5.0

    # What it does again and again
    polling_interval: Duration = 30.0
    evacuation_polling_interval: Duration = 10.0
    evacuation_timeout: Duration = 600.0
    report_interval: Duration = 60.0

    # The container engine
    garden_network: Literal["unix", "tcp"] = "unix"
    garden_addr: str = "/var/vcap/data/garden/garden.sock"
    container_owner_name: str = "executor"
    healthcheck_container_owner_name: str = "executor-health-check"
    garden_healthcheck_interval: Duration = 600.0
    garden_healthcheck_timeout: Duration = 600.0
    garden_healthcheck_emission_interval: Duration = 30.0
    garden_healthcheck_command_retry_pause: Duration = 1.0
    garden_healthcheck_process_path: str = "/bin/sh"
    garden_healthcheck_process_args: list[str] = field(default_factory=lambda: ["-c", "ls > /tmp/test"])
    garden_healthcheck_process_user: str = "vcap"
    garden_healthcheck_process_env: list[str] = field(default_factory=list)
    garden_healthcheck_process_dir: str = ""

    # Containers
    container_max_cpu_shares: int = 1024
    set_cpu_weight: bool = False
    container_inode_limit: int = 200_000
    create_work_pool_size: int = 32
    delete_work_pool_size: int = 32
    read_work_pool_size: int = 64
    metrics_work_pool_size: int = 8
    healthcheck_work_pool_size: int = 64
    reserved_expiration_time: Duration = 60.0
    container_reap_interval: Duration = 60.0
    container_metrics_report_interval: Duration = 15.0
    graceful_shutdown_interval: Duration = 10.0
    envoy_config_reload_duration: Duration = 5.0
    """What a container's proxy may take to be told that its instance ends."""
    healthy_monitoring_interval: Duration = 30.0
    unhealthy_monitoring_interval: Duration = 2.0
    declarative_healthcheck_default_timeout: Duration = 1.0
    trusted_system_certificates_path: str = ""
    """A directory of the cell that containers see where their definition wants it."""
    max_log_lines_per_second: int = 0
    layering_mode: Literal["single-layer", "two-layer"] = "single-layer"
    enable_container_proxy: bool = False
    """Must be false: this cell has no container proxy yet, and says so at start."""
    enable_unproxied_port_mappings: bool = True
    proxy_memory_allocation_mb: int = 32

    # Downloads and uploads
    cache_path: Path = Path("/var/vcap/data/rep/download_cache")
    max_cache_size_in_bytes: int = 10_000_000_000
    max_concurrent_downloads: int = 5
    path_to_tls_cert: str = ""
    """Shown to asset servers. Empty: `cert_file`; the same for the next two."""
    path_to_tls_key: str = ""
    path_to_tls_ca_cert: str = ""
    path_to_ca_certs_for_downloads: str = ""
    """Further authorities for downloads alone."""
    skip_cert_verify: bool = False

    # Ours
    store_path: Path = Path("/var/vcap/store/rep")
    """What must outlive the process: the containers' records and the presence's owner."""
    app_log_path: Path = Path("/var/vcap/data/rep/app_logs")
    app_log_file_bytes: int = 1 << 20
    """Each instance has two such files at most."""
    app_log_files: int = 1000
    """Files of all instances; beyond, the oldest of dead instances go."""
    temporary_path: Path = Path("/var/vcap/data/rep/tmp")

    session_name: str = "rep"
    log_level: str = "info"
    time_format: Literal["unix-epoch", "rfc3339"] = "unix-epoch"
    max_data_string_length: int = 640
    loggregator: dict[str, Any] = field(default_factory=dict)
    """Where the log agent is, once there is one; not used yet."""

    def check(self) -> list[str]:
        """Faults that the types do not show; the rep's start is refused with any of them."""
        faults = [
            f"{name}: must be positive"
            for name in (
                "healthy_monitoring_interval",
                "unhealthy_monitoring_interval",
                "garden_healthcheck_interval",
                "declarative_healthcheck_default_timeout",
                "container_max_cpu_shares",
                "polling_interval",
                "evacuation_polling_interval",
                "evacuation_timeout",
                "reserved_expiration_time",
                "container_reap_interval",
                "container_metrics_report_interval",
                "communication_timeout",
                "lock_ttl",
                "create_work_pool_size",
                "delete_work_pool_size",
                "healthcheck_work_pool_size",
                "max_concurrent_downloads",
                "max_cache_size_in_bytes",
                "app_log_file_bytes",
                "app_log_files",
            )
            if getattr(self, name) <= 0
        ]
        if self.graceful_shutdown_interval < 10:
            faults.append("graceful_shutdown_interval: must be at least 10s")
        needed = ("cell_id", "garden_healthcheck_process_path", "garden_healthcheck_process_user")
        faults += [f"{name}: must not be empty" for name in needed if not getattr(self, name)]
        for entry in self.preloaded_root_fs:
            name, colon, path = entry.partition(":")
            if not (name and colon and path):
                faults.append(f"preloaded_root_fs: not of the form name:path: {entry!r}")
        faults += _capacity_faults("memory_mb", self.memory_mb, "memory")
        faults += _capacity_faults("disk_mb", self.disk_mb, "disk")
        if self.enable_container_proxy:
            faults.append("enable_container_proxy: this cell has no container proxy yet; it must be false")
        if self.layering_mode != "single-layer":
            faults.append("layering_mode: this cell knows single-layer only")
        return faults

    @property
    def stacks(self) -> dict[str, str]:
        """Path of the root filesystem of each preloaded stack, by name."""
        return {name: path for name, _, path in (one.partition(":") for one in self.preloaded_root_fs)}


def _capacity_faults(key: str, setting: object, what: str) -> list[str]:
    try:
        memory_capacity(str(setting), 1)
    except BadCapacity:
        return [f"{key}: {what} limit must be a positive number or 'auto'"]
    return []
