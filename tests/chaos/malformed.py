"""Bad requests by the thousand, seeded, to the BBS, the auctioneer and Locket, with good ones in between."""

import contextlib
import http.client
import json
import random
import socket
import ssl
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import grpc

from chaos.site import Control
from support import locket as real_locket
from support.auctioneer import AuctioneerProcess
from support.bbs import BbsProcess
from support.records import a_desired_message

EACH = 10_000
RAW = 200
"""Of these, connections that speak no TLS, or say little and wait."""

BBS_PATHS = (
    "/v1/desired_lrp/desire.r2", "/v1/desired_lrp/update", "/v1/desired_lrp/remove", "/v1/actual_lrps/claim",
    "/v1/actual_lrps/start", "/v1/actual_lrps/start.r1", "/v1/actual_lrps/crash", "/v1/actual_lrps/fail",
    "/v1/actual_lrps/remove", "/v1/actual_lrps/evacuate_claimed", "/v1/actual_lrps/evacuate_crashed",
    "/v1/tasks/desire.r2", "/v1/tasks/start", "/v1/tasks/complete", "/v1/tasks/fail", "/v1/tasks/reject",
    "/v1/domains/upsert", "/v1/nowhere", "/v1/desired_lrps/list.r3",
)  # fmt: skip
LOCKET_METHODS = ("Lock", "Release", "Fetch", "FetchAll", "Nothing")
CONTRACT_5XX = {501}


@dataclass
class Found:
    """What came of it. `counts`: answers by API and status."""

    counts: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    good_seconds: list[float] = field(default_factory=list)


class Sender:
    """Sends to the three APIs at once, and asks good questions meanwhile."""

    def __init__(self, control: Control, chance: random.Random) -> None:
        self._control = control
        self._chance = chance
        self._counts: Counter[str] = Counter()
        self._done = threading.Event()
        self.found = Found()

    def send(self, bbs: BbsProcess, auctioneer: AuctioneerProcess) -> Found:
        seeds = [self._chance.getrandbits(32) for _ in range(3)]
        senders = [
            threading.Thread(target=self._bad_http, args=("bbs", bbs.port, seeds[0])),
            threading.Thread(target=self._bad_http, args=("auctioneer", auctioneer.port, seeds[1])),
            threading.Thread(target=self._bad_grpc, args=(seeds[2],)),
        ]
        good = threading.Thread(target=self._good)
        for thread in (good, *senders):
            thread.start()
        for port in (bbs.port, auctioneer.port, self._control.lockets[0].port):
            self._counts["no TLS, closed"] += _no_tls(self._chance, port)
        for thread in senders:
            thread.join()
        self._done.set()
        good.join(30)
        return self._judged()

    def _good(self) -> None:
        with self._control.client(timeout=15.0) as client:
            while not self._done.wait(0.05):
                began = time.monotonic()
                client.ping()
                self.found.good_seconds.append(time.monotonic() - began)

    def _bad_http(self, name: str, port: int, seed: int) -> None:
        pki = self._control.pki
        tls = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        tls.load_cert_chain(pki / "diego_bbs_client.crt", pki / "diego_bbs_client.key")
        for status in _http(random.Random(seed), name, port, tls):
            self._counts[f"{name} {status}"] += 1

    def _bad_grpc(self, seed: int) -> None:
        for code in _grpc(random.Random(seed), self._control):
            self._counts[f"locket {code}"] += 1

    def _judged(self) -> Found:
        found = self.found
        found.counts = dict(self._counts)
        for name in ("bbs", "auctioneer", "locket"):
            total = sum(count for key, count in self._counts.items() if key.startswith(name))
            if total < EACH:
                found.wrong.append(f"only {total} of {EACH} bad requests to {name} were answered")
        for key, count in self._counts.items():
            name, _, status = key.rpartition(" ")
            if status.isdigit() and int(status) >= 500 and int(status) not in CONTRACT_5XX:
                found.wrong.append(f"{name} answered {status} to {count} bad requests")
        return found


def _http(chance: random.Random, name: str, port: int, tls: ssl.SSLContext) -> "list[int]":
    """The statuses of EACH bad requests on connections that are kept; 0 where the server closed instead."""
    statuses: list[int] = []
    connection: http.client.HTTPSConnection | None = None
    while len(statuses) < EACH:
        if connection is None:
            connection = http.client.HTTPSConnection("127.0.0.1", port, context=tls, timeout=30)
        path, body, headers = _bbs_request(chance) if name == "bbs" else _auctioneer_request(chance)
        try:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
            statuses.append(500 if b"Traceback" in text else answer.status)
        except (OSError, http.client.HTTPException):
            statuses.append(0)
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


def _grpc(chance: random.Random, control: Control) -> list[str]:
    """The codes of EACH bad calls to a locket."""
    codes = []
    with real_locket.channel(control.lockets[0].address, control.pki) as channel:
        for _ in range(EACH):
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


def _no_tls(chance: random.Random, port: int) -> int:
    """Connections that speak no TLS, or hardly anything; how many were made and ended."""
    bodies = [
        b"\x16" if number % 10 == 0 else chance.randbytes(50) if number % 2 else b"GET / HTTP/1.1\r\n\r\n"
        for number in range(RAW)
    ]

    def one(body: bytes) -> int:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
            sock.sendall(body)
            sock.settimeout(2)
            sock.recv(100)
            return 1
        return 0

    with ThreadPoolExecutor(20) as pool:
        return sum(pool.map(one, bodies))
