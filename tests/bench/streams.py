"""Five hundred listeners, a hundred events a second: does everybody hear everything, how late, by how many threads."""

from __future__ import annotations

import base64
import contextlib
import json
import re
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
from bench.driver import TESTS, accounting
from bench.load import encoded, percentile
from bench.stack import Stack, running
from bench.step import Reporter
from bench.usage import threads

STREAMS = 500
PER_SECOND = 100
SECONDS = 15
EVENTS_PER_LIFE = 6
CAUSES = 8
"""Clients that cause the events; one alone would wait for one commit after the other."""
LATE_SECONDS = 20.0
ANSWERED = b"HTTP/1.1 200 "


def streams(report: Reporter) -> None:
    """What listeners hear of apps that come and go; an event's time is from before the request until a stream has it."""
    lives = -(-report.of(PER_SECOND * SECONDS) // EVENTS_PER_LIFE)
    count = lives * EVENTS_PER_LIFE
    with running(converge_repeat_interval="1h") as stack, tempfile.TemporaryDirectory() as directory:
        before = threads(stack.pids["bbs"])
        target = Path(directory) / "arrivals"
        listening = _listen(stack, count, target)
        with_streams = threads(stack.pids["bbs"])
        with accounting(stack.pids) as used:
            sent = _cause(stack, lives)
            hearing = float(listening.communicate("stop\n", timeout=LATE_SECONDS * 2)[0])
        arrived = _arrived(target)
        caused = _in_order(target.with_suffix(".text").read_bytes(), sent)
        cores = f"cores, bbs / listeners: {used.cpu['bbs'] / used.seconds:.2f} / {hearing / used.seconds:.2f}"
        _judge(report, count, caused, arrived, cores, max(0.0, used.other_cores - hearing / used.seconds))
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


def _life(number: int) -> list[tuple[bytes, int]]:
    """The requests of an app that comes and goes, and how many events each causes.

    An event is a chunk of 2.5 KB in the mean: the desired LRP comes (6.6 KB) with its instance (0.2), which is claimed
    (0.4), runs (0.5) and is removed (1.0), and the desired LRP goes (6.6).
    """
    desire, *others = (
        *bodies.desire("stream", number),
        *bodies.claim_and_start("stream", number),
        *bodies.remove_actual("stream", number),
        *bodies.remove("stream", number),
    )
    return [(encoded(desire), 2), *((encoded(call), 1) for call in others)]


class _Cause:
    """One who causes events, a request after the other."""

    def __init__(self, stack: Stack, context: ssl.SSLContext) -> None:
        address = urlsplit(stack.bbs_url)
        plain = socket.create_connection((address.hostname or "", address.port or 0), LATE_SECONDS)
        self._connection = context.wrap_socket(plain, server_hostname=address.hostname)
        self._unanswered = 0

    def ask(self, request: bytes) -> None:
        """Send, whether or not the last answer came."""
        self._connection.send(request)
        self._unanswered += 1
        self._connection.settimeout(0)
        with contextlib.suppress(ssl.SSLWantReadError):
            self._read()
        self._connection.settimeout(LATE_SECONDS)

    def wait(self) -> None:
        """Until everything is answered."""
        while self._unanswered:
            self._read()

    def _read(self) -> None:
        piece = self._connection.recv(65536)
        if not piece:
            raise ConnectionResetError(f"{self._unanswered} requests were not answered")
        self._unanswered -= piece.count(ANSWERED)

    def close(self) -> None:
        self._connection.close()


def _cause(stack: Stack, lives: int) -> list[list[float]]:
    """Cause events, each at its time; for each life, when the request of each event was sent."""
    certificates = stack.certificates
    context = ssl.create_default_context(cafile=str(certificates / "ca.crt"))
    context.load_cert_chain(certificates / "diego_bbs_client.crt", certificates / "diego_bbs_client.key")
    requests = [_life(number) for number in range(lives)]
    sent: list[list[float]] = [[] for _ in range(lives)]
    order = [
        (number, step)
        for first in range(0, lives, CAUSES)
        for step in range(len(requests[0]))
        for number in range(first, min(first + CAUSES, lives))
    ]
    with contextlib.ExitStack() as closing:
        causes = [_Cause(stack, context) for _ in range(CAUSES)]
        for cause in causes:
            closing.callback(cause.close)
        caused = 0
        began = time.monotonic() + 0.5
        for number, step in order:
            request, events = requests[number][step]
            time.sleep(max(0.0, began + caused / PER_SECOND - time.monotonic()))
            sent[number] += [time.monotonic()] * events
            causes[number % CAUSES].ask(request)
            caused += events
        for cause in causes:
            cause.wait()
    return sent


def _in_order(text: bytes, sent: list[list[float]]) -> list[float]:
    """When the request of each event was sent, in the order in which the streams had the events."""
    left = [iter(times) for times in sent]
    caused = []
    for data in re.findall(rb"\ndata: (\S+)\n", text):
        found = re.search(rb"stream-(\d+)-", base64.b64decode(data))
        if found is None:
            raise ValueError("an event that nobody caused")
        caused.append(next(left[int(found[1])]))
    return caused


def _arrived(target: Path) -> list[array[float]]:
    """The times of all events on each stream."""
    arrived = []
    with target.open("rb") as file:
        for _ in range(STREAMS):
            (length,) = array("q", file.read(8))
            times = array("d")
            times.frombytes(file.read(8 * length))
            arrived.append(times)
    return arrived


def _judge(
    report: Reporter,
    count: int,
    caused: list[float],
    arrived: list[array[float]],
    cores: str,
    others: float,
) -> None:
    heard = sum(len(times) for times in arrived)
    wanted = count * STREAMS
    report.keep("streams-delivered", 100 * heard / wanted, note=f"{heard:,} of {wanted:,} events")
    late = sorted(1000 * (at - began) for times in arrived for began, at in zip(caused, times, strict=False))
    rate = (len(caused) - 1) / (max(caused) - min(caused))
    report.keep(
        "streams-p99",
        percentile(late, 0.99),
        note=f"p50 {percentile(late, 0.5):.1f} ms, the longest {late[-1]:.1f} ms, at {rate:.0f} events/s;"
        f" {cores}",
        other_cores=others,
    )
