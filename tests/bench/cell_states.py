"""The auctioneer's look at a thousand cells over mutual TLS: stand-ins on a port each, in two processes."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from bench.driver import TESTS, accounting, median
from bench.step import Reporter
from diego.auctioneer.cells import Cell, Cells
from diego.runtime import tls
from support import pki

CELLS = 1000
PROCESSES = 2
ROUNDS = 7
HANDSHAKES = 20
"""Side by side: auctioneer and stand-ins share the cores, and a connection must be there within two seconds."""
LRPS = 16
"""On each cell: its state is then about 4 KB."""


def states(report: Reporter) -> None:
    """With connections that are there already, as between the rounds of a busy auctioneer; the first time besides."""
    count = report.of(CELLS)
    with tempfile.TemporaryDirectory() as directory:
        certificates = pki.write(Path(directory) / "pki")
        each = count // PROCESSES
        stand_ins = [_stand_ins(certificates, number * each, each) for number in range(PROCESSES)]
        try:
            ports = [port for process in stand_ins for port in _ports(process)]
            with accounting({f"cells-{n}": process.pid for n, process in enumerate(stand_ins)}) as used:
                seconds = uvloop.run(_fetch(certificates, ports))
        finally:
            for process in stand_ins:
                process.kill()
                process.communicate()
    report.keep(
        "states-1000",
        median(seconds[1:]),
        runs=seconds[1:],
        note=f"{len(ports)} cells; {len(ports)} handshakes before, {HANDSHAKES} at a time, took {seconds[0]:.2f} s",
        other_cores=used.other_cores,
    )


async def _fetch(certificates: Path, ports: list[int]) -> list[float]:
    """The seconds of each round."""
    context = tls.client_context(
        certificates / "diego_rep_client.crt", certificates / "diego_rep_client.key", certificates / "ca.crt"
    )
    cells = [Cell(f"cell-{n}", f"https://127.0.0.1:{port}") for n, port in enumerate(ports)]
    asked = Cells(context, state_timeout=30, work_timeout=30, workers=CELLS)
    began = time.monotonic()
    for at in range(0, len(cells), HANDSHAKES):  # these processes share two cores: not all at once
        await asked.states(cells[at : at + HANDSHAKES], "")
    seconds = [time.monotonic() - began]
    try:
        for _ in range(ROUNDS):
            began = time.monotonic()
            found = await asked.states(cells, "")
            seconds.append(time.monotonic() - began)
            if len(found) != len(cells):
                raise RuntimeError(f"{len(found)} of {len(cells)} states came: {dict(asked.left_out)}"[:500])
    finally:
        await asked.close()
    return seconds


def _stand_ins(certificates: Path, first: int, count: int) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "bench.stand_ins", str(certificates), str(first), str(count), str(LRPS)]
    return subprocess.Popen(words, cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _ports(process: subprocess.Popen[str]) -> list[int]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("the stand-in cells did not start")
    found: list[int] = json.loads(line)
    return found
