"""The SSH proxy, as an SSH client meets it."""

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from diego.runtime.config import ConfigError, parse
from diego.ssh_proxy.config import SshProxyConfig
from diego.ssh_proxy.main import plain
from diego.ssh_proxy.server import REFUSAL, Proxy, read_host_key
from support.worker import running, until


@pytest.fixture(scope="module")
def key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-rsa", key_size=2048)


@pytest.fixture(scope="module")
def pem(key: asyncssh.SSHKey) -> str:
    return key.export_private_key("pkcs1-pem").decode()


def a_config(pem: str, *, login_grace: float = 30.0, max_connections: int = 1000) -> SshProxyConfig:
    return SshProxyConfig(
        host_key=pem, address="127.0.0.1:0", login_grace=login_grace, max_connections=max_connections
    )


@pytest.fixture
def proxy(pem: str) -> Iterator[Proxy]:
    with running() as runtime:
        found = Proxy(a_config(pem, max_connections=3), runtime.log)
        runtime.task("ssh", found.run)
        until(lambda: found.port)
        yield found


class Heard(asyncssh.SSHClient):
    """What a client is told."""

    def __init__(self) -> None:
        self.banners: list[str] = []

    def auth_banner_received(self, msg: str, lang: str) -> None:
        self.banners.append(msg)


async def log_in(port: int, key: asyncssh.SSHKey, heard: Heard, **options: object) -> None:
    await asyncssh.connect(
        "127.0.0.1",
        port,
        client_factory=lambda: heard,
        username="cf:3f6d2f7e-0c5b-4d5e-9d0e-3a3d0a3e9a10/0",
        password="one-time-code",
        client_keys=None,
        known_hosts=([key.convert_to_public()], [], []),
        **options,
    )


def test_a_client_is_told_that_shells_are_not_available(
    proxy: Proxy, key: asyncssh.SSHKey, capfd: pytest.CaptureFixture[str]
) -> None:
    heard = Heard()

    with pytest.raises(asyncssh.DisconnectError, match="not available yet") as error:
        asyncio.run(log_in(proxy.port, key, heard))

    assert error.value.reason == REFUSAL
    assert heard.banners == [REFUSAL + "\r\n"]
    assert "ssh_proxy" not in capfd.readouterr().err


def test_the_default_algorithms_are_enough_for_a_client_pinned_to_the_original_s(
    proxy: Proxy, key: asyncssh.SSHKey
) -> None:
    pinned = {
        "encryption_algs": ["aes128-gcm@openssh.com"],
        "mac_algs": ["hmac-sha2-256"],
        "kex_algs": ["curve25519-sha256@libssh.org"],
    }

    with pytest.raises(asyncssh.DisconnectError, match="not available yet"):
        asyncio.run(log_in(proxy.port, key, Heard(), **pinned))


def test_the_banner_is_the_original_s(proxy: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=60) as client:
        assert client.recv(100) == b"SSH-2.0-diego-ssh-proxy\r\n"


def test_a_client_that_does_not_log_in_is_left(pem: str) -> None:
    with running() as runtime:
        proxy = Proxy(a_config(pem, login_grace=0.5), runtime.log)
        runtime.task("ssh", proxy.run)
        until(lambda: proxy.port)
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=60) as client:
            begin = time.monotonic()
            while client.recv(1000):
                pass
            assert time.monotonic() - begin < 15  # without this limit it is thirty


def test_clients_beyond_the_limit_are_closed_at_once(proxy: Proxy) -> None:
    clients = [socket.create_connection(("127.0.0.1", proxy.port), timeout=60) for _ in range(3)]
    until(lambda: len(proxy._connections) == 3)

    with socket.create_connection(("127.0.0.1", proxy.port), timeout=60) as late:
        try:
            rest = late.recv(1000)
            while data := late.recv(1000):
                rest += data
        except ConnectionResetError:
            rest = b""
    assert b"KEX" not in rest.upper()
    for client in clients:
        client.close()


def test_junk_harms_nobody(proxy: Proxy, key: asyncssh.SSHKey) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=60) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n" + bytes(range(256)) * 100)
        try:
            while client.recv(1000):
                pass
        except ConnectionResetError:
            pass

    with pytest.raises(asyncssh.DisconnectError, match="not available yet"):
        asyncio.run(log_in(proxy.port, key, Heard()))


def test_the_health_listener_can_be_turned_off(pem: str) -> None:
    assert plain(SshProxyConfig(host_key=pem)) == ["127.0.0.1:17016", "0.0.0.0:2223"]
    assert plain(SshProxyConfig(host_key=pem, disable_health_check_server=True)) == ["127.0.0.1:17016"]


def test_the_host_key_may_stand_in_a_file(pem: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(pem)

    assert read_host_key(SshProxyConfig(host_key_file=path)).get_algorithm() == "ssh-rsa"


def test_another_kind_of_host_key_is_refused() -> None:
    ed25519 = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()

    with pytest.raises(ValueError, match="must be RSA"):
        read_host_key(SshProxyConfig(host_key=ed25519))


def test_exactly_one_host_key_is_wanted() -> None:
    for text in ("{}", '{"host_key": "x", "host_key_file": "/y"}'):
        with pytest.raises(ConfigError, match="exactly one of them"):
            parse(SshProxyConfig, text)


def test_the_host_key_is_not_shown() -> None:
    assert "secret" not in repr(SshProxyConfig(host_key="secret"))
