"""The life of a job's worker: what its composition root is given, and how it ends.

`Runtime` is the only way from a job's own threads and loops into the process. Threads and coroutines begin
when the worker serves; an exception that escapes from one ends the process with a log line, because a job
that has silently lost one of its parts is worse than one that starts anew.
"""

import asyncio
import contextlib
import os
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NoReturn, TypeVar

from diego.runtime.api import Answer, Api, Pending
from diego.runtime.limits import Limits
from diego.runtime.logs import get_logger
from diego.runtime.server import BIND_PATIENCE, Listener, Server

T = TypeVar("T")

STOP_SECONDS = 1.5
"""What all stop functions together may take: gunicorn kills after 2 s."""


class Runtime:
    """One job's process, as the job sees it."""

    def __init__(
        self,
        job: str,
        loop: asyncio.AbstractEventLoop,
        *,
        limits: Limits | None = None,
        leave: Callable[[int], None] = os._exit,
    ) -> None:
        self.job = job
        self.loop = loop
        self.stopping = threading.Event()
        self.finished = threading.Event()
        self.log = get_logger(job)
        self.server = Server(self.log, limits)
        self.server.loop = loop
        self._leave = leave
        self._started = False
        self._beginnings: list[Callable[[], None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._stops: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def background(self, name: str, run: Callable[[], None]) -> None:
        """Run `run` in a thread of its own, from when the worker serves; it should end when `stopping` is set."""

        def guarded() -> None:
            try:
                run()
            except SystemExit:  # it said `end` itself
                return
            except BaseException:  # noqa: BLE001  # logged there; whatever it is, it ends the process
                self._failed(name)

        self._begin(lambda: threading.Thread(target=guarded, name=name, daemon=True).start())

    def task(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run a coroutine on the loop, from when the worker serves; it is cancelled at the end."""

        async def guarded() -> None:
            try:
                await run()
            except SystemExit:
                return
            except Exception:  # noqa: BLE001  # logged there
                self._failed(name)

        def start() -> None:
            task = self.loop.create_task(guarded(), name=name)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        self._begin(lambda: self.server.call_in_loop(start))

    def on_stop(self, stop: Callable[[], None]) -> None:
        """Have `stop` called in a thread at TERM, the last registered first. Together they have 1.5 s."""
        with self._lock:
            self._stops.append(stop)

    def open_listener(
        self,
        address: str,
        api: Api,
        tls: ssl.SSLContext | None = None,
        *,
        mode: int = 0o660,
        group: str | None = None,
        patience: float = BIND_PATIENCE,
    ) -> Listener:
        """Open a further listener: `host:port` or `unix:/path` (a stale socket file is removed).

        From any thread, at any time. Waits up to `patience` seconds for an address that is taken, as a dying
        predecessor may still hold it; in the loop it does not wait.

        Raises:
            OSError: the address cannot be had.
        """
        return self.server.open(address, api, tls, mode=mode, group=group, patience=patience)

    def resolve(self, answers: Sequence[tuple[Pending, Answer]]) -> None:
        """Give answers that were pending, many with one wake-up of the loop. From any thread."""
        self.server.resolve(answers)

    def call_in_loop(self, function: Callable[..., T], *arguments: Any) -> T:
        """What `function` returns or raises, called in the loop while this thread waits."""
        return self.server.call_in_loop(function, *arguments)

    def end(self, why: str) -> NoReturn:
        """End the worker at once, without stopping anything in order; gunicorn starts a new one.

        In a test, where `leave` returns, raises SystemExit.
        """
        self.log.fatal("worker-ends", why=why)
        self._leave(1)
        raise SystemExit(1)

    def finish(self, why: str) -> None:
        """End the job for good: everything stops in order as at TERM, and the process ends with status 0.

        That status is kept for this: supervisor does not start such a job again. From any thread; returns at once.
        """
        self.log.info("job-finishes", why=why)
        self.finished.set()

    def _failed(self, name: str) -> None:
        """What ran under `name` ended by the exception at hand."""
        if self.stopping.is_set():
            self.log.exception("failed-while-stopping", name=name)
            return
        self.log.exception("background-failed", name=name)
        with contextlib.suppress(SystemExit):  # only a test comes so far
            self.end(f"{name} failed")

    # ---- called by the worker

    def start(self) -> None:
        """The loop runs, and this is its thread: begin what was registered."""
        self.server.started()
        with self._lock:
            self._started = True
            beginnings, self._beginnings = self._beginnings, []
        for begin in beginnings:
            begin()

    def _begin(self, begin: Callable[[], None]) -> None:
        with self._lock:
            if not self._started:
                self._beginnings.append(begin)
                return
        begin()

    async def stop(self, seconds: float = STOP_SECONDS) -> None:
        """End everything in order within `seconds`."""
        self.stopping.set()
        end = time.monotonic() + seconds
        stops = threading.Thread(target=self._run_stops, name="stop", daemon=True)
        stops.start()
        await self.server.stop(seconds)
        while stops.is_alive() and time.monotonic() < end:
            await asyncio.sleep(0.02)
        if stops.is_alive():
            self.log.error("stopping-takes-too-long", seconds=seconds)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.sleep(0)

    def _run_stops(self) -> None:
        with self._lock:
            stops = list(reversed(self._stops))
        for stop in stops:
            try:
                stop()
            except Exception:
                self.log.exception("stop-failed")
