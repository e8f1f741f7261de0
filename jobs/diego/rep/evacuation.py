"""Carries an evacuation out by the rules of `core.evacuation`: remembers it, waits, and ends the rep."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from diego.executor.core.errors import ExecutorError
from diego.executor.garden import ConnectionLost, GardenError
from diego.executor.service import Executor
from diego.models.errors import BbsError
from diego.rep.core.evacuation import (
    CLEANUP_FAILED,
    BadEvacuation,
    Evacuation,
    Phase,
    cleanup_seconds,
    decode,
    encode,
    progress,
    reached_timeout,
    resumed,
    time_left,
)
from diego.rep.operations import Operations
from diego.runtime import metrics
from diego.runtime.logs import get_logger

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
FILE = "evacuation.json"
CHECK_PAUSE = 1.0
"""Seconds between two looks at whether everything is deleted."""
LAST_COMPARISON = 5.0
"""Seconds that the last comparison with the BBS may take."""
TIME_TO_ATTACH = 1.0
"""Seconds that resumed containers have to find their processes before they are deleted."""

log = get_logger("rep")


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds throughout.

    `grace` is from TERM to KILL of a container, `reload` what a proxy may take before it.
    """

    poll: float
    timeout: float
    grace: float
    reload: float


class EvacuationFile:
    """What is remembered over the rep's lives. Blocks."""

    def __init__(self, store: Path) -> None:
        self._path = store / FILE

    def load(self) -> Evacuation | None:
        """None when there is none, or none that can be read: that is told in the log."""
        try:
            return decode(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, BadEvacuation) as error:
            log.error("evacuation.not-remembered", error=str(error))
            return None

    def save(self, evacuation: Evacuation) -> None:
        """Durably. Raises OSError."""
        beside = self._path.with_suffix(".new")
        with beside.open("wb") as file:
            file.write(encode(evacuation))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)

    def forget(self) -> None:
        self._path.unlink(missing_ok=True)


@dataclass(slots=True)
class Evacuator:
    """The cell's evacuation, when there is one. Use it in the loop only.

    `announce` lets the cell's presence tell of it, `withdraw` takes the presence away (it blocks), `finish` ends
    the process.
    """

    cell_id: str
    executor: Executor
    operations: Operations
    file: EvacuationFile
    timing: Timing
    announce: Callable[[], None]
    withdraw: Callable[[], None]
    finish: Callable[[str], None]
    _evacuation: Evacuation | None = None
    _begun: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def under_way(self) -> bool:
        return self._evacuation is not None

    def resume(self) -> None:
        """Go on with what the last rep left, before anything happens to its containers. Blocks for a moment."""
        found = self.file.load()
        evacuation = resumed(found, now=time.time(), boot=_boot(), timeout=self.timing.timeout)
        if evacuation is None:
            self.file.forget()
            return
        log.info("evacuation.resumed", phase=evacuation.phase)
        if evacuation != found:
            self._save(evacuation)
        self._evacuation = evacuation
        self._begun.set()

    async def begin(self) -> None:
        """Empty this cell; returns when that is remembered. Asked again, nothing changes."""
        if self._evacuation is not None:
            return
        log.info("evacuation.begun", containers=len(self.executor.containers()))
        self._evacuation = Evacuation(began=time.time(), boot=_boot())
        self._begun.set()
        await self._remember(self._evacuation)

    async def rest(self, seconds: float) -> None:
        """The pause between two bulk syncs: `seconds`, less while evacuating, and none when that begins."""
        if self.under_way:
            await asyncio.sleep(self.timing.poll)
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._begun.wait(), seconds)

    def progress(self) -> dict[str, Any]:
        """How far it is, for operators."""
        return progress(
            self.cell_id,
            self._evacuation,
            self.executor.containers(),
            words=self.operations.evacuees,
            now=time.time(),
            timeout=self.timing.timeout,
        )

    async def run(self) -> None:
        """Wait for an evacuation, and see it to its end."""
        evacuation = await self._awaited()
        self.announce()
        if evacuation.phase is Phase.EVACUATING:
            await self._until_empty(evacuation)
        else:
            await asyncio.sleep(TIME_TO_ATTACH)
        await self._end(replace(evacuation, phase=Phase.ENDING))

    async def _awaited(self) -> Evacuation:
        while self._evacuation is None:
            await self._begun.wait()
        return self._evacuation

    async def _until_empty(self, evacuation: Evacuation) -> None:
        clock = asyncio.get_running_loop().time
        end = clock() + time_left(evacuation, now=time.time(), timeout=self.timing.timeout)
        while (left := end - clock()) > 0:
            await asyncio.sleep(min(self.timing.poll, left))
            containers = self.executor.containers()
            if not containers:
                return
            log.info("evacuation.goes-on", containers=len(containers), seconds_left=round(end - clock()))

    async def _end(self, evacuation: Evacuation) -> None:
        clock = asyncio.get_running_loop().time
        end = clock() + cleanup_seconds(self.timing.grace, self.timing.reload)
        guids = [container.guid for container in self.executor.containers()]
        evacuation = replace(evacuation, cut_off=tuple(dict.fromkeys((*evacuation.cut_off, *guids))))
        await self._remember(evacuation)
        log.info("evacuation.ending", containers=len(guids))
        for guid in guids:
            self.executor.say(guid, reached_timeout(self.cell_id, guid))
        at_work = [
            asyncio.ensure_future(work) for work in (self._count(), *(self._delete(guid) for guid in guids))
        ]
        while self.executor.containers() and clock() < end:
            await asyncio.sleep(min(CHECK_PAUSE, max(end - clock(), 0.0)))
        left = tuple(container.guid for container in self.executor.containers())
        if left:
            log.error(CLEANUP_FAILED, containers=list(left))
        await self._compare(min(LAST_COMPARISON, max(end - clock(), 0.0)))
        for work in at_work:
            work.cancel()
        await asyncio.to_thread(self.withdraw)
        fault = CLEANUP_FAILED if left else ""
        await self._remember(replace(evacuation, phase=Phase.OVER, fault=fault, left=left))
        self.finish(fault or "evacuated")

    async def _delete(self, guid: str) -> None:
        try:
            await self.executor.delete(guid)
        except (ExecutorError, GardenError, ConnectionLost) as error:
            log.error("evacuation.not-deleted", guid=guid, error=str(error))

    async def _count(self) -> None:
        """Tell how many records of this cell wait for a replacement that they will not see."""
        try:
            stranded = await self.operations.stranded()
        except BbsError as error:
            log.error("evacuation.not-counted", error=str(error))
            return
        _STRANDED.set(stranded)
        log.info("evacuation.stranded", count=stranded)

    async def _compare(self, seconds: float) -> None:
        """Take away the records of what is gone, so that nobody waits for the cell's absence to be noticed."""
        try:
            async with asyncio.timeout(seconds):
                await self.operations.sync()
                await self.operations.settled()
        except TimeoutError:
            log.info("evacuation.last-comparison-cut-off", seconds=seconds)

    async def _remember(self, evacuation: Evacuation) -> None:
        self._evacuation = evacuation
        await asyncio.to_thread(self._save, evacuation)

    def _save(self, evacuation: Evacuation) -> None:
        try:
            self.file.save(evacuation)
        except OSError as error:
            # The cell is emptied all the same; only a rep that is killed before the disk takes it will not know.
            log.error("evacuation.not-saved", error=str(error))


def _boot() -> str:
    """Which boot of the host this is; empty where the kernel does not tell."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


_STRANDED = metrics.gauge(
    metrics.name_of("StrandedEvacuatingActualLRPs"),
    "records that waited for a replacement when an evacuation ended",
)
