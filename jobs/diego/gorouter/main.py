"""The router's composition root: table, nginx's side, bus, pruning, listeners."""

import asyncio
import time

from diego.gorouter.config import GorouterConfig
from diego.gorouter.core.table import Table
from diego.gorouter.plane import Plane
from diego.gorouter.rotation import AccessLog
from diego.gorouter.subscriber import Subscriber
from diego.gorouter.views import routes_api, status_api
from diego.runtime import metrics
from diego.runtime.api import Api
from diego.runtime.bus import Bus
from diego.runtime.job import Job
from diego.runtime.loops import every
from diego.runtime.process import Runtime
from diego.runtime.tls import client_context

ROTATION_SECONDS = 10.0


def compose(config: GorouterConfig, runtime: Runtime) -> list[Api]:
    table = Table(config.droplet_stale_threshold)
    plane = Plane(config.nginx_socket, table)
    bus = Bus(
        config.nats_addresses,
        username=config.nats_username,
        password=config.nats_password,
        tls=(
            client_context(config.nats_cert_file, config.nats_key_file, config.nats_ca_file)
            if config.nats_cert_file and config.nats_key_file and config.nats_ca_file
            else None
        ),
        name=f"gorouter-{config.index}",
    )
    subscriber = Subscriber(config, bus, table, plane)
    access_log = AccessLog(
        config.access_log, config.access_log_max_bytes, config.access_log_backups, config.nginx_pid_file
    )

    async def serve() -> None:
        adopted = await plane.adopt()
        await subscriber.start()
        await asyncio.gather(bus.connect(), fill(adopted=adopted))

    async def fill(*, adopted: bool) -> None:
        if not adopted:
            runtime.log.info("routes-awaited", seconds=config.start_response_delay_interval)
            await subscriber.heard(config.start_response_delay_interval)
        runtime.log.info("started", routes=len(table))
        await plane.run()

    async def prune() -> None:
        while True:
            await asyncio.sleep(config.prune_stale_droplets_interval)
            if not bus.connected:
                continue  # nobody could have registered anything: suspend_pruning_if_nats_unavailable
            pruned = table.prune(time.monotonic())
            if pruned:
                runtime.log.info("routes-pruned", routes=sorted(pruned)[:20], count=len(pruned))
            plane.changed(pruned)

    runtime.task("serve", serve)
    runtime.task("prune", prune)
    every(runtime, "access-log", ROTATION_SECONDS, lambda: _rotate(access_log, runtime))
    metrics.measured("gorouter_total_routes", "Routes in the table", lambda: float(len(table)))
    return [status_api(plane), routes_api(table)]


def _rotate(access_log: AccessLog, runtime: Runtime) -> None:
    if access_log.rotate():
        runtime.log.info("access-log-rotated")


JOB = Job("gorouter", GorouterConfig, lambda config: [config.status_address, config.routes_address], compose)
