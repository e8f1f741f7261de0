"""A job's server inside the test's own process, and a job as a process of its own."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from diego.runtime.limits import Limits
from diego.runtime.process import Runtime
from support.ports import free_port as free_port

T = TypeVar("T")


@contextlib.contextmanager
def running(
    compose: Callable[[Runtime], Any] | None = None,
    *,
    job: str = "test",
    limits: Limits | None = None,
    leave: Callable[[int], None] = lambda _code: None,
) -> Iterator[Runtime]:
    """A Runtime as a worker has it; `compose` runs before its loop does.

    `Runtime.end` calls `leave` and then raises SystemExit, instead of ending the process.
    """
    loop = uvloop.new_event_loop()
    runtime = Runtime(job, loop, limits=limits, leave=leave)
    started = threading.Event()
    stop = asyncio.Event()
    if compose is not None:
        compose(runtime)

    async def serve() -> None:
        runtime.start()
        started.set()
        await stop.wait()
        await runtime.stop()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), name="loop")
    thread.start()
    try:
        if not started.wait(30):
            raise TimeoutError("the loop does not start")
        yield runtime
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def until(seen: Callable[[], T], *, seconds: float = 30.0, pause: float = 0.02) -> T:
    """What `seen` returns, as soon as it is true. Fails when it does not become so."""
    end = time.monotonic() + seconds
    while True:
        value = seen()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not seen within {seconds:g} s: {seen}")
        time.sleep(pause)


@dataclass
class JobProcess:
    """`diego-job` as supervisor would run it."""

    process: subprocess.Popen[bytes]
    log_path: Path

    @property
    def log(self) -> list[dict[str, Any]]:
        """Its lines so far."""
        whole = self.log_path.read_bytes().rpartition(b"\n")[0]  # a line may just be being written
        return [json.loads(line) for line in whole.splitlines() if line.startswith(b"{")]

    def events(self, message: str) -> list[dict[str, Any]]:
        return [line for line in self.log if line["message"] == message]

    @property
    def workers(self) -> list[int]:
        """Process ids of the master's children."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(word) for word in path.read_text().split()]


@contextlib.contextmanager
def job_process(
    words: list[str], config: dict[str, Any], directory: Path, *, name: str = "job"
) -> Iterator[JobProcess]:
    """Run a job until the test ends. `words`: what starts it, without its `--config`."""
    config_path = directory / f"{name}.json"
    config_path.write_text(json.dumps(config))
    log_path = directory / f"{name}.log"
    command = [*words, "--config", str(config_path)]
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ})
    job = JobProcess(process, log_path)
    try:
        yield job
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(6)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(30)


def diego_job(name: str) -> list[str]:
    """What starts the job of that name, for `job_process`."""
    return [sys.executable, "-m", "diego.runtime.main", name]
