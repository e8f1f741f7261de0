"""A real rep over a real garden, joined to a real BBS and a real Locket on a real MariaDB.

The cell lives in namespaces of its own; its connections to the BBS and to Locket come out through doorways. The
test plays the auctioneer and, with `elsewhere`, a second cell.
"""

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diego.bbs.client import BbsClient
from diego.locket.client import PRESENCE, LocketClient
from diego.models.cell import CellPresence
from diego.wire.actual_lrp_pb2 import ActualLRP, ActualLRPInstanceKey, ActualLRPKey, ActualLRPNetInfo
from diego.wire.actual_lrp_requests_pb2 import StartActualLRPRequest
from support import bbs as real_bbs
from support import locket as real_locket
from support import pki
from support.garden import build_rootfs
from support.mariadb import Database
from support.rep import RepCell
from support.tcp_proxy import TcpProxy

OTHER_CELL = "cell-b"


class Doorway(TcpProxy):
    """A proxy whose listener is somewhere else than its way on: a socket keeps the network it was made in."""

    def __init__(self, listener: socket.socket, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = listener
        self.port = listener.getsockname()[1]
        self.refuse = False
        self.broken = 0
        self._marker = None
        self._sockets = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()


class JoinedCell(RepCell):
    """`cell-a`, its BBS and its Locket."""

    def __init__(
        self,
        directory: Path,
        rootfs: Path,
        bbs: real_bbs.BbsProcess,
        locket: real_locket.LocketProcess,
        **config: Any,
    ) -> None:
        super().__init__(directory, rootfs, **config)
        self.real_bbs, self.real_locket = bbs, locket
        self.doorways: list[Doorway] = []
        files: dict[str, Any] = {
            "ca_file": str(self.pki / "service_cf_internal_ca.crt"),
            "cert_file": str(self.pki / "diego_bbs_client.crt"),
            "key_file": str(self.pki / "diego_bbs_client.key"),
        }
        self.client = BbsClient(bbs.url, **files)
        self._locket_client = LocketClient(locket.address, **files)

    def start_peers(self) -> None:
        for here, there in ((self.bbs, self.real_bbs.port), (self.locket, self.real_locket.port)):
            listener = self.inside(lambda port=here: socket.create_server(("127.0.0.1", port)))  # type: ignore[misc]  # bound now
            self.doorways.append(Doorway(listener, ("127.0.0.1", there)))
        other = CellPresence(OTHER_CELL, rep_url="https://127.0.0.1:1", memory_mb=1, containers=1)
        self._locket_client.lock(OTHER_CELL, "the test", value=other.value(), kind=PRESENCE, ttl=3600)

    def close(self) -> None:
        for doorway in self.doorways:
            doorway.close()
        self.client.close()
        self._locket_client.close()
        super().close()

    # What the BBS and Locket know

    def rows(self, process_guid: str) -> dict[str, tuple[str, str]]:
        """State and cell of each record of a process, by its presence."""
        return {
            ActualLRP.Presence.Name(lrp.presence): (lrp.state, lrp.actual_lrp_instance_key.cell_id)
            for lrp in self.client.actual_lrps(process_guid=process_guid)
        }

    def presence(self) -> str:
        """The cell's presence as Locket has it; empty when it has none."""
        found = {resource.key: resource.value for resource in self._locket_client.fetch_all(PRESENCE)}
        return str(found.get("cell-a", ""))

    def containers(self) -> list[str]:
        """What the engine still has."""
        return self.garden.run(self.garden.client.containers({}))

    # The other cell

    def run_elsewhere(self, process_guid: str) -> None:
        """Another cell claims and starts index 0."""
        [key] = {
            (lrp.actual_lrp_key.process_guid, lrp.actual_lrp_key.domain)
            for lrp in self.client.actual_lrps(process_guid=process_guid)
        }
        lrp_key = ActualLRPKey(process_guid=key[0], index=0, domain=key[1])
        instance = ActualLRPInstanceKey(instance_guid="replacement", cell_id=OTHER_CELL)
        self.client.claim_actual_lrp(process_guid, 0, instance)
        self.client.start_actual_lrp(
            StartActualLRPRequest(
                actual_lrp_key=lrp_key,
                actual_lrp_instance_key=instance,
                actual_lrp_net_info=ActualLRPNetInfo(address="192.0.2.7", instance_address="192.0.2.8"),
                Routable=True,
            )
        )

    # The drain script

    def drain(self, *words: str, seconds: float = 150.0) -> subprocess.CompletedProcess[str]:
        """The rep's drain script, on the cell."""
        command = [sys.executable, "-m", "diego.rep.drain", "--config", str(self.directory / "rep.json")]
        command += ["--supervisor", str(self.directory / "no-supervisor.sock"), *words]
        return subprocess.run(
            self.garden.space.command(*command), capture_output=True, text=True, check=False, timeout=seconds
        )


@contextlib.contextmanager
def a_joined_cell(directory: Path, database: Database, **config: Any) -> Iterator[JoinedCell]:
    """A cell that serves and those whom it calls, removed with everything in it at the end."""
    rootfs = directory / "rootfs.tar"
    build_rootfs(rootfs)
    with contextlib.ExitStack() as stack:
        certificates = pki.write(directory / "pki")
        locket = stack.enter_context(real_locket.running(directory / "locket", database, certificates))
        auctioneer = stack.enter_context(real_bbs.stand_ins("auctioneer")).url("auctioneer")
        bbs = stack.enter_context(
            real_bbs.running(directory / "bbs", database, certificates, locket.address, auctioneer)
        )
        cell = JoinedCell(directory, rootfs, bbs, locket, **config)
        stack.callback(cell.close)
        cell.start()
        yield cell
