"""The control job's configuration."""

from dataclasses import dataclass, field
from pathlib import Path

from diego.runtime.config import Duration


@dataclass(frozen=True)
class GorouterConfig:
    """Where the bus and nginx are, and how long a route lives without news. Defaults are the deployed values."""

    index: int
    """The router's number in its group, part of its id on the bus."""
    address: str
    """The host's own address, told to route emitters."""
    nats_addresses: list[str]
    """`host:port` of each server of the bus."""
    nats_username: str = ""
    nats_password: str = ""
    nats_ca_file: Path | None = None
    nats_cert_file: Path | None = None
    nats_key_file: Path | None = None
    """All three, or none for a bus without TLS."""

    status_address: str = field(default="127.0.0.1:8082", metadata={"kind": "address"})
    routes_address: str = field(default="127.0.0.1:8083", metadata={"kind": "address"})
    nginx_socket: Path = Path("/var/vcap/sys/run/gorouter/nginx.sock")
    nginx_pid_file: Path = Path("/var/vcap/sys/run/gorouter/nginx.pid")

    start_response_delay_interval: Duration = 5.0
    """How long route emitters may take to say what they have before a router that knows nothing begins to serve.

    They take up to their jitter of the registration interval, a fifth of it.
    """
    requested_route_registration_interval: Duration = 20.0
    droplet_stale_threshold: Duration = 120.0
    prune_stale_droplets_interval: Duration = 30.0

    access_log: Path = Path("/var/vcap/sys/log/gorouter/access.log")
    access_log_max_bytes: int = 20_000_000
    access_log_backups: int = 5

    log_level: str = "info"
    time_format: str = "unix-epoch"

    def check(self) -> list[str]:
        faults = []
        if not self.nats_addresses:
            faults.append("nats_addresses: at least one is needed")
        tls = [self.nats_ca_file, self.nats_cert_file, self.nats_key_file]
        if any(tls) and not all(tls):
            faults.append("nats_ca_file, nats_cert_file, nats_key_file: all of them, or none")
        if self.start_response_delay_interval >= self.droplet_stale_threshold:
            faults.append(
                "start_response_delay_interval: not below droplet_stale_threshold: "
                "routes would be forgotten before they are served"
            )
        if self.access_log_max_bytes < 1_000_000:
            faults.append("access_log_max_bytes: at least 1000000")
        if self.access_log_backups < 1:
            faults.append("access_log_backups: at least 1")
        return faults
