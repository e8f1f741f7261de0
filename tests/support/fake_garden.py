"""A container engine in memory: scripted programs, files, and an engine that can go away and come back.

It satisfies `diego.executor.garden.Garden`. Processes live on while nobody is
connected to them, as garden's do.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from diego.garden.client import (
    ConnectionLost,
    ContainerNotFound,
    ExecutableNotFound,
    GardenError,
    ProcessNotFound,
)

TERM, KILL = 0, 1


@dataclass
class Program:
    """What running a path does: write, then exit with `status`, or live until signalled when that is None."""

    status: int | None = None
    stdout: bytes = b""
    stderr: bytes = b""
    ignores_term: bool = False
    after: float = 0.0


@dataclass
class Life:
    """One process, connected or not."""

    spec: dict[str, Any]
    program: Program
    signals: list[int] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    status: int = -1
    unread: dict[str, list[bytes]] = field(default_factory=lambda: {"out": [], "err": []})

    def exit(self, status: int) -> None:
        if not self.ended.is_set():
            self.status = status
            self.ended.set()

    def signal(self, number: int) -> None:
        self.signals.append(number)
        if number == KILL:
            self.exit(137)
        elif not self.program.ignores_term:
            self.exit(143)


class Connection:
    """A client's connection to a process."""

    def __init__(self, garden: "FakeGarden", life: Life) -> None:
        self._garden = garden
        self._life = life
        self._broken = asyncio.Event()
        garden.connections.add(self)

    def break_off(self) -> None:
        self._broken.set()

    @property
    def stdout(self) -> AsyncIterator[bytes]:
        return self._stream("out")

    @property
    def stderr(self) -> AsyncIterator[bytes]:
        return self._stream("err")

    async def wait(self) -> int:
        await self._either()
        if self._life.ended.is_set():
            return self._life.status
        raise ConnectionLost("broken")

    async def signal(self, number: int) -> None:
        if self._broken.is_set():
            raise ConnectionLost("broken")
        self._life.signal(int(number))

    async def leave(self) -> None:
        self._broken.set()

    async def close(self) -> None:
        self._broken.set()
        self._garden.connections.discard(self)

    async def _stream(self, name: str) -> AsyncIterator[bytes]:
        unread = self._life.unread[name]
        while True:
            while unread:
                yield unread.pop(0)
            if self._broken.is_set() or self._life.ended.is_set():
                return
            await asyncio.sleep(0.001)

    async def _either(self) -> None:
        waits = [asyncio.ensure_future(event.wait()) for event in (self._life.ended, self._broken)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


@dataclass
class FakeContainer:
    spec: dict[str, Any]
    lives: dict[str, Life] = field(default_factory=dict)
    received: list[tuple[str, str, bytes]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)


class FakeGarden:
    """Containers by handle, programs by path, and the tars that files are read from."""

    def __init__(self) -> None:
        self.made: dict[str, FakeContainer] = {}
        self.programs: dict[str, Program] = {}
        self.files: dict[str, bytes] = {}
        self.connections: set[Connection] = set()
        self.away = False
        self.create_error: Exception | None = None
        self.runs: list[str] = []
        self.creates: list[str] = []

    # What the test does

    def go_away(self) -> None:
        self.away = True
        for connection in list(self.connections):
            connection.break_off()

    def come_back(self) -> None:
        self.away = False

    def life(self, handle: str, process: str) -> Life:
        return self.made[handle].lives[process]

    # What the executor asks

    async def ping(self) -> None:
        self._here()

    async def capacity(self) -> dict[str, int]:
        self._here()
        return {"memory_in_bytes": 4 << 30, "disk_in_bytes": 64 << 30, "max_containers": 251}

    async def create(self, spec: Mapping[str, Any]) -> str:
        self._here()
        await asyncio.sleep(0)
        handle = str(spec["handle"])
        self.creates.append(handle)
        if self.create_error is not None:
            raise self.create_error
        if handle in self.made:
            raise GardenError(f"Handle '{handle}' already in use")
        self.made[handle] = FakeContainer(dict(spec))
        return handle

    async def containers(self, properties: Mapping[str, str]) -> list[str]:
        self._here()
        wanted = {key: value for key, value in properties.items() if key != "garden.state"}
        return [
            handle
            for handle, made in self.made.items()
            if wanted.items() <= made.spec.get("properties", {}).items()
        ]

    async def destroy(self, handle: str) -> None:
        self._here()
        for life in self._of(handle).lives.values():
            life.signal(KILL)
        self.made.pop(handle)

    async def info(self, handle: str) -> dict[str, Any]:
        made = self._of(handle)
        ports = [
            {"HostPort": 61001 + number, "ContainerPort": port["container_port"]}
            for number, port in enumerate(made.spec.get("netin", []))
        ]
        return {
            "ExternalIP": "10.0.0.9",
            "ContainerIP": "127.0.0.1",
            "ContainerIPv6": "",
            "MappedPorts": ports,
            "Events": made.events or None,
        }

    async def bulk_metrics(self, handles: Iterable[str]) -> dict[str, Any]:
        self._here()
        return {
            handle: {
                "Metrics": {
                    "CPUStat": {"Usage": 2_000_000_000},
                    "Age": 4_000_000_000,
                    "MemoryStat": {"TotalUsageTowardLimit": 1000},
                    "DiskStat": {"TotalBytesUsed": 5000, "ExclusiveBytesUsed": 1000},
                    "NetworkStat": None,
                },
                "Err": None,
            }
            for handle in handles
        }

    async def set_property(self, handle: str, key: str, value: str) -> None:
        self._of(handle).spec["properties"][key] = value

    async def stream_in(self, handle: str, user: str, destination: str, chunks: AsyncIterable[bytes]) -> None:
        made = self._of(handle)
        data = b"".join([chunk async for chunk in chunks])
        if destination == "/read-only":
            raise GardenError("stream-in: nstar: error streaming in: Permission denied")
        made.received.append((user, destination, data))

    async def stream_out(self, handle: str, user: str, source: str) -> AsyncIterator[bytes]:
        self._of(handle)
        if source not in self.files:
            raise GardenError("stream-out: no such file")
        yield self.files[source]

    async def run(self, handle: str, spec: Mapping[str, Any]) -> Connection:
        made = self._of(handle)
        await asyncio.sleep(0)
        if spec["id"] in made.lives:
            raise GardenError(f"process ID '{spec['id']}' already in use")
        program = self.programs.get(str(spec["path"]))
        if program is None:
            raise ExecutableNotFound(f"{spec['path']}: no such file or directory")
        self.runs.append(str(spec["id"]))
        life = Life(dict(spec), program)
        made.lives[spec["id"]] = life
        life.unread["out"] += [program.stdout] if program.stdout else []
        life.unread["err"] += [program.stderr] if program.stderr else []
        if program.status is not None:
            asyncio.get_running_loop().call_later(program.after, life.exit, program.status)
        return Connection(self, life)

    async def attach(self, handle: str, process_id: str) -> Connection:
        self._here()
        made = self.made.get(handle)
        if made is None or process_id not in made.lives:
            raise ProcessNotFound(process_id)
        return Connection(self, made.lives[process_id])

    def _of(self, handle: str) -> FakeContainer:
        self._here()
        if handle not in self.made:
            raise ContainerNotFound(handle)
        return self.made[handle]

    def _here(self) -> None:
        if self.away:
            raise ConnectionLost("garden is away")


class MemorySink:
    """Lines of instances, as `(source, stream, text)`."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, str]] = []
        self.forgotten: list[str] = []

    def write(self, guid: str, index: int, source: str, stream: str, message: bytes) -> None:
        self.lines.append((source, stream, message.decode()))

    def forget(self, guid: str) -> None:
        self.forgotten.append(guid)
