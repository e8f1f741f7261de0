"""What bosh_dns is told: the names, the instances, and which of them this host is."""

from collections import Counter
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from diego.bosh_dns.core.names import Instance, Name
from diego.runtime.config import Duration
from diego.runtime.supervisor import SOCKET

SERVER_NAME = "health.bosh-dns"
"""What the certificates of all hosts say."""


@dataclass(frozen=True)
class BoshDnsConfig:
    names: list[Name]
    instances: list[Instance]
    instance_ids: list[str]
    """Those of the instances that are this host."""
    cert_file: Path
    key_file: Path
    client_cert_file: Path
    client_key_file: Path
    ca_file: Path
    listen_address: str = field(default="0.0.0.0:8853", metadata={"kind": "address"})
    """Where the other hosts ask. They are asked at the same port."""
    debug_address: str = field(default="127.0.0.1:17053", metadata={"kind": "address"})
    server_name: str = SERVER_NAME
    hosts_directory: Path = Path("/var/vcap/data/bosh_dns/hosts")
    supervisor_socket: Path = SOCKET
    healthchecker_url: str = "http://127.0.0.1:17054"
    ignored_programs: list[str] = field(default_factory=list)
    """Supervisor's programs that say nothing about the host."""
    local_health_interval: Duration = 5.0
    remote_health_interval: Duration = 20.0
    log_level: str = "info"
    time_format: str = "unix-epoch"

    def check(self) -> list[str]:
        known = Counter(instance.id for instance in self.instances)
        names = Counter(name.name for name in self.names)
        return [
            *(f"instances: {name} stands there {count} times" for name, count in known.items() if count > 1),
            *(f"names: {name} stands there {count} times" for name, count in names.items() if count > 1),
            *(f"instance_ids: {own} is no instance" for own in self.instance_ids if own not in known),
            *(
                f"instances: {instance.id}: not an address: {instance.address!r}"
                for instance in self.instances
                if not _is_address(instance.address)
            ),
            *(
                f"names: not usable: {name.name!r}"
                for name in self.names
                if not name.name or "/" in name.name or name.name.startswith(".") or " " in name.name
            ),
        ]

    @property
    def own_addresses(self) -> frozenset[str]:
        return frozenset(instance.address for instance in self.instances if instance.id in self.instance_ids)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
