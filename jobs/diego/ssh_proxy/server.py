"""The SSH side: handshakes with clients, and the refusal that they get."""

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from typing import Any

import asyncssh

from diego.runtime import metrics
from diego.runtime.config import split_address
from diego.runtime.logs import Logger
from diego.ssh_proxy.config import SshProxyConfig

VERSION = "diego-ssh-proxy"
"""The banner is SSH-2.0- and this."""
REFUSAL = "Shells in app instances are not available yet in this version of Diego."
BIND_PATIENCE = 8.0
"""Seconds to wait for an address that a dying predecessor still holds."""
BACKLOG = 128


def read_host_key(config: SshProxyConfig) -> asyncssh.SSHKey:
    """The proxy's own key. Raises OSError, asyncssh.KeyImportError; ValueError when it is no RSA key."""
    text = config.host_key if config.host_key_file is None else config.host_key_file.read_text()
    key = asyncssh.import_private_key(text)
    if key.get_algorithm() != "ssh-rsa":
        raise ValueError(f"the host key must be RSA, not {key.get_algorithm()}")
    return key


class Proxy:
    """All SSH connections of this process. Runs on the worker's loop."""

    def __init__(self, config: SshProxyConfig, log: Logger) -> None:
        self.config = config
        self.log = log
        self.port = 0
        """Where it listens, once it does."""
        self._key = read_host_key(config)
        self._connections: set[asyncssh.SSHServerConnection] = set()
        self._closed = asyncio.Event()
        metrics.measured("ssh_connections", "SSH connections at the moment.", lambda: len(self._connections))
        self._refused = metrics.counter("ssh_refused_total", "SSH clients sent away.", ["why"])

    async def run(self) -> None:
        """Serve until cancelled. Raises OSError: the address cannot be had."""
        sock = await self._bound()
        acceptor = await asyncssh.listen(
            sock=sock,
            server_factory=lambda: Client(self),
            server_host_keys=[self._key],
            server_version=VERSION,
            encryption_algs=_names(self.config.allowed_ciphers),
            mac_algs=_names(self.config.allowed_macs),
            kex_algs=_names(self.config.allowed_key_exchanges),
            login_timeout=self.config.login_grace,
            allow_scp=False,
            agent_forwarding=False,
            x11_forwarding=False,
        )
        self.port = sock.getsockname()[1]
        self.log.info("listening", port=self.port)
        try:
            await self._closed.wait()
        finally:
            acceptor.close()
            for connection in list(self._connections):
                connection.abort()

    def admit(self, connection: asyncssh.SSHServerConnection) -> bool:
        """Whether one more client may be served."""
        if len(self._connections) >= self.config.max_connections:
            self._refused.labels("too many").inc()
            return False
        self._connections.add(connection)
        return True

    def forget(self, connection: asyncssh.SSHServerConnection) -> None:
        self._connections.discard(connection)

    def count_refusal(self) -> None:
        self._refused.labels("not available").inc()

    async def _bound(self) -> socket.socket:
        host, port = split_address(self.config.address)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        end = asyncio.get_running_loop().time() + BIND_PATIENCE
        while True:
            try:
                return socket.create_server((host, port), family=family, backlog=BACKLOG)
            except OSError:
                if asyncio.get_running_loop().time() > end:
                    raise
                await asyncio.sleep(0.1)


class Client(asyncssh.SSHServer):
    """One client: its handshake is completed, and then it is told why it cannot go on."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        if not self._proxy.admit(conn):
            conn.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection is not None:
            self._proxy.forget(self._connection)
        if exc is not None:
            self._proxy.log.debug("connection-ended", error=str(exc))

    def begin_auth(self, username: str) -> bool:
        """Refuse: in a banner for people, and in the reason of the disconnect for programs."""
        connection = self._connection
        if connection is not None:
            peer = connection.get_extra_info("peername") or ("",)
            self._proxy.count_refusal()
            self._proxy.log.info("refused", user=username, peer=peer[0])
            with contextlib.suppress(asyncssh.Error, OSError):  # a client that is gone needs no telling
                connection.send_auth_banner(f"{REFUSAL}\r\n")
                connection.disconnect(asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE, REFUSAL, "en")
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:  # noqa: ARG002  # asyncssh's interface
        return False

    def session_requested(self) -> Any:
        return False


def _names(text: str) -> Sequence[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
