"""The theory of one watch.

A daemon that supervisor runs is probed each round. For `grace` seconds after each of its starts a failed probe does
not count. `FAILURES` failed probes in a row raise the counter of restarts and restart the daemon; so does a daemon
that supervisor has given up (FATAL) or that ended by itself with an error and was not started again (EXITED), at
once. When the counter comes to `LIMIT`, the daemon is not restarted any more: a wrong probe must not keep a service
down for ever. A good probe sets everything back. The counter outlives the healthchecker in a file.

What supervisor was told to stop is not ours to judge, and what it is busy starting is not either: the count of
failures begins anew.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

FAILURES = 3
LIMIT = 10


class Condition(StrEnum):
    """What supervisor's state of a program means for the watch."""

    RUNNING = "running"
    BUSY = "starting"
    """Supervisor is starting it, or waits before it does so again."""
    STOPPED = "stopped"
    """Somebody wanted it so, or it ended as it should."""
    GIVEN_UP = "given up"
    """It ended and supervisor leaves it so."""


class Action(StrEnum):
    """What is to be done after a round."""

    NOTHING = "nothing"
    RESTART = "restart"
    GIVE_UP = "give up"


@dataclass(frozen=True, slots=True)
class Policy:
    """Seconds."""

    poll_interval: float
    timeout: float
    grace: float


@dataclass(frozen=True, slots=True)
class Watch:
    """What is known of one daemon between two rounds."""

    restarts: int = 0
    """How often it was to be restarted without a good probe since: the counter file's number."""
    failures: int = 0
    """Failed probes in a row that count."""
    started: int = 0
    """Which start of the daemon this is about, as supervisor tells it."""
    graced_until: float = 0.0
    healthy: bool | None = None
    """The last probe's result; None before the first, and while it does not run."""
    condition: Condition = Condition.BUSY

    @property
    def failing(self) -> bool:
        """Whether restarts are over: somebody must look."""
        return self.restarts >= LIMIT


@dataclass(frozen=True, slots=True)
class Round:
    """What was seen in one round; `probe` only of a running daemon."""

    condition: Condition
    started: int
    probe: bool | None
    now: float


def after(watch: Watch, seen: Round, policy: Policy) -> tuple[Watch, Action]:
    """The watch after a round, and what is to be done."""
    watch = replace(watch, condition=seen.condition)
    match seen.condition:
        case Condition.RUNNING:
            return _running(watch, seen, policy)
        case Condition.GIVEN_UP:
            return _restart(replace(watch, healthy=False, failures=0))
        case _:
            return replace(watch, healthy=None, failures=0), Action.NOTHING


def _running(watch: Watch, seen: Round, policy: Policy) -> tuple[Watch, Action]:
    if seen.started != watch.started:
        watch = replace(watch, started=seen.started, failures=0, graced_until=seen.now + policy.grace)
    watch = replace(watch, healthy=seen.probe)
    if seen.probe:
        return replace(watch, failures=0, restarts=0), Action.NOTHING
    if seen.probe is None or seen.now < watch.graced_until:
        return watch, Action.NOTHING
    watch = replace(watch, failures=watch.failures + 1)
    if watch.failures < FAILURES:
        return watch, Action.NOTHING
    return _restart(replace(watch, failures=0))


def _restart(watch: Watch) -> tuple[Watch, Action]:
    if watch.failing:
        return watch, Action.NOTHING
    watch = replace(watch, restarts=watch.restarts + 1)
    return watch, Action.GIVE_UP if watch.failing else Action.RESTART


class HostState(StrEnum):
    """The state of a whole host (contract/deployment.md section 11)."""

    RUNNING = "running"
    STARTING = "starting"
    STOPPED = "stopped"
    FAILING = "failing"


def host_state(watches: list[Watch]) -> HostState:
    """The state of the host whose daemons these are. Without daemons all of them run.

    One failed probe or two say nothing yet: a host must not come and go because of them.
    """
    if any(watch.failing or watch.condition is Condition.GIVEN_UP for watch in watches):
        return HostState.FAILING
    if any(watch.condition is Condition.BUSY for watch in watches):
        return HostState.STARTING
    if any(watch.condition is Condition.STOPPED for watch in watches):
        return HostState.STOPPED
    if any(not watch.healthy and watch.failures == 0 for watch in watches):
        return HostState.STARTING
    return HostState.RUNNING
