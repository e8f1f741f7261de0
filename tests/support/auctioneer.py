"""A real auctioneer: `diego-job auctioneer` as a process of its own, and how to ask it."""

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.logs import json_lines
from support.worker import free_port, until

START_SECONDS = 60.0
STOP_SECONDS = 30.0


class AuctioneerProcess:
    """One auctioneer on ports of its own, which it keeps over restarts."""

    def __init__(self, directory: Path, pki: Path, *, bbs: str, locket: str, **config: Any) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.pki = pki
        self.port = config.pop("port", None) or free_port()
        self.debug_port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.log = directory / "auctioneer.log"
        self.config = directory / "auctioneer.json"
        self.settings: dict[str, Any] = {
            "uuid": directory.name,
            "listen_address": f"127.0.0.1:{self.port}",
            "debug_address": f"127.0.0.1:{self.debug_port}",
            "ca_cert_file": str(pki / "ca.crt"),
            "server_cert_file": str(pki / "diego_auctioneer_server.crt"),
            "server_key_file": str(pki / "diego_auctioneer_server.key"),
            "bbs_address": bbs,
            "bbs_ca_cert_file": str(pki / "ca.crt"),
            "bbs_client_cert_file": str(pki / "diego_bbs_client.crt"),
            "bbs_client_key_file": str(pki / "diego_bbs_client.key"),
            "locket_address": locket,
            "locket_ca_cert_file": str(pki / "ca.crt"),
            "locket_client_cert_file": str(pki / "diego_locket_client.crt"),
            "locket_client_key_file": str(pki / "diego_locket_client.key"),
            "rep_ca_cert": str(pki / "ca.crt"),
            "rep_client_cert": str(pki / "diego_rep_client.crt"),
            "rep_client_key": str(pki / "diego_rep_client.key"),
            "rep_require_tls": False,
            **config,
        }
        self.config.write_text(json.dumps(self.settings))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> None:
        """Start; with `wait` until it is the active one."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "diego.runtime.main", "auctioneer", "--config", str(self.config)],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if wait:
            until(lambda: self.active, seconds=START_SECONDS)

    @property
    def active(self) -> bool:
        """Whether its API port accepts."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def workers(self) -> list[int]:
        """Process ids of the master's children."""
        pid = self._process.pid if self._process is not None else 0
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def stop(self) -> None:
        if self._process is None:
            return
        self.signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End master and worker at once."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(STOP_SECONDS)
            self._process = None
        until(lambda: not self.active, seconds=STOP_SECONDS)  # the worker dies a moment after its master

    def signal(self, number: signal.Signals) -> None:
        """To the master and its worker."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def lines(self, message: str) -> list[dict[str, Any]]:
        """Its log lines with this message."""
        return [line for line in json_lines(self.log) if line["message"] == f"auctioneer.{message}"]

    def call(
        self,
        path: str,
        body: bytes | list[Any] = b"",
        method: str = "POST",
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """One request as the BBS makes it: status, headers, body."""
        context = ssl.create_default_context(cafile=str(self.pki / "ca.crt"))
        context.load_cert_chain(
            self.pki / "diego_auctioneer_client.crt", self.pki / "diego_auctioneer_client.key"
        )
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=15)
        try:
            encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, encoded, headers or {})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def metric(self, name: str) -> float:
        """One number of its /metrics."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.debug_port}/metrics", timeout=15) as answer:
            lines = [line.rsplit(" ", 1) for line in answer.read().decode().splitlines()]
        return next(float(value) for key, value in (line for line in lines if len(line) == 2) if key == name)


@contextlib.contextmanager
def running(directory: Path, pki: Path, **config: Any) -> Iterator[AuctioneerProcess]:
    """An auctioneer that is active, for the length of a with-block."""
    process = AuctioneerProcess(directory, pki, **config)
    try:
        process.start()
        yield process
    finally:
        process.stop()
