"""The BBS's configuration: the original's keys (contract/config-and-metrics.md section 3), and few of ours."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from diego.bbs.core.convergence import SECOND, TaskLimits
from diego.bbs.measures import ROUTES
from diego.database import InvalidDataSource, Settings, parse_data_source
from diego.database.health import HealthCheck
from diego.runtime.config import Duration

GO_DEFAULT_TIMEOUT = 600.0
CONNECT_SECONDS = 5.0
OPERATION_SECONDS = 10.0
"""How long one operation on the database may take: shorter than the lock lives."""


@dataclass(frozen=True)
class RouteMetrics:
    """The routes, by the original's names, that have numbers of their own."""

    request_count: list[str] = field(default_factory=list)
    request_latency: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class AdvancedMetrics:
    """Whether there are numbers of single routes, and of which."""

    enabled: bool = False
    route_config: RouteMetrics = field(default_factory=RouteMetrics)

    @property
    def counted(self) -> list[str]:
        return self.route_config.request_count if self.enabled else []

    @property
    def timed(self) -> list[str]:
        return self.route_config.request_latency if self.enabled else []

    def check(self) -> list[str]:
        return [
            f"route_config.{key}: no such route: {name!r}"
            for key in ("request_count", "request_latency")
            for name in getattr(self.route_config, key)
            if name not in ROUTES
        ]


@dataclass(frozen=True)
class BbsConfig:
    """What the BBS reads at start. Keys that the original writes and nobody reads are accepted, without effect."""

    uuid: str
    ca_file: Path
    cert_file: Path
    key_file: Path
    database_connection_string: str
    active_key_label: str
    encryption_keys: dict[str, str]
    locket_address: str = field(metadata={"kind": "address"})
    locket_ca_cert_file: Path
    locket_client_cert_file: Path
    locket_client_key_file: Path
    auctioneer_address: str

    listen_address: str = field(default="0.0.0.0:8889", metadata={"kind": "address"})
    health_address: str = field(default="127.0.0.1:8890", metadata={"kind": "address"})
    debug_address: str = field(default="127.0.0.1:17017", metadata={"kind": "address"})
    log_level: str = "info"
    time_format: Literal["unix-epoch", "rfc3339"] = "unix-epoch"
    max_data_string_length: int = 640

    auctioneer_ca_cert: str = ""
    auctioneer_client_cert: str = ""
    auctioneer_client_key: str = ""
    auctioneer_require_tls: bool = False
    rep_ca_cert: str = ""
    rep_client_cert: str = ""
    rep_client_key: str = ""
    rep_require_tls: bool = True

    communication_timeout: Duration = 10.0
    lock_ttl: Duration = 15.0
    db_connection_timeout: Duration = GO_DEFAULT_TIMEOUT
    db_read_timeout: Duration = GO_DEFAULT_TIMEOUT
    db_write_timeout: Duration = GO_DEFAULT_TIMEOUT
    enable_db_health_check: bool = False
    health_check_interval: Duration = 10.0
    health_check_timeout: Duration = 5.0
    health_check_failure_threshold: int = 3

    max_task_retries: int = 3
    converge_repeat_interval: Duration = 30.0
    kick_task_duration: Duration = 30.0
    expire_pending_task_duration: Duration = 1800.0
    expire_completed_task_duration: Duration = 120.0

    history_max_age: Duration = 259200.0
    history_max_rows: int = 1_000_000
    comparison_interval: Duration = 600.0

    database_driver: Literal["mysql"] = "mysql"
    sql_ca_cert_file: str = ""
    sql_enable_identity_verification: bool = True

    session_name: str = "bbs"
    access_log_path: str = ""
    advertise_url: str = ""
    report_interval: Duration = 60.0
    advanced_metrics: AdvancedMetrics = field(default_factory=AdvancedMetrics)
    debug_lrp_start_heartbeats: bool = False
    lock_retry_interval: Duration = 5.0
    require_ssl: bool = True
    desired_lrp_creation_timeout: Duration = 60.0
    convergence_workers: int = 20
    update_workers: int = 1000
    task_callback_workers: int = 1000
    locks_locket_enabled: bool = True
    cell_registrations_locket_enabled: bool = True
    locket_client_keepalive_time: int = 10
    locket_client_keepalive_timeout: int = 22
    rep_client_session_cache_size: int = 0
    max_open_database_connections: int = 200
    max_idle_database_connections: int = 200
    max_database_connection_lifetime: Duration = 0.0
    loggregator: dict[str, Any] = field(default_factory=dict)

    def check(self) -> list[str]:
        faults = []
        if not self.uuid:
            faults.append("uuid: must not be empty")
        try:
            parse_data_source(self.database_connection_string)
        except InvalidDataSource as error:
            faults.append(f"database_connection_string: {error}")
        if self.active_key_label not in self.encryption_keys:
            faults.append("active_key_label: not among encryption_keys")
        faults += [
            f"encryption_keys: the label {label!r} is not 1 to 127 bytes long"
            for label in self.encryption_keys
            if not 1 <= len(label.encode()) <= 127
        ]
        if urlsplit(self.auctioneer_address).scheme not in {"http", "https"}:
            faults.append(f"auctioneer_address: not a URL of http or https: {self.auctioneer_address!r}")
        positive = (
            "communication_timeout",
            "lock_ttl",
            "report_interval",
            "converge_repeat_interval",
            "kick_task_duration",
            "expire_pending_task_duration",
            "expire_completed_task_duration",
            "db_connection_timeout",
            "db_read_timeout",
            "db_write_timeout",
        )
        faults += [f"{name}: must be positive" for name in positive if getattr(self, name) <= 0]
        not_negative = (
            "history_max_age",
            "history_max_rows",
            "comparison_interval",
            "max_database_connection_lifetime",
        )
        faults += [f"{name}: must not be negative" for name in not_negative if getattr(self, name) < 0]
        faults += self.health_check().faults()
        if self.max_task_retries < 0:
            faults.append("max_task_retries: must not be negative")
        for name in ("auctioneer", "rep"):
            given = [getattr(self, f"{name}_{part}") for part in ("ca_cert", "client_cert", "client_key")]
            if any(given) and not all(given):
                faults.append(f"{name}_ca_cert, {name}_client_cert, {name}_client_key: all three or none")
        return faults

    def database(self) -> Settings:
        """How to reach the database."""
        return Settings(
            source=parse_data_source(self.database_connection_string),
            ca_file=Path(self.sql_ca_cert_file) if self.sql_ca_cert_file else None,
            verify_identity=self.sql_enable_identity_verification,
            connect_timeout=min(self.db_connection_timeout, CONNECT_SECONDS),
            operation_timeout=min(self.db_read_timeout, self.db_write_timeout, OPERATION_SECONDS),
        )

    @property
    def keeps_history(self) -> bool:
        return self.history_max_age > 0 and self.history_max_rows > 0

    def health_check(self) -> HealthCheck:
        return HealthCheck(
            self.health_check_interval, self.health_check_timeout, self.health_check_failure_threshold
        )

    def task_limits(self) -> TaskLimits:
        return TaskLimits(
            kick=round(self.kick_task_duration * SECOND),
            expire_pending=round(self.expire_pending_task_duration * SECOND),
            expire_completed=round(self.expire_completed_task_duration * SECOND),
        )
