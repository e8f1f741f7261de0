"""Puts load on a BBS and times it, as a process of its own, so that its CPU time is not the servers'.

    python -m bench.load < ORDER > RESULT        both JSON

Each client is one connection, opened before the clock starts. A round is one or more calls in a row; field 1 of every
answer is the error, and such an answer is counted, not hidden.
"""

import asyncio
import json
import os
import ssl
import sys
import time
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

import uvloop

from bench.bodies import Call, calls

ERROR_TAG = 0x0A
SECONDS = 300.0
PIECE = 1 << 18


@dataclass(frozen=True)
class Order:
    """What to do: `count` rounds of a cycle, by so many clients."""

    url: str
    ca: str
    cert: str
    key: str
    cycle: str
    count: int
    clients: int
    prefix: str = "load"
    first: int = 0


@dataclass(frozen=True)
class Result:
    """Rounds per second and how long one took; `bytes` of the last answer; seconds of CPU that the load itself took."""

    seconds: float
    per_s: float
    p50_ms: float
    p99_ms: float
    errors: int
    first_error: str
    bytes: int
    cpu_s: float


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def call(self, path: str, body: bytes) -> int:
        """Post, read to the last byte, and return how many there were. Raises ValueError for an error in the answer."""
        self._writer.write(
            b"POST %s HTTP/1.1\r\nHost: bbs\r\nContent-Type: application/x-protobuf\r\nContent-Length: %d\r\n\r\n%s"
            % (path.encode(), len(body), body)
        )
        head = await self._reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        if " 200 " not in lines[0]:
            raise ValueError(f"{path}: {lines[0]}")
        fields = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        length = left = int(fields["content-length"])
        first = b""
        while left:
            piece = await self._reader.read(min(left, PIECE))
            if not piece:
                raise ConnectionResetError(f"{path}: the answer ended {left} bytes early")
            first = first or piece[:60]
            left -= len(piece)
        if first and first[0] == ERROR_TAG:
            raise ValueError(f"{path}: {first!r}")
        return length

    def close(self) -> None:
        self._writer.close()


async def run(order: Order) -> Result:
    """Carry the order out."""
    context = ssl.create_default_context(cafile=order.ca)
    context.load_cert_chain(order.cert, order.key)
    address = urlsplit(order.url)
    clients = []
    for _ in range(order.clients):
        reader, writer = await asyncio.open_connection(
            address.hostname, address.port, ssl=context, limit=PIECE * 2
        )
        clients.append(Client(reader, writer))
        await clients[-1].call("/v1/ping", b"")
    rounds = list(calls(order.cycle, order.prefix, order.first, order.count))[::-1]
    times: list[float] = []
    errors: list[str] = []
    sizes = [0]
    before = os.times()
    began = time.perf_counter()
    async with asyncio.timeout(SECONDS):
        await asyncio.gather(*(_work(client, rounds, times, errors, sizes) for client in clients))
    seconds = time.perf_counter() - began
    after = os.times()
    for client in clients:
        client.close()
    times.sort()
    return Result(
        seconds=seconds,
        per_s=order.count / seconds,
        p50_ms=times[len(times) // 2] * 1000,
        p99_ms=times[len(times) * 99 // 100] * 1000,
        errors=len(errors),
        first_error=errors[0] if errors else "",
        bytes=sizes[-1],
        cpu_s=after.user + after.system - before.user - before.system,
    )


async def _work(
    client: Client, rounds: list[list[Call]], times: list[float], errors: list[str], sizes: list[int]
) -> None:
    while rounds:
        mine = rounds.pop()
        began = time.perf_counter()
        try:
            for path, body in mine:
                sizes[-1] = await client.call(path, body)
        except ValueError as error:
            errors.append(str(error))
        times.append(time.perf_counter() - began)


def main() -> None:
    order = Order(**json.load(sys.stdin))
    json.dump(asdict(uvloop.run(run(order))), sys.stdout)


if __name__ == "__main__":
    main()
