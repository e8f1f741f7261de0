"""When a router that knows no routes may believe that it has heard them all."""

import asyncio
from pathlib import Path
from typing import cast

from diego.gorouter.config import GorouterConfig
from diego.gorouter.core.table import Table
from diego.gorouter.plane import Plane
from diego.gorouter.subscriber import LOOK_SECONDS, Subscriber
from diego.runtime.bus import Bus, Receive

DELAY = 3 * LOOK_SECONDS
LONG = 3 * DELAY
PATIENCE = 30.0


class StandInBus:
    """A bus whose connection comes and goes as the test says."""

    def __init__(self) -> None:
        self.connected = False
        self.on_connected: list[object] = []
        self.said: list[str] = []

    async def subscribe(self, _subject: str, _receive: Receive) -> None:
        return

    async def publish(self, subject: str, _data: bytes, *, reply: str = "") -> None:
        self.said.append(subject)


class Setting:
    """A subscriber, and the connection that it is told of."""

    def __init__(self) -> None:
        self.bus = StandInBus()
        table = Table(120)
        config = GorouterConfig(index=0, address="10.0.0.1", nats_addresses=["127.0.0.1:4224"])
        plane = Plane(Path("nginx.sock"), table)
        self.subscriber = Subscriber(config, cast(Bus, self.bus), table, plane)

    async def connect(self) -> None:
        self.bus.connected = True
        await self.subscriber._connected()

    async def waiting(self) -> asyncio.Task[None]:
        await self.subscriber.start()
        return asyncio.create_task(self.subscriber.heard(DELAY))


def test_without_a_bus_nothing_was_heard() -> None:
    async def story() -> None:
        setting = Setting()
        heard = await setting.waiting()

        await asyncio.sleep(LONG)
        assert not heard.done()

        await setting.connect()
        assert setting.bus.said == ["router.start"]
        await asyncio.wait_for(heard, PATIENCE)

    asyncio.run(story())


def test_a_connection_that_is_lost_meanwhile_does_not_count() -> None:
    async def story() -> None:
        setting = Setting()
        heard = await setting.waiting()
        await setting.connect()

        setting.bus.connected = False
        await asyncio.sleep(LONG)
        setting.bus.connected = True  # it has not greeted yet
        await asyncio.sleep(LONG)
        assert not heard.done()

        await setting.connect()
        await asyncio.wait_for(heard, PATIENCE)

    asyncio.run(story())
