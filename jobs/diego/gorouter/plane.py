"""nginx's side of the table: what changed goes there at once, and all of it when nginx has lost it.

nginx keeps the routes in memory that its workers share. It has an *epoch*, a word of ours, once it was filled
completely; a restarted nginx has none, lets requests wait until it gets one, and tells load balancers to go
elsewhere. This is asked several times a second, so a restart costs requests a moment, not their answer. When this job
itself is new, it begins with what nginx still serves. When both are new nobody knows the routes: then nginx is filled
only when the route emitters have had their time to tell them.
"""

import asyncio
import time
import uuid
from collections.abc import Collection
from pathlib import Path

import aiohttp
import orjson

from diego.gorouter.core.documents import depths, endpoints_from_nginx, pool_for_nginx
from diego.gorouter.core.table import Table
from diego.runtime import metrics
from diego.runtime.logs import get_logger

log = get_logger("gorouter")

LOOK_SECONDS = 0.2
TIMEOUT = aiohttp.ClientTimeout(total=10, connect=2)
BATCH = 2000

FILLINGS = metrics.counter("gorouter_nginx_fillings", "Times that nginx was given the whole table")
FAULTS = metrics.counter("gorouter_nginx_faults", "Times that nginx could not be told a change")


class PlaneDown(Exception):
    """nginx does not answer, or refused a change; the text says why."""


class Plane:
    """Keeps nginx's routes equal to the table. All of it runs on the loop that owns the table."""

    def __init__(self, socket: Path, table: Table) -> None:
        self._socket = socket
        self._table = table
        self._epoch = str(uuid.uuid4())
        self._generation = int(time.time()) & 0x7FFFFFFF
        self._dirty: set[str] = set()
        self._depths: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._down = False
        self._filled = False

    @property
    def filled(self) -> bool:
        """Whether nginx serves the whole table, as far as the last look knows."""
        return self._filled

    def changed(self, uris: Collection[str]) -> None:
        """These routes have another pool now, or none."""
        if uris:
            self._dirty.update(uris)
            self._wake.set()

    async def adopt(self) -> bool:
        """Take over what nginx serves; False when it was never filled. Waits until nginx answers."""
        async with self._session() as session:
            while True:
                try:
                    if not await self._ask(session, "GET", "/epoch"):
                        return False
                    pools = orjson.loads(await self._ask(session, "GET", "/dump"))
                    found = {uri: endpoints_from_nginx(text) for uri, text in pools.items()}
                    self._table.adopt(found, time.monotonic())
                    log.info("routes-adopted", routes=len(found))
                    return True
                except PlaneDown as error:
                    self._tell_down(error)
                    await asyncio.sleep(LOOK_SECONDS)

    async def run(self) -> None:
        """Bring changes to nginx as they come, and everything when it has nothing."""
        async with self._session() as session:
            while True:
                try:
                    await self._round(session)
                except PlaneDown as error:
                    self._filled = False
                    self._tell_down(error)
                    FAULTS.inc()
                    await asyncio.sleep(LOOK_SECONDS)

    async def _round(self, session: aiohttp.ClientSession) -> None:
        if await self._ask(session, "GET", "/epoch") != self._epoch:
            self._filled = False
            await self._fill(session)
        self._filled = True
        self._down = False
        try:
            await asyncio.wait_for(self._wake.wait(), LOOK_SECONDS)
        except TimeoutError:
            return
        self._wake.clear()
        uris, self._dirty = self._dirty, set()
        try:
            await self._push(session, uris)
        except PlaneDown:
            self._dirty |= uris
            self._wake.set()
            raise

    async def _fill(self, session: aiohttp.ClientSession) -> None:
        self._generation = (self._generation + 1) & 0x7FFFFFFF
        self._depths = {}
        self._dirty = set()
        await self._push(session, list(self._table.pools))
        filling = {"generation": self._generation, "epoch": self._epoch}
        await self._ask(session, "POST", "/complete", orjson.dumps(filling))
        FILLINGS.inc()
        log.info("nginx-filled", routes=len(self._table))

    async def _push(self, session: aiohttp.ClientSession, uris: Collection[str]) -> None:
        rest = list(uris)
        while rest:
            batch, rest = rest[:BATCH], rest[BATCH:]
            pools = {uri: self._table.endpoints(uri) for uri in batch}
            deeper = {
                host: depth
                for host, depth in depths(uri for uri in batch if pools[uri]).items()
                if depth > self._depths.get(host, -1)
            }
            change = {
                "generation": self._generation,
                "depths": deeper,
                "set": {uri: pool_for_nginx(pool) for uri, pool in pools.items() if pool},
                "delete": [uri for uri, pool in pools.items() if not pool],
            }
            await self._ask(session, "POST", "/change", orjson.dumps(change))
            self._depths.update(deeper)

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            "http://nginx", connector=aiohttp.UnixConnector(str(self._socket)), timeout=TIMEOUT
        )

    @staticmethod
    async def _ask(session: aiohttp.ClientSession, method: str, path: str, body: bytes = b"") -> str:
        try:
            async with session.request(method, path, data=body) as response:
                text = await response.text()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise PlaneDown(f"nginx: {error or type(error).__name__}") from error
        if response.status != 200:
            raise PlaneDown(f"nginx: {method} {path}: {response.status} {text[:200]}")
        return text

    def _tell_down(self, error: PlaneDown) -> None:
        if not self._down:
            log.error("nginx-does-not-answer", error=str(error))
        self._down = True
