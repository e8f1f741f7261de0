"""A real BBS: `diego-job bbs` as a process of its own, with stand-ins only for whom it calls."""

import contextlib
import http.client
import http.server
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diego.models import CellPresence
from support.logs import json_lines
from support.mariadb import Database
from support.ports import free_port
from support.stopped import group, wait_until_stopped

START_SECONDS = 90.0
STOP_SECONDS = 30.0
KEY_LABEL = "key-test"


@dataclass
class Asked:
    """A request that a stand-in got."""

    to: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float


@dataclass
class StandIns:
    """The auctioneer, two cells and whoever waits for tasks, on ports of loopback; they note what they are asked."""

    ports: dict[str, int] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)
    """Answers to paths other than the usual 202."""
    delay: float = 0.0

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def take(self) -> list[Asked]:
        """What was asked since the last time."""
        taken, self.asked[:] = list(self.asked), []
        return taken

    def cell(self, name: str, zone: str) -> CellPresence:
        """The presence of a cell as the recordings have it."""
        return CellPresence(
            cell_id=name,
            rep_address=self.url(name),
            zone=zone,
            memory_mb=4096,
            disk_mb=8192,
            containers=250,
            rootfs_providers=(("preloaded", ("cflinuxfs4",)), ("docker", ())),
            placement_tags=("tag-1",),
            optional_placement_tags=("opt-1",),
            rep_url=self.url(name),
        )


@contextlib.contextmanager
def stand_ins(*names: str) -> Iterator[StandIns]:
    """Plain HTTP servers, one for each name."""
    standing = StandIns()
    with contextlib.ExitStack() as servers:
        for name in names:
            server = _Server(("127.0.0.1", 0), _handler(standing, name))
            standing.ports[name] = server.server_address[1]
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            servers.callback(thread.join)
            servers.callback(server.server_close)
            servers.callback(server.shutdown)
        yield standing


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that is killed is no error of the stand-in."""


def _handler(standing: StandIns, name: str) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {key.lower(): value for key, value in self.headers.items()}
            standing.asked.append(Asked(name, self.command, self.path, headers, body, time.monotonic()))
            if standing.delay:
                time.sleep(standing.delay)
            self.send_response(standing.statuses.get(self.path, 202))
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = do_PUT = answer  # noqa: N815 (the server's own names)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
            pass

    return Handler


class BbsProcess:
    """One BBS on ports of its own, which it keeps over restarts."""

    def __init__(
        self, directory: Path, database: Database, pki: Path, locket: str, auctioneer: str, **config: Any
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.pki = pki
        self.port, self.health_port, self.debug_port = free_port(), free_port(), free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.log = directory / "bbs.log"
        self.config = directory / "bbs.json"
        self.settings: dict[str, Any] = {
            "uuid": directory.name,
            "listen_address": f"127.0.0.1:{self.port}",
            "health_address": f"127.0.0.1:{self.health_port}",
            "debug_address": f"127.0.0.1:{self.debug_port}",
            "ca_file": str(pki / "ca.crt"),
            "cert_file": str(pki / "diego_bbs_server.crt"),
            "key_file": str(pki / "diego_bbs_server.key"),
            "database_connection_string": database.dsn,
            "sql_ca_cert_file": str(database.ca_file),
            "active_key_label": KEY_LABEL,
            "encryption_keys": {KEY_LABEL: "a passphrase"},
            "locket_address": locket,
            "locket_ca_cert_file": str(pki / "ca.crt"),
            "locket_client_cert_file": str(pki / "diego_bbs_server.crt"),
            "locket_client_key_file": str(pki / "diego_bbs_server.key"),
            "auctioneer_address": auctioneer,
            "rep_require_tls": False,
            "converge_repeat_interval": "1h",
            **config,
        }
        self.config.write_text(json.dumps(self.settings))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> None:
        """Start; with `wait` until it is active."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "diego.runtime.main", "bbs", "--config", str(self.config)],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if wait:
            self.wait_until_active()

    def wait_until_active(self, seconds: float = START_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.active:
                return
            if not self.running:
                break
            time.sleep(0.05)
        raise RuntimeError(f"the BBS is not active:\n{self.log.read_text()[-4000:]}")

    @property
    def active(self) -> bool:
        """Whether its API port accepts."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    @property
    def workers(self) -> list[int]:
        """Process ids of the master's children."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(word) for word in children.read_text().split()]

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
        deadline = time.monotonic() + STOP_SECONDS
        while self.active and time.monotonic() < deadline:
            time.sleep(0.01)  # the worker dies a moment after its master

    def signal(self, number: signal.Signals) -> None:
        """To the master and its worker. Returns when a stop has arrived."""
        if self.running:
            os.killpg(self.pid, number)
            if number is signal.SIGSTOP:
                wait_until_stopped(*group(self.pid))

    def lines(self, message: str) -> list[dict[str, Any]]:
        """Its log lines with this message."""
        return [line for line in json_lines(self.log) if line["message"] == message]

    def connection(self, timeout: float = 15.0) -> http.client.HTTPSConnection:
        """A connection with a client's certificate."""
        context = ssl.create_default_context(cafile=str(self.pki / "ca.crt"))
        context.load_cert_chain(self.pki / "diego_bbs_client.crt", self.pki / "diego_bbs_client.key")
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=timeout)

    def call(
        self, path: str, body: bytes = b"", method: str = "POST", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """One request on a connection of its own: status, headers, body."""
        connection = self.connection()
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()


@contextlib.contextmanager
def running(
    directory: Path, database: Database, pki: Path, locket: str, auctioneer: str, **config: Any
) -> Iterator[BbsProcess]:
    """A BBS that is active, for the length of a with-block."""
    process = BbsProcess(directory, database, pki, locket, auctioneer, **config)
    try:
        process.start()
        yield process
    finally:
        process.stop()


class EventStream:
    """An event stream read by a thread; what came so far is in `events`."""

    def __init__(self, bbs: BbsProcess, method: str, path: str, body: bytes, now: Callable[[], int]) -> None:
        self.connection = bbs.connection(timeout=600)
        self.connection.request(method, path, body)
        self.answer = self.connection.getresponse()
        self.events: list[tuple[int, int, str, bytes]] = []
        """What `now` said when it came, its id, its name, its data in base64."""
        self._now = now
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        fields: dict[str, str] = {}
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException, AttributeError):
            while line := self.answer.readline():
                text = line.decode().rstrip("\n")
                if text:
                    name, _, value = text.partition(": ")
                    fields[name] = value
                    continue
                self.events.append((self._now(), int(fields["id"]), fields["event"], fields["data"].encode()))
                fields = {}

    def close(self) -> None:
        if self.connection.sock is not None:
            with contextlib.suppress(OSError):
                self.connection.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self.connection.close()
