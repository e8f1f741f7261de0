"""Executors, requests and actions with good defaults."""

import asyncio
import contextlib
import functools
import io
import tarfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, cast

from diego.executor.cache import DownloadCache
from diego.executor.cell import Cell, Event, Settings
from diego.executor.core.checks import Check
from diego.executor.core.container_spec import Limits
from diego.executor.core.containers import Container, State
from diego.executor.core.requests import LogTarget, RunRequest
from diego.executor.core.resources import Demand, Room
from diego.executor.downloads import Downloader, HttpTransport, Trust
from diego.executor.monitors import Pace
from diego.executor.records import RecordStore
from diego.executor.service import Executor, Rhythm
from diego.executor.uploads import Uploader
from diego.wire.actions_pb2 import Action, RunAction
from support.fake_garden import FakeGarden, MemorySink, Program

T = TypeVar("T")
GRACE = 0.08


def run_action(path: str = "/app", **more: object) -> Action:
    return Action(run_action=RunAction(path=path, user="vcap", **more))  # type: ignore[arg-type]  # fields of RunAction


def a_request(action: Action | None = None, **more: object) -> RunRequest:
    request: dict[str, object] = {
        "guid": "guid-1",
        "rootfs": "/stack.tar",
        "action": action or run_action(),
        "log": LogTarget("log-guid", 0, "APP"),
        "cpu_weight": 1,
        **more,
    }
    return RunRequest(**request)  # type: ignore[arg-type]  # fields of RunRequest


class ScriptedProber:
    """Answers checks by port: what is wrong, or None; by default all is well."""

    def __init__(self) -> None:
        self.failures: dict[int, str | None] = {}
        self.made: list[Check] = []

    async def probe(self, check: Check, address: str) -> str | None:
        self.made.append(check)
        await asyncio.sleep(0)
        return self.failures.get(check.port)


@dataclass
class Bench:
    """An executor over a fake engine, and what was seen of it."""

    directory: Path
    garden: FakeGarden = field(default_factory=FakeGarden)
    sink: MemorySink = field(default_factory=MemorySink)
    prober: ScriptedProber = field(default_factory=ScriptedProber)
    events: list[tuple[Event, str]] = field(default_factory=list)
    leaving: bool = False
    pace: Pace = field(default_factory=lambda: Pace(0.02, 0.02))

    def executor(self, *, memory_mb: int = 1024) -> Executor:
        transport = a_transport()
        cell = Cell(
            settings=Settings(
                cell_id="cell-1",
                limits=Limits("executor", 1024, 200_000),
                pace=self.pace,
                grace=GRACE,
                check_timeout=1.0,
                temporary=self.directory,
            ),
            garden=self.garden,
            records=RecordStore(self.directory / "records"),
            sink=self.sink,
            cache=DownloadCache(
                self.directory / "cache",
                Downloader(transport, attempts=2, first_pause=0.01),
                limit=1 << 20,
                at_a_time=2,
            ),
            uploader=Uploader(transport),
            prober=self.prober,
            leaving=lambda: self.leaving,
            tell=lambda event, guid: self.events.append((event, guid)),
        )
        return Executor(cell, Room(memory_mb, 4096, 10), self.directory, Rhythm(), None)

    def start(self, executor: Executor, request: RunRequest, *, memory_mb: int = 64) -> None:
        executor.allocate(request.guid, Demand(memory_mb, 128, 0, "preloaded:stack"), {"lifecycle": "lrp"})
        executor.run(request)

    async def outcome(self, request: RunRequest) -> Container:
        """Run a request to its end."""
        executor = self.executor()
        self.start(executor, request)
        return await ended(executor, request.guid)

    def said(self, source: str | None = None) -> list[str]:
        return [text for one, _, text in self.sink.lines if source is None or one == source]

    def app(self, path: str = "/app", **more: object) -> None:
        self.garden.programs[path] = Program(**more)  # type: ignore[arg-type]  # fields of Program


@functools.cache
def a_transport() -> HttpTransport:
    return HttpTransport(Trust())


async def ended(executor: Executor, guid: str) -> Container:
    return await reached(executor, guid, State.COMPLETED)


async def reached(executor: Executor, guid: str, state: State) -> Container:
    await until(lambda: (found := executor.get(guid)) is not None and found.state is state)
    return cast(Container, executor.get(guid))


async def until(seen: Callable[[], bool], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not seen():
            await asyncio.sleep(0.002)


def played(scene: Callable[[], Awaitable[T]]) -> T:
    """Run a scene in a loop of its own; what it leaves behind is cancelled."""

    async def whole() -> T:
        try:
            return await scene()
        finally:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2):
                    await asyncio.gather(*others, return_exceptions=True)

    return asyncio.run(whole())


def a_tar(files: dict[str, bytes], mode: str = "w") -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode=mode) as tar:  # type: ignore[call-overload]  # "w" or "w:gz"
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return whole.getvalue()
