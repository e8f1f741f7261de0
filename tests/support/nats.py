"""A real nats-server with mutual TLS, as the deployment runs it."""

import contextlib
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support import pki
from support.worker import free_port, until

USER, PASSWORD = "nats", "not-a-secret"


@dataclass
class NatsServer:
    """The server, which a test may stop and start again on the same port."""

    port: int
    directory: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"localhost:{self.port}"

    @property
    def ca_file(self) -> Path:
        return self.directory / "nats_ca.crt"

    @property
    def cert_file(self) -> Path:
        return self.directory / "nats_client_cert.crt"

    @property
    def key_file(self) -> Path:
        return self.directory / "nats_client_cert.key"

    def start(self) -> None:
        with (self.directory / "nats.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["nats-server", "--config", str(self.directory / "nats.conf")], stdout=log, stderr=log
            )
        until(self._answers)

    def stop(self, *, hard: bool = False) -> None:
        if self.process is None:
            return
        self.process.send_signal(signal.SIGKILL if hard else signal.SIGTERM)
        self.process.wait(30)
        self.process = None

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


@contextlib.contextmanager
def nats_server(directory: Path) -> Iterator[NatsServer]:
    """Run one until the test ends; its files and the client's certificate lie in `directory`."""
    pki.write(directory, "nats_server_cert", "nats_client_cert")
    port = free_port()
    (directory / "nats.conf").write_text(
        f"""
        listen: "127.0.0.1:{port}"
        tls {{
          cert_file: "{directory}/nats_server_cert.crt"
          key_file: "{directory}/nats_server_cert.key"
          ca_file: "{directory}/nats_ca.crt"
          verify: true
          timeout: 5
        }}
        authorization {{ user: "{USER}", password: "{PASSWORD}" }}
        """
    )
    server = NatsServer(port, directory)
    server.start()
    try:
        yield server
    finally:
        server.stop()
