"""One container's life on this cell: made, run, stopped, destroyed, and taken up again by the next rep.

The state is that of `core.containers`; each change is remembered durably before
the life goes on. What a rep finds half done after a restart continues by state:

    reserved       as it was; the rep asks again to run it
    initializing   whatever the engine has of it goes, and it is made anew: no process ran in it yet
    created        its steps go on by their notes
    running        the same; its startup checks are over
    completed      the rep is told again
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from diego.executor.cell import Cell, Event
from diego.executor.core import containers, texts
from diego.executor.core.checks import log_source, usable_checks
from diego.executor.core.container_spec import (
    LOG_PROPERTY,
    BindMount,
    container_spec,
    log_property,
)
from diego.executor.core.containers import Addresses, Container, Outcome, PortMapping, State
from diego.executor.core.egress import BadRule
from diego.executor.core.failures import CANCELLED
from diego.executor.core.journal import Journal
from diego.executor.core.records import Record
from diego.executor.core.requests import LogTarget, RunRequest
from diego.executor.core.steps import BadAction, Exit, Plan, lay_out
from diego.executor.dependencies import DependenciesFailed, fetch_all
from diego.executor.garden import ConnectionLost, ContainerNotFound, GardenError
from diego.executor.logs import ContainerLog, Stream
from diego.executor.monitors import ActionMonitor, CheckMonitor
from diego.executor.perform import Later, group, perform, perform_later
from diego.executor.settling import StepFailed, settled
from diego.executor.stage import JournalNotes, Stage
from diego.runtime.logs import get_logger

ENGINE_PATIENCE = 30.0
"""Seconds that a creation waits for an engine that is being replaced."""
ENGINE_PAUSE = 0.25
TIME_TO_ATTACH = 0.5
"""Seconds that resumed steps have to find their processes before a stop of the last life is repeated."""
BEING_DESTROYED = "container already being destroyed"
CERTIFICATES_ENV = "CF_SYSTEM_CERT_PATH"

log = get_logger("rep")


class HeldContainer:
    """A container, and the coroutine that lives its life. Use it in the loop only."""

    def __init__(self, cell: Cell, record: Record, *, resumed: bool = False) -> None:
        self._cell = cell
        self._record = record
        self._resumed = resumed
        self._life: asyncio.Task[None] | None = None
        self._destruction: asyncio.Task[None] | None = None
        self._tree_began = False
        self._gone = False
        self._stop_told = record.container.stop_wanted
        self._log = self._new_log(record.container)

    @property
    def container(self) -> Container:
        return self._record.container

    def say(self, message: str) -> None:
        """Put a message of the cell into the app's log."""
        self._log.tell(message)

    def allocate(self) -> None:
        """Remember the reservation, soon: nothing is lost that the auction would not find out."""
        self._remember_soon()
        self._cell.tell(Event.RESERVED, self.container.guid)

    def run(self, request: RunRequest) -> None:
        """Accept the run request and begin.

        Raises:
            InvalidTransition: there was one already.
        """
        self._record = replace(self._record, container=containers.initialize(self.container, request))
        self._log = self._new_log(self.container)
        self._begin()

    def resume(self) -> None:
        """Go on where the last life of the rep ended."""
        for name in self._record.dependencies:
            self._cell.cache.hold(name)
        container = self.container
        if container.state is State.RESERVED:
            self._cell.tell(Event.RESERVED, container.guid)
            return
        if container.state is State.COMPLETED:
            self._cell.tell(Event.COMPLETED, container.guid)
            return
        if container.state is State.RUNNING:
            self._cell.tell(Event.RUNNING, container.guid)
        self._begin()
        if container.stop_wanted:
            asyncio.get_running_loop().call_later(TIME_TO_ATTACH, self._signal)

    def stop(self) -> None:
        """Ask it to end; it completes when it has. A second time changes nothing."""
        if self.container.state is State.COMPLETED:
            return
        if not self._stop_told:
            self._stop_told = True
            self._log.tell(texts.stopping(self._cell.settings.cell_id, self.container.guid))
        self._record = replace(self._record, container=containers.want_stop(self.container))
        self._remember_soon()
        if self._life is None:
            self.complete(containers.STOPPED_BEFORE_RUNNING)
        else:
            self._signal()

    def complete(self, outcome: Outcome) -> None:
        """It ends for a reason outside its own life: a reservation that expired, a container that vanished."""
        if self._life is not None and not self._life.done():
            self._life.cancel()
        self._completed(outcome)
        self._remember_soon()

    async def destroy(self) -> None:
        """Stop it, wait for its end, and remove it from the engine and from memory. Idempotent.

        Raises:
            GardenError, ConnectionLost: the engine did not do it; it can be asked again.
        """
        if self._destruction is None or (self._destruction.done() and self._destruction.exception()):
            self._destruction = asyncio.ensure_future(self._destroy())
        await asyncio.shield(self._destruction)

    async def update(
        self, internal_routes: tuple[str, ...] | None, metric_tags: Mapping[str, str] | None
    ) -> None:
        """Replace what is given.

        Raises:
            GardenError, ConnectionLost: the engine did not take the new tags.
        """
        container = self.container
        if internal_routes is not None:
            container = replace(container, internal_routes=internal_routes)
        if metric_tags is not None:
            container = replace(container, metric_tags=metric_tags)
        self._record = replace(self._record, container=container)
        await self._remember()
        if metric_tags is not None and container.request is not None and container.addresses is not None:
            value = log_property(container.request.log, metric_tags)
            await self._cell.garden.set_property(container.guid, LOG_PROPERTY, value)
        if container.state is State.RUNNING:
            self._cell.tell(Event.RUNNING, container.guid)

    # The life

    def _begin(self) -> None:
        self._life = asyncio.ensure_future(self._live())
        self._life.add_done_callback(self._ended_unlived)

    def _ended_unlived(self, life: "asyncio.Task[None]") -> None:
        """A life that was signalled before its first moment says nothing by itself."""
        if life.cancelled() and not self._cell.leaving() and self.container.state is not State.COMPLETED:
            self._completed(containers.STOPPED_BEFORE_RUNNING)
            self._remember_soon()

    def _signal(self) -> None:
        if self._life is not None and not self._life.done():
            self._life.cancel()

    async def _live(self) -> None:
        try:
            outcome = await self._outcome()
        except asyncio.CancelledError:
            if self._cell.leaving():
                raise
            began = self._tree_began
            outcome = Outcome(True, CANCELLED.message) if began else containers.STOPPED_BEFORE_RUNNING
        except Exception as error:  # our own mistake: the container must not seem to live on
            log.exception("container.life-broken", guid=self.container.guid)
            outcome = Outcome(failed=True, reason=f"{type(error).__name__}: {error}")
        self._completed(outcome)
        await self._remember()

    def _completed(self, outcome: Outcome) -> None:
        if self.container.state is State.COMPLETED:
            return
        self._record = replace(self._record, container=containers.complete(self.container, outcome))
        done = self.container.outcome
        log.info("container.completed", guid=self.container.guid, reason=done.reason if done else "")
        self._cell.tell(Event.COMPLETED, self.container.guid)

    async def _outcome(self) -> Outcome:
        await self._remember()
        request = self.container.request
        if request is None:
            return Outcome(failed=True, reason="container without a run request")
        try:
            plan = lay_out(request)
        except BadAction as error:
            return Outcome(failed=True, reason=str(error))
        if self.container.state is State.INITIALIZING:
            failed = await self._make(request)
            if failed is not None:
                return failed
        addresses = self.container.addresses
        if addresses is None:
            return Outcome(failed=True, reason="container without addresses")
        self._tree_began = True
        try:
            await self._run_tree(plan, request, self._stage(addresses))
        except StepFailed as error:
            message = error.failure.message
            return Outcome(failed=bool(message), reason=message)
        return Outcome(failed=False)

    async def _make(self, request: RunRequest) -> Outcome | None:
        """Have the engine make it. The outcome when that failed."""
        guid, cell_id = self.container.guid, self._cell.settings.cell_id
        self._log.tell(texts.creating(cell_id, guid))
        try:
            held = await fetch_all(request, self._cell.cache, self._log)
        except DependenciesFailed as error:
            log.error("container.dependencies-failed", guid=guid, error=str(error))
            return containers.DEPENDENCIES_FAILED
        if held:
            self._record = replace(self._record, dependencies=tuple(one.name for one in held))
            await self._remember()
        mounts = [BindMount(str(one.path), one.target) for one in held]
        certificates = self._cell.settings.trusted_certificates
        if certificates and request.trusted_certificates_path:
            mounts.append(BindMount(certificates, request.trusted_certificates_path))
            request = replace(
                request, env=(*request.env, (CERTIFICATES_ENV, request.trusted_certificates_path))
            )
        creation = asyncio.ensure_future(self._create(request, mounts))
        try:
            addresses = await asyncio.shield(creation)
        except asyncio.CancelledError:
            # A container that is half made could not be destroyed: let the engine finish first.
            if not self._cell.leaving():
                await settled(creation, self._cell.leaving)
            raise
        except (GardenError, ConnectionLost, BadRule) as error:
            text = texts.creation_failed(cell_id, guid, str(error))
            self._log.tell(text, stream=Stream.ERR)
            return containers.creation_failed(str(error))
        self._record = replace(self._record, container=containers.create(self.container, addresses))
        await self._remember()
        self._log.tell(texts.created(cell_id, guid))
        return None

    async def _create(self, request: RunRequest, mounts: list[BindMount]) -> Addresses:
        cell, container = self._cell, self.container
        spec = container_spec(
            container,
            request,
            cell.settings.limits,
            rootfs_bytes=cell.rootfs_bytes.get(request.rootfs, 0),
            mounts=mounts,
        )
        async with cell.creating:
            may_exist = self._resumed
            for _ in range(round(ENGINE_PATIENCE / ENGINE_PAUSE)):
                try:
                    if may_exist:
                        await self._destroy_in_engine()
                    may_exist = True
                    await cell.garden.create(spec)
                    return _addresses(await cell.garden.info(container.guid))
                except ConnectionLost as error:
                    log.info("container.engine-away", guid=container.guid, error=str(error))
                    await asyncio.sleep(ENGINE_PAUSE)
            raise ConnectionLost("the container engine does not answer")

    async def _run_tree(self, plan: Plan, request: RunRequest, stage: Stage) -> None:
        if plan.setup is not None:
            await perform(plan.setup, stage)
        monitor = self._monitor(plan, request, stage)
        if monitor is None:
            await perform(plan.action, stage, self._is_running)
            return
        await group([perform_later(plan.action, stage), monitor], Exit.MEANS_NOTHING, stage, self._is_running)

    def _monitor(self, plan: Plan, request: RunRequest, stage: Stage) -> Later | None:
        cell = self._cell
        pace = cell.settings.pace
        healthy = self.container.state is State.RUNNING
        if request.check_definition is not None:
            checks = usable_checks(
                request.check_definition.checks, timeout=cell.settings.check_timeout, interval=pace.healthy
            )
            if not checks:
                return None
            source = log_source(request.check_definition)
            watch = CheckMonitor(checks, source, request.start_timeout_ms, already_healthy=healthy)
            return lambda ready: asyncio.ensure_future(watch.run(stage, cell.prober, pace, ready))
        if plan.monitor is None:
            return None
        legacy = ActionMonitor(plan.monitor, request.start_timeout_ms, already_healthy=healthy)
        return lambda ready: asyncio.ensure_future(legacy.run(stage, cell.checking, pace, ready))

    def _is_running(self) -> None:
        if self.container.state is not State.CREATED:
            return
        self._record = replace(self._record, container=containers.run(self.container))
        self._remember_soon()
        self._cell.tell(Event.RUNNING, self.container.guid)

    def _stage(self, addresses: Addresses) -> Stage:
        cell = self._cell
        return Stage(
            guid=self.container.guid,
            garden=cell.garden,
            log=self._log,
            notes=JournalNotes(self._record.journal, self._note),
            addresses=addresses,
            cache=cell.cache,
            uploader=cell.uploader,
            uploads=cell.uploading,
            temporary=cell.settings.temporary,
            grace=cell.settings.grace,
            leaving=cell.leaving,
            processes=cell.processes,
        )

    async def _note(self, journal: Journal) -> None:
        self._record = replace(self._record, journal=journal)
        await self._remember()

    # The end

    async def _destroy(self) -> None:
        guid, cell_id = self.container.guid, self._cell.settings.cell_id
        self.stop()
        if self._life is not None:
            await settled(self._life, self._cell.leaving)
        self._log.tell(texts.destroying(cell_id, guid))
        if self.container.request is not None:
            async with self._cell.deleting:
                try:
                    await self._destroy_in_engine()
                except (GardenError, ConnectionLost):
                    self._log.tell(texts.destruction_failed(cell_id, guid))
                    raise
        self._log.tell(texts.destroyed(cell_id, guid))
        for name in self._record.dependencies:
            self._cell.cache.release(name)
        self._log.close()
        self._gone = True
        await self._cell.records.remove(guid)

    async def _destroy_in_engine(self) -> None:
        """Raises what the engine says, unless the container is gone or going."""
        try:
            await self._cell.garden.destroy(self.container.guid)
        except ContainerNotFound:
            return
        except GardenError as error:
            if BEING_DESTROYED not in str(error):
                raise

    # Memory

    async def _remember(self) -> None:
        if self._gone:
            return
        try:
            await self._cell.records.save(self._record)
        except OSError as error:
            # The app goes on; a rep that restarts before the disk takes records again will not know it.
            log.error("container-record.not-saved", guid=self.container.guid, error=str(error))

    def _remember_soon(self) -> None:
        task = asyncio.ensure_future(self._remember())
        _saving.add(task)
        task.add_done_callback(_saving.discard)

    def _new_log(self, container: Container) -> ContainerLog:
        request = container.request
        return ContainerLog(
            self._cell.sink,
            container.guid,
            request.log if request is not None else LogTarget(),
            bytes_per_second=request.log_bytes_per_second if request is not None else -1,
            lines=self._cell.settings.log_lines_per_second,
        )


_saving: set["asyncio.Task[None]"] = set()
"""Saves under way: the loop itself holds its tasks only weakly."""


def _addresses(info: Mapping[str, object]) -> Addresses:
    ports = info.get("MappedPorts") or []
    return Addresses(
        external_ip=str(info.get("ExternalIP") or ""),
        internal_ip=str(info.get("ContainerIP") or ""),
        internal_ipv6=str(info.get("ContainerIPv6") or ""),
        ports=tuple(
            PortMapping(container_port=port["ContainerPort"], host_port=port["HostPort"])
            for port in ports  # type: ignore[attr-defined]  # a list of objects, contract/garden.md section 6
        ),
    )
