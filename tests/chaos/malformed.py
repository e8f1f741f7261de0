"""Bad requests by the thousand, seeded, to the BBS, the auctioneer and Locket, with good ones in between.

Who sends them is a process of its own for each API, so that what good ones are told is not delayed by the sending.
"""

import asyncio
import contextlib
import http.client
import json
import os
import random
import socket
import ssl
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import grpc

from chaos.site import Control
from diego.models import BbsError
from support import locket as real_locket
from support import pki as test_pki
from support.auctioneer import AuctioneerProcess
from support.bbs import BbsProcess
from support.records import a_desired_message

EACH = 10_000
WARM_UP = 1_000
RAW = 200
"""Of these, connections that speak no TLS, or say little and wait."""

RAW_SECONDS = 30.0
STRANGERS = 20
"""Connections without a certificate, and as many with one that somebody else has signed."""

GIANT = 1 << 30
GIANT_PIECE = 1 << 18
SLOW = 100
"""Connections of each kind that give a byte each second."""

SLOW_APART = 0.05
SLOW_LIMIT = 60.0
SENDER_NICE = 5
PING_EVERY = 0.05

BBS_PATHS = (
    "/v1/desired_lrp/desire.r2", "/v1/desired_lrp/update", "/v1/desired_lrp/remove", "/v1/actual_lrps/claim",
    "/v1/actual_lrps/start", "/v1/actual_lrps/start.r1", "/v1/actual_lrps/crash", "/v1/actual_lrps/fail",
    "/v1/actual_lrps/remove", "/v1/actual_lrps/evacuate_claimed", "/v1/actual_lrps/evacuate_crashed",
    "/v1/tasks/desire.r2", "/v1/tasks/start", "/v1/tasks/complete", "/v1/tasks/fail", "/v1/tasks/reject",
    "/v1/domains/upsert", "/v1/nowhere", "/v1/desired_lrps/list.r3",
)  # fmt: skip
LOCKET_METHODS = ("Lock", "Release", "Fetch", "FetchAll", "Nothing")
CONTRACT_5XX = {501}
NO_ANSWER = {"0", "UNAVAILABLE", "DEADLINE_EXCEEDED"}


@dataclass
class Found:
    """What came of it. `counts`: answers by API and status."""

    counts: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


@contextmanager
def good_requests(control: Control) -> Iterator[list[float]]:
    """Somebody who asks good questions meanwhile; how long each answer took. One that is refused is wrong."""
    seconds: list[float] = []
    done = threading.Event()

    def ask() -> None:
        with control.client(timeout=15.0) as client:
            while not done.wait(PING_EVERY):
                began = time.monotonic()
                try:
                    client.ping()
                except BbsError as error:
                    control.history.note("wrong", what=f"a ping beside bad requests: {error}")
                    continue
                seconds.append(time.monotonic() - began)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield seconds
    finally:
        done.set()
        thread.join(30)


class Sender:
    """Sends to the three APIs at once."""

    def __init__(
        self, control: Control, bbs: BbsProcess, auctioneer: AuctioneerProcess, chance: random.Random
    ) -> None:
        self._locket = control.lockets[0].address
        self._ports = {"bbs": bbs.port, "auctioneer": auctioneer.port, "locket": control.lockets[0].port}
        self._pki = control.pki
        self._chance = chance

    def malformed(self, each: int = EACH) -> Found:
        """So many bad requests to each API, and some connections that are none."""
        counts: Counter[str] = Counter()
        with _senders() as pool:
            runs: dict[str, Future[list[str]]] = {
                name: pool.submit(
                    _http, self._chance.getrandbits(32), name, self._ports[name], self._pki, each
                )
                for name in ("bbs", "auctioneer")
            }
            runs["locket"] = pool.submit(_grpc, self._chance.getrandbits(32), self._locket, self._pki, each)
            answered = left_open = 0
            for port in self._ports.values():
                left_open += _no_tls(self._chance, port)
                counts["no TLS, closed"] += RAW
                answered += _strangers(port, self._pki)
                counts["without a certificate of ours, closed"] += 2 * STRANGERS
            for name, run in runs.items():
                counts.update(f"{name} {said}" for said in run.result())
        found = judged(counts, each)
        if answered:
            found.wrong.append(f"{answered} callers without a certificate of ours were answered")
        if left_open:
            found.wrong.append(f"{left_open} connections that speak no TLS were left open")
        return found

    def giants(self) -> Found:
        """Bodies of 1 GB: announced, and in pieces without an end; to Locket a message of 100 MB."""
        found = Found()
        with _senders() as pool:
            runs = {
                f"{name}, {'in pieces' if chunked else 'announced'}": pool.submit(
                    _giant, self._ports[name], self._pki, chunked
                )
                for name in ("bbs", "auctioneer")
                for chunked in (False, True)
            }
            locket = pool.submit(_giant_message, self._locket, self._pki)
            for name, run in runs.items():
                status, sent = run.result()
                found.counts[f"1 GB to {name}: {status or 'closed'} after MB"] = sent >> 20
                if status not in (0, 413) or sent >= GIANT:
                    found.wrong.append(f"1 GB to {name}: answer {status} after {sent >> 20} MB")
            code = locket.result()
            found.counts[f"100 MB to locket: {code}"] = 1
            if code != "RESOURCE_EXHAUSTED":
                found.wrong.append(f"100 MB to locket: {code}")
        return found

    def slow(self) -> dict[str, list[float]]:
        """SLOW connections of each kind; by API and kind, the seconds after which each was closed."""
        with _senders() as pool:
            runs = {
                f"{name}, {kind}": pool.submit(_slow, self._ports[name], self._pki, kind)
                for name in ("bbs", "auctioneer")
                for kind in ("handshake", "head", "body")
            }
            runs["locket, handshake"] = pool.submit(_slow, self._ports["locket"], self._pki, "handshake")
            return {name: run.result() for name, run in runs.items()}


def _senders() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(8, get_context("spawn"), initializer=os.nice, initargs=(SENDER_NICE,))


def judged(counts: Counter[str], each: int = EACH) -> Found:
    found = Found(dict(counts))
    for name in ("bbs", "auctioneer", "locket"):
        answers = {key.removeprefix(f"{name} "): n for key, n in counts.items() if key.startswith(f"{name} ")}
        total = sum(count for said, count in answers.items() if said not in NO_ANSWER)
        if total < each:
            found.wrong.append(f"only {total} of {each} bad requests to {name} were answered")
    for key, count in counts.items():
        name, _, status = key.rpartition(" ")
        if status.isdigit() and int(status) >= 500 and int(status) not in CONTRACT_5XX:
            found.wrong.append(f"{name} answered {status} to {count} bad requests")
    return found


def _tls(pki: Path) -> ssl.SSLContext:
    tls = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    tls.load_cert_chain(pki / "diego_bbs_client.crt", pki / "diego_bbs_client.key")
    return tls


def _http(seed: int, name: str, port: int, pki: Path, each: int) -> list[str]:
    """The statuses of so many bad requests on connections that are kept; 0 where the server closed instead."""
    chance, tls = random.Random(seed), _tls(pki)
    statuses: list[str] = []
    connection: http.client.HTTPSConnection | None = None
    while len(statuses) < each:
        if connection is None:
            connection = http.client.HTTPSConnection("127.0.0.1", port, context=tls, timeout=30)
        path, body, headers = _bbs_request(chance) if name == "bbs" else _auctioneer_request(chance)
        try:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
            statuses.append("500" if b"Traceback" in text else str(answer.status))
        except (OSError, http.client.HTTPException):
            statuses.append("0")
            connection.close()
            connection = None
    if connection is not None:
        connection.close()
    return statuses


def _bbs_request(chance: random.Random) -> tuple[str, bytes, dict[str, str]]:
    kind = chance.randrange(4)
    # without a domain, so that no change of some bytes makes it a wish that is granted
    good = a_desired_message("guid-" + "x" * chance.randrange(300), domain="").SerializeToString()
    if kind == 0:
        body = chance.randbytes(chance.randrange(400))
    elif kind == 1:  # a good message with some bytes changed
        mutated = bytearray(b"\x0a" + bytes([len(good) & 0x7F]) + good)
        for _ in range(chance.randrange(1, 6)):
            mutated[chance.randrange(len(mutated))] = chance.randrange(256)
        body = bytes(mutated)
    elif kind == 2:  # messages in messages in messages
        body = b"\x0a\x7f" * chance.randrange(1, 2000)
    else:  # numbers that are too long, texts that are no UTF-8
        body = b"\x08" + b"\xff" * 12 + b"\x12\x04\xc3\x28\xa0\xa1"
    return chance.choice(BBS_PATHS), body, {}


def _auctioneer_request(chance: random.Random) -> tuple[str, bytes, dict[str, str]]:
    path = chance.choice(("/v1/lrps", "/v1/tasks", "/v1/nothing"))
    bodies: list[bytes] = [
        chance.randbytes(chance.randrange(200)),
        b"[" * chance.randrange(1, 3000),
        json.dumps([{"process_guid": 7, "indices": "none", "domain": None}]).encode(),
        b'[{"process_guid":"a","process_guid":"b","indices":[1e400]}]',
        b'{"indices":' + b"9" * 400 + b"}",
        b'[{"process_guid":"\xff\xfe"}]',
    ]
    return path, chance.choice(bodies), {"Content-Type": "application/json"}


def _grpc(seed: int, address: str, pki: Path, each: int) -> list[str]:
    """The codes of so many bad calls to a locket."""
    chance = random.Random(seed)
    codes = []
    with real_locket.channel(address, pki) as channel:
        for _ in range(each):
            method = chance.choice(LOCKET_METHODS)
            call = channel.unary_unary(
                f"/models.Locket/{method}", request_serializer=None, response_deserializer=None
            )
            body = chance.choice(
                (chance.randbytes(chance.randrange(200)), b"", b"\x0a\x7f" * 300, b"\x10\xff")
            )
            try:
                call(body, timeout=30)
            except grpc.RpcError as error:
                codes.append(error.code().name)
            else:
                codes.append("OK")
    return codes


def _strangers(port: int, pki: Path) -> int:
    """How many callers were answered who have no certificate, or one that a stranger has signed."""
    pair = test_pki.certificate("diego_bbs_client", ca="a_stranger")
    answered = 0
    with tempfile.TemporaryDirectory() as directory:
        certificate, key = Path(directory) / "stranger.crt", Path(directory) / "stranger.key"
        certificate.write_bytes(pair.cert_pem)
        key.write_bytes(pair.key_pem)
        for number in range(2 * STRANGERS):
            tls = ssl.create_default_context(cafile=str(pki / "ca.crt"))
            if number % 2:
                tls.load_cert_chain(certificate, key)
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
                tls.wrap_socket(plain, server_hostname="127.0.0.1") as sock,
            ):
                sock.sendall(b"POST /v1/ping HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
                answered += bool(sock.recv(100))
    return answered


def _giant(port: int, pki: Path, chunked: bool) -> tuple[int, int]:
    """Send a body of 1 GB as far as it is taken: the answer, 0 for none, and how much was sent."""
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {GIANT}"
    head = f"POST /v1/domains/upsert HTTP/1.1\r\nHost: localhost\r\n{length}\r\n\r\n".encode()
    piece = bytes(GIANT_PIECE)
    if chunked:
        piece = f"{GIANT_PIECE:x}\r\n".encode() + piece + b"\r\n"
    sent = 0
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
        _tls(pki).wrap_socket(plain, server_hostname="127.0.0.1") as sock,
    ):
        try:
            sock.sendall(head)
            while sent < GIANT:
                sock.sendall(piece)
                sent += GIANT_PIECE
        except OSError:
            pass  # it is not taken any more: the answer, if there is one, lies there already
        try:
            line = sock.recv(100)
        except OSError:
            line = b""
    return (int(line.split()[1]) if line.startswith(b"HTTP/1.1 ") else 0), sent


def _giant_message(address: str, pki: Path) -> str:
    with real_locket.channel(address, pki) as channel:
        call = channel.unary_unary("/models.Locket/Lock", request_serializer=None, response_deserializer=None)
        try:
            call(bytes(100 << 20), timeout=60)
        except grpc.RpcError as error:
            code: str = error.code().name
            return code
    return "OK"


def _slow(port: int, pki: Path, kind: str) -> list[float]:
    """Connections that give a byte each second, all at once: after how many seconds each was closed."""

    async def all_at_once() -> list[float]:
        tls = _tls(pki)
        return list(await asyncio.gather(*(_slow_one(port, tls, kind, n) for n in range(SLOW))))

    return asyncio.run(all_at_once())


async def _slow_one(port: int, tls: ssl.SSLContext, kind: str, number: int) -> float:
    await asyncio.sleep(number * SLOW_APART)  # they are slow, they are no crowd
    encrypted = kind != "handshake"
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls if encrypted else None)
    began = time.monotonic()
    head = b"POST /v1/ping HTTP/1.1\r\nHost: localhost\r\n"
    writer.write({
        "handshake": b"\x16\x03\x01\x02\x00\x01",
        "head": head + b"X-Slow: ",
        "body": head + b"Content-Length: 1000\r\n\r\n",
    }[kind])  # fmt: skip
    ended = asyncio.create_task(reader.read())
    try:
        while time.monotonic() - began < SLOW_LIMIT:
            done, _ = await asyncio.wait([ended], timeout=1.0)
            if done:
                break
            writer.write(b"a")
            await writer.drain()
    except OSError:
        pass  # closed in the middle of a byte
    seconds = time.monotonic() - began
    ended.cancel()
    with contextlib.suppress(asyncio.CancelledError, OSError):
        await ended
    writer.close()
    with contextlib.suppress(OSError, ssl.SSLError, asyncio.TimeoutError):
        await asyncio.wait_for(writer.wait_closed(), 5)
    return round(seconds, 2)


def _no_tls(chance: random.Random, port: int) -> int:
    """How many of RAW connections that speak no TLS, or hardly anything, are not closed."""
    bodies = [
        b"\x16" if number % 10 == 0 else chance.randbytes(50) if number % 2 else b"GET / HTTP/1.1\r\n\r\n"
        for number in range(RAW)
    ]

    def is_left_open(body: bytes) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=RAW_SECONDS) as sock:
                sock.sendall(body)
                while sock.recv(100):
                    pass
        except TimeoutError:
            return True
        except OSError:
            return False
        return False

    with ThreadPoolExecutor(20) as pool:
        return sum(pool.map(is_left_open, bodies))
