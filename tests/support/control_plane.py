"""A whole control plane of real processes: Locket, BBS and auctioneer, with stand-ins only for the cells."""

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from diego.bbs.client import BbsClient
from diego.locket.client import PRESENCE, LocketClient
from support import locket as real_locket
from support.auctioneer import AuctioneerProcess
from support.bbs import BbsProcess
from support.cells import StandInCell, stand_in_cell
from support.locket import LocketProcess
from support.mariadb import Database
from support.worker import free_port

PRESENT_SECONDS = 3600
STATE_TIMEOUT = 5.0
"""Seconds that the auctioneer waits for a cell's state."""


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    status: int
    out: str
    err: str


@dataclass
class ControlPlane:
    """The processes, and clients of them."""

    locket: LocketProcess
    bbs: BbsProcess
    auctioneer: AuctioneerProcess
    a: StandInCell
    b: StandInCell
    bbs_client: BbsClient
    locket_client: LocketClient
    env: Mapping[str, str]

    def run(self, main: Callable[[list[str]], None], *words: str) -> Ran:
        """Run a command line in this process, as an operator of this deployment."""
        out, err, status = io.StringIO(), io.StringIO(), 0
        with (
            mock.patch.dict(os.environ, self.env),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                main(list(words))
            except SystemExit as ended:
                status = int(ended.code or 0)
        return Ran(status, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def running(directory: Path, database: Database, pki: Path) -> Iterator[ControlPlane]:
    """A control plane with the cells cell-a in z1 and cell-b in z2, for the length of a with-block."""
    with contextlib.ExitStack() as stack:
        locket = stack.enter_context(real_locket.running(directory / "locket", database, pki))
        port = free_port()
        to_auctioneer = {
            "auctioneer_ca_cert": str(pki / "ca.crt"),
            "auctioneer_client_cert": str(pki / "diego_bbs_client.crt"),
            "auctioneer_client_key": str(pki / "diego_bbs_client.key"),
        }
        url = f"https://127.0.0.1:{port}"
        bbs = BbsProcess(directory / "bbs-0", database, pki, locket.address, url, **to_auctioneer)
        stack.callback(bbs.stop)
        bbs.start()
        auctioneer = AuctioneerProcess(
            directory / "auctioneer-0",
            pki,
            bbs=bbs.url,
            locket=locket.address,
            port=port,
            cell_state_timeout=f"{STATE_TIMEOUT:g}s",
        )
        stack.callback(auctioneer.stop)
        auctioneer.start()
        certificates: dict[str, Any] = {
            "ca_file": str(pki / "ca.crt"),
            "cert_file": str(pki / "diego_bbs_client.crt"),
            "key_file": str(pki / "diego_bbs_client.key"),
        }
        bbs_client = BbsClient(bbs.url, **certificates)
        stack.callback(bbs_client.close)
        locket_client = LocketClient(locket.address, **certificates)
        stack.callback(locket_client.close)
        a = stack.enter_context(stand_in_cell("cell-a", "z1"))
        b = stack.enter_context(stand_in_cell("cell-b", "z2"))
        for cell in (a, b):
            value = cell.presence().value()
            locket_client.lock(cell.cell_id, "owner", value=value, kind=PRESENCE, ttl=PRESENT_SECONDS)
        env = {
            "BBS_URL": bbs.url,
            "LOCKET_API_LOCATION": locket.address,
            "AUCTIONEER_URL": auctioneer.url,
            "CA_CERT_FILE": certificates["ca_file"],
            "CLIENT_CERT_FILE": certificates["cert_file"],
            "CLIENT_KEY_FILE": certificates["key_file"],
        }
        yield ControlPlane(locket, bbs, auctioneer, a, b, bbs_client, locket_client, env)
