"""A whole cell for tests: the real rep over the real garden, in namespaces of its own, with stand-ins for its peers."""

import contextlib
import ctypes
import json
import os
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from diego.wire.actual_lrp_pb2 import ActualLRP
from diego.wire.desired_lrp_pb2 import DesiredLRP
from diego.wire.task_pb2 import Task
from support import pki
from support.garden import Garden, build_rootfs, children, end, kill_quietly, wait_gone
from support.worker import diego_job, free_port, until

T = TypeVar("T")
CLONE_NEWNET = 0x40000000


class Answer:
    """Status and body of a call."""

    def __init__(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.status = status
        self.body = body
        self.headers = headers

    def json(self) -> Any:
        return json.loads(self.body)


class RepCell:
    """One cell. Calls to its listeners are made from inside its network namespace."""

    def __init__(self, directory: Path, rootfs: Path, **config: Any) -> None:
        self.directory = directory
        self.garden = Garden(directory, rootfs)
        self.pki = pki.write(directory / "pki")
        self.files = directory / "files"
        self.files.mkdir()
        self.admin, self.api, self.debug = free_port(), free_port(), free_port()
        self.locket, self.bbs, self.control = free_port(), free_port(), free_port()
        self.config: dict[str, Any] = {
            "cell_id": "cell-a",
            "zone": "z1",
            "cert_file": str(self.pki / "diego_rep_agent_v2.crt"),
            "key_file": str(self.pki / "diego_rep_agent_v2.key"),
            "ca_cert_file": str(self.pki / "service_cf_internal_ca.crt"),
            "preloaded_root_fs": [f"cflinuxfs4:{rootfs}"],
            "memory_mb": 1024,
            "disk_mb": "2048",
            "listen_addr": f"127.0.0.1:{self.admin}",
            "listen_addr_securable": f"127.0.0.1:{self.api}",
            "debug_address": f"127.0.0.1:{self.debug}",
            "bbs_address": f"https://127.0.0.1:{self.bbs}",
            "locket_address": f"127.0.0.1:{self.locket}",
            "garden_addr": str(directory / "garden.sock"),
            "cache_path": str(directory / "cache"),
            "store_path": str(directory / "store"),
            "app_log_path": str(directory / "app_logs"),
            "temporary_path": str(directory / "tmp"),
            "polling_interval": "2s",
            "container_reap_interval": "2s",
            "reserved_expiration_time": "20s",
            "container_metrics_report_interval": "1s",
            "max_cache_size_in_bytes": 1 << 24,
            **config,
        }
        self.master: subprocess.Popen[bytes] | None = None
        self.peers: subprocess.Popen[bytes] | None = None
        self._inside = ThreadPoolExecutor(1, initializer=_enter, initargs=(self.garden.space.pid,))
        tls = ssl.create_default_context(cafile=str(self.pki / "service_cf_internal_ca.crt"))
        tls.load_cert_chain(self.pki / "diego_rep_client.crt", self.pki / "diego_rep_client.key")
        self._tls = tls

    def start(self) -> None:
        self.garden.start()
        self.start_peers()
        self.start_rep()

    def start_peers(self) -> None:
        ports = [str(port) for port in (self.locket, self.bbs, self.control)]
        words = [sys.executable, "-m", "support.rep_peers", str(self.pki), *ports, str(self.files)]
        tests = str(Path(__file__).resolve().parents[1])
        with (self.directory / "peers.log").open("ab") as log:
            self.peers = subprocess.Popen(
                self.garden.space.command(*words),
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": tests},
            )
        until(lambda: self._answers(f"http://127.0.0.1:{self.control}/"), seconds=60)

    def start_rep(self, *, wait: bool = True) -> None:
        path = self.directory / "rep.json"
        path.write_text(json.dumps(self.config))
        words = self.garden.space.command(*diego_job("rep"), "--config", str(path))
        with (self.directory / "rep.log").open("ab") as log:
            self.master = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        if wait:
            self.wait_until_it_serves()

    def wait_until_it_serves(self) -> None:
        try:
            until(lambda: self._answers(f"https://127.0.0.1:{self.api}/state"), seconds=60)
        except AssertionError:
            raise AssertionError(self.log()) from None

    def stop_rep(self) -> None:
        """TERM, as supervisor does it."""
        assert self.master is not None
        self.master.terminate()
        self.master.wait(60)

    def kill_rep(self, *, master: bool = True, workers: bool = True) -> None:
        """Kill -9. A worker whose master was killed ends by itself soon."""
        assert self.master is not None
        pids = self.workers()
        if master:
            end(self.master)
        for pid in pids:
            if workers:
                kill_quietly(pid)
            wait_gone(pid)

    def workers(self) -> list[int]:
        assert self.master is not None
        return children(self.master.pid)

    def log(self) -> str:
        return (self.directory / "rep.log").read_text()[-20000:]

    def call(
        self, method: str, path: str, body: bytes = b"", *, port: int = 0, timeout: float = 30
    ) -> Answer:
        """A call of the rep's API, or of its admin listener, with the auctioneer's certificate."""
        return self._call(f"https://127.0.0.1:{port or self.api}{path}", method, body, timeout)

    def connect(self, port: int, host: str = "127.0.0.1", text: bytes = b"") -> bytes:
        """What a TCP server in the cell's network says."""
        import socket

        def work() -> bytes:
            with socket.create_connection((host, port), 20) as connection:
                connection.sendall(text)
                return connection.recv(1000)

        return self.inside(work)

    def inside(self, work: Callable[[], T]) -> T:
        """Run something that opens sockets in the cell's network."""
        return self._inside.submit(work).result(90)

    # The BBS's side

    def desire(self, lrp: DesiredLRP) -> None:
        self._control("/desired", lrp.SerializeToString())

    def add_task(self, task: Task) -> None:
        self._control("/task", task.SerializeToString())

    def add_row(self, row: ActualLRP) -> None:
        self._control("/row", row.SerializeToString())

    def refuse(self, errors: dict[str, int]) -> None:
        self._control("/refuse", json.dumps(errors).encode())

    def seen(self) -> dict[str, Any]:
        """`calls`, `presences` and `rows` of the stand-ins."""
        found: dict[str, Any] = self._call(f"http://127.0.0.1:{self.control}/", "GET", b"", 30).json()
        return found

    def calls(self, path: str) -> list[dict[str, Any]]:
        return [call["request"] for call in self.seen()["calls"] if call["path"] == path]

    def close(self) -> None:
        for process in (self.master, self.peers):
            if process is not None and process.poll() is None:
                pids = children(process.pid)
                end(process)
                for pid in pids:
                    kill_quietly(pid)
                    wait_gone(pid)
        self._inside.shutdown()
        self.garden.close()

    def _control(self, path: str, body: bytes) -> None:
        self._call(f"http://127.0.0.1:{self.control}{path}", "POST", body, 30)

    def _answers(self, url: str) -> bool:
        try:
            return self._call(url, "GET", b"", 10).status == 200
        except OSError:
            for process in (self.master, self.peers):
                assert process is None or process.poll() is None, self.log()
            time.sleep(0.05)
            return False

    def _call(self, url: str, method: str, body: bytes, timeout: float) -> Answer:
        def work() -> Answer:
            request = urllib.request.Request(url, data=body or None, method=method)
            try:
                with urllib.request.urlopen(request, timeout=timeout, context=self._context(url)) as answer:
                    return Answer(answer.status, answer.read(), dict(answer.headers))
            except urllib.error.HTTPError as error:
                with error:
                    return Answer(error.code, error.read(), dict(error.headers))

        return self.inside(work)

    def _context(self, url: str) -> ssl.SSLContext | None:
        return self._tls if url.startswith("https") else None


@contextlib.contextmanager
def a_cell(directory: Path, **config: Any) -> Iterator[RepCell]:
    """A cell that serves, removed with everything in it at the end."""
    rootfs = directory / "rootfs.tar"
    build_rootfs(rootfs)
    cell = RepCell(directory, rootfs, **config)
    try:
        cell.start()
        yield cell
    finally:
        cell.close()


def _enter(pid: int) -> None:
    """Take this thread, and the sockets that it opens, into the network namespace of a process."""
    with Path(f"/proc/{pid}/ns/net").open() as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
