"""The emitter's side of the bus: differences at once, everything again at the routers' interval."""

import asyncio
import random
import uuid
from collections.abc import Iterable

import orjson

from diego.route_emitter.core.table import Difference, Table
from diego.route_emitter.core.unregistrations import Unregistrations
from diego.runtime import metrics
from diego.runtime.bus import Bus, BusDown
from diego.runtime.logs import get_logger

log = get_logger("route_emitter")

GREET_SECONDS = 1.0
GREETS_UNTIL_TOLD = 30
SHORTEST_INTERVAL = 1.0
BURST = 500
"""Messages between two chances for other work of the loop."""

EMITTED = metrics.counter(metrics.name_of("HTTPRouteNATSMessagesEmitted"), "Messages given to the bus")
SYNCED = metrics.counter(metrics.name_of("RoutesSynced"), "Routes registered by periodic emission")
REGISTERED = metrics.counter(metrics.name_of("RoutesRegistered"), "Routes registered by changes")
UNREGISTERED = metrics.counter(metrics.name_of("RoutesUnregistered"), "Routes unregistered by changes")
TOTAL = metrics.gauge(metrics.name_of("RoutesTotal"), "Routes of the last periodic emission")


class Emitter:
    """Says to the routers what the table has. All of it runs on the loop that owns the table."""

    def __init__(self, bus: Bus, table: Table, unregistrations: Unregistrations, jitter: float) -> None:
        self._bus = bus
        self._table = table
        self._unregistrations = unregistrations
        self._jitter = jitter
        self._interval: float | None = None
        self._again = asyncio.Event()
        self._inbox = f"route-emitter.{uuid.uuid4()}"

    async def start(self) -> None:
        """Listen to the routers from the first connection on, and ask for them after each one."""
        await self._bus.subscribe("router.start", self._greeted)
        await self._bus.subscribe(self._inbox, self._greeted)
        self._bus.on_connected.append(self._connected)

    async def say(self, difference: Difference) -> None:
        """Send what has changed. Without a bus nothing is lost: everything is said when it is back."""
        self._unregistrations.registered(difference.register)
        self._unregistrations.said(difference.unregister)
        if difference:
            log.info(
                "routes-changed", registered=len(difference.register), unregistered=len(difference.unregister)
            )
        try:
            await self._publish("router.register", difference.register.values())
            await self._publish("router.unregister", difference.unregister.values())
        except BusDown as error:
            log.error("not-said", error=str(error))
        REGISTERED.inc(len(difference.register))
        UNREGISTERED.inc(len(difference.unregister))

    async def emit(self) -> None:
        """Register everything, at the interval that the routers ask for, and at once when one says `start`."""
        await self._until_greeted()
        while True:
            self._again.clear()
            messages = self._table.everything()
            try:
                await self._publish("router.register", messages.values())
            except BusDown as error:
                log.error("not-said", error=str(error))
            else:
                SYNCED.inc(len(messages))
                TOTAL.set(len(messages))
            try:
                await asyncio.wait_for(self._again.wait(), self._interval)
            except TimeoutError:
                continue
            await asyncio.sleep(random.uniform(0, self._jitter * (self._interval or 0)))  # noqa: S311  # spreads load

    async def repeat_unregistrations(self, interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            if self._bus.connected:
                try:
                    await self._publish("router.unregister", self._unregistrations.due())
                except BusDown as error:
                    log.error("not-said", error=str(error))

    async def _until_greeted(self) -> None:
        tries = 0
        while self._interval is None:
            tries += 1
            if tries % GREETS_UNTIL_TOLD == 0:
                log.error("no-router-answers", tries=tries)
            await self._greet()
            await asyncio.sleep(GREET_SECONDS)

    async def _greet(self) -> None:
        try:
            await self._bus.publish("router.greet", b"", reply=self._inbox)
        except BusDown:
            return

    async def _connected(self) -> None:
        await self._greet()
        self._again.set()

    async def _greeted(self, _subject: str, _reply: str, data: bytes) -> None:
        try:
            interval = float(orjson.loads(data)["minimumRegisterIntervalInSeconds"])
        except (ValueError, TypeError, KeyError) as error:
            log.error("greeting-not-understood", error=str(error), data=data[:200].decode(errors="replace"))
            return
        first = self._interval is None
        self._interval = max(SHORTEST_INTERVAL, interval)
        if not first:
            self._again.set()

    async def _publish(self, subject: str, messages: Iterable[bytes]) -> None:
        for number, message in enumerate(messages):
            await self._bus.publish(subject, message)
            EMITTED.inc()
            if number % BURST == BURST - 1:
                await asyncio.sleep(0)
