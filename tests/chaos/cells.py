"""Imaginary cells: real presences in Locket, real answers to the auctioneer, real calls to the BBS; no containers.

A container here is a line in the cell's memory and two records in the history. Whatever a rep does to keep records
and containers alike, the cell does too, more often than a rep.
"""

import contextlib
import json
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from chaos.history import Notes
from diego.bbs.client import BbsClient, Unreachable
from diego.locket.client import LocketClient, PresenceKeeper
from diego.models import BbsError, CellPresence, ErrorType
from diego.wire import actual_lrp_pb2
from diego.wire.actual_lrp_requests_pb2 import StartActualLRPRequest
from support.cells import a_state

SYNC_EVERY = 5.0
TASK_SECONDS = 1.0
ROOM = 10_000


def unanswered(error: BbsError) -> bool:
    """Whether this says "try again": no answer at all, or a 503."""
    return isinstance(error, Unreachable) or (
        error.type is ErrorType.INVALID_RESPONSE and error.message.endswith("503")
    )


@dataclass
class Container:
    guid: str
    index: int
    domain: str
    instance: str
    running: bool = False
    telling: threading.Lock = field(default_factory=threading.Lock)
    """What is told of it is told in order: that it runs, that it died."""


@dataclass
class Cell:
    """One cell; `power_off` ends it without a word to anybody, `kill` only the rep, whose containers go on.

    Attributes:
        asked_for_state: called when the auctioneer has its answer; for experiments that wait for this.
        silent: seconds for which who connects gets no answer; the presence is told all the same.
    """

    cell_id: str
    zone: str
    history: Notes
    bbs_url: str
    locket_address: str
    pki: Path
    asked_for_state: Callable[[], None] = lambda: None
    silent: float = 0.0
    owner: str = field(default_factory=lambda: str(uuid.uuid4()))
    containers: dict[str, Container] = field(default_factory=dict)
    tasks: set[str] = field(default_factory=set)

    def start(self) -> None:
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._pool = ThreadPoolExecutor(8)
        self._bbs = BbsClient(
            self.bbs_url,
            ca_file=self.pki / "ca.crt",
            cert_file=self.pki / "diego_bbs_client.crt",
            key_file=self.pki / "diego_bbs_client.key",
            timeout=5.0,
        )
        self._locket = LocketClient(
            self.locket_address,
            ca_file=self.pki / "ca.crt",
            cert_file=self.pki / "diego_locket_client.crt",
            key_file=self.pki / "diego_locket_client.key",
        )
        url = f"http://127.0.0.1:{self._server.server_address[1]}"
        presence = CellPresence(
            cell_id=self.cell_id,
            rep_address=url,
            zone=self.zone,
            memory_mb=ROOM * 128,
            disk_mb=ROOM * 256,
            containers=ROOM,
            rootfs_providers=(("preloaded", ("cflinuxfs4",)),),
            rep_url=url,
        )
        self._keeper = PresenceKeeper(self._locket, self.cell_id, self.owner, presence.value())
        for run in (
            self._server.serve_forever,
            lambda: self._keeper.run(self._stopping),
            self._sync_all_the_time,
        ):
            threading.Thread(target=run, daemon=True).start()

    def power_off(self) -> None:
        """Everything is gone at once; the presence expires by itself."""
        self.kill()
        with self._lock:
            gone, self.containers = list(self.containers.values()), {}
            self.tasks.clear()
        for container in gone:
            self._note("ended", container)

    def kill(self) -> None:
        """The rep is gone, its containers run on; `start` is its supervisor's part."""
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._locket.close()
        self._bbs.close()

    @property
    def gone(self) -> bool:
        """Whether nobody is there any more: kept connections end, too."""
        return self._stopping.is_set()

    def hang(self) -> None:
        """Let a caller wait for nothing."""
        self._stopping.wait(self.silent)

    def crash(self, guid: str) -> None:
        """Let the instances of an app die, and tell the BBS."""
        with self._lock:
            dying = [one for one in self.containers.values() if one.guid == guid and one.running]
        for container in dying:
            with container.telling:
                with self._lock:
                    dead = self.containers.pop(container.instance, None)
                if dead is not None:
                    self._note("ended", dead)
                    self._bbs.crash_actual_lrp(self._lrp_key(dead), self._key(dead), "died on purpose")

    # ---- what others ask

    def state(self) -> bytes:
        with self._lock:
            lrps = [
                {"process_guid": c.guid, "index": c.index, "domain": c.domain, "instance_guid": c.instance,
                 "MemoryMB": 128, "DiskMB": 256, "MaxPids": 0, "RootFs": "preloaded:cflinuxfs4", "state": "running"}
                for c in self.containers.values()
            ]  # fmt: skip
        room = {"MemoryMB": ROOM * 128, "DiskMB": ROOM * 256, "Containers": ROOM}
        left = {"MemoryMB": (ROOM - len(lrps)) * 128, "DiskMB": (ROOM - len(lrps)) * 256, "Containers": ROOM}
        state = a_state(self.cell_id, Zone=self.zone, TotalResources=room, AvailableResources=left, LRPs=lrps)
        return json.dumps(state).encode()

    def work(self, body: bytes) -> None:
        asked = json.loads(body)
        for lrp in asked.get("LRPs") or ():
            container = Container(lrp["process_guid"], lrp["index"], lrp["domain"], str(uuid.uuid4()))
            self._later(self._run, container)
        for task in asked.get("Tasks") or ():
            self._later(self._run_task, task["TaskGuid"])

    def stop_instance(self, instance: str) -> bool:
        with self._lock:
            container = self.containers.pop(instance, None)
        if container is None:
            return False
        self._note("ended", container)
        self._later(self._remove, container)
        return True

    # ---- what it does

    def _run(self, container: Container) -> None:
        """Claim, run, start; what the BBS refuses is not run."""
        with self._lock:
            self.containers[container.instance] = container
        try:
            self._bbs.claim_actual_lrp(container.guid, container.index, self._key(container))
        except BbsError as error:
            if not unanswered(error):  # otherwise nobody knows: the sync will tell
                with self._lock:
                    self.containers.pop(container.instance, None)
            return
        self._begin(container)

    def _begin(self, container: Container) -> None:
        with self._lock:
            if container.running or container.instance not in self.containers:
                return
            container.running = True
        self._note("began", container)
        self._tell_running(container)

    def _tell_running(self, container: Container) -> None:
        with container.telling:
            if container.instance in self.containers:
                self._tell_the_bbs(container)

    def _tell_the_bbs(self, container: Container) -> None:
        request = StartActualLRPRequest(
            actual_lrp_key=self._lrp_key(container),
            actual_lrp_instance_key=self._key(container),
            actual_lrp_net_info=actual_lrp_pb2.ActualLRPNetInfo(
                address="10.255.0.2",
                ports=[actual_lrp_pb2.PortMapping(container_port=8080, host_port=61000)],
            ),
        )
        try:
            self._bbs.start_actual_lrp(request)
        except BbsError as error:
            if unanswered(error):
                return
            with self._lock:
                gone = self.containers.pop(container.instance, None)
            if gone is not None:
                self._note("ended", container)

    def _remove(self, container: Container) -> None:
        with contextlib.suppress(BbsError):
            self._bbs.remove_actual_lrp(container.guid, container.index, self._key(container))

    def _run_task(self, guid: str) -> None:
        try:
            if not self._bbs.start_task(guid, self.cell_id):
                return
        except BbsError:
            return
        with self._lock:
            self.tasks.add(guid)
        self.history.note("task", what="began", guid=guid, cell=self.cell_id)
        if self._stopping.wait(TASK_SECONDS):
            return
        while not self._stopping.is_set():
            try:
                self._bbs.complete_task(guid, self.cell_id, failed=False, result="done")
            except BbsError as error:
                if unanswered(error):
                    self._stopping.wait(1.0)
                    continue
            break
        with self._lock:
            self.tasks.discard(guid)

    def _sync_all_the_time(self) -> None:
        while not self._stopping.wait(SYNC_EVERY):
            try:
                self._sync()
            except BbsError:
                continue

    def _sync(self) -> None:
        with self._lock:
            before = dict(self.containers)
            tasks_before = set(self.tasks)
        rows = self._bbs.actual_lrps(cell_id=self.cell_id)
        tasks = self._bbs.tasks(cell_id=self.cell_id)
        recorded = {row.actual_lrp_instance_key.instance_guid for row in rows}
        for row in rows:
            instance = row.actual_lrp_instance_key.instance_guid
            if instance not in before and instance not in self.containers:
                key = row.actual_lrp_key
                with contextlib.suppress(BbsError):
                    self._bbs.remove_actual_lrp(key.process_guid, key.index, row.actual_lrp_instance_key)
        for container in before.values():
            if container.running:
                self._tell_running(container)
            elif container.instance in recorded:
                self._begin(container)
            else:
                self._run(container)
        for task in tasks:
            running = task.task_guid in tasks_before or task.task_guid in self.tasks
            if task.state == task.Running and not running:
                with contextlib.suppress(BbsError):
                    self._bbs.complete_task(
                        task.task_guid,
                        self.cell_id,
                        failed=True,
                        failure_reason="task container does not exist",
                    )

    def _later(self, do: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # it was powered off
            self._pool.submit(do, *arguments)

    def _note(self, what: str, container: Container) -> None:
        self.history.note(
            "container",
            what=what,
            guid=container.guid,
            index=container.index,
            instance=container.instance,
            cell=self.cell_id,
        )

    def _key(self, container: Container) -> actual_lrp_pb2.ActualLRPInstanceKey:
        return actual_lrp_pb2.ActualLRPInstanceKey(instance_guid=container.instance, cell_id=self.cell_id)

    def _lrp_key(self, container: Container) -> actual_lrp_pb2.ActualLRPKey:
        return actual_lrp_pb2.ActualLRPKey(
            process_guid=container.guid, index=container.index, domain=container.domain
        )


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that is killed is no error of the cell."""


def _handler(cell: Cell) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65536

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if cell.gone or cell.silent:
                cell.hang()
                self.close_connection = True
                return
            status, told = 202, b""
            if self.path == "/state":
                status, told = 200, cell.state()
            elif self.path == "/work":
                status, told = 200, b'{"LRPs":[],"Tasks":[]}\n'
                cell.work(body)
            elif self.path.endswith("/stop"):
                status = 202 if cell.stop_instance(self.path.split("/")[-2]) else 404
            self.send_response(status)
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)
            self.wfile.flush()
            if self.path == "/state":
                cell.asked_for_state()

        do_GET = do_POST = do_PUT = answer  # noqa: N815 - the server's own names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            pass

    return Handler
