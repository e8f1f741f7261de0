"""Garden's use-cases: containers made, listed, measured, destroyed; processes run in them.

All state is changed in the event loop only. What blocks (disks, the runtime, the
network) runs in threads and is given what it needs; it decides nothing.

A container is written down before anything of it is made, and erased after everything
of it is gone. So whenever garden is killed, the next one finds what there is: it takes
back what lives, and removes the rest.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import platform
import resource
import select
import signal
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from diego.garden import disks
from diego.garden.cgroups import Cgroups
from diego.garden.config import GardenConfig
from diego.garden.core import environment, limits, metrics, network, oci, seccomp, users
from diego.garden.core.specs import (
    RLIMITS,
    BindMount,
    ContainerSpec,
    Image,
    Limits,
    NetOutRule,
    PortMapping,
    ProcessSpec,
)
from diego.garden.depot import ContainerRecord, Depot, State, write
from diego.garden.disks import Disk
from diego.garden.errors import ContainerNotFound, GardenError
from diego.garden.images import ImageStore, Layer
from diego.garden.links import Links, external_address
from diego.garden.peas import Pea, Peas
from diego.garden.processes import STREAMS, Process, Processes
from diego.garden.rooted import Rooted, start_time
from diego.garden.runtime import Runtime
from diego.garden.transfers import Body, Transfers
from diego.runtime.logs import get_logger

T = TypeVar("T")

THREADS = 12
KILL_SECONDS = 120.0
STOP_TRIES, STOP_PAUSE = 11, 1.0
STATE = "garden.state"
log = get_logger("garden")


class Container:
    """A container that garden knows, with what it remembers beside the record."""

    def __init__(self, record: ContainerRecord) -> None:
        self.record = record
        self.made = asyncio.Event()
        self.destroying = False
        self.peas: dict[str, Pea] = {}  # those that run, by name
        self.peas_starting = 0
        self.no_pea_starts = asyncio.Event()
        self.burials: set[asyncio.Task[None]] = set()
        self.oom_kills_of_ended_peas = 0
        self.open_requests = 0
        self.reaper: asyncio.TimerHandle | None = None

    @property
    def handle(self) -> str:
        """Its name."""
        return self.record.handle

    @contextmanager
    def starting_a_pea(self) -> Iterator[None]:
        """For this time a pea has parts that nobody else knows of."""
        self.peas_starting += 1
        self.no_pea_starts.clear()
        try:
            yield
        finally:
            self.peas_starting -= 1
            if not self.peas_starting:
                self.no_pea_starts.set()


class Engine:
    """The container engine of one host."""

    def __init__(self, config: GardenConfig) -> None:
        self.config = config
        self.depot = Depot(config.data_dir / "depot")
        ids = oci.IdMap(config.uid_map_start, config.uid_map_size)
        self.images = ImageStore(config.data_dir / "images", ids)
        self.cgroups = Cgroups.of_machine(config.cgroup_parent)
        self.addresses = network.AddressPool(config.network_pool)
        self._cursor_file = config.data_dir / "port-cursor"
        self.ports = network.PortPool(config.port_pool_start, config.port_pool_size)
        self.links = Links(_policy(config), self.addresses.gateway, config.network_mtu)
        self.runtime = Runtime(config.runtime_plugin, config.runtime_root)
        self.peas = Peas(self.depot, self.runtime, self.cgroups)
        self.processes = Processes(
            self.depot, config.keeper_socket, forget_when_waited=config.cleanup_process_dirs_on_wait
        )
        self.transfers = Transfers()
        self.ready = asyncio.Event()
        self._external_ip = config.external_ip or external_address()
        self._oci = oci.Engine(
            init=config.init_bin,
            ids=ids,
            seccomp=seccomp.load_profile(platform.machine()),
            unified=self.cgroups.unified,
            limit_swap=not config.disable_swap_limit and self.cgroups.swap_is_counted(),
            cpu_quota_per_share_us=config.cpu_quota_per_share_in_us,
            no_new_privileges=config.no_new_privileges,
            nofile=config.default_nofile,
            hard_limits=_hard_limits(),
        )
        self._containers: dict[str, Container] = {}
        self._unpacking: dict[str, asyncio.Lock] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="garden")

    # At start

    async def restore(self) -> None:
        """Take back what lives, remove what does not, put the network in order. Then requests are served."""
        self.config.data_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.depot.prepare()
        self.images.prepare()
        self.ports.cursor = _read_cursor(self._cursor_file)
        gone = []
        for handle, record in list(self.depot.containers()):
            if record is not None and self._is_whole(record) and not self.config.destroy_containers_on_start:
                self._take_back(record)
            else:
                gone.append((handle, record))
        await self._in_thread(self.links.prepare, [c.record.link for c in self._containers.values()])
        for handle, record in gone:
            try:
                await self._in_thread(self._dismantle, handle, record)
                log.info("container.cleaned-up", handle=handle)
            except (GardenError, OSError) as error:
                log.error("container.not-cleaned-up", handle=handle, error=str(error))
        for container in self._containers.values():
            await self._take_back_peas(container)
        images = {c.record.image for c in self._containers.values()}
        images |= {pea.image for c in self._containers.values() for pea in c.peas.values()}
        await self._in_thread(self.images.collect, images)
        log.info("restored", containers=len(self._containers), removed=len(gone))
        self.ready.set()

    def _is_whole(self, record: ContainerRecord) -> bool:
        """Whether the container lives with all that belongs to it."""
        return (
            record.state is not State.CREATING
            and start_time(record.pid) == record.start_time
            and Disk(self.depot.of(record.handle)).rootfs.is_mount()
        )

    def _take_back(self, record: ContainerRecord) -> None:
        container = Container(record)
        container.made.set()
        self._containers[record.handle] = container
        self.addresses.restore(record.address)
        for port in record.ports:
            self.ports.claim(port.host_port)
        self.processes.restore(record.handle)
        self._restart_grace_time(container)

    async def _take_back_peas(self, container: Container) -> None:
        """Watch the peas that live, remove what is left of the others."""
        running = {process.id: process for process in self.processes.of(container.handle).values()}
        for pea in list(self.peas.of(container.handle)):
            process = running.get(pea.process_id)
            if process is not None and process.running and not process.exited.is_set():
                self._watch_pea(container, pea, process)
            else:
                await self._remove_pea(pea)

    # Containers

    async def create(self, spec: ContainerSpec) -> str:
        """Make a container; its handle. A failure leaves nothing behind."""
        handle = spec.handle or str(uuid.uuid4())
        if handle in self._containers:
            raise GardenError(f"Handle '{handle}' already in use")
        if spec.privileged:
            raise GardenError("privileged container creation is disabled")
        if len(self._containers) >= self.max_containers:
            raise GardenError("max containers reached")
        container = Container(self._new_record(handle, spec))
        self._containers[handle] = container
        try:
            layer = await self._layer(spec.image)
            container.record = replace(
                container.record,
                image=layer.key,
                image_bytes=layer.size,
                image_env=layer.env,
                ports=self._take_ports(spec.net_in),
            )
            container.record = await self._in_thread(self._build, container.record, spec, layer)
        except BaseException:
            await self._give_up(container)
            raise
        finally:
            container.made.set()
        self._restart_grace_time(container)
        return handle

    def _new_record(self, handle: str, spec: ContainerSpec) -> ContainerRecord:
        return ContainerRecord(
            handle=handle,
            created_at=time.time_ns(),
            address=self.addresses.take(),
            env=spec.env,
            limits=spec.limits,
            grace_time=spec.grace_time or self.config.default_container_grace_time,
            properties=dict(spec.properties),
            net_out=spec.net_out,
        )

    async def _layer(self, image: Image) -> Layer:
        """The unpacked image; whoever asks first unpacks it, others wait."""
        if not image.uri:
            image = Image(self.config.default_container_rootfs)
        if not image.uri:
            raise GardenError("no image given, and there is no default root file system")
        key = await self._in_thread(self.images.key, image)
        async with self._unpacking.setdefault(key, asyncio.Lock()):
            layer = await self._in_thread(self.images.layer, key)
            if layer is None:
                layer = await self._in_thread(self.images.unpack, image, key)
            return layer

    def _build(self, record: ContainerRecord, spec: ContainerSpec, layer: Layer) -> ContainerRecord:
        """Make everything of a container, in a thread."""
        directory = self.depot.of(record.handle)
        directory.mkdir()
        directory.chmod(0o711)
        write(directory / "record.json", asdict(record))
        size = limits.disk_size(spec.limits, image_bytes=layer.size, unlimited=self._unlimited_disk())
        disk = Disk(directory)
        disk.make(size, lower=layer.rootfs, owner=self._oci.ids.start)
        self._write_files(directory, record)
        self.cgroups.make(record.handle, oci.unified_limits(self._oci, spec.limits))
        document = oci.container(
            self._oci,
            handle=record.handle,
            cgroup=self.cgroups.path(record.handle),
            root=_root_of(disk, directory, spec.bind_mounts),
            limits=spec.limits,
        )
        write(directory / "config.json", document)
        pid = self.runtime.run(record.handle, directory)
        self.links.connect(record.link, pid)
        record = replace(record, state=State.CREATED, pid=pid, start_time=start_time(pid) or 0)
        self.depot.save(record)
        return record

    def _unlimited_disk(self) -> int:
        return self.config.unlimited_disk_bytes or disks.capacity(self.depot.directory)

    def _write_files(self, directory: Path, record: ContainerRecord) -> None:
        """The container's hosts and resolv.conf, which its root may change."""
        config = self.config
        name = oci.hostname(record.handle)
        texts = {
            "hosts": network.hosts_file(record.address, name, config.additional_host_entries),
            "resolv.conf": network.resolv_conf(
                config.dns_servers,
                config.additional_dns_servers,
                Path("/etc/resolv.conf").read_text(),
                self.addresses.gateway,
            ),
        }
        for file_name, text in texts.items():
            path = directory / file_name
            path.write_text(text)
            path.chmod(0o644)
            os.chown(path, self._oci.ids.start, self._oci.ids.start)

    async def _give_up(self, container: Container) -> None:
        """Undo a container that could not be made."""
        record = container.record
        try:
            await self._in_thread(self._dismantle, record.handle, record)
        except (GardenError, OSError) as error:
            log.error("container.not-undone", handle=record.handle, error=str(error))
        self._forget(container)

    def _forget(self, container: Container) -> None:
        record = container.record
        if container.reaper is not None:
            container.reaper.cancel()
        self.addresses.release(record.address)
        self.ports.release(port.host_port for port in record.ports)
        self._containers.pop(record.handle, None)

    async def destroy(self, handle: str) -> None:
        """Kill everything in a container and remove it. After an error it can be repeated."""
        container = self.container(handle)
        if container.destroying:
            raise GardenError("container already being destroyed")
        container.destroying = True
        await container.made.wait()
        if self._containers.get(handle) is not container:
            raise ContainerNotFound(handle)  # it could not be made
        try:
            await self._in_thread(self._kill, container.record)
            if container.peas_starting:
                await container.no_pea_starts.wait()  # they fail: the namespaces that they enter are gone
            await self.processes.end_all(handle)
            for burial in list(container.burials):  # one that has begun ends first
                burial.cancel()
                await asyncio.wait([burial])
            await self._in_thread(self._dismantle, handle, container.record)
        finally:
            container.destroying = False
        self._forget(container)

    def _kill(self, record: ContainerRecord) -> None:
        """Kill the container's init: the kernel kills everything else of its pid namespace."""
        try:
            init = os.pidfd_open(record.pid)
        except ProcessLookupError:
            return
        try:
            if start_time(record.pid) != record.start_time:
                return
            signal.pidfd_send_signal(init, signal.SIGKILL)
            ended, _, _ = select.select([init], [], [], KILL_SECONDS)
            if not ended:
                raise GardenError(f"processes survive SIGKILL for {KILL_SECONDS:.0f} s")
        finally:
            os.close(init)

    def _dismantle(self, handle: str, record: ContainerRecord | None) -> None:
        """Remove everything of a container, however much of it there is, in a thread."""
        directory = self.depot.of(handle)
        if record is not None and record.pid:
            self._kill(record)
        self.cgroups.kill(handle)
        self.peas.remove_all(handle)
        if directory.is_dir():
            self.runtime.delete(handle, directory)
        self.cgroups.remove(handle)
        if record is not None:
            self.links.disconnect(record.link)
        if directory.is_dir():
            Disk(directory).remove()
            self.depot.remove(handle)

    async def stop(self, handle: str, *, kill: bool) -> None:
        """End all processes of a container but its init."""
        container = self.container(handle)
        numbers = [signal.SIGKILL] if kill else [signal.SIGTERM, signal.SIGKILL]
        for number in numbers:
            for _ in range(STOP_TRIES):
                if not await self._in_thread(self._signal_all, container.record, number):
                    break
                await asyncio.sleep(0.05 if number is signal.SIGKILL else STOP_PAUSE)
        await self._save(container, replace(container.record, state=State.STOPPED))

    def _signal_all(self, record: ContainerRecord, number: signal.Signals) -> int:
        """Signal all but init; how many there were."""
        count = 0
        for pid in self.cgroups.processes(record.handle):
            if pid == record.pid or start_time(pid) is None:
                continue
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
            count += 1
        return count

    def handles(self, wanted: Mapping[str, str]) -> list[str]:
        """The handles of containers that have all these properties; half-made ones only when asked for."""
        wanted = dict(wanted)
        state = wanted.pop(STATE, "created")
        return [
            container.handle
            for container in self._containers.values()
            if (state == "all" or _state(container.record) == state)
            and all(container.record.properties.get(key) == value for key, value in wanted.items())
        ]

    def container(self, handle: str) -> Container:
        """A container by its handle. Raises ContainerNotFound."""
        try:
            return self._containers[handle]
        except KeyError:
            raise ContainerNotFound(handle) from None

    def info(self, handle: str) -> dict[str, Any]:
        """The ContainerInfo object."""
        container = self.container(handle)
        record = container.record
        kills = self._oom_kills(container)
        return {
            "State": "stopped" if record.state is State.STOPPED else "active",
            "Events": ["Out of memory"] * min(kills, 100) or None,
            "HostIP": self.addresses.gateway,
            "ContainerIP": record.address,
            "ContainerIPv6": "",
            "ExternalIP": self._external_ip,
            "ContainerPath": "",
            "ProcessIDs": None,
            "Properties": self.properties(handle),
            "MappedPorts": [
                {"HostPort": port.host_port, "ContainerPort": port.container_port} for port in record.ports
            ],
        }

    def _oom_kills(self, container: Container) -> int:
        """Kills in the container and in those of its peas that live within its limits."""
        kills = self.cgroups.oom_kills(container.handle)
        if self.cgroups.unified:  # what happens below is counted
            return kills
        within = [pea.group for pea in container.peas.values() if not pea.own_limits]
        return kills + container.oom_kills_of_ended_peas + sum(map(self.cgroups.oom_kills, within))

    def metrics(self, handle: str) -> dict[str, Any]:
        """The Metrics object of a container, or of the pea whose process has this id."""
        if handle not in self._containers:
            for container in self._containers.values():
                for pea in container.peas.values():
                    if pea.process_id == handle:
                        return self._metrics_of_pea(pea)
        record = self.container(handle).record
        if record.state is State.CREATING:
            raise GardenError("container is still being created")
        own_bytes, own_inodes = Disk(self.depot.of(handle)).used()
        age = time.time_ns() - record.created_at
        wants_network = (
            self.config.enable_container_network_metrics
            or record.properties.get("network.healthcheck") == "true"
        )
        return metrics.document(
            self.cgroups.usage(handle),
            unified=self.cgroups.unified,
            image_bytes=record.image_bytes,
            own_bytes=own_bytes,
            own_inodes=own_inodes,
            pid_limit=record.limits.pids,
            age_ns=age,
            entitlement_ns=limits.entitlement(record.limits.cpu_shares, self._percent_per_share(), age),
            network=self.links.counters(record.link) if wants_network else None,
        )

    def _metrics_of_pea(self, pea: Pea) -> dict[str, Any]:
        own_bytes, own_inodes = self.peas.disk(pea).used()
        return metrics.document(
            self.cgroups.usage(pea.group),
            unified=self.cgroups.unified,
            image_bytes=pea.image_bytes,
            own_bytes=own_bytes,
            own_inodes=own_inodes,
            pid_limit=0,
            age_ns=time.time_ns() - pea.created_at,
            entitlement_ns=0,
            network=None,
        )

    def _percent_per_share(self) -> float:
        configured = self.config.cpu_entitlement_per_share_in_percent
        return configured or (os.cpu_count() or 1) * 100 / (memory_bytes() / limits.MIB)

    def capacity(self) -> dict[str, int]:
        """What this host offers."""
        disk = disks.capacity(self.config.data_dir)
        reserved = max(0, self.config.reserved_space_for_other_jobs_in_mb) * limits.MIB
        return {
            "memory_in_bytes": memory_bytes(),
            "disk_in_bytes": disk,
            "schedulable_disk_in_bytes": disk - reserved if reserved < disk else disk,
            "max_containers": self.max_containers,
        }

    @property
    def max_containers(self) -> int:
        """How many containers there may be."""
        return min(self.config.max_containers, self.addresses.size)

    # Properties and limits

    def properties(self, handle: str) -> dict[str, str]:
        """The client's properties, and what garden says of itself."""
        record = self.container(handle).record
        ports = [{"HostPort": port.host_port, "ContainerPort": port.container_port} for port in record.ports]
        return {
            **record.properties,
            STATE: _state(record),
            "garden.grace-time": str(record.grace_time),
            "garden.network.container-ip": record.address,
            "garden.network.host-ip": self.addresses.gateway,
            "garden.network.external-ip": self._external_ip,
            "garden.network.mapped-ports": json.dumps(ports),
        }

    async def set_property(self, handle: str, key: str, value: str | None) -> None:
        """Set a property, or remove it for None."""
        container = self.container(handle)
        await self._save(container, container.record.with_property(key, value))

    async def set_grace_time(self, handle: str, nanoseconds: int) -> None:
        """How long the container lives without a request; 0 is for ever."""
        container = self.container(handle)
        await self._save(container, replace(container.record, grace_time=nanoseconds))

    def cpu_limit(self, handle: str) -> int:
        """Shares under cgroup v1, the weight under v2."""
        shares = self.container(handle).record.limits.cpu_shares
        return limits.cpu_weight(shares) if self.cgroups.unified else shares

    def memory_limit(self, handle: str) -> int:
        """Bytes; 0 is none."""
        return self.container(handle).record.limits.memory

    # Network

    async def net_in(self, handle: str, port: PortMapping) -> PortMapping:
        """Map one more port of the host to the container."""
        container = self.container(handle)
        mapping = self._take_ports([port])[0]
        before = container.record
        added = replace(before.link, ports=(mapping,), net_out=())
        try:
            await self._in_thread(self.links.add_ports, added)
        except GardenError:
            self.ports.release([mapping.host_port])
            raise
        await self._save(container, replace(container.record, ports=(*container.record.ports, mapping)))
        return mapping

    async def net_out(self, handle: str, rules: Sequence[NetOutRule]) -> None:
        """Allow more traffic out. Later rules stand before earlier ones."""
        container = self.container(handle)
        record = replace(container.record, net_out=(*container.record.net_out, *rules))
        await self._save(container, record)
        living = [c.record.link for c in self._containers.values() if c.record.state is not State.CREATING]
        await self._in_thread(self.links.prepare, living)

    def _take_ports(self, wanted: Sequence[PortMapping]) -> tuple[PortMapping, ...]:
        """Choose host ports: all or none."""
        taken: list[PortMapping] = []
        try:
            for port in wanted:
                if port.host_port:
                    self.ports.claim(port.host_port)
                host_port = port.host_port or self.ports.take()
                taken.append(PortMapping(host_port, port.container_port or host_port))
        except GardenError:
            self.ports.release(port.host_port for port in taken)
            raise
        if taken:
            write(self._cursor_file, self.ports.cursor)
        return tuple(taken)

    # Processes and files

    async def run(self, handle: str, spec: ProcessSpec) -> Process:
        """Start a process."""
        self._usable(handle)
        layer = await self._layer(spec.image) if spec.is_pea else None
        container = self._usable(handle)
        process = self.processes.reserve(handle, spec.id or str(uuid.uuid4()))
        try:
            if layer is not None:
                await self._start_pea(container, process, spec, layer)
            else:
                command = await self._in_thread(self._prepare_process, container.record, process, spec)
                await self.processes.start(process, command)
        except BaseException:
            self.processes.discard(process)
            raise
        return process

    async def _start_pea(
        self, container: Container, process: Process, spec: ProcessSpec, layer: Layer
    ) -> None:
        pea = self.peas.new(container.handle, process.id, layer, own_limits=spec.limits is not None)
        with container.starting_a_pea():
            try:
                command = await self._in_thread(
                    self._prepare_pea, container.record, process, spec, pea, layer
                )
                await self.processes.start(process, command)
            except BaseException:
                await self._remove_pea(pea)
                raise
            self._watch_pea(container, pea, process)

    def _watch_pea(self, container: Container, pea: Pea, process: Process) -> None:
        """It runs: remove what it had when it ends."""
        container.peas[pea.name] = pea
        burial = asyncio.get_running_loop().create_task(self._bury(container, pea, process))
        container.burials.add(burial)
        burial.add_done_callback(container.burials.discard)

    async def _bury(self, container: Container, pea: Pea, process: Process) -> None:
        await process.exited.wait()
        if not pea.own_limits:
            container.oom_kills_of_ended_peas += self.cgroups.oom_kills(pea.group)
        del container.peas[pea.name]
        await self._remove_pea(pea)

    async def _remove_pea(self, pea: Pea) -> None:
        try:
            await self._in_thread(self.peas.remove, pea)
        except (GardenError, OSError) as error:  # the container's end tries again
            log.error("pea.not-removed", handle=pea.handle, process=pea.process_id, error=str(error))

    def _prepare_pea(
        self, record: ContainerRecord, process: Process, spec: ProcessSpec, pea: Pea, layer: Layer
    ) -> list[str]:
        """Make a pea's disk and bundle, and what every process has; the command that starts it. In a thread."""
        self.peas.make(pea, layer, unlimited=self._unlimited_disk(), owner=self._oci.ids.start)
        disk, bundle = self.peas.disk(pea), self.peas.directory(pea)
        mounted = _root_of(disk, self.depot.of(record.handle), spec.bind_mounts)
        with Rooted(disk.rootfs) as root:
            user = _resolve(root, spec.user)
            directory = spec.directory if _has_directory(root, spec) else "/"
        environ = environment.of_process(
            image=layer.env, container=(), process=spec.env, user=spec.user, uid=user.uid, home=user.home
        )
        document = oci.pea(
            self._oci,
            container_pid=record.pid,
            cgroup=f"/{self.cgroups.parent}/{pea.group}",
            root=mounted,
            limits=spec.limits or Limits(),
            process=self._process_document(spec, environ, user, directory),
        )
        write(bundle / "config.json", document)
        self._write_down(process, user)
        if start_time(record.pid) != record.start_time:
            raise GardenError(f"container {record.handle} does not run")
        return self.runtime.run_command(pea.runtime_id, bundle, process.directory)

    def _prepare_process(self, record: ContainerRecord, process: Process, spec: ProcessSpec) -> list[str]:
        """Write down a process and make its FIFOs; the command that starts it. In a thread."""
        user, directory = self._user_and_directory(record, spec)
        environ = environment.of_process(
            image=record.image_env,
            container=record.env,
            process=spec.env,
            user=spec.user,
            uid=user.uid,
            home=user.home,
        )
        self._write_down(process, user)
        write(process.directory / "config.json", self._process_document(spec, environ, user, directory))
        return self.runtime.exec_command(record.handle, process.directory)

    def _process_document(
        self, spec: ProcessSpec, environ: Sequence[str], user: users.User, directory: str
    ) -> dict[str, Any]:
        return oci.process(
            self._oci,
            args=[spec.path, *spec.args],
            env=environ,
            user=user,
            directory=directory,
            rlimits=spec.rlimits,
        )

    def _write_down(self, process: Process, user: users.User) -> None:
        """Make a process's directory with its FIFOs and its record."""
        process.directory.parent.mkdir(exist_ok=True)  # but not what is above: the container may have gone
        process.directory.mkdir()
        owner, group = self._oci.ids.host(user.uid), self._oci.ids.host(user.gid)
        for name in ("stdin", *STREAMS):
            path = process.directory / name
            os.mkfifo(path, 0o600)
            os.chown(path, owner, group)  # so that it may open /dev/stdout
        self.depot.save_process(process.handle, process.record)

    def _user_and_directory(self, record: ContainerRecord, spec: ProcessSpec) -> tuple[users.User, str]:
        """Who the process is, and its working directory, which is made if it is missing."""
        with self._root(record) as root:
            user = _resolve(root, spec.user)
            path = spec.directory or user.home
            if not path.startswith("/"):
                path = f"{user.home.rstrip('/')}/{path}"
            try:
                root.make_directories(
                    path, uid=self._oci.ids.host(user.uid), gid=self._oci.ids.host(user.gid)
                )
            except OSError as error:
                raise GardenError(f"working directory {path}: {error.strerror}") from error
        return user, path

    async def stream_in(self, handle: str, user: str, destination: str, body: Body) -> None:
        """Unpack a tar in a container, as one of its users."""
        record = self._usable(handle).record
        found = await self._in_thread(self._look_up, record, user)
        await self.transfers.stream_in(record.pid, found, destination, body)

    async def stream_out(self, handle: str, user: str, source: str) -> AsyncIterator[bytes]:
        """A tar of a file or directory of a container, readable by one of its users."""
        record = self._usable(handle).record
        found = await self._in_thread(self._look_up, record, user)
        async for piece in self.transfers.stream_out(record.pid, found, source):
            yield piece

    def _look_up(self, record: ContainerRecord, user: str) -> users.User:
        with self._root(record) as root:
            return _resolve(root, user)

    def _root(self, record: ContainerRecord) -> Rooted:
        try:
            return Rooted.of_process(record.pid)
        except OSError as error:
            raise GardenError(f"container {record.handle} does not run: {error.strerror}") from error

    def _usable(self, handle: str) -> Container:
        """A container that is whole and not about to go."""
        container = self.container(handle)
        if container.record.state is State.CREATING:
            raise GardenError("container is still being created")
        if container.destroying:
            raise GardenError("container already being destroyed")
        return container

    # Grace time

    @contextmanager
    def request_on(self, handle: str) -> Iterator[None]:
        """A request on this container is open: its grace time does not run."""
        container = self._containers.get(handle)
        if container is None:
            yield
            return
        container.open_requests += 1
        if container.reaper is not None:
            container.reaper.cancel()
            container.reaper = None
        try:
            yield
        finally:
            container.open_requests -= 1
            if self._containers.get(handle) is container:
                self._restart_grace_time(container)

    def _restart_grace_time(self, container: Container) -> None:
        if container.reaper is not None:
            container.reaper.cancel()
            container.reaper = None
        seconds = container.record.grace_time / 1e9
        if seconds and not container.open_requests and container.record.state is not State.CREATING:
            loop = asyncio.get_running_loop()
            container.reaper = loop.call_later(seconds, self._reap, container.handle)

    def _reap(self, handle: str) -> None:
        log.info("container.grace-time-over", handle=handle)
        self._reaping = asyncio.get_running_loop().create_task(self._destroy_unused(handle))

    async def _destroy_unused(self, handle: str) -> None:
        try:
            await self.destroy(handle)
        except (GardenError, OSError) as error:
            log.error("container.not-reaped", handle=handle, error=str(error))

    # Helpers

    async def _save(self, container: Container, record: ContainerRecord) -> None:
        container.record = record
        if record.state is not State.CREATING:
            await self._in_thread(self.depot.save, record)

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call something that blocks. Cancelled, it is waited for: what it makes must be known."""
        work = asyncio.get_running_loop().run_in_executor(self._threads, lambda: function(*arguments))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait([work])
            raise
        except OSError as error:
            raise GardenError(_os_error_text(error)) from error


def _state(record: ContainerRecord) -> str:
    return "creating" if record.state is State.CREATING else "created"


def _resolve(root: Rooted, user: str) -> users.User:
    return users.resolve(user, passwd=root.read_text("/etc/passwd"), group=root.read_text("/etc/group"))


def _has_directory(root: Rooted, spec: ProcessSpec) -> bool:
    """Whether a pea's working directory is there: in its image, or in what is mounted over it."""
    wanted = PurePosixPath(spec.directory)
    if not wanted.is_absolute():
        return False
    for mount in reversed(spec.bind_mounts):
        if wanted.is_relative_to(mount.destination):
            if not Path(mount.source).is_dir():
                return False
            with Rooted(Path(mount.source)) as mounted:
                return mounted.has_directory(f"./{wanted.relative_to(mount.destination)}")
    return root.has_directory(spec.directory)


def _root_of(disk: Disk, directory: Path, bind_mounts: Sequence[BindMount]) -> oci.Root:
    """What a container, or a pea of it, has mounted; `directory` is the container's."""
    return oci.Root(
        str(disk.rootfs),
        hosts=str(directory / "hosts"),
        resolv_conf=str(directory / "resolv.conf"),
        bind_mounts=bind_mounts,
        source_options={mount.source: _options(mount.source) for mount in bind_mounts},
    )


def _options(source: str) -> tuple[str, ...]:
    try:
        return disks.mount_options(source)
    except OSError as error:
        raise GardenError(f"bind mount {source}: {error.strerror}") from error


def _os_error_text(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return f"the host's disk is full: {error}"
    return str(error)


def _read_cursor(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def _policy(config: GardenConfig) -> network.Policy:
    servers = [*config.dns_servers, *config.additional_dns_servers]
    services = [
        network.HostService(service.address, service.protocol, service.port)
        for service in config.host_services
    ]
    return network.Policy(
        table=config.network_table,
        deny_networks=tuple(config.deny_networks),
        host_services=(*network.dns_services(servers), *services),
        allow_host_access=config.allow_host_access,
    )


def _hard_limits() -> dict[str, int]:
    """What this process may give to others at most."""
    found = {}
    for name in RLIMITS:
        number = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if number is not None:
            hard = resource.getrlimit(number)[1]
            if hard != resource.RLIM_INFINITY:
                found[name] = hard
    return found


def memory_bytes() -> int:
    """The machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
