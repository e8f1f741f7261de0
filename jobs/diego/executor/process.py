"""One process of a container, over any number of connections to the engine and lives of the rep.

The engine holds the process; we hold a connection to it. When the connection
breaks because the engine was replaced, we attach again by the process's
identity and go on. So does a rep that finds a process of its predecessor.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from diego.executor.garden import (
    ConnectionLost,
    ContainerNotFound,
    GardenError,
    Process,
    ProcessNotFound,
    Signal,
)
from diego.executor.logs import OutputStream
from diego.executor.stage import Notes, Stage
from diego.runtime.logs import get_logger

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0
"""Seconds between attempts to reach an engine that is away."""
OUTPUT_ON_THE_WAY = 1.0
"""Seconds that output which the engine had sent may take after its connection broke."""

log = get_logger("rep")


class ExitUnknown(Exception):
    """The process has ended, and nobody knows with which status."""


class HeldProcess:
    """Starts or finds the process of one step, and follows it to its end."""

    def __init__(
        self, stage: Stage, step: str, spec: dict[str, Any], stdout: OutputStream, stderr: OutputStream
    ) -> None:
        self._stage = stage
        self._notes: Notes = stage.notes
        self._step = step
        self._spec = spec
        self._stdout = stdout
        self._stderr = stderr
        self._process: Process | None = None
        self._wanted: Signal | None = None
        self._may_exist = False
        self._left = asyncio.Event()
        self.started = asyncio.Event()

    async def run(self) -> int:
        """Its exit status.

        Raises:
            GardenError: it could not be started.
            ExitUnknown: it had started, and the engine knows it no more.
        """
        self._stage.processes.add(self)
        try:
            return await self._run()
        finally:
            self._stage.processes.discard(self)
            self._left.set()

    async def _run(self) -> int:
        self._may_exist = self._notes.of(self._step) is not None
        await self._notes.begun(self._step)
        while True:
            process = await self._reach()
            self._process = process
            try:
                await self._notes.started(self._step)
                self.started.set()
                if self._wanted is not None:
                    await process.signal(self._wanted)
                return await self._follow(process)
            except ConnectionLost:
                if self._stage.leaving():
                    raise asyncio.CancelledError from None
                log.info("process.connection-lost", guid=self._stage.guid, step=self._step)
            finally:
                self._process = None
                await process.close()

    async def signal(self, signal: Signal) -> None:
        """Send a signal, at once or as soon as the engine is back."""
        self._wanted = signal
        if self._process is None:
            return
        try:
            await self._process.signal(signal)
        except ConnectionLost:
            log.info("process.signal-later", guid=self._stage.guid, step=self._step)

    async def leave(self) -> None:
        """Take over what output is on the way, for the rep is about to end; the process runs on."""
        if self._process is not None:
            await self._process.leave()
            await self._left.wait()

    async def _reach(self) -> Process:
        pause = FIRST_PAUSE
        while True:
            try:
                return await self._attempt()
            except ConnectionLost:
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    async def _attempt(self) -> Process:
        """Attach to what may be there already, else start it.

        From the first request to start on it may be there, whatever became of the answer.
        """
        garden, guid = self._stage.garden, self._stage.guid
        if self._may_exist:
            try:
                return await garden.attach(guid, self._spec["id"])
            except (ProcessNotFound, ContainerNotFound) as error:
                note = self._notes.of(self._step)
                if self.started.is_set() or (note is not None and note.started):
                    raise ExitUnknown from error
        self._may_exist = True
        return await garden.run(guid, self._spec)

    async def _follow(self, process: Process) -> int:
        pumps = [
            asyncio.ensure_future(_pump(process.stdout, self._stdout)),
            asyncio.ensure_future(_pump(process.stderr, self._stderr)),
        ]
        try:
            status = await process.wait()
            await asyncio.gather(*pumps)
        except ConnectionLost:
            await asyncio.wait(pumps, timeout=OUTPUT_ON_THE_WAY)
            raise
        except GardenError as error:
            raise ExitUnknown(str(error)) from error
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            if self._stage.leaving():
                self._flush()
        self._flush()
        return status

    def _flush(self) -> None:
        self._stdout.flush()
        self._stderr.flush()


async def _pump(stream: AsyncIterator[bytes], output: OutputStream) -> None:
    async for data in stream:
        output.feed(data)
        await asyncio.sleep(0)  # a process that floods its log does not keep the loop from the others


__all__ = ["ExitUnknown", "GardenError", "HeldProcess"]
