"""What the router hears and says on the bus (contract/routing.md sections 5 and 8)."""

import asyncio
import time
import uuid

import orjson

from diego.gorouter.config import GorouterConfig
from diego.gorouter.core.messages import BadMessage, RouteMessage, parse
from diego.gorouter.core.table import Table
from diego.gorouter.plane import Plane
from diego.runtime import metrics
from diego.runtime.bus import Bus
from diego.runtime.logs import get_logger

log = get_logger("gorouter")

REGISTERED = metrics.counter("gorouter_registry_message", "Registrations heard")
UNREGISTERED = metrics.counter("gorouter_unregistry_message", "Unregistrations heard")
DROPPED = metrics.counter("gorouter_dropped_messages", "Messages that could not be understood")

LOOK_SECONDS = 0.1


class Subscriber:
    """Feeds the table from the bus, and tells route emitters that a router is there."""

    def __init__(self, config: GorouterConfig, bus: Bus, table: Table, plane: Plane) -> None:
        self._bus = bus
        self._table = table
        self._plane = plane
        self._greeted_at: float | None = None
        self._greeting = orjson.dumps(
            {
                "id": f"{config.index}-{uuid.uuid4()}",
                "hosts": [config.address],
                "minimumRegisterIntervalInSeconds": round(config.requested_route_registration_interval),
                "pruneThresholdInSeconds": round(config.droplet_stale_threshold),
            }
        )

    async def start(self) -> None:
        """Listen from the first connection on, and greet after each one."""
        await self._bus.subscribe("router.register", self._registered)
        await self._bus.subscribe("router.unregister", self._unregistered)
        await self._bus.subscribe("router.greet", self._greeted)
        self._bus.on_connected.append(self._connected)

    async def heard(self, delay: float) -> None:
        """Wait until route emitters have had `delay` seconds of one connection to say what they have.

        Each of them answers `router.start` with all its routes, but a part of its interval later, so that not all
        speak at once; and nobody knows how many they are.
        """
        while self._greeted_at is None or time.monotonic() - self._greeted_at < delay:
            await asyncio.sleep(LOOK_SECONDS)
            if not self._bus.connected:
                self._greeted_at = None  # what was said meanwhile is lost; the next connection asks again

    async def _connected(self) -> None:
        self._table.refresh(time.monotonic())
        await self._bus.publish("router.start", self._greeting)
        self._greeted_at = time.monotonic()

    async def _greeted(self, _subject: str, reply: str, _data: bytes) -> None:
        if reply:
            await self._bus.publish(reply, self._greeting)

    async def _registered(self, _subject: str, _reply: str, data: bytes) -> None:
        if message := self._parsed(data):
            REGISTERED.inc()
            self._plane.changed(self._table.register(message, time.monotonic()))

    async def _unregistered(self, _subject: str, _reply: str, data: bytes) -> None:
        if message := self._parsed(data):
            UNREGISTERED.inc()
            self._plane.changed(self._table.unregister(message))

    @staticmethod
    def _parsed(data: bytes) -> RouteMessage | None:
        try:
            return parse(data)
        except BadMessage as error:
            DROPPED.inc()
            log.error("message-dropped", error=str(error), message=data[:200].decode(errors="replace"))
            return None
