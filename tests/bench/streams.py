"""Five hundred listeners, a hundred events a second: does everybody hear everything, how late, by how many threads."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from array import array
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench import bodies
from bench.driver import TESTS, accounting, run
from bench.load import encoded, percentile
from bench.stack import Stack, running
from bench.step import Reporter
from bench.usage import threads

STREAMS = 500
PER_SECOND = 100
SECONDS = 15
LATE_SECONDS = 20.0
ANSWERED = b"HTTP/1.1 200 "


def streams(report: Reporter) -> None:
    """Each change of a desired LRP is one event; its time is from before the request until a stream has it."""
    count = report.of(PER_SECOND * SECONDS)
    with running(converge_repeat_interval="1h") as stack, tempfile.TemporaryDirectory() as directory:
        run(stack, "desire", 1, 1)
        before = threads(stack.pids["bbs"])
        listening = _listen(stack, count, Path(directory) / "arrivals")
        with_streams = threads(stack.pids["bbs"])
        with accounting(stack.pids) as used:
            sent = _change(stack, count)
            hearing = float(listening.communicate("stop\n", timeout=LATE_SECONDS * 2)[0])
        arrived = _arrived(Path(directory) / "arrivals", count)
        cores = f"cores, bbs / listeners: {used.cpu['bbs'] / used.seconds:.2f} / {hearing / used.seconds:.2f}"
        _judge(report, sent, arrived, cores, max(0.0, used.other_cores - hearing / used.seconds))
        report.keep(
            "streams-threads",
            max(0, with_streams - before),
            note=f"{with_streams} threads with {STREAMS} streams, {before} without",
        )


def _listen(stack: Stack, count: int, target: Path) -> subprocess.Popen[str]:
    """The listeners, all connected."""
    certificates = stack.certificates
    order: dict[str, Any] = {
        "url": stack.bbs_url,
        "ca": str(certificates / "ca.crt"),
        "cert": str(certificates / "diego_bbs_client.crt"),
        "key": str(certificates / "diego_bbs_client.key"),
        "streams": STREAMS,
        "count": count,
        "target": str(target),
    }
    listening = subprocess.Popen(
        [sys.executable, "-m", "bench.listen"],
        cwd=TESTS,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert listening.stdin is not None
    assert listening.stdout is not None
    listening.stdin.write(json.dumps(order) + "\n")
    listening.stdin.flush()
    if listening.stdout.readline() != "ready\n":
        listening.kill()
        raise RuntimeError("the listeners could not connect")
    return listening


def _change(stack: Stack, count: int) -> list[float]:
    """Change an LRP so often, each at its time, whether or not the last answer came; when each request was sent."""
    certificates = stack.certificates
    context = ssl.create_default_context(cafile=str(certificates / "ca.crt"))
    context.load_cert_chain(certificates / "diego_bbs_client.crt", certificates / "diego_bbs_client.key")
    address = urlsplit(stack.bbs_url)
    requests = [encoded(bodies.annotate("load", 0, f"change {number}")) for number in range(-1, count)]
    sent = []
    with (
        socket.create_connection((address.hostname or "", address.port or 0), 30) as plain,
        context.wrap_socket(plain, server_hostname=address.hostname) as connection,
    ):
        connection.sendall(requests[0])  # nobody counts this event
        connection.recv(65536)
        connection.settimeout(0)
        answers = 0
        began = time.monotonic() + 0.5
        for number, request in enumerate(requests[1:]):
            time.sleep(max(0.0, began + number / PER_SECOND - time.monotonic()))
            sent.append(time.monotonic())
            connection.send(request)
            with contextlib.suppress(ssl.SSLWantReadError):
                answers += connection.recv(65536).count(ANSWERED)
        connection.settimeout(LATE_SECONDS)
        while answers < count:
            piece = connection.recv(65536)
            if not piece:
                raise ConnectionResetError(f"{answers} of {count} changes were answered")
            answers += piece.count(ANSWERED)
    return sent


def _arrived(target: Path, count: int) -> list[array[float]]:
    """The times of all events on each stream, without that of the first."""
    arrived = []
    with target.open("rb") as file:
        for _ in range(STREAMS):
            (length,) = array("q", file.read(8))
            times = array("d")
            times.frombytes(file.read(8 * length))
            arrived.append(times[1 : count + 1])
    return arrived


def _judge(
    report: Reporter,
    sent: list[float],
    arrived: list[array[float]],
    cores: str,
    others: float,
) -> None:
    heard = sum(len(times) for times in arrived)
    wanted = len(sent) * STREAMS
    report.keep("streams-delivered", 100 * heard / wanted, note=f"{heard:,} of {wanted:,} events")
    late = sorted(1000 * (at - began) for times in arrived for began, at in zip(sent, times, strict=False))
    rate = (len(sent) - 1) / (sent[-1] - sent[0])
    report.keep(
        "streams-p99",
        percentile(late, 0.99),
        note=f"p50 {percentile(late, 0.5):.1f} ms, the longest {late[-1]:.1f} ms, at {rate:.0f} events/s;"
        f" {cores}",
        other_cores=others,
    )
