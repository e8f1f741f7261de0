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
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from bench.usage import below
from diego.bbs.client import BbsClient
from diego.locket.client import PRESENCE, LocketClient
from diego.models.errors import BbsError
from diego.wire.cells_pb2 import CellPresence
from diego.wire.gojson import from_go, to_go
from support import locket, mariadb, pki
from support.worker import JobProcess, diego_job, free_port, job_process

CELLS = 20
PRESENT_SECONDS = 7200
START_SECONDS = 60.0
CONVERGE_EVERY = "5s"


@dataclass
class Stack:
    """Where the pieces are, and whose CPU time is counted."""

    bbs_url: str
    locket_address: str
    certificates: Path
    bbs: JobProcess
    pids: dict[str, int]

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


@contextmanager
def _sink() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Sink)
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
def running() -> Iterator[Stack]:
    """The control plane, for the length of a with-block; nothing of it is left afterwards."""
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="diego-bench-"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        certificates = pki.write(directory / "pki")
        shutil.copyfile(certificates / "service_cf_internal_ca.crt", certificates / "ca.crt")
        server = stack.enter_context(mariadb.running())
        locket_database, bbs_database = server.create_database(), server.create_database()
        locket_process = stack.enter_context(
            locket.running(directory / "locket", locket_database, certificates)
        )
        sink = stack.enter_context(_sink())
        port = free_port()
        config = {
            "uuid": "bench",
            "listen_address": f"127.0.0.1:{port}",
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
            "converge_repeat_interval": CONVERGE_EVERY,
        }
        bbs = stack.enter_context(job_process(diego_job("bbs"), config, directory, name="bbs"))
        found = Stack(
            bbs_url=f"https://127.0.0.1:{port}",
            locket_address=locket_process.address,
            certificates=certificates,
            bbs=bbs,
            pids={
                "bbs": bbs.process.pid,
                "mariadb": below(os.getpid(), "mariadbd"),
                "locket": below(os.getpid(), "diego.runtime.main locket"),
            },
        )
        _be_present(found, sink, stack)
        _wait(found)
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


def _wait(stack: Stack) -> None:
    """Until the BBS has its lock and answers."""
    end = time.monotonic() + START_SECONDS
    with stack.client() as bbs:
        while True:
            try:
                bbs.ping()
            except BbsError as error:
                if time.monotonic() > end or stack.bbs.process.poll() is not None:
                    raise RuntimeError(
                        f"the BBS does not answer: {error}\n{stack.bbs.log_path.read_text()[-3000:]}"
                    ) from error
            else:
                return
