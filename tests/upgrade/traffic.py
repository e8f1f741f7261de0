"""Requests to apps, all the time, as a load balancer before the routers sends them; and what became of them.

The load balancer asks each router once a second whether it is well (port 8444, as the routers' contract has it), and
sends requests to those that are. A router that refuses the connection gets the request not at all: the next one does.
Anything else that goes wrong is a failed request.
"""

import asyncio
import contextlib
import itertools
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

HEALTH_PORT = 8444
HEALTH_EVERY = 1.0
CONNECT_PATIENCE = 5.0
ANSWER_PATIENCE = 30.0
MOST_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class App:
    """An app with its route, and how many instances it has."""

    host: str
    instances: int


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: when it was sent and answered, in seconds of one clock, and what came."""

    app: str
    sent: float
    ended: float
    said: str
    """The status as text, or what went wrong."""

    @property
    def good(self) -> bool:
        return self.said == "200"


class LoadBalancer:
    """Knows which routers are well."""

    def __init__(self, routers: Sequence[str]) -> None:
        self.routers = list(routers)
        self.well = set(routers)
        self.redirected = 0
        self._turn = itertools.count()
        self._tls = ssl.create_default_context()
        self._tls.check_hostname = False
        self._tls.verify_mode = ssl.CERT_NONE

    async def look(self) -> None:
        """Ask the routers for ever."""
        while True:
            answers = await asyncio.gather(*(self._healthy(router) for router in self.routers))
            self.well = {router for router, well in zip(self.routers, answers, strict=True) if well}
            await asyncio.sleep(HEALTH_EVERY)

    async def _healthy(self, router: str) -> bool:
        try:
            said = await asyncio.wait_for(
                exchange(router.partition(":")[0], HEALTH_PORT, "health", "/health", tls=self._tls),
                CONNECT_PATIENCE,
            )
        except (OSError, TimeoutError, ValueError):
            return False
        return said == 200

    async def ask(self, host: str) -> str:
        """The status of a request to the app, or what went wrong."""
        turn = next(self._turn)
        order = sorted(self.routers, key=lambda router: router not in self.well)
        usable = [router for router in order if router in self.well] or order
        turned = usable[turn % len(usable) :] + usable[: turn % len(usable)]
        for router in [*turned, *(other for other in order if other not in turned)]:
            address, _, port = router.partition(":")
            try:
                status = await asyncio.wait_for(exchange(address, int(port), host, "/"), ANSWER_PATIENCE)
            except ConnectionRefusedError:
                self.redirected += 1
                self.well.discard(router)
                continue
            except TimeoutError:
                return f"no answer in {ANSWER_PATIENCE:g} s"
            except (OSError, ValueError) as error:
                return str(error) or type(error).__name__
            return str(status)
        return "no router takes connections"


async def exchange(
    address: str, port: int, host: str, path: str, *, tls: ssl.SSLContext | None = None
) -> int:
    """The status of a GET on a connection of its own, read to its end.

    Raises:
        OSError: the connection could not be made, or broke.
        ValueError: what came is no answer.
    """
    reader, writer = await asyncio.open_connection(address, port, ssl=tls)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        answer = await reader.read(-1)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    words = answer.split(b"\r\n", 1)[0].split()
    if len(words) < 2 or not words[1].isdigit():
        raise ValueError("the connection ended without an answer")
    return int(words[1])


@dataclass(slots=True)
class Traffic:
    """So many requests a second, to one app after the other."""

    balancer: LoadBalancer
    apps: Sequence[App]
    per_second: float
    asked: list[Asked] = field(default_factory=list)
    skipped: int = 0

    async def run(self) -> None:
        under_way: set[asyncio.Task[None]] = set()
        due = time.monotonic()
        try:
            for app in itertools.cycle(self.apps):
                if len(under_way) < MOST_AT_ONCE:
                    task = asyncio.create_task(self._one(app))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
                else:
                    self.skipped += 1
                due = max(due + 1 / self.per_second, time.monotonic() - 1)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        finally:
            await asyncio.gather(*under_way)

    async def _one(self, app: App) -> None:
        sent = time.monotonic()
        said = await self.balancer.ask(app.host)
        self.asked.append(Asked(app.host, sent, time.monotonic(), said))


def not_found_spans(asked: Sequence[Asked]) -> list[tuple[str, float]]:
    """How long apps were not found, one by one: from the first 404 that was sent to the next good answer's sending."""
    spans = []
    by_app: dict[str, list[Asked]] = {}
    for one in asked:
        by_app.setdefault(one.app, []).append(one)
    for app, requests in by_app.items():
        begun: float | None = None
        last = 0.0
        for one in sorted(requests, key=lambda request: request.sent):
            if one.said == "404":
                begun = one.sent if begun is None else begun
            elif one.good and begun is not None:
                spans.append((app, one.sent - begun))
                begun = None
            last = one.sent
        if begun is not None:
            spans.append((app, last - begun))
    return spans


def failures(asked: Sequence[Asked], *, allowed: Sequence[str] = ()) -> Iterator[Asked]:
    return (one for one in asked if not one.good and one.said not in allowed)
