"""gunicorn around a job: one worker of ours, which composes the job and serves it on a uvloop loop.

gunicorn's master binds the plain listeners, starts the worker, starts a new one when it ends, and ends when
supervisor says so. The worker tells it each half second that it lives, ends within a second when the master is
gone, and composes the job anew each time: nothing is carried over but the configuration.

The master's status tells how it ended: 0 when the job itself said that it is done (`Runtime.finish`), 128 + n after
signal n. So supervisor can leave a drained job alone and still start one anew that somebody sent a signal to.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger as GunicornLogger
from gunicorn.workers.base import Worker

from diego.runtime.api import Api
from diego.runtime.job import C, Job
from diego.runtime.logs import get_logger
from diego.runtime.process import STOP_SECONDS, Runtime

GRACEFUL_TIMEOUT = 2
"""Seconds between gunicorn's TERM to the worker and its KILL."""
SILENCE = 30
"""Seconds after which gunicorn kills a worker whose loop does not turn."""
TICK = 0.5
SHORTEST_LIFE = 1.0
"""Seconds. A worker that follows one that lived shorter waits this long, so that failing does not fill the machine."""
ORPHAN_STOP_SECONDS = 0.3
FINISHED = 5
"""A worker's status that says that its job is done. gunicorn itself uses 1, 3 and 4."""


class JobLog(GunicornLogger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's own words in our lines. It writes no access log."""

    def setup(self, cfg: Any) -> None:
        self.cfg = cfg
        self._ours = get_logger("gunicorn")

    def critical(self, msg: Any, *args: Any, **_more: Any) -> None:
        self._ours.fatal("critical", text=_filled(msg, args))

    def error(self, msg: Any, *args: Any, **_more: Any) -> None:
        self._ours.error("error", text=_filled(msg, args))

    def warning(self, msg: Any, *args: Any, **_more: Any) -> None:
        self._ours.info("warning", text=_filled(msg, args))

    def info(self, msg: Any, *args: Any, **_more: Any) -> None:
        self._ours.info("info", text=_filled(msg, args))

    def debug(self, msg: Any, *args: Any, **_more: Any) -> None:
        self._ours.debug("debug", text=_filled(msg, args))

    def exception(self, msg: Any, *args: Any, **_more: Any) -> None:
        self._ours.exception("exception", text=_filled(msg, args))

    def log(self, lvl: int, msg: Any, *args: Any, **_more: Any) -> None:
        self._ours.info("log", level=lvl, text=_filled(msg, args))

    def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:
        """Nothing: our worker does not ask for it."""

    def reopen_files(self) -> None:
        """Nothing is open: standard output is supervisor's."""

    def close_on_exec(self) -> None:
        """Nothing is open."""


def _filled(text: Any, arguments: tuple[Any, ...]) -> str:
    return str(text) % arguments if arguments else str(text)


class JobArbiter(Arbiter):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's master without what would run two workers at a time: their memory would be two truths."""

    finished = False
    signalled = 0

    def handle_chld(self) -> None:
        super().handle_chld()
        if self.finished:
            raise StopIteration

    handle_cld = handle_chld

    def handle_term(self) -> None:
        self.signalled = signal.SIGTERM
        super().handle_term()

    def handle_int(self) -> None:
        self.signalled = signal.SIGINT
        super().handle_int()

    def handle_quit(self) -> None:
        self.signalled = signal.SIGQUIT
        super().handle_quit()

    def reap_workers(self) -> None:
        self.finished = self.finished or any(_has_finished(pid) for pid in self.WORKERS)
        super().reap_workers()

    def halt(self, reason: str | None = None, exit_status: int = 0) -> None:
        if self.signalled and not self.finished and not exit_status:
            exit_status = 128 + self.signalled
        super().halt(reason, exit_status)

    def handle_hup(self) -> None:
        self.log.info("HUP is ignored: restart the job to have it read its configuration")

    def handle_usr2(self) -> None:
        self.log.info("USR2 is ignored: there is one master")

    def handle_ttin(self) -> None:
        self.log.info("TTIN is ignored: there is one worker")

    def handle_ttou(self) -> None:
        self.log.info("TTOU is ignored: there is one worker")


def _has_finished(pid: int) -> bool:
    """Whether this child has ended and said that its job is done. It stays to be reaped."""
    try:
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return ended is not None and ended.si_code == os.CLD_EXITED and ended.si_status == FINISHED


class JobWorker(Worker):  # type: ignore[misc]  # gunicorn has no types
    """Composes the job in the worker's process, and runs its loop."""

    compose: Callable[[Runtime], list[Api]]
    job_name: str
    pause = 0.0

    def init_process(self) -> None:
        time.sleep(self.pause)
        self.loop = uvloop.new_event_loop()
        asyncio.set_event_loop(self.loop)
        super().init_process()

    def init_signals(self) -> None:
        for number in self.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        self.told_to_stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            self.loop.add_signal_handler(number, self.told_to_stop.set)
        for number in (signal.SIGUSR1, signal.SIGHUP, signal.SIGWINCH):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGABRT, self.handle_abort)

    def load_wsgi(self) -> None:
        """Compose. What fails here ends the master too, and supervisor starts everything again."""
        self.runtime = Runtime(self.job_name, self.loop)
        apis = self.compose(self.runtime)
        if len(apis) != len(self.sockets):
            raise RuntimeError(f"{len(self.sockets)} plain listeners, but answers for {len(apis)}")
        for bound, api in zip(self.sockets, apis, strict=True):
            self.runtime.server.adopt(bound.sock, api)

    def run(self) -> None:
        self.loop.run_until_complete(self._serve())
        sys.stdout.flush()
        sys.stderr.flush()
        status = FINISHED if self.runtime.finished.is_set() else 0
        os._exit(status)  # threads that still wait for something must not hold us

    async def _serve(self) -> None:
        self.runtime.start()
        self.runtime.log.info("serving", pid=os.getpid())
        while not (self.told_to_stop.is_set() or self.runtime.finished.is_set()):
            self.notify()
            if os.getppid() != self.ppid:
                self.runtime.log.error("master-is-gone")
                await self.runtime.stop(ORPHAN_STOP_SECONDS)
                return
            try:
                await asyncio.wait_for(self.told_to_stop.wait(), TICK)
            except TimeoutError:
                continue
        await self.runtime.stop(STOP_SECONDS)
        self.runtime.log.info("stopped")


class JobApplication(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's settings for one job."""

    def __init__(self, job: Job[C], config: C) -> None:
        self._job = job
        self._config = config
        self._last_fork = -SHORTEST_LIFE
        super().__init__()

    def load_config(self) -> None:
        settings: dict[str, Any] = {
            "bind": self._job.plain(self._config),
            "workers": 1,
            "worker_class": self._worker_class(),
            "graceful_timeout": GRACEFUL_TIMEOUT,
            "timeout": SILENCE,
            "control_socket_disable": True,
            "logger_class": JobLog,
            "proc_name": f"diego-{self._job.name}",
            "pre_fork": self._pace,
            "worker_tmp_dir": _memory_directory(),
            "umask": 0o022,
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def _worker_class(self) -> type[JobWorker]:
        job, config = self._job, self._config

        class ThisWorker(JobWorker):
            job_name = job.name
            compose = staticmethod(lambda runtime: job.compose(config, runtime))

        return ThisWorker

    def _pace(self, _arbiter: Arbiter, worker: JobWorker) -> None:
        now = time.monotonic()
        if now - self._last_fork < SHORTEST_LIFE:
            worker.pause = SHORTEST_LIFE
        self._last_fork = now + worker.pause

    def load(self) -> None:
        """Nothing: the worker composes the job itself."""

    def run(self) -> None:
        JobArbiter(self).run()


def _memory_directory() -> str | None:
    """Where the master and the worker keep their sign of life: not on a disk that may stand still."""
    shared = Path("/dev/shm")  # noqa: S108  # a file system in memory; gunicorn unlinks its file at once
    return str(shared) if shared.is_dir() and os.access(shared, os.W_OK) else None
