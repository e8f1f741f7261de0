"""Garden's configuration, and how its faults are told."""

import json
from typing import Any

import pytest

from diego.garden.config import GardenConfig, HostServiceConfig
from diego.runtime.config import ConfigError, parse


def test_everything_has_a_default() -> None:
    assert parse(GardenConfig, "{}") == GardenConfig()


def test_services_of_the_host_are_objects() -> None:
    service = {"address": "10.0.0.1", "protocol": "udp", "port": 53}

    config = parse(GardenConfig, json.dumps({"host_services": [service]}))

    assert config.host_services == [HostServiceConfig("10.0.0.1", "udp", 53)]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"network_pool": "10.0.0.1/24"}, "network_pool: 10.0.0.1/24 has host bits set"),
        ({"network_pool": "10.0.0.0/31"}, "network_pool: 10.0.0.0/31 has no room for containers"),
        ({"deny_networks": ["everything"]}, "deny_networks: Expected 4 octets"),
        ({"dns_servers": ["resolver"]}, "dns_servers: Expected 4 octets"),
        ({"port_pool_start": 65000}, "port_pool_start, port_pool_size: not a range of ports"),
        ({"max_containers": 0}, "max_containers: must be positive"),
        ({"data_dir": "data"}, "data_dir: must be absolute"),
        ({"unknown": 1}, "unknown: unknown key"),
    ],
)
def test_a_fault_names_its_key(change: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(GardenConfig, json.dumps(change), "garden.json")

    assert raised.value.faults[0].startswith(f"garden.json: {fault}")
