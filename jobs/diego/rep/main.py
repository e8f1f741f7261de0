"""The rep's composition root: executor, containers of the last life, presence, listeners, loops, in this order."""

import asyncio
import fcntl
import ipaddress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from cryptography import x509

from diego.bbs.client import BbsClient
from diego.executor.cache import DownloadCache
from diego.executor.cell import Cell, Settings
from diego.executor.core.container_spec import Limits
from diego.executor.core.resources import (
    Room,
    container_capacity,
    disk_capacity,
    memory_capacity,
)
from diego.executor.downloads import Downloader, HttpTransport, Trust
from diego.executor.logs import FileLogSink
from diego.executor.monitors import Pace
from diego.executor.probes import NetworkProber
from diego.executor.records import RecordStore
from diego.executor.service import Executor, HealthCheck, Rhythm, measure_rootfs, reach_engine
from diego.executor.uploads import Uploader
from diego.garden.client import GardenClient
from diego.locket.client import LocketClient, PresenceKeeper
from diego.models.cell import CellPresence
from diego.rep.config import RepConfig
from diego.rep.core.capacity import CellFacts
from diego.rep.core.evacuation import MARK
from diego.rep.core.reconcile import ContainerOperation
from diego.rep.evacuation import EvacuationFile, Evacuator, Timing
from diego.rep.measures import measure_capacity
from diego.rep.operations import Identity, Operations
from diego.rep.presence import owner, presence, rep_url, stack_names
from diego.rep.service import Service
from diego.rep.views import admin_api, rep_api
from diego.runtime.api import Api
from diego.runtime.debug import debug_api
from diego.runtime.job import Job
from diego.runtime.process import Runtime
from diego.runtime.tls import server_context

LEAVING_SECONDS = 1.0
"""What letting go of the processes may take at TERM."""
RECORDS = "containers"
LOCK = "lock"
STORE_PAUSE = 0.2


class BadCertificate(Exception):
    """The rep's certificate does not serve its own admin listener."""


def compose(config: RepConfig, runtime: Runtime) -> list[Api]:
    _check_certificate(config.cert_file)
    config.store_path.mkdir(parents=True, exist_ok=True, mode=0o700)
    config.temporary_path.mkdir(parents=True, exist_ok=True)
    logs = FileLogSink(
        config.app_log_path, file_limit=config.app_log_file_bytes, files_kept=config.app_log_files
    )
    runtime.task("rep", _Rep(config, runtime, logs).run)
    return [debug_api("rep")]


@dataclass(frozen=True, slots=True)
class _Announcement:
    """How the cell shows itself, and who keeps it so."""

    cell: CellPresence
    keeper: PresenceKeeper


@dataclass(slots=True)
class _Rep:
    """The rep, put together as far as its surroundings allow: the engine first, then Locket, then callers."""

    config: RepConfig
    runtime: Runtime
    logs: FileLogSink
    announcement: _Announcement | None = None

    async def run(self) -> None:
        config, runtime = self.config, self.runtime
        lock = await asyncio.to_thread(self._hold_store)
        if lock is None:
            return
        cell = self._cell()
        total = await self._total(cell)
        cell.rootfs_bytes = await measure_rootfs(cell, config.store_path, list(config.stacks.values()))
        await asyncio.to_thread(cell.cache.recover)
        executor = Executor(cell, total, config.store_path, self._rhythm(), self._health_check())
        operations = Operations(self._bbs(), executor, self._identity(), config.stacks)
        evacuator = self._evacuator(executor, operations)
        operations.evacuating = lambda: evacuator.under_way
        cell.tell = lambda _event, guid: operations.push(ContainerOperation(guid))
        evacuator.resume()
        executor.resume()
        runtime.on_stop(lambda: _leave(runtime, executor))
        measure_capacity(executor)
        await asyncio.gather(
            executor.look_after(),
            self._sync(operations, evacuator),
            self._serve(executor, evacuator, total),
            evacuator.run(),
        )

    def _hold_store(self) -> IO[bytes] | None:
        """Wait until no other rep lives on this store: a worker whose master was killed takes a moment to end.

        The open file holds the lock, and goes with the process. None when told to stop meanwhile.
        """
        file = (self.config.store_path / LOCK).open("wb")
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return file
            except BlockingIOError:
                self.runtime.log.info("waiting-for-another-rep")
                if self.runtime.stopping.wait(STORE_PAUSE):
                    file.close()
                    return None

    def _cell(self) -> Cell:
        config = self.config
        transport = HttpTransport(_trust(config))
        settings = Settings(
            cell_id=config.cell_id,
            limits=Limits(
                owner=config.container_owner_name,
                max_cpu_shares=config.container_max_cpu_shares,
                inode_limit=config.container_inode_limit,
                set_cpu_weight=config.set_cpu_weight,
            ),
            pace=Pace(config.unhealthy_monitoring_interval, config.healthy_monitoring_interval),
            grace=config.graceful_shutdown_interval,
            check_timeout=config.declarative_healthcheck_default_timeout,
            temporary=config.temporary_path,
            trusted_certificates=config.trusted_system_certificates_path,
            log_lines_per_second=config.max_log_lines_per_second,
            creates_at_a_time=config.create_work_pool_size,
            deletes_at_a_time=config.delete_work_pool_size,
            checks_at_a_time=config.healthcheck_work_pool_size,
        )
        return Cell(
            settings=settings,
            garden=GardenClient(config.garden_network, config.garden_addr),
            records=RecordStore(config.store_path / RECORDS),
            sink=self.logs,
            cache=DownloadCache(
                config.cache_path,
                Downloader(transport),
                limit=config.max_cache_size_in_bytes,
                at_a_time=config.max_concurrent_downloads,
            ),
            uploader=Uploader(transport),
            prober=NetworkProber(config.healthcheck_work_pool_size),
            leaving=self.runtime.stopping.is_set,
        )

    async def _total(self, cell: Cell) -> Room:
        """What this cell offers, once the engine says what it has."""
        config = self.config
        capacity = await reach_engine(cell)
        schedulable = capacity.get("schedulable_disk_in_bytes", 0) if config.use_schedulable_disk_size else 0
        return Room(
            memory_mb=memory_capacity(str(config.memory_mb), capacity.get("memory_in_bytes", 0)),
            disk_mb=disk_capacity(
                str(config.disk_mb),
                disk_bytes=capacity.get("disk_in_bytes", 0),
                schedulable_bytes=schedulable,
                cache_bytes=config.max_cache_size_in_bytes,
                overhead_mb=config.auto_disk_capacity_overhead_mb,
            ),
            containers=container_capacity(capacity.get("max_containers", 0)),
        )

    async def _serve(self, executor: Executor, evacuator: Evacuator, total: Room) -> None:
        """Be seen in Locket, then open the listeners. What runs here does not wait for that."""
        service = Service(self._facts(), executor, self.config.stacks, lambda: evacuator.under_way)
        await self._be_present(total, evacuator)
        await asyncio.to_thread(self._listen, service, evacuator)
        self.runtime.log.info("open", cell_id=self.config.cell_id, containers=len(executor.containers()))

    def _facts(self) -> CellFacts:
        config = self.config
        return CellFacts(
            cell_id=config.cell_id,
            cell_index=config.cell_index,
            zone=config.zone,
            rep_url=rep_url(config),
            stacks=tuple(config.stacks),
            arbitrary_schemes=tuple(config.supported_providers),
            placement_tags=tuple(config.placement_tags),
            optional_placement_tags=tuple(config.optional_placement_tags),
        )

    def _evacuator(self, executor: Executor, operations: Operations) -> Evacuator:
        config = self.config
        return Evacuator(
            config.cell_id,
            executor,
            operations,
            EvacuationFile(config.store_path),
            Timing(
                poll=config.evacuation_polling_interval,
                timeout=config.evacuation_timeout,
                grace=config.graceful_shutdown_interval,
                reload=config.envoy_config_reload_duration,
            ),
            announce=self._announce,
            withdraw=self._withdraw,
            finish=self.runtime.finish,
        )

    def _announce(self) -> None:
        """Let the presence say that the cell is being emptied."""
        if self.announcement is not None:
            marked = replace(self.announcement.cell, annotations=dict([MARK]))
            self.announcement.keeper.update(marked.value())

    def _withdraw(self) -> None:
        """Take the presence away, so that nobody waits for this cell."""
        if self.announcement is not None:
            self.announcement.keeper.release()

    async def _be_present(self, total: Room, evacuator: Evacuator) -> None:
        """Keep the presence from now on; returns once it stands for the first time."""
        config, runtime = self.config, self.runtime
        seen = asyncio.Event()
        names = await asyncio.to_thread(stack_names, config.stacks)
        cell = presence(config, total, names)
        keeper = PresenceKeeper(
            LocketClient(
                config.locket_address,
                ca_file=config.locket_ca_cert_file or config.ca_cert_file,
                cert_file=config.locket_client_cert_file or config.cert_file,
                key_file=config.locket_client_key_file or config.key_file,
            ),
            config.cell_id,
            owner(config.store_path),
            cell.value(),
            ttl=config.lock_ttl,
            interval=config.lock_retry_interval,
            taken=lambda: _wake(runtime, seen),
            missed=lambda: runtime.log.error("presence.missed"),
            regained=lambda: runtime.log.info("presence.regained"),
        )
        self.announcement = _Announcement(cell, keeper)
        if evacuator.under_way:
            self._announce()
        runtime.background("presence", lambda: keeper.run(runtime.stopping))
        await seen.wait()

    def _listen(self, service: Service, evacuator: Evacuator) -> None:
        config = self.config
        tls = server_context(config.cert_file, config.key_file, config.ca_cert_file)
        self.runtime.open_listener(config.listen_addr, admin_api(evacuator), tls)
        api = rep_api(service, self.logs, evacuator)
        self.runtime.open_listener(config.listen_addr_securable, api, tls)

    async def _sync(self, operations: Operations, evacuator: Evacuator) -> None:
        """The bulk sync, at once and then at its interval; at once again when an evacuation begins."""
        while True:
            await operations.sync()
            await evacuator.rest(self.config.polling_interval)

    def _bbs(self) -> BbsClient:
        config = self.config
        return BbsClient(
            config.bbs_address,
            ca_file=config.ca_cert_file,
            cert_file=config.cert_file,
            key_file=config.key_file,
            timeout=config.communication_timeout,
        )

    def _identity(self) -> Identity:
        config = self.config
        return Identity(config.cell_id, config.zone, config.advertise_preference_for_instance_address)

    def _rhythm(self) -> Rhythm:
        config = self.config
        return Rhythm(
            reservation_expires_after=config.reserved_expiration_time,
            reap_every=config.container_reap_interval,
            measure_every=config.container_metrics_report_interval,
        )

    def _health_check(self) -> HealthCheck | None:
        """The engine's self-check needs a root filesystem; a cell without stacks goes without."""
        config = self.config
        if not config.stacks:
            return None
        return HealthCheck(
            rootfs=next(iter(config.stacks.values())),
            owner=config.healthcheck_container_owner_name,
            path=config.garden_healthcheck_process_path,
            args=tuple(config.garden_healthcheck_process_args),
            user=config.garden_healthcheck_process_user,
            env=tuple(config.garden_healthcheck_process_env),
            dir=config.garden_healthcheck_process_dir,
            interval=config.garden_healthcheck_interval,
            timeout=config.garden_healthcheck_timeout,
            retry_pause=config.garden_healthcheck_command_retry_pause,
        )


def _wake(runtime: Runtime, event: asyncio.Event) -> None:
    """Set an event of the loop from another thread."""
    runtime.loop.call_soon_threadsafe(event.set)


def _trust(config: RepConfig) -> Trust:
    return Trust(
        cert=config.path_to_tls_cert or str(config.cert_file),
        key=config.path_to_tls_key or str(config.key_file),
        ca=config.path_to_tls_ca_cert or str(config.ca_cert_file),
        further_ca=config.path_to_ca_certs_for_downloads,
        skip_verification=config.skip_cert_verify,
    )


def _leave(runtime: Runtime, executor: Executor) -> None:
    """At TERM: let go of the processes in order. Called in a thread; the loop still turns."""
    leaving = asyncio.run_coroutine_threadsafe(executor.leave(), runtime.loop)
    try:
        leaving.result(LEAVING_SECONDS)
    except TimeoutError:
        runtime.log.error("leaving-takes-too-long", seconds=LEAVING_SECONDS)


def _check_certificate(path: Path) -> None:
    """Refuse a certificate with which a drain could not reach the admin listener.

    Raises:
        BadCertificate: it has no IP SAN 127.0.0.1.
    """
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        addresses = names.get_values_for_type(x509.IPAddress)
    except x509.ExtensionNotFound:
        addresses = []
    if ipaddress.ip_address("127.0.0.1") not in addresses:
        raise BadCertificate(f"{path}: the rep's certificate needs the IP SAN 127.0.0.1")


JOB = Job(name="rep", config=RepConfig, plain=lambda config: [config.debug_address], compose=compose)
