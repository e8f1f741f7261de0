"""A process's output on its way from the pipe to those who hear it.

Bytes are taken from the pipe only when somebody takes them. While nobody is attached
they stay there, up to the pipe's size (keeper.py), and then the process waits; whoever
attaches next hears them first. So a restart of garden or of its client loses no more
than what was on the way: one piece of 32 KiB and the buffers of one connection.

A client that is attached but does not ask for a stream shall not stop the process: for
it a bounded amount is put aside, and what exceeds that is dropped, as the original does.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from pathlib import Path
from typing import Protocol

PIECE = 32 * 1024
ASIDE_BYTES = 1 << 20
UNWANTED_AFTER = 1.0


class Connection(Protocol):
    """Where output goes: a connection whose `write` waits while the peer does not read."""

    async def write(self, data: bytes) -> None:
        """Send. Raises ConnectionError when the peer is gone."""


class Hearer:
    """One client's interest in one output: not connected yet, connected, or gone."""

    def __init__(self) -> None:
        self.gone = False
        self.connected = False
        self.since = time.monotonic()
        self.ended = asyncio.Event()
        self._connection: Connection | None = None
        self._aside: deque[bytes] = deque()
        self._aside_bytes = 0

    async def take(self, data: bytes) -> None:
        """Take a piece: send it, or put it aside while the client has not come for it."""
        if self.gone:
            return
        if self._connection is None:
            if self._aside_bytes + len(data) <= ASIDE_BYTES:
                self._aside.append(data)
                self._aside_bytes += len(data)
            return
        try:
            await self._connection.write(data)
        except ConnectionError:
            self.leave()

    async def connect(self, connection: Connection) -> None:
        """The client has come: send what was put aside, then go on directly."""
        self.connected = True
        try:
            while self._aside:
                piece = self._aside.popleft()
                self._aside_bytes -= len(piece)
                await connection.write(piece)
        except ConnectionError:
            self.leave()
            return
        self._connection = connection

    def end(self) -> None:
        """There will be no more."""
        self.ended.set()

    def leave(self) -> None:
        """The client will take no more."""
        self.gone = True
        self.ended.set()


class Output:
    """One of a process's two outputs. All in one event loop."""

    def __init__(self, path: Path, exited: asyncio.Event) -> None:
        """Open the FIFO; one that is gone was read to its end."""
        self.ended = asyncio.Event()
        self._exited = exited
        self._hearers: set[Hearer] = set()
        self._changed = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        self._descriptor: int | None = None
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            self.ended.set()

    def add(self, hearer: Hearer) -> None:
        """Have somebody hear the output from now on."""
        if self.ended.is_set():
            hearer.end()
            return
        self._hearers.add(hearer)
        self.notice()
        if self._pump is None or self._pump.done():
            self._pump = asyncio.get_running_loop().create_task(self._run())

    def remove(self, hearer: Hearer) -> None:
        """Somebody hears no more."""
        self._hearers.discard(hearer)
        hearer.end()
        self.notice()

    def notice(self) -> None:
        """Look again: a hearer has come, connected or gone, or the process has ended."""
        self._changed.set()

    def close(self) -> None:
        """Close the pipe's end; hearers hear the end."""
        if self._pump is not None:
            self._pump.cancel()
        if self._descriptor is not None:
            # now and not when the pump has ended: by then the number may be somebody else's
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None
        self._end()

    def _end(self) -> None:
        self.ended.set()
        for hearer in self._hearers:
            hearer.end()
        self._hearers.clear()

    async def _run(self) -> None:
        """Take from the pipe and give to all hearers, while there are any."""
        while self._descriptor is not None:
            for hearer in [hearer for hearer in self._hearers if hearer.gone]:
                self._hearers.discard(hearer)
            if not self._hearers:
                return
            self._changed.clear()
            if not await self._wanted():
                continue
            try:
                data = os.read(self._descriptor, PIECE)
            except BlockingIOError:
                await self._readable(self._descriptor)
                continue
            if not data:
                self._end()
                return
            await asyncio.gather(*(hearer.take(data) for hearer in self._hearers))

    async def _wanted(self) -> bool:
        """Whether to read now: somebody is connected, or those attached have not come for a while."""
        if self._exited.is_set() or any(hearer.connected for hearer in self._hearers):
            return True
        wait = UNWANTED_AFTER - (time.monotonic() - min(hearer.since for hearer in self._hearers))
        if wait <= 0:
            return True
        try:
            await asyncio.wait_for(self._changed.wait(), wait)
        except TimeoutError:
            return True
        return False

    async def _readable(self, descriptor: int) -> None:
        """Wait until there is something to read, or something has changed."""
        loop = asyncio.get_running_loop()
        loop.add_reader(descriptor, self._changed.set)
        try:
            await self._changed.wait()
        finally:
            if self._descriptor is not None:
                loop.remove_reader(descriptor)
