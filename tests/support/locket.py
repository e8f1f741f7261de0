"""A real locket: `diego-job locket` as a process of its own, over mutual TLS, on a MariaDB schema."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from support.mariadb import Database
from support.ports import free_port
from support.stopped import group, wait_until_stopped

START_SECONDS = 60.0
STOP_SECONDS = 30.0


class LocketProcess:
    """One locket on ports of its own, which it keeps over restarts."""

    def __init__(self, directory: Path, database: Database, pki: Path, **config: Any) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.pki = pki
        self.port, self.debug_port = free_port(), free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.log = directory / "locket.log"
        self.config = directory / "locket.json"
        self.config.write_text(
            json.dumps(
                {
                    "listen_address": self.address,
                    "debug_address": f"127.0.0.1:{self.debug_port}",
                    "log_level": "debug",
                    "ca_file": str(pki / "ca.crt"),
                    "cert_file": str(pki / "diego_locket_server.crt"),
                    "key_file": str(pki / "diego_locket_server.key"),
                    "database_driver": "mysql",
                    "database_connection_string": database.dsn,
                    "sql_ca_cert_file": str(database.ca_file),
                    "sql_enable_identity_verification": True,
                    "max_open_database_connections": 200,
                    "max_database_connection_lifetime": "1h",
                    "report_interval": "1m",
                    **config,
                }
            )
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> None:
        """Start; with `wait` until the gRPC listener accepts."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "diego.runtime.main", "locket", "--config", str(self.config)],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if wait:
            self.wait_until_serving()

    def wait_until_serving(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._accepts():
                return
            if self._process is None or self._process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError(f"locket did not serve:\n{self.log.read_text()[-4000:]}")

    def stop(self) -> int:
        """End in good order; the exit status."""
        if self._process is None:
            return 0
        self.resume()
        self._process.terminate()
        try:
            status = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL
        self._process = None
        return status

    def kill(self) -> None:
        """End master and worker at once."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(STOP_SECONDS)
            self._process = None
        deadline = time.monotonic() + STOP_SECONDS
        while self._accepts() and time.monotonic() < deadline:  # the worker dies a little after its master
            time.sleep(0.02)

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)
        if self._process is not None:
            wait_until_stopped(*group(self._process.pid))

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def debug(self, path: str) -> tuple[int, str]:
        """GET on the debug listener: status and body."""
        url = f"http://127.0.0.1:{self.debug_port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=15) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metric(self, name: str) -> float:
        """One number of /metrics, by its name with labels."""
        _, text = self.debug("/metrics")
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return next(float(value) for key, value in lines if key == name)

    def _accepts(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _signal(self, number: signal.Signals) -> None:
        if self.running and self._process is not None:
            os.killpg(self._process.pid, number)


@contextmanager
def running(directory: Path, database: Database, pki: Path, **config: Any) -> Iterator[LocketProcess]:
    """A locket that serves, for the length of a with-block."""
    process = LocketProcess(directory, database, pki, **config)
    try:
        process.start()
        yield process
    finally:
        process.stop()


def channel(address: str, pki: Path, leaf: str = "diego_locket_client") -> grpc.Channel:
    """A bare gRPC channel with the certificate of `leaf`."""
    credentials = grpc.ssl_channel_credentials(
        (pki / "ca.crt").read_bytes(),
        (pki / f"{leaf}.key").read_bytes(),
        (pki / f"{leaf}.crt").read_bytes(),
    )
    return grpc.secure_channel(address, credentials)
