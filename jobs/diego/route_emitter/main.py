"""The route emitter's composition root: bus, emitter, watcher; in global mode behind the lock."""

import asyncio

from diego.bbs.client import BbsClient
from diego.locket.client import LocketClient, LockHolder
from diego.route_emitter.config import RouteEmitterConfig
from diego.route_emitter.core.table import Table
from diego.route_emitter.core.unregistrations import Unregistrations
from diego.route_emitter.emitter import Emitter
from diego.route_emitter.watcher import Watcher
from diego.runtime.api import Api
from diego.runtime.bus import Bus
from diego.runtime.debug import debug_api, health_api
from diego.runtime.job import Job
from diego.runtime.process import Runtime
from diego.runtime.tls import client_context

LOCK = "route_emitter"


def compose(config: RouteEmitterConfig, runtime: Runtime) -> list[Api]:
    bbs = BbsClient(
        config.bbs_address,
        ca_file=config.bbs_ca_cert_file,
        cert_file=config.bbs_client_cert_file,
        key_file=config.bbs_client_key_file,
        timeout=config.communication_timeout,
    )
    table = Table(direct=config.register_direct_instance_routes)
    bus = Bus(
        config.bus_addresses,
        username=config.nats_username,
        password=config.nats_password,
        tls=(
            client_context(
                config.nats_client_cert_file, config.nats_client_key_file, config.nats_ca_cert_file
            )
            if config.nats_tls_enabled
            else None
        ),
        name=f"route-emitter-{config.cell_id or config.uuid}",
    )
    emitter = Emitter(bus, table, Unregistrations(config.unregistration_send_count), config.jitter_factor)
    watcher = Watcher(bbs, config.cell_id, table, emitter)
    active = asyncio.Event()

    async def serve() -> None:
        await active.wait()
        await emitter.start()
        await asyncio.gather(
            bus.connect(),
            watcher.follow(),
            watcher.look(config.sync_interval),
            emitter.emit(),
            emitter.repeat_unregistrations(config.unregistration_interval),
        )

    def listen() -> None:
        if config.cell_id or _hold_lock(config, runtime):
            runtime.loop.call_soon_threadsafe(active.set)
            watcher.listen(runtime.loop, runtime.stopping)

    runtime.task("serve", serve)
    runtime.background("events", listen)
    return [health_api(), debug_api("route_emitter")]


def _hold_lock(config: RouteEmitterConfig, runtime: Runtime) -> bool:
    """Wait for the lock of the one emitter that serves all cells; False when told to stop meanwhile."""
    client = LocketClient(
        config.locket_address,
        ca_file=_given(config.locket_ca_cert_file),
        cert_file=_given(config.locket_client_cert_file),
        key_file=_given(config.locket_client_key_file),
    )
    holder = LockHolder(
        client,
        LOCK,
        config.uuid,
        passive=lambda: runtime.end("the lock could not be renewed"),
        lost=lambda why: runtime.end(f"the lock is lost: {why}"),
    )
    runtime.background("lock", lambda: holder.run(runtime.stopping))
    runtime.on_stop(holder.release)
    return holder.wait(runtime.stopping)


def _given(path: object) -> str:
    """A file that `RouteEmitterConfig.check` has seen to be there."""
    return str(path)


JOB = Job(
    "route_emitter",
    RouteEmitterConfig,
    lambda config: [config.healthcheck_address, config.debug_address],
    compose,
)
