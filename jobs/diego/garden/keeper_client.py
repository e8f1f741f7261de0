"""Garden's side of the keeper's socket. It finds the keeper again whenever that has been restarted."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from diego.garden.errors import GardenError, ServiceUnavailable
from diego.runtime.logs import get_logger

RECONNECT_SECONDS = 0.1
CONNECTED_WITHIN = 10.0
STARTED_WITHIN = 60.0
LARGEST_PACKET = 1 << 16
log = get_logger("garden")


class KeeperLost(ServiceUnavailable):
    """The keeper ended while it was starting a process: perhaps the process runs, perhaps not."""


class StartFailed(GardenError):
    """The command that was to start a process failed; its own log says why."""


class Keeper:
    """A connection to the keeper, made anew for as long as `run` runs.

    All in one event loop. `on_exit` is called with a key and a status; `on_connected`
    with the keys that this keeper holds, each time it is found.
    """

    def __init__(
        self, path: Path, *, on_exit: Callable[[str, int], None], on_connected: Callable[[set[str]], None]
    ) -> None:
        self._path = path
        self._on_exit = on_exit
        self._on_connected = on_connected
        self._socket: socket.socket | None = None
        self._connected = asyncio.Event()
        self._starting: dict[str, asyncio.Future[int]] = {}
        self._sending = asyncio.Lock()
        self._writable = asyncio.Event()  # set too when there is nothing to write to any more

    async def run(self) -> None:
        """Stay connected. Ends by cancellation only."""
        waiting = False
        while True:
            try:
                connection = _connect(self._path)
            except OSError as error:
                if not waiting:
                    log.info("keeper.waiting", socket=str(self._path), error=str(error))
                waiting = True
                await asyncio.sleep(RECONNECT_SECONDS)
                continue
            waiting = False
            try:
                await self._serve(connection)
            finally:
                self._socket = None
                self._connected.clear()
                asyncio.get_running_loop().remove_writer(connection.fileno())
                self._writable.set()
                connection.close()
                for key, future in self._starting.items():
                    if not future.done():
                        future.set_exception(KeeperLost(f"the keeper was lost while starting {key}"))
            log.error("keeper.lost", socket=str(self._path))

    async def start(self, key: str, directory: Path, command: list[str]) -> int:
        """Start a process; its pid.

        Raises:
            StartFailed: the command failed.
            KeeperLost: nobody knows.
            ServiceUnavailable: there is no keeper.
        """
        try:
            await asyncio.wait_for(self._connected.wait(), CONNECTED_WITHIN)
        except TimeoutError as error:
            raise ServiceUnavailable("garden's keeper does not answer") from error
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._starting[key] = future
        try:
            request = {"op": "start", "key": key, "directory": str(directory), "command": command}
            if not await self._send(request):
                raise KeeperLost(f"the keeper was lost while starting {key}")
            return await asyncio.wait_for(future, STARTED_WITHIN)
        except TimeoutError as error:
            raise GardenError(f"starting {key} takes more than {STARTED_WITHIN:.0f} s") from error
        finally:
            del self._starting[key]

    async def hold(self, key: str, directory: Path, *, with_input: bool) -> None:
        """Have the ends of a running process held by a keeper that does not know it."""
        await self._send({"op": "hold", "key": key, "directory": str(directory), "input": with_input})

    async def close_input(self, key: str) -> None:
        """Let the process's standard input end."""
        await self._send({"op": "close-input", "key": key})

    async def drop(self, key: str) -> None:
        """Have a process forgotten."""
        await self._send({"op": "drop", "key": key})

    async def _send(self, message: dict[str, Any]) -> bool:
        """Send to the present keeper; False without one. What a lost keeper missed, the next is told."""
        packet = json.dumps(message).encode()
        async with self._sending:
            while self._socket is not None:
                try:
                    self._socket.send(packet)
                except BlockingIOError:
                    await self._until_writable(self._socket)
                except OSError:
                    return False
                else:
                    return True
        return False

    async def _until_writable(self, connection: socket.socket) -> None:
        self._writable.clear()
        loop = asyncio.get_running_loop()
        loop.add_writer(connection.fileno(), self._writable.set)
        await self._writable.wait()
        if self._socket is connection:
            loop.remove_writer(connection.fileno())

    async def _serve(self, connection: socket.socket) -> None:
        self._socket = connection
        held: set[str] = set()
        await self._send({"op": "list"})
        while packet := await _receive(connection):
            message = json.loads(packet)
            if "keys" in message:
                held.update(message["keys"])
                if message["last"]:
                    self._on_connected(held)
                    self._connected.set()
            elif "pid" in message:
                self._settle(message["key"], pid=message["pid"])
            elif "failed" in message:
                self._settle(message["key"], error=message.get("text", f"status {message['failed']}"))
            elif "exit" in message:
                self._on_exit(message["key"], message["exit"])
            else:
                log.error("keeper.refused", answer=message)

    def _settle(self, key: str, *, pid: int = 0, error: str = "") -> None:
        future = self._starting.get(key)
        if future is None or future.done():
            return
        if error:
            future.set_exception(StartFailed(error))
        else:
            future.set_result(pid)


def _connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.setblocking(False)
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection


async def _receive(connection: socket.socket) -> bytes:
    """The next packet; empty when the keeper is gone."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            return connection.recv(LARGEST_PACKET)
        except BlockingIOError:
            pass
        except OSError:
            return b""
        readable: asyncio.Future[None] = loop.create_future()
        loop.add_reader(connection.fileno(), _resolve, readable)
        try:
            await readable
        finally:
            loop.remove_reader(connection.fileno())


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
