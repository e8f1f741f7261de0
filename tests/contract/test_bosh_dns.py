"""dnsmasq as bosh_dns counts on it: it follows what is written into its directory, without a signal."""

import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from diego.bosh_dns.core.names import Instance, Name, hosts_file
from diego.bosh_dns.directory import HostsDirectory
from support.worker import free_port, until

NAME = Name("locket.service.cf.internal", "api")
INSTANCES = [Instance("api-0", "api", "10.0.0.1"), Instance("api-1", "api", "10.0.0.2")]
NO_SUCH_NAME = 3


class Resolver:
    """Asks one name server for addresses."""

    def __init__(self, port: int) -> None:
        self._port = port

    def ask(self, name: str) -> tuple[int, list[str]]:
        """The answer's code, and the addresses."""
        labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
        question = struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", 1, 1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(20)
            sock.connect(("127.0.0.1", self._port))
            try:
                sock.send(question)
                answer = sock.recv(2000)
            except OSError:
                return -1, []
        records = answer[len(question) :]
        found = [socket.inet_ntoa(records[at + 12 : at + 16]) for at in range(0, len(records) - 15, 16)]
        return answer[3] & 15, sorted(found)  # dnsmasq turns them round with each answer


@pytest.fixture
def directory(tmp_path: Path) -> HostsDirectory:
    found = HostsDirectory(tmp_path / "hosts")
    found.write({NAME.name: hosts_file(NAME, INSTANCES, {})})
    tmp_path.chmod(0o755)
    return found


@pytest.fixture
def resolver(directory: HostsDirectory, tmp_path: Path) -> Iterator[Resolver]:
    port = free_port()
    command = [
        "/usr/sbin/dnsmasq",
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--user=root",
        "--listen-address=127.0.0.1",
        f"--port={port}",
        "--bind-interfaces",
        "--no-hosts",
        f"--hostsdir={tmp_path / 'hosts'}",
        "--local=/cf.internal/",
        "--local-ttl=0",
        "--cache-size=0",
        "--no-negcache",
        "--no-resolv",
        "--pid-file=",
        "--log-facility=-",
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    found = Resolver(port)
    try:
        until(lambda: found.ask(NAME.name)[0] == 0)
        yield found
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.root
def test_dnsmasq_follows_the_table_of_names(resolver: Resolver, directory: HostsDirectory) -> None:
    assert resolver.ask(NAME.name) == (0, ["10.0.0.1", "10.0.0.2"])
    assert resolver.ask("api-1.locket.service.cf.internal") == (0, ["10.0.0.2"])
    assert resolver.ask("other.service.cf.internal") == (NO_SUCH_NAME, [])

    directory.write({NAME.name: hosts_file(NAME, INSTANCES, {"10.0.0.1": False})})
    until(lambda: resolver.ask(NAME.name) == (0, ["10.0.0.2"]))

    other = Name("other.service.cf.internal", "api")
    directory.write(
        {NAME.name: hosts_file(NAME, INSTANCES, {}), other.name: hosts_file(other, INSTANCES, {})}
    )
    until(lambda: resolver.ask(other.name) == (0, ["10.0.0.1", "10.0.0.2"]))
    until(lambda: resolver.ask(NAME.name) == (0, ["10.0.0.1", "10.0.0.2"]))

    directory.write({other.name: hosts_file(other, INSTANCES, {})})
    until(lambda: resolver.ask(NAME.name) == (NO_SUCH_NAME, []))
    assert resolver.ask("api-1.locket.service.cf.internal") == (NO_SUCH_NAME, [])
