"""The control plane as real processes on this machine: MariaDB, lockets, BBSes, auctioneers, and imaginary cells.

Clients know one address per service, as they do by its DNS name: a forwarder there tries the instances in turn.
"""

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos import host
from chaos.apart import CellsApart, cells_apart
from chaos.cells import Cell
from chaos.clocks import Clock
from chaos.history import History
from diego.bbs.client import BbsClient
from diego.models import BbsError, Presence
from diego.wire import actual_lrp_pb2, task_pb2
from support import pki as test_pki
from support.auctioneer import AuctioneerProcess
from support.bbs import BbsProcess, StandIns, stand_ins
from support.locket import LocketProcess
from support.mariadb import Database
from support.sql_proxy import SqlProxy, proxying
from support.worker import until

CELLS = 6
ZONES = ("z1", "z2", "z3")
LOOK_EVERY = 0.5
PRESENCES = {int(presence): presence.name for presence in Presence}

HOSTS = ("database", "cells", "locket-0", "locket-1", "bbs-0", "bbs-1", "auctioneer-0", "auctioneer-1")
"""Who has a clock, where clocks can be turned."""


@dataclass(frozen=True)
class Extras:
    """What an experiment needs of its site beyond the usual.

    Attributes:
        clocks: every host's wall clock can be turned; the cells are a process of their own.
        disk_mb: the size of the database's disk, when it has one of its own.
    """

    clocks: bool = False
    disk_mb: int = 0


class Forwarder:
    """One address for several: each connection goes to the first of them that accepts. More may be added."""

    def __init__(self, ports: Sequence[int] = ()) -> None:
        self.ports = list(ports)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        for port in list(self.ports):
            try:
                server = socket.create_connection(("127.0.0.1", port), timeout=2)
            except OSError:
                continue
            server.settimeout(None)
            other = threading.Thread(target=_copy, args=(server, client), daemon=True)
            other.start()
            _copy(client, server)
            return
        client.close()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for each in (source, sink):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@dataclass
class Control:
    """Everything of one experiment."""

    history: History
    mariadb: host.HostedMariaDb
    database: Database
    bbses: list[BbsProcess]
    bbs_proxies: list[SqlProxy]
    locket_proxies: list[SqlProxy]
    lockets: list[LocketProcess]
    auctioneers: list[AuctioneerProcess]
    cells: list[Cell]
    callbacks: StandIns
    pki: Path
    url: str
    clocks: dict[str, Clock]
    apart: CellsApart | None
    stopping: threading.Event = field(default_factory=threading.Event)

    def client(self, timeout: float = 5.0, attempts: int = 1) -> BbsClient:
        return BbsClient(
            self.url,
            ca_file=self.pki / "ca.crt",
            cert_file=self.pki / "diego_bbs_client.crt",
            key_file=self.pki / "diego_bbs_client.key",
            timeout=timeout,
            attempts=attempts,
        )

    def active(self) -> BbsProcess:
        """The BBS that answers as the active one."""
        return until(self.answering, seconds=60)[0]

    def standby(self) -> BbsProcess:
        active = self.active()
        return next(bbs for bbs in self.bbses if bbs is not active)

    def answering(self) -> list[BbsProcess]:
        found = []
        for bbs in self.bbses:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if bbs.running and bbs.active and _ping(bbs):
                    found.append(bbs)
        return found

    def active_auctioneer(self) -> AuctioneerProcess:
        return until(lambda: [one for one in self.auctioneers if one.active], seconds=60)[0]

    def rows(self) -> list[list[Any]]:
        """What the BBS tells of all instances, as the checker wants it."""
        with self.client() as client:
            return sorted(_row(lrp) for lrp in client.actual_lrps())

    def tasks(self) -> list[list[Any]]:
        with self.client() as client:
            return sorted(
                [task.task_guid, task_pb2.Task.State.Name(task.state), task.failed, task.failure_reason]
                for task in client.tasks()
            )

    def stored(self) -> list[list[Any]]:
        """The same as `rows`, of the database."""
        query = (
            "SELECT process_guid, instance_index, presence, state, instance_guid, cell_id FROM actual_lrps"
        )
        return sorted(
            [str(guid), int(str(index)), PRESENCES[int(str(presence))], str(state), str(instance), str(cell)]
            for guid, index, presence, state, instance, cell in self.database.rows(query)
        )

    def look_all_the_time(self) -> None:
        """Note twice a second what a BBS tells and who answers."""
        while not self.stopping.wait(LOOK_EVERY):
            names = [f"bbs-{self.bbses.index(bbs)}" for bbs in self.answering()]
            self.history.note("answers", bbs=names)
            with contextlib.suppress(BbsError):
                self.history.note("rows", rows=self.rows())

    def note_logs(self) -> None:
        """Note the error lines of all jobs' logs."""
        logs = [(f"bbs-{n}", bbs.log) for n, bbs in enumerate(self.bbses)]
        logs += [(f"locket-{n}", locket.log) for n, locket in enumerate(self.lockets)]
        logs += [(f"auctioneer-{n}", one.log) for n, one in enumerate(self.auctioneers)]
        for job, path in logs:
            *lines, _ = path.read_text().split("\n")  # the last is empty, or being written
            for line in lines:
                if not line.startswith("{"):
                    continue
                entry = json.loads(line)
                if entry["level"] in ("error", "fatal"):
                    self.history.note("log", job=job, message=entry["message"], data=entry.get("data"))


def _ping(bbs: BbsProcess) -> bool:
    connection = bbs.connection(timeout=2.0)
    try:
        connection.request("POST", "/v1/ping")
        return connection.getresponse().status == 200
    finally:
        connection.close()


def _row(lrp: actual_lrp_pb2.ActualLRP) -> list[Any]:
    return [
        lrp.actual_lrp_key.process_guid,
        lrp.actual_lrp_key.index,
        PRESENCES[lrp.presence],
        lrp.state,
        lrp.actual_lrp_instance_key.instance_guid,
        lrp.actual_lrp_instance_key.cell_id,
    ]


@contextmanager
def control(
    directory: Path, history: History, extras: Extras = Extras(), **bbs_config: Any
) -> Iterator[Control]:
    """A control plane with its cells, looked at all the time; the first BBS and auctioneer are active."""
    with ExitStack() as stack:
        pki = test_pki.write(directory / "pki")
        clocks = {name: Clock(_hosts_clock(directory, name)) for name in HOSTS if extras.clocks}
        mariadb = stack.enter_context(
            host.running(directory / "mariadb.log", clock=clocks.get("database"), disk_mb=extras.disk_mb)
        )
        database = mariadb.create_database()
        callbacks = stack.enter_context(stand_ins("callback"))
        proxied = [stack.enter_context(proxying(database)) for _ in range(4)]
        lockets = [
            LocketProcess(directory / f"locket-{n}", proxied[n][1], pki, sql_ca_cert_file="")
            for n in range(2)
        ]
        for n, locket in enumerate(lockets):
            stack.callback(locket.stop)
            with _on(clocks, f"locket-{n}"):
                locket.start()
        locket_front = Forwarder([locket.port for locket in lockets])
        stack.callback(locket_front.close)
        auctioneer_front = Forwarder()  # their ports come later: they call the BBSes, which call them
        stack.callback(auctioneer_front.close)
        address = f"127.0.0.1:{locket_front.port}"
        bbses = [
            BbsProcess(
                directory / f"bbs-{n}",
                proxied[2 + n][1],
                pki,
                address,
                f"https://127.0.0.1:{auctioneer_front.port}",
                auctioneer_ca_cert=str(pki / "ca.crt"),
                auctioneer_client_cert=str(pki / "diego_auctioneer_client.crt"),
                auctioneer_client_key=str(pki / "diego_auctioneer_client.key"),
                sql_ca_cert_file="",
                **{"converge_repeat_interval": "15s", **bbs_config},
            )
            for n in range(2)
        ]
        bbs_front = Forwarder([bbs.port for bbs in bbses])
        stack.callback(bbs_front.close)
        url = f"https://127.0.0.1:{bbs_front.port}"
        auctioneers = [
            AuctioneerProcess(
                directory / f"auctioneer-{n}", pki, bbs=url, locket=address, cell_state_timeout="10s"
            )
            for n in range(2)
        ]
        auctioneer_front.ports.extend(one.port for one in auctioneers)
        for n, bbs in enumerate(bbses):
            stack.callback(bbs.stop)
            with _on(clocks, f"bbs-{n}"):
                bbs.start(wait=False)
            if n == 0:
                bbs.wait_until_active(60)
        for n, auctioneer in enumerate(auctioneers):
            stack.callback(auctioneer.stop)
            with _on(clocks, f"auctioneer-{n}"):
                auctioneer.start(wait=False)
        zoned = [(f"cell-{n}", ZONES[n % len(ZONES)]) for n in range(CELLS)]
        cells: list[Cell] = []
        apart = None
        if extras.clocks:
            told = [
                {"cell_id": name, "zone": zone, "bbs_url": url, "locket_address": address, "pki": str(pki)}
                for name, zone in zoned
            ]
            apart = stack.enter_context(cells_apart(told, directory / "cells.log", history, clocks["cells"]))
        else:
            cells = [Cell(name, zone, history, url, address, pki) for name, zone in zoned]
        for cell in cells:
            cell.start()
            stack.callback(_power_off, cell)
        made = Control(
            history,
            mariadb,
            database,
            bbses,
            [proxy for proxy, _ in proxied[2:]],
            [proxy for proxy, _ in proxied[:2]],
            lockets,
            auctioneers,
            cells,
            callbacks,
            pki,
            url,
            clocks,
            apart,
        )
        until(lambda: len(_cells_of(made)) == CELLS, seconds=60)
        until(lambda: any(one.active for one in auctioneers), seconds=60)
        looking = threading.Thread(target=made.look_all_the_time, daemon=True)
        looking.start()
        try:
            yield made
        finally:
            made.stopping.set()
            looking.join(30)
            made.note_logs()


def _hosts_clock(directory: Path, name: str) -> Path:
    """Where a host's clock lies: everybody may look at it, also a database that is not root."""
    path = directory / "clocks" / name
    path.parent.mkdir(exist_ok=True)
    return path


def _on(clocks: dict[str, Clock], name: str) -> contextlib.AbstractContextManager[None]:
    """Whoever is started meanwhile lives on this host."""
    return clocks[name].worn() if name in clocks else contextlib.nullcontext()


def _cells_of(made: Control) -> list[Any]:
    try:
        with made.client() as client:
            return client.cells()
    except BbsError:
        return []


def _power_off(cell: Cell) -> None:
    with contextlib.suppress(OSError, RuntimeError):
        cell.power_off()
