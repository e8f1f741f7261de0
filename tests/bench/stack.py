"""A control plane to put load on: MariaDB, locket and the BBS as processes of their own, over mutual TLS.

The auctioneer and the cells are one server that answers 202 to everything, since what is measured is the BBS; twenty
presences keep convergence from taking the imaginary cells for lost.
"""

import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bench.bodies import DOMAIN
from bench.usage import below
from diego.bbs.client import BbsClient
from diego.locket.client import PRESENCE, LocketClient
from diego.models.errors import BbsError
from diego.wire.cells_pb2 import CellPresence
from diego.wire.gojson import from_go, to_go
from support import locket, mariadb, pki
from support.mariadb import Database
from support.worker import JobProcess, diego_job, free_port, job_process

CELLS = 20
PRESENT_SECONDS = 7200
START_SECONDS = 150.0


class Stack:
    """Where the pieces are, and whose CPU time is counted. The BBS can be stopped, and started with other settings."""

    def __init__(self, directory: Path, certificates: Path, locket_address: str, database: Database) -> None:
        self.directory = directory
        self.certificates = certificates
        self.locket_address = locket_address
        self.database = database
        self.config: dict[str, Any] = {}
        self.pids: dict[str, int] = {}
        self.bbs: JobProcess | None = None
        self._bbs = ExitStack()
        self._starts = 0

    @property
    def bbs_url(self) -> str:
        return f"https://{self.config['listen_address']}"

    def start_bbs(self, **config: Any) -> None:
        """Start it, and wait until it answers."""
        self.config.update(config)
        self._starts += 1
        process = job_process(diego_job("bbs"), self.config, self.directory, name=f"bbs-{self._starts}")
        self.bbs = self._bbs.enter_context(process)
        self.pids["bbs"] = self.bbs.process.pid
        end = time.monotonic() + START_SECONDS
        with self.client() as client:
            while True:
                try:
                    client.ping()
                except BbsError as error:
                    if time.monotonic() > end or self.bbs.process.poll() is not None:
                        raise RuntimeError(
                            f"the BBS does not answer: {error}\n{self.bbs.log_path.read_text()[-3000:]}"
                        ) from error
                    time.sleep(0.01)
                else:
                    return

    def stop_bbs(self) -> None:
        """End it as supervisor does."""
        self._bbs.close()
        self.pids.pop("bbs", None)

    def events(self, message: str) -> list[dict[str, Any]]:
        """What the present BBS said in its log."""
        return self.bbs.events(message) if self.bbs is not None else []

    def client(self) -> BbsClient:
        return BbsClient(
            self.bbs_url,
            ca_file=self.certificates / "ca.crt",
            cert_file=self.certificates / "diego_bbs_client.crt",
            key_file=self.certificates / "diego_bbs_client.key",
            timeout=120,
        )


class _Sink(BaseHTTPRequestHandler):
    """Takes whatever the BBS asks of auctioneer and cells."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_PUT = do_POST  # noqa: N815 (the name is http.server's)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name is http.server's)
        """Nothing is printed for each request."""


class _SinkServer(ThreadingHTTPServer):
    """Takes as many connections at once as there are cells: one turned away comes again after a second."""

    request_queue_size = 128


@contextmanager
def _sink() -> Iterator[str]:
    server = _SinkServer(("127.0.0.1", 0), _Sink)
    thread = threading.Thread(target=server.serve_forever, name="sink", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def presence(number: int, url: str) -> CellPresence:
    """One of the imaginary cells."""
    return from_go(
        CellPresence,
        {
            "cell_id": f"load-cell-{number}",
            "rep_address": url,
            "zone": f"z{number % 2 + 1}",
            "capacity": {"memory_mb": 65536, "disk_mb": 262144, "containers": 2500},
            "rootfs_provider_list": [{"name": "preloaded", "properties": ["cflinuxfs4"]}, {"name": "docker"}],
            "rep_url": url,
        },
    )


@contextmanager
def running(**config: Any) -> Iterator[Stack]:
    """The control plane, for the length of a with-block; nothing of it is left afterwards."""
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="diego-bench-"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        certificates = pki.write(directory / "pki")
        server = stack.enter_context(mariadb.running())
        locket_database, bbs_database = server.create_database(), server.create_database()
        locket_process = stack.enter_context(
            locket.running(directory / "locket", locket_database, certificates, log_level="info")
        )
        sink = stack.enter_context(_sink())
        found = Stack(directory, certificates, locket_process.address, bbs_database)
        found.config = {
            "uuid": "bench",
            "listen_address": f"127.0.0.1:{free_port()}",
            "health_address": f"127.0.0.1:{free_port()}",
            "debug_address": f"127.0.0.1:{free_port()}",
            "ca_file": str(certificates / "ca.crt"),
            "cert_file": str(certificates / "diego_bbs_server.crt"),
            "key_file": str(certificates / "diego_bbs_server.key"),
            "database_connection_string": bbs_database.dsn,
            "sql_ca_cert_file": str(bbs_database.ca_file),
            "active_key_label": "bench",
            "encryption_keys": {"bench": "a passphrase of the bench"},
            "locket_address": locket_process.address,
            "locket_ca_cert_file": str(certificates / "ca.crt"),
            "locket_client_cert_file": str(certificates / "diego_locket_client.crt"),
            "locket_client_key_file": str(certificates / "diego_locket_client.key"),
            "auctioneer_address": sink,
            "rep_require_tls": False,
        }
        found.pids = {
            "mariadb": below(os.getpid(), "mariadbd"),
            "locket": below(os.getpid(), "diego.runtime.main locket"),
        }
        _be_present(found, sink, stack)
        stack.callback(found.stop_bbs)
        found.start_bbs(**config)
        with found.client() as bbs:
            bbs.upsert_domain(DOMAIN, 0)
        yield found


def _be_present(stack: Stack, sink: str, closing: ExitStack) -> None:
    client = LocketClient(
        stack.locket_address,
        ca_file=stack.certificates / "ca.crt",
        cert_file=stack.certificates / "diego_locket_client.crt",
        key_file=stack.certificates / "diego_locket_client.key",
    )
    closing.callback(client.close)
    for number in range(CELLS):
        cell = presence(number, sink)
        client.lock(cell.cell_id, "bench", value=json.dumps(to_go(cell)), kind=PRESENCE, ttl=PRESENT_SECONDS)
