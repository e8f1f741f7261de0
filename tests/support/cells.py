"""Stand-in cells for an auctioneer: they answer for their state, take work or not, and note what they are asked."""

import contextlib
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from diego.models import CellPresence

ROOM = {"MemoryMB": 1024, "DiskMB": 2048, "Containers": 10}
NOTHING_BACK = b'{"LRPs":[],"Tasks":[]}\n'


def a_state(cell_id: str, **changes: Any) -> dict[str, Any]:
    """A cell's state with room for everything."""
    return {
        "cell_id": cell_id,
        "RootFSProviders": {"preloaded": {"type": "fixed_set", "set": {"cflinuxfs4": {}}}},
        "AvailableResources": ROOM,
        "TotalResources": ROOM,
        "LRPs": [],
        "Tasks": [],
        "Zone": "z1",
        **changes,
    }


@dataclass(frozen=True)
class Exchange:
    """One request and the answer it got."""

    cell: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def work(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass
class StandInCell:
    """One cell. `state`, `work` and `state_delay` may be changed at any time.

    Attributes:
        state: status and body of `/state`.
        work: from the body of `/work` to status and body.
        state_delay: seconds before `/state` is answered.
    """

    cell_id: str
    zone: str
    url: str = ""
    state: tuple[int, bytes] = (200, b"{}")
    work: Callable[[bytes], tuple[int, bytes]] = lambda _body: (200, NOTHING_BACK)
    state_delay: float = 0.0
    asked: list[Exchange] = field(default_factory=list)

    def says(self, **changes: Any) -> None:
        """Answer `/state` with a good state, with these changes."""
        self.state = 200, json.dumps(a_state(self.cell_id, **{"Zone": self.zone, **changes})).encode()

    def presence(self) -> CellPresence:
        """How it is announced in Locket."""
        return CellPresence(
            cell_id=self.cell_id,
            rep_address=self.url,
            zone=self.zone,
            memory_mb=1024,
            disk_mb=2048,
            containers=10,
            rootfs_providers=(("preloaded", ("cflinuxfs4",)),),
            rep_url=self.url,
        )

    def take(self) -> list[Exchange]:
        """What was asked since the last time."""
        taken, self.asked[:] = list(self.asked), []
        return taken

    def given(self) -> list[dict[str, Any]]:
        """The LRPs and tasks of all work so far."""
        return [
            item
            for exchange in self.asked
            if exchange.path == "/work"
            for item in (*(exchange.work["LRPs"] or ()), *(exchange.work["Tasks"] or ()))
        ]


def hands_back(body: bytes) -> tuple[int, bytes]:
    """The answer of a cell that takes nothing."""
    work = json.loads(body)
    return 200, json.dumps({"LRPs": work["LRPs"], "Tasks": work["Tasks"]}).encode()


@contextlib.contextmanager
def stand_in_cell(cell_id: str, zone: str, tls: ssl.SSLContext | None = None) -> Iterator[StandInCell]:
    """A cell on loopback, over TLS when there is a context."""
    cell = StandInCell(cell_id, zone)
    cell.says()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(cell))
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    cell.url = f"{'https' if tls else 'http'}://localhost:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield cell
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(cell: StandInCell) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65536  # an answer in one packet

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {key.lower(): value for key, value in self.headers.items()}
            cell.asked.append(
                Exchange(cell.cell_id, self.command, self.path, headers, body, time.monotonic())
            )
            if self.path == "/state":
                time.sleep(cell.state_delay)
            status, answer = cell.state if self.path == "/state" else cell.work(body)
            with contextlib.suppress(OSError):  # who asked has given up
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        do_GET = do_POST = answer  # noqa: N815 (the server's own names)

        def handle(self) -> None:
            with contextlib.suppress(OSError):  # the other side closed or does not speak TLS
                super().handle()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
            pass

    return Handler
