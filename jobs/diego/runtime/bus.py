"""The message bus (NATS), as the route emitter and the router use it.

A connection that is lost is made again for ever, every half second (contract/routing.md section 2); who wants to
say or do something after each (re)connect registers it in `on_connected`. What is published while there is no
connection is refused, not queued: both users send everything again when the bus is back.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from diego.runtime.logs import get_logger

log = get_logger("bus")

RECONNECT_WAIT = 0.5
PING_INTERVAL = 5
CONNECT_TIMEOUT = 5
PENDING_MESSAGES = 65_536
"""Messages that one subscription may hold unread; more are dropped and told."""

Receive = Callable[[str, str, bytes], Awaitable[None]]
"""Gets a message's subject, where an answer would go (empty: nowhere), and its bytes."""


class BusDown(Exception):
    """There is no connection to the bus just now."""


class Bus:
    """One connection to any of the bus's servers, with the subscriptions that live on it."""

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        username: str = "",
        password: str = "",
        tls: ssl.SSLContext | None = None,
        name: str,
    ) -> None:
        self.on_connected: list[Callable[[], Awaitable[None]]] = []
        self._servers = [f"{'tls' if tls else 'nats'}://{address}" for address in addresses]
        self._username, self._password = username or None, password or None
        self._tls = tls
        self._name = name
        self._client = Client()
        self._subscriptions: list[tuple[str, Receive]] = []
        self._announcements: set[asyncio.Task[None]] = set()

    @property
    def connected(self) -> bool:
        return self._client.is_connected

    async def connect(self) -> None:
        """Connect, trying for as long as it takes, and make the subscriptions asked for so far."""
        while True:
            try:
                self._client = await nats.connect(
                    self._servers,
                    name=self._name,
                    user=self._username,
                    password=self._password,
                    tls=self._tls,
                    allow_reconnect=True,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=RECONNECT_WAIT,
                    connect_timeout=CONNECT_TIMEOUT,
                    ping_interval=PING_INTERVAL,
                    disconnected_cb=self._lost,
                    reconnected_cb=self._regained,
                    error_cb=self._faulty,
                )
            except (TimeoutError, NatsError, OSError) as error:
                log.error(
                    "bus.not-connected", servers=self._servers, error=str(error) or type(error).__name__
                )
                await asyncio.sleep(RECONNECT_WAIT)
            else:
                break
        for subject, receive in self._subscriptions:
            await self._subscribe(subject, receive)
        log.info(
            "bus.connected", server=str(self._client.connected_url and self._client.connected_url.netloc)
        )
        self._announce()

    async def subscribe(self, subject: str, receive: Receive) -> None:
        """Have `receive` called with each message of the subject, one after the other, across reconnects."""
        self._subscriptions.append((subject, receive))
        if self._client.is_connected:
            await self._subscribe(subject, receive)

    async def publish(self, subject: str, data: bytes, *, reply: str = "") -> None:
        """Send a message. Raises BusDown."""
        if not self._client.is_connected:
            raise BusDown(subject)
        try:
            await self._client.publish(subject, data, reply)
        except (NatsError, OSError) as error:
            raise BusDown(f"{subject}: {error}") from error

    def new_inbox(self) -> str:
        """A subject of one's own, for answers."""
        return self._client.new_inbox()

    async def close(self) -> None:
        await self._client.close()

    async def _subscribe(self, subject: str, receive: Receive) -> None:
        async def take(message: Msg) -> None:
            try:
                await receive(message.subject, message.reply, message.data)
            except Exception:
                log.exception("message-failed", subject=message.subject)

        await self._client.subscribe(subject, cb=take, pending_msgs_limit=PENDING_MESSAGES)

    async def _lost(self) -> None:
        log.error("connection-lost")

    async def _regained(self) -> None:
        log.info("reconnected")
        self._announce()

    async def _faulty(self, error: Exception) -> None:
        log.error("error", error=str(error) or type(error).__name__)

    def _announce(self) -> None:
        """Tell who waits for a connection; in a task, since the client's own callbacks must not wait for it."""

        async def tell() -> None:
            for hook in self.on_connected:
                try:
                    await hook()
                except BusDown as error:
                    log.error("lost-again", error=str(error))

        task = asyncio.get_running_loop().create_task(tell(), name="bus-connected")
        self._announcements.add(task)
        task.add_done_callback(self._announcements.discard)
