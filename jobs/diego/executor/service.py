"""The executor: the containers of this cell, from reservation to destruction.

The rep reserves, runs, stops and deletes containers here, lists them, and hears
of their reserved, running and completed events. All of it happens in the loop.
"""

import asyncio
import io
import json
import re
import tarfile
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diego.executor.cell import Cell, Event
from diego.executor.container import HeldContainer
from diego.executor.core import containers
from diego.executor.core.container_spec import OWNER_PROPERTY
from diego.executor.core.containers import Container, Outcome, State
from diego.executor.core.errors import (
    ContainerNotFound,
    GuidNotAvailable,
    GuidNotSpecified,
    InsufficientResources,
)
from diego.executor.core.records import Record
from diego.executor.core.requests import RunRequest
from diego.executor.core.resources import Demand, Room, remaining
from diego.executor.core.usage import Sample, Usage, usage
from diego.executor.garden import ConnectionLost, GardenError
from diego.executor.garden import ContainerNotFound as UnknownToEngine
from diego.runtime.logs import get_logger

PING_PAUSE = 1.0
GUID = re.compile(r"[A-Za-z0-9_.-]{1,255}")
"""What may name a container: it names files of the cell too."""
ROOTFS_SIZES = "rootfs-sizes.json"
HEALTH_CHECK_TAG = "tag:healthcheck-tag"
HEALTH_CHECK_TRIES = 3

log = get_logger("rep")


class FileTooLarge(Exception):
    """A file of a container has more bytes than its reader takes."""


class NoSuchFile(Exception):
    """A container gave no file."""


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """The engine's self-check (contract/executor.md section 11). Seconds throughout."""

    rootfs: str
    owner: str
    path: str
    args: tuple[str, ...]
    user: str
    env: tuple[str, ...]
    dir: str
    interval: float
    timeout: float
    retry_pause: float


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often the executor looks after its containers. Seconds throughout."""

    reservation_expires_after: float = 60.0
    reap_every: float = 60.0
    measure_every: float = 15.0


@dataclass(frozen=True, slots=True)
class Measured:
    """The newest use of one container and what it may use, in bytes."""

    container: Container
    usage: Usage
    memory_quota: int
    disk_quota: int


@dataclass(slots=True)
class Executor:
    """The containers of one cell.

    `healthy` is whether the engine passed its last self-check; it begins as true.
    """

    cell: Cell
    total: Room
    store: Path
    rhythm: Rhythm
    health_check: HealthCheck | None
    healthy: bool = True
    _held: dict[str, HeldContainer] = field(default_factory=dict)
    _samples: dict[str, Sample] = field(default_factory=dict)
    _usages: dict[str, Usage] = field(default_factory=dict)

    # What the rep asks

    def containers(self) -> list[Container]:
        return [held.container for held in self._held.values()]

    def get(self, guid: str) -> Container | None:
        held = self._held.get(guid)
        return None if held is None else held.container

    def remaining(self) -> Room:
        """What is free, reserved and completed containers counted as taken."""
        return remaining(self.total, (held.container.demand for held in self._held.values()))

    def allocate(self, guid: str, demand: Demand, tags: Mapping[str, str]) -> None:
        """Reserve room for a container.

        Raises:
            GuidNotSpecified, GuidNotAvailable: the guid names nothing, or names something already.
            InsufficientResources: it does not fit.
        """
        if not GUID.fullmatch(guid) or guid in {".", ".."}:
            raise GuidNotSpecified
        if guid in self._held:
            raise GuidNotAvailable
        if not self.remaining().holds(demand.room):
            raise InsufficientResources
        container = Container(guid=guid, demand=demand, tags=dict(tags), allocated_at=time.time())
        held = HeldContainer(self.cell, Record(container))
        self._held[guid] = held
        held.allocate()

    def run(self, request: RunRequest) -> None:
        """Begin to make and run a reserved container.

        Raises:
            ContainerNotFound: nothing is reserved under its guid.
            InvalidTransition: it runs already, or is over.
        """
        self._get(request.guid).run(request)

    def stop(self, guid: str) -> None:
        """Ask a container to end. Raises ContainerNotFound."""
        self._get(guid).stop()

    def fail(self, guid: str, reason: str) -> None:
        """End a container that cannot be run, with the reason that the BBS is told. Raises ContainerNotFound."""
        self._get(guid).complete(Outcome(failed=True, reason=reason))

    def say(self, guid: str, message: str) -> None:
        """Put a message of the cell into the log of a container's app; of one that is not there, nowhere."""
        held = self._held.get(guid)
        if held is not None:
            held.say(message)

    async def delete(self, guid: str) -> None:
        """Stop and destroy a container; its room is free afterwards. One that is not there is fine.

        Raises:
            GardenError, ConnectionLost: the engine did not do it; the container stays, completed.
        """
        held = self._held.get(guid)
        if held is None:
            return
        await held.destroy()
        self._held.pop(guid, None)
        self._samples.pop(guid, None)
        self._usages.pop(guid, None)

    async def update(
        self, guid: str, internal_routes: tuple[str, ...] | None, metric_tags: Mapping[str, str] | None
    ) -> None:
        """Replace what is given of a container's routes and tags. Raises ContainerNotFound."""
        await self._get(guid).update(internal_routes, metric_tags)

    async def read_file(self, guid: str, path: str, limit: int) -> bytes:
        """The first file at `path` in a container, read as root.

        Raises:
            NoSuchFile: there is none.
            FileTooLarge: it has more than `limit` bytes.
            GardenError, ConnectionLost: the engine did not give it.
        """
        tar = bytearray()
        async for piece in self.cell.garden.stream_out(guid, "root", path):
            tar += piece
            if len(tar) > limit + (64 << 10):  # the file, and the headers around it
                break
        return await asyncio.to_thread(_first_file, bytes(tar), limit)

    def measured(self) -> list[Measured]:
        """The newest use of each container that was measured."""
        found = []
        for guid, held in self._held.items():
            used = self._usages.get(guid)
            if used is None:
                continue
            demand = held.container.demand
            found.append(Measured(held.container, used, demand.memory_mb << 20, demand.disk_mb << 20))
        return found

    def _get(self, guid: str) -> HeldContainer:
        held = self._held.get(guid)
        if held is None:
            raise ContainerNotFound
        return held

    # What happens by itself

    def resume(self) -> None:
        """Take up every container of the last life."""
        for record in self.cell.records.load():
            held = HeldContainer(self.cell, record, resumed=True)
            self._held[record.container.guid] = held
        for held in list(self._held.values()):
            held.resume()
        log.info("containers.resumed", count=len(self._held))

    async def leave(self) -> None:
        """Let every process go in order, for the rep is about to end: they run on, and no output is lost."""
        await asyncio.gather(*(process.leave() for process in list(self.cell.processes)))

    async def look_after(self) -> None:
        """The loops of the executor, until cancelled."""
        rhythm = self.rhythm
        await asyncio.gather(
            _again("reap", rhythm.reap_every, self.reap, first=0.0),
            _again("prune", rhythm.reservation_expires_after / 2, self.prune),
            _again("measure", rhythm.measure_every, self.measure),
            self._check_health(),
        )

    async def prune(self) -> None:
        """End reservations that nobody used."""
        now = time.time()
        for held in list(self._held.values()):
            if containers.has_expired(held.container, now=now, after=self.rhythm.reservation_expires_after):
                held.complete(containers.EXPIRED)

    async def reap(self) -> None:
        """Compare with the engine: strays there are destroyed, what is missing there is over.

        Only containers that were created before the engine was asked are judged missing.
        """
        made = {
            guid
            for guid, held in self._held.items()
            if held.container.state in {State.CREATED, State.RUNNING}
        }
        owner = self.cell.settings.limits.owner
        present = set(await self.cell.garden.containers({OWNER_PROPERTY: owner, "garden.state": "all"}))
        for guid in made - present:
            held = self._held.get(guid)
            if held is not None and held.container.state is not State.COMPLETED:
                log.error("container.missing", guid=guid)
                held.complete(containers.MISSING)
        for guid in present - self._held.keys():
            log.info("container.stray", guid=guid)
            try:
                await self.cell.garden.destroy(guid)
            except GardenError as error:
                log.error("container.stray-not-destroyed", guid=guid, error=str(error))

    async def measure(self) -> None:
        """Take a sample of every container that exists in the engine."""
        guids = [
            guid
            for guid, held in self._held.items()
            if held.container.state in {State.CREATED, State.RUNNING}
        ]
        if not guids:
            return
        answers = await self.cell.garden.bulk_metrics(guids)
        for guid, answer in answers.items():
            held = self._held.get(guid)
            if held is None or answer.get("Err") or not answer.get("Metrics"):
                continue
            request = held.container.request
            rootfs_bytes = self.cell.rootfs_bytes.get(request.rootfs, 0) if request else 0
            self._usages[guid], self._samples[guid] = usage(
                answer["Metrics"], self._samples.get(guid), rootfs_bytes=rootfs_bytes
            )

    async def _check_health(self) -> None:
        """Keep `healthy` true to what the engine can do. A check under way is never started twice."""
        check = self.health_check
        if check is None:
            return
        while True:
            try:
                async with asyncio.timeout(check.timeout):
                    await _check_engine(self.cell, check)
            except (GardenError, ConnectionLost, TimeoutError) as error:
                if self.healthy:
                    log.error("engine.unhealthy", error=str(error) or "no result in time")
                self.healthy = False
                await asyncio.sleep(check.retry_pause)
                continue
            if not self.healthy:
                log.info("engine.healthy-again")
            self.healthy = True
            await asyncio.sleep(check.interval)


async def reach_engine(cell: Cell) -> dict[str, Any]:
    """Wait until the engine answers; its capacity."""
    begun = time.monotonic()
    while True:
        try:
            await cell.garden.ping()
            return await cell.garden.capacity()
        except (GardenError, ConnectionLost) as error:
            log.info("engine.awaited", seconds=round(time.monotonic() - begun), error=str(error))
            await asyncio.sleep(PING_PAUSE)


async def measure_rootfs(cell: Cell, store: Path, paths: list[str]) -> dict[str, int]:
    """The size in bytes of each root filesystem, by path.

    It is what a new container of it uses without anything of its own. What was
    measured once is remembered as long as the file is the same.
    """
    remembered = await asyncio.to_thread(_read_sizes, store / ROOTFS_SIZES)
    sizes: dict[str, int] = {}
    notes: dict[str, list[int]] = {}
    for path in dict.fromkeys(paths):
        try:
            status = await asyncio.to_thread(Path(path).stat)
        except OSError as error:
            log.error("rootfs.missing", path=path, error=str(error))
            continue
        identity = [status.st_mtime_ns, status.st_size]
        known = remembered.get(path)
        if known is not None and known[:2] == identity:
            sizes[path] = known[2]
        else:
            size = await _measured_rootfs(cell, path)
            if size is None:
                continue
            sizes[path] = size
        notes[path] = [*identity, sizes[path]]
    await asyncio.to_thread((store / ROOTFS_SIZES).write_text, json.dumps(notes))
    return sizes


async def _measured_rootfs(cell: Cell, path: str) -> int | None:
    handle = f"rootfs-c-{uuid.uuid4()}"
    garden = cell.garden
    owner = {OWNER_PROPERTY: cell.settings.limits.owner}
    try:
        await garden.create({"handle": handle, "image": {"uri": path}, "properties": owner})
        try:
            disk = (await garden.bulk_metrics([handle]))[handle]["Metrics"]["DiskStat"]
        finally:
            await garden.destroy(handle)
    except (GardenError, ConnectionLost, KeyError, TypeError) as error:
        log.error("rootfs.not-measured", path=path, error=str(error))
        return None
    return max(int(disk.get("TotalBytesUsed", 0)) - int(disk.get("ExclusiveBytesUsed", 0)), 0)


async def _check_engine(cell: Cell, check: HealthCheck) -> None:
    """Make a container, run the command in it, destroy it: each step with a few tries."""
    garden = cell.garden
    tag = {HEALTH_CHECK_TAG: "healthcheck"}
    for handle in await garden.containers({**tag, "garden.state": "all"}):
        await _tried(check, lambda handle=handle: _destroyed(cell, handle))  # type: ignore[misc]  # bound now
    handle = f"check-{uuid.uuid4()}"
    spec = {
        "handle": handle,
        "rootfs": check.rootfs,
        "properties": {OWNER_PROPERTY: check.owner, **tag, "network.healthcheck": "true"},
    }
    try:
        await _tried(check, lambda: garden.create(spec))
        await _tried(check, lambda: _command(cell, check, handle))
    finally:
        await _tried(check, lambda: _destroyed(cell, handle))


async def _command(cell: Cell, check: HealthCheck, handle: str) -> None:
    process = await cell.garden.run(
        handle,
        {
            "path": check.path,
            "args": list(check.args),
            "user": check.user,
            "env": list(check.env),
            "dir": check.dir,
        },
    )
    try:
        pumps = asyncio.gather(_drained(process.stdout), _drained(process.stderr))
        status = await process.wait()
        await pumps
    finally:
        await process.close()
    if status != 0:
        raise GardenError(f"the engine's health check exited with status {status}")


async def _drained(stream: Any) -> None:
    async for _ in stream:
        pass


async def _destroyed(cell: Cell, handle: str) -> None:
    try:
        await cell.garden.destroy(handle)
    except UnknownToEngine:
        return


async def _tried(check: HealthCheck, work: Callable[[], Awaitable[Any]]) -> None:
    for attempt in range(HEALTH_CHECK_TRIES):
        try:
            await work()
            return
        except (GardenError, ConnectionLost):
            if attempt + 1 == HEALTH_CHECK_TRIES:
                raise
            await asyncio.sleep(check.retry_pause)


async def _again(
    name: str, seconds: float, work: Callable[[], Awaitable[None]], *, first: float | None = None
) -> None:
    """Do `work` again and again; a failure is told in the log, and the next round comes."""
    await asyncio.sleep(seconds if first is None else first)
    while True:
        try:
            await work()
        except (GardenError, ConnectionLost, OSError) as error:
            log.error("round-failed", loop=name, error=str(error))
        except Exception:
            log.exception("round-broken", loop=name)
        await asyncio.sleep(seconds)


def _first_file(tar: bytes, limit: int) -> bytes:
    """The first file of what may be only the beginning of a tar."""
    try:
        with tarfile.open(fileobj=io.BytesIO(tar), mode="r|") as source:
            member = source.next()
            if member is None or not member.isfile():
                raise NoSuchFile
            if member.size > limit:
                raise FileTooLarge(f"result file is too large (over {limit} bytes)")
            file = source.extractfile(member)
            if file is None:
                raise NoSuchFile
            return file.read()
    except tarfile.TarError as error:
        raise NoSuchFile(str(error)) from error


def _read_sizes(path: Path) -> dict[str, list[int]]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return {str(name): note for name, note in found.items() if isinstance(note, list) and len(note) == 3}


__all__ = ["Event", "Executor", "HealthCheck", "Rhythm"]
