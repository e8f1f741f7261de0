"""What the steps of one container work with: its log, its journal, and what the cell offers them."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from diego.executor.cache import DownloadCache
from diego.executor.core.containers import Addresses
from diego.executor.core.journal import Failure, Journal, Note
from diego.executor.garden import Garden
from diego.executor.logs import ContainerLog
from diego.executor.uploads import Uploader


class Notes(Protocol):
    """Where steps remember how far they came."""

    def of(self, step: str) -> Note | None: ...

    async def begun(self, step: str) -> Note: ...

    async def started(self, step: str) -> None: ...

    async def done(self, step: str, failure: Failure | None = None) -> None: ...


class Leaver(Protocol):
    """Something that holds a process and lets it go when the rep ends."""

    async def leave(self) -> None: ...


class Forgotten:
    """Notes of steps that begin anew each time, such as a monitor's: nothing is remembered."""

    def of(self, step: str) -> Note | None:  # noqa: ARG002  the protocol's argument
        return None

    async def begun(self, step: str) -> Note:  # noqa: ARG002  the protocol's argument
        return Note(begun_at=time.time())

    async def started(self, step: str) -> None:
        """Nothing to remember."""

    async def done(self, step: str, failure: Failure | None = None) -> None:
        """Nothing to remember."""


class JournalNotes:
    """Notes that are durable before the step goes on."""

    def __init__(self, journal: Journal, save: Callable[[Journal], Awaitable[None]]) -> None:
        self.journal = journal
        self._save = save

    def of(self, step: str) -> Note | None:
        return self.journal.note(step)

    async def begun(self, step: str) -> Note:
        if self.journal.note(step) is None:
            await self._change(self.journal.begun(step, time.time()))
        return self.journal.notes[step]

    async def started(self, step: str) -> None:
        if not self.journal.notes[step].started:
            await self._change(self.journal.started(step))

    async def done(self, step: str, failure: Failure | None = None) -> None:
        journal = self.journal.begun(step, time.time())  # a step may end before its process could begin
        await self._change(journal.done(step, failure))

    async def _change(self, journal: Journal) -> None:
        self.journal = journal
        await self._save(journal)


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything a step of one container may use.

    Args:
        uploads: how many uploads may run at a time, over all containers.
        temporary: where files on their way out lie.
        grace: seconds from SIGTERM to SIGKILL.
        leaving: whether the rep itself is ending, so that a cancelled step must leave its process alone.
        processes: everything of the cell that holds a process at the moment.
        monitoring: whether the steps are those of a monitor: no exit lines, nothing remembered,
            and below parallel and codependent the output is what explains a failure.
        explaining: whether a process's output is collected for its error.
        tag: makes the identities of processes of steps that run again and again unique.
    """

    guid: str
    garden: Garden
    log: ContainerLog
    notes: Notes
    addresses: Addresses
    cache: DownloadCache
    uploader: Uploader
    uploads: asyncio.Semaphore
    temporary: Path
    grace: float
    leaving: Callable[[], bool]
    processes: set[Leaver]
    monitoring: bool = False
    explaining: bool = False
    tag: str = ""

    def for_monitor(self, tag: str) -> "Stage":
        return replace(self, notes=Forgotten(), monitoring=True, tag=tag)

    def below_group(self) -> "Stage":
        return replace(self, explaining=True) if self.monitoring else self
