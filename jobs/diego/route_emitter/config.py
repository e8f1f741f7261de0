"""The route emitter's configuration: the original's keys (contract/routing.md section 2)."""

from dataclasses import dataclass, field
from pathlib import Path

from diego.runtime.config import Duration


@dataclass(frozen=True)
class RouteEmitterConfig:
    """Defaults are the deployed values."""

    bbs_address: str
    """The BBS's URL."""
    bbs_ca_cert_file: Path
    bbs_client_cert_file: Path
    bbs_client_key_file: Path
    nats_addresses: str
    """`host:port` of the bus's servers, with commas between."""

    cell_id: str = ""
    """The cell whose instances are emitted; empty: all cells', by the emitter that holds the lock."""
    nats_username: str = ""
    nats_password: str = ""
    nats_tls_enabled: bool = False
    nats_ca_cert_file: Path | None = None
    nats_client_cert_file: Path | None = None
    nats_client_key_file: Path | None = None

    sync_interval: Duration = 60.0
    communication_timeout: Duration = 30.0
    jitter_factor: float = 0.2
    unregistration_interval: Duration = 30.0
    unregistration_send_count: int = 20
    register_direct_instance_routes: bool = False

    locket_address: str = ""
    locket_ca_cert_file: Path | None = None
    locket_client_cert_file: Path | None = None
    locket_client_key_file: Path | None = None
    uuid: str = ""
    """Owner of the lock in global mode."""

    healthcheck_address: str = field(default="127.0.0.1:17011", metadata={"kind": "address"})
    debug_address: str = field(default="127.0.0.1:17009", metadata={"kind": "address"})
    log_level: str = "info"
    time_format: str = "unix-epoch"

    def check(self) -> list[str]:
        faults = []
        if not all(":" in address for address in self.bus_addresses):
            faults.append(f"nats_addresses: not host:port with commas between: {self.nats_addresses!r}")
        if self.nats_tls_enabled and not (
            self.nats_ca_cert_file and self.nats_client_cert_file and self.nats_client_key_file
        ):
            faults.append("nats_ca_cert_file, nats_client_cert_file, nats_client_key_file: needed with TLS")
        if not 0 <= self.jitter_factor <= 1:
            faults.append(f"jitter_factor: not between 0 and 1: {self.jitter_factor}")
        if self.unregistration_send_count < 1:
            faults.append("unregistration_send_count: at least 1")
        if not self.cell_id and not (
            self.locket_address
            and self.uuid
            and self.locket_ca_cert_file
            and self.locket_client_cert_file
            and self.locket_client_key_file
        ):
            faults.append("cell_id: empty needs locket_address, its three certificate files, and uuid")
        return faults

    @property
    def bus_addresses(self) -> list[str]:
        return [address.strip() for address in self.nats_addresses.split(",")]
