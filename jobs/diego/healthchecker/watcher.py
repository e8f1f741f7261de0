"""Carries one daemon's watch: probes it, keeps its counter, has it restarted."""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from diego.healthchecker.core.watch import Action, Condition, Policy, Round, Watch, after
from diego.runtime.logs import Logger
from diego.runtime.supervisor import Program, State, Supervisor, SupervisorError

RESTART_PATIENCE = 90.0
"""Seconds for a daemon to stop (supervisor kills after its own wait) and to be started."""
INTERRUPTED_RESTART = 300.0
"""Seconds. A restart that an earlier healthchecker began so long ago at most is ended by this one."""
CONDITIONS = {
    State.RUNNING: Condition.RUNNING,
    State.STARTING: Condition.BUSY,
    State.BACKOFF: Condition.BUSY,
    State.STOPPING: Condition.STOPPED,
    State.STOPPED: Condition.STOPPED,
    State.FATAL: Condition.GIVEN_UP,
    State.UNKNOWN: Condition.BUSY,
}


def condition_of(program: Program) -> Condition:
    """What supervisor's word means. A program that ended with 0 and was left so ended as it should: it drained."""
    if program.state is State.EXITED:
        return Condition.STOPPED if program.exit_status == 0 else Condition.GIVEN_UP
    return CONDITIONS[program.state]


@dataclass(frozen=True, slots=True)
class Restarts:
    """The counter file of one daemon, and beside it the mark of a restart that is going on."""

    path: Path

    def read(self) -> int:
        """The number in the file; 0 when there is none that can be read."""
        try:
            return max(0, int(self.path.read_text().strip()))
        except (OSError, ValueError):
            return 0

    def write(self, number: int) -> None:
        """Raises OSError."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_name(self.path.name + ".new")
        fresh.write_text(f"{number}\n")
        fresh.chmod(0o644)
        fresh.replace(self.path)

    @property
    def _mark(self) -> Path:
        return self.path.with_name(self.path.name + ".restarting")

    def begin(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._mark.touch()
        os.utime(self._mark)

    def end(self) -> None:
        self._mark.unlink(missing_ok=True)

    def was_interrupted(self, now: float) -> bool:
        """Whether a restart was begun a short time ago and not ended. `now`: seconds since the epoch."""
        try:
            return now - self._mark.stat().st_mtime < INTERRUPTED_RESTART
        except FileNotFoundError:
            return False


class Watcher:
    """Watches one daemon in a thread of its own. `watch`, `error` and `since` may be read from any."""

    def __init__(
        self,
        name: str,
        program: str,
        policy: Policy,
        restarts: Restarts,
        supervisor: Supervisor,
        ask: Callable[[], str],
        log: Logger,
    ) -> None:
        self.name = name
        self.program = program
        self.policy = policy
        self.restarts = restarts
        self.watch = Watch(restarts=restarts.read())
        self.error = ""
        """Why the last probe or the last word with supervisor failed."""
        self.made_restarts = 0
        self._supervisor = supervisor
        self._ask = ask
        self._log = log.with_fields(daemon=name)

    def run(self, stopping: threading.Event) -> None:
        self._end_interrupted_restart(stopping)
        while not stopping.is_set():
            self.round(stopping)
            stopping.wait(self.policy.poll_interval)

    def round(self, stopping: threading.Event) -> None:
        """Look once, and do what follows from it."""
        try:
            program = self._supervisor.program(self.program)
        except SupervisorError as error:
            self._say(f"supervisor: {error}")
            return
        condition = condition_of(program)
        result = None
        if condition is Condition.RUNNING:
            reason = self._ask()
            self._say(reason)
            result = not reason
        else:
            self._say("" if condition is not Condition.GIVEN_UP else f"supervisor: {program.state}")
        before = self.watch
        self.watch, action = after(
            before, Round(condition, program.started, result, time.monotonic()), self.policy
        )
        self._keep(before.restarts)
        if action is Action.GIVE_UP:
            self._log.error("gave-up", restarts=self.watch.restarts, error=self.error)
        elif action is Action.RESTART:
            self._log.error("restarting", restarts=self.watch.restarts, error=self.error)
            self._restart(stopping)

    def _say(self, reason: str) -> None:
        if reason and reason != self.error:
            self._log.info("not-well", error=reason, failures=self.watch.failures)
        elif self.error and not reason:
            self._log.info("well")
        self.error = reason

    def _keep(self, before: int) -> None:
        if self.watch.restarts == before and self.restarts.path.exists():
            return
        try:
            self.restarts.write(self.watch.restarts)
        except OSError as error:
            self._log.error("counter-not-written", path=str(self.restarts.path), error=str(error))

    def _restart(self, stopping: threading.Event) -> None:
        """Stop and start. Between the two a mark says that we want it to run, for whoever follows us."""
        self.made_restarts += 1
        try:
            with contextlib.suppress(OSError):  # without the mark the restart is only less safe
                self.restarts.begin()
            self._supervisor.stop(self.program)
            self._wait_until_stopped(stopping)
            self._supervisor.start(self.program)
        except SupervisorError as error:
            self._log.error("restart-failed", error=str(error))
            return
        self.restarts.end()

    def _wait_until_stopped(self, stopping: threading.Event) -> None:
        end = time.monotonic() + RESTART_PATIENCE
        while time.monotonic() < end:
            if self._supervisor.program(self.program).state is not State.STOPPING:
                return
            stopping.wait(0.2)
            if stopping.is_set():
                raise SupervisorError("the healthchecker ends; its follower ends the restart")
        raise SupervisorError(f"{self.program} does not stop")

    def _end_interrupted_restart(self, stopping: threading.Event) -> None:
        if not self.restarts.was_interrupted(time.time()):
            self.restarts.end()
            return
        self._log.info("ending-interrupted-restart")
        try:
            self._wait_until_stopped(stopping)
            self._supervisor.start(self.program)
        except SupervisorError as error:
            self._log.error("restart-failed", error=str(error))
        else:
            self.restarts.end()
