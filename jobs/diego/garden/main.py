"""Garden, put together: engine, keeper's client, the Unix socket that the rep calls."""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path

from flask import Flask

from diego.garden.config import GardenConfig
from diego.garden.engine import Engine
from diego.garden.views import add_views
from diego.runtime.api import Api
from diego.runtime.debug import debug_api
from diego.runtime.job import Job
from diego.runtime.process import Runtime

LOCK_SECONDS = 0.05


async def only_one(lock: Path) -> None:
    """Wait until no other garden works on these containers, and keep others out until this process ends.

    When gunicorn's master is killed its worker lives on for a moment, beside the next one.
    """
    lock.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            await asyncio.sleep(LOCK_SECONDS)
        else:
            return


def compose(config: GardenConfig, runtime: Runtime) -> list[Api]:
    """Build the engine. The socket opens first: clients may connect, and wait until all is restored."""
    engine = Engine(config)
    api = Api(Flask("garden"))
    add_views(api, engine)

    async def serve() -> None:
        await only_one(config.data_dir / "lock")
        runtime.open_listener(
            f"unix:{config.listen_address}", api, mode=0o660, group=config.listen_group or None
        )
        await engine.restore()

    runtime.task("keeper", engine.processes.keeper.run)
    runtime.task("serve", serve)
    return [debug_api("garden")]


JOB = Job(
    name="garden",
    config=GardenConfig,
    plain=lambda config: [config.debug_listen_address],
    compose=compose,
)
