"""A tiny job for the tests of the frame: run with `python -m support.demo_job --config FILE`."""

import os
import sys
import time
from dataclasses import dataclass, field

from flask import Flask

from diego.runtime import worker
from diego.runtime.api import Api, Call, Pending, Subscribe
from diego.runtime.config import Duration
from diego.runtime.debug import debug_api
from diego.runtime.hub import Hub
from diego.runtime.job import Job
from diego.runtime.main import run
from diego.runtime.process import Runtime


@dataclass(frozen=True)
class DemoConfig:
    listen_address: str = field(metadata={"kind": "address"})
    debug_address: str = field(metadata={"kind": "address"})
    stop_seconds: Duration = 0.0
    log_level: str = "info"


def compose(config: DemoConfig, runtime: Runtime) -> list[Api]:
    api = Api(Flask("demo"))
    hub = Hub()
    memory = {"calls": 0}

    @api.rpc("/v1/ping")
    def ping(_call: Call) -> bytes:
        return b"\x08\x01"

    @api.rpc("/v1/count")
    def count(_call: Call) -> bytes:
        memory["calls"] += 1
        return b"%d %d" % (os.getpid(), memory["calls"])

    @api.rpc("/v1/later")
    def later(call: Call) -> Pending:
        pending = Pending()
        runtime.loop.call_later(0.05, runtime.resolve, [(pending, call.body)])
        return pending

    @api.rpc("/v1/events")
    def events(_call: Call) -> Subscribe:
        runtime.loop.call_later(0.05, hub.publish, "greeting", b"hello")
        return Subscribe(hub)

    @api.rpc("/v1/fail")
    def fail(_call: Call) -> bytes:
        runtime.background("failing", _fail)
        return b""

    @api.rpc("/v1/finish")
    def finish(_call: Call) -> bytes:
        runtime.finish("it was asked to")
        return b""

    @api.rpc("/v1/hang")
    def hang(_call: Call) -> bytes:
        time.sleep(3600)
        return b""

    runtime.background("open", lambda: _open(config, runtime, api))
    runtime.on_stop(lambda: _stop(config, runtime))
    return [debug_api("demo")]


def _open(config: DemoConfig, runtime: Runtime, api: Api) -> None:
    runtime.open_listener(config.listen_address, api)
    runtime.log.info("open")


def _stop(config: DemoConfig, runtime: Runtime) -> None:
    runtime.log.info("stop-begins")
    time.sleep(config.stop_seconds)
    runtime.log.info("stop-ends")


def _fail() -> None:
    raise ValueError("a wanted failure")


JOB = Job("demo", DemoConfig, lambda config: [config.debug_address], compose)

if __name__ == "__main__":
    # a machine that stalls for 2 s in between would end the job before its stop functions have
    vars(worker).update(STOP_SECONDS=30.0, GRACEFUL_TIMEOUT=60)
    sys.exit(run(JOB, sys.argv[1:]))
