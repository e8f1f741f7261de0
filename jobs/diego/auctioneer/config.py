"""The auctioneer's configuration: the original's keys (contract/auction.md section 1)."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from diego.auctioneer.core.scoring import Policy
from diego.runtime.config import Duration


@dataclass(frozen=True)
class AuctioneerConfig:
    """What the auctioneer reads at start.

    Attributes:
        uuid: the instance's id, owner of the lock.
        rep_require_tls: false: cells whose `rep_url` is not https are asked by their `rep_address` in plain HTTP.
        lock_ttl, lock_retry_interval: read and unused, as in the original (15 s and 1 s are built in).
    """

    uuid: str
    bbs_address: str
    bbs_ca_cert_file: Path
    bbs_client_cert_file: Path
    bbs_client_key_file: Path
    locket_address: str = field(metadata={"kind": "address"})
    locket_ca_cert_file: Path
    locket_client_cert_file: Path
    locket_client_key_file: Path
    listen_address: str = field(default="0.0.0.0:9016", metadata={"kind": "address"})
    ca_cert_file: str = ""
    server_cert_file: str = ""
    server_key_file: str = ""
    debug_address: str = field(default="127.0.0.1:17001", metadata={"kind": "address"})
    rep_ca_cert: str = ""
    rep_client_cert: str = ""
    rep_client_key: str = ""
    rep_require_tls: bool = True
    rep_client_session_cache_size: int = 4096
    bbs_client_session_cache_size: int = 0
    bbs_max_idle_conns_per_host: int = 0
    auction_runner_workers: int = 1000
    communication_timeout: Duration = 10.0
    cell_state_timeout: Duration = 10.0
    starting_container_weight: float = 0.25
    starting_container_count_maximum: int = 0
    bin_pack_first_fit_weight: float = 0.0
    report_interval: Duration = 60.0
    locket_client_keepalive_time: int = 10
    locket_client_keepalive_timeout: int = 22
    lock_ttl: Duration = 15.0
    lock_retry_interval: Duration = 5.0
    log_level: str = "info"
    time_format: Literal["unix-epoch", "rfc3339"] = "unix-epoch"
    loggregator: dict[str, Any] = field(default_factory=dict)

    def check(self) -> list[str]:
        faults = [f"{name}: missing" for name in ("uuid", "bbs_address") if not getattr(self, name)]
        positive = ("auction_runner_workers", "communication_timeout", "cell_state_timeout")
        faults += [f"{name}: must be positive" for name in positive if getattr(self, name) <= 0]
        weights = ("starting_container_weight", "bin_pack_first_fit_weight")
        faults += [f"{name}: must not be negative" for name in weights if getattr(self, name) < 0]
        own = (self.ca_cert_file, self.server_cert_file, self.server_key_file)
        if any(own) and not all(own):
            faults.append("ca_cert_file, server_cert_file, server_key_file: all three or none")
        to_reps = (self.rep_ca_cert, self.rep_client_cert, self.rep_client_key)
        if not all(to_reps) and (self.rep_require_tls or any(to_reps)):
            faults.append("rep_ca_cert, rep_client_cert, rep_client_key: missing")
        return faults

    def policy(self) -> Policy:
        return Policy(
            starting_container_weight=self.starting_container_weight,
            bin_pack_first_fit_weight=self.bin_pack_first_fit_weight,
            starting_container_maximum=self.starting_container_count_maximum,
        )
