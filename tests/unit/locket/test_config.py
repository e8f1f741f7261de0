"""Locket's configuration: the keys that the original's job writes (contract/config-and-metrics.md section 4)."""

import json
from pathlib import Path
from typing import Any

import pytest

from diego.locket.config import LocketConfig
from diego.runtime.config import ConfigError, parse

WRITTEN: dict[str, Any] = {
    "listen_address": "0.0.0.0:8891",
    "debug_address": "127.0.0.1:17018",
    "log_level": "info",
    "time_format": "rfc3339",
    "ca_file": "/certs/ca.crt",
    "cert_file": "/certs/server.crt",
    "key_file": "/certs/server.key",
    "database_driver": "mysql",
    "database_connection_string": "locket:pw@tcp(sql-db.service.cf.internal:3306)/locket",
    "sql_ca_cert_file": "/certs/sql/ca.crt",
    "sql_enable_identity_verification": True,
    "max_open_database_connections": 200,
    "max_database_connection_lifetime": "1h",
    "report_interval": "1m",
    "loggregator": {"loggregator_api_port": 3458, "loggregator_source_id": "locket"},
}


def test_what_the_originals_job_writes_is_understood() -> None:
    config = parse(LocketConfig, json.dumps(WRITTEN))

    settings = config.database()
    assert (settings.source.host, settings.source.schema) == ("sql-db.service.cf.internal", "locket")
    assert (settings.ca_file, settings.verify_identity) == (Path("/certs/sql/ca.crt"), True)
    assert (settings.operation_timeout, config.max_database_connection_lifetime) == (10, 3600)


def test_without_an_authority_the_database_is_spoken_to_in_plain() -> None:
    config = parse(LocketConfig, json.dumps({**WRITTEN, "sql_ca_cert_file": ""}))

    assert config.database().tls() is None


def test_the_smallest_of_the_limits_bounds_a_call() -> None:
    config = parse(
        LocketConfig, json.dumps({**WRITTEN, "db_read_timeout": "3s", "db_connection_timeout": "2s"})
    )

    assert config.database().operation_timeout == 3
    assert config.database().connect_timeout == 2


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"database_driver": "postgres"}, "database_driver"),
        (
            {"database_connection_string": "locket:secret@sql-db/locket"},
            "database_connection_string: the address",
        ),
        ({"max_open_database_connections": 0}, "max_open_database_connections: must be positive"),
        ({"db_operation_timeout": "0s"}, "db_operation_timeout: must be positive"),
        ({"listen_address": "8891"}, "listen_address"),
        ({"enable_everything": True}, "enable_everything: unknown key"),
    ],
)
def test_a_fault_is_told_by_its_key(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(LocketConfig, json.dumps({**WRITTEN, **changes}))

    assert fault in str(refused.value)
    assert "secret" not in str(refused.value)
