"""Locket's configuration: the original's keys (contract/config-and-metrics.md section 4)."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from diego.database import InvalidDataSource, Settings, parse_data_source
from diego.database.health import HealthCheck
from diego.runtime.config import Duration

GO_DEFAULT_TIMEOUT = 600.0


@dataclass(frozen=True)
class LocketConfig:
    """What locket reads at start. The read and write limits of the original only ever lower the operation's."""

    ca_file: Path
    cert_file: Path
    key_file: Path
    database_connection_string: str
    listen_address: str = field(default="0.0.0.0:8891", metadata={"kind": "address"})
    debug_address: str = field(default="127.0.0.1:17018", metadata={"kind": "address"})
    log_level: str = "info"
    time_format: Literal["unix-epoch", "rfc3339"] = "unix-epoch"
    database_driver: Literal["mysql"] = "mysql"
    sql_ca_cert_file: str = ""
    sql_enable_identity_verification: bool = True
    max_open_database_connections: int = 200
    max_database_connection_lifetime: Duration = 3600.0
    report_interval: Duration = 60.0
    db_operation_timeout: Duration = 10.0
    db_connection_timeout: Duration = GO_DEFAULT_TIMEOUT
    db_read_timeout: Duration = GO_DEFAULT_TIMEOUT
    db_write_timeout: Duration = GO_DEFAULT_TIMEOUT
    enable_db_health_check: bool = False
    health_check_interval: Duration = 10.0
    health_check_timeout: Duration = 5.0
    health_check_failure_threshold: int = 3
    loggregator: dict[str, Any] = field(default_factory=dict)

    def check(self) -> list[str]:
        faults = []
        try:
            parse_data_source(self.database_connection_string)
        except InvalidDataSource as error:
            faults.append(f"database_connection_string: {error}")
        if self.max_open_database_connections < 1:
            faults.append("max_open_database_connections: must be positive")
        positive = (
            "db_operation_timeout",
            "db_connection_timeout",
            "db_read_timeout",
            "db_write_timeout",
            "report_interval",
        )
        faults += [f"{name}: must be positive" for name in positive if getattr(self, name) <= 0]
        return faults + self.health_check().faults()

    def health_check(self) -> HealthCheck:
        return HealthCheck(
            self.health_check_interval, self.health_check_timeout, self.health_check_failure_threshold
        )

    def database(self) -> Settings:
        """How to reach the database: every call's whole work ends within the smallest of the limits."""
        return Settings(
            source=parse_data_source(self.database_connection_string),
            ca_file=Path(self.sql_ca_cert_file) if self.sql_ca_cert_file else None,
            verify_identity=self.sql_enable_identity_verification,
            connect_timeout=min(self.db_connection_timeout, 5.0),
            operation_timeout=min(self.db_operation_timeout, self.db_read_timeout, self.db_write_timeout),
        )
