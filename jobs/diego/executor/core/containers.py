"""The life of a container on this cell.

A container begins as a reservation: room is taken, nothing exists yet. The run
request makes it initializing; when the engine has made it, it is created; when
its processes are up and its checks have passed, it is running; and whatever
ends it makes it completed, with an outcome that never changes again. Its room
comes back only when it is destroyed.

    From                    To             Cause
    -                       reserved       allocation
    reserved                initializing   run request accepted, one per container
    initializing            created        the engine made it
    created                 running        process tree ready
    any but completed       completed      the tree ended, or something failed

A stop is a wish, not a state: it is remembered (also over a restart of the rep)
and the rep asks for it before it looks at the outcome.
(contract/executor.md sections 2 and 9.)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from diego.executor.core.errors import InvalidTransition
from diego.executor.core.requests import RunRequest
from diego.executor.core.resources import Demand
from diego.executor.core.texts import shortened_reason


class State(StrEnum):
    RESERVED = "reserved"
    INITIALIZING = "initializing"
    CREATED = "created"
    RUNNING = "running"
    COMPLETED = "completed"


STARTING = frozenset({State.RESERVED, State.INITIALIZING, State.CREATED})
"""What counts as starting in the cell's state (contract/auction.md section 4.2)."""


@dataclass(frozen=True, slots=True)
class PortMapping:
    container_port: int
    host_port: int


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a container is reached: the cell's address for mapped ports, and its own."""

    external_ip: str
    internal_ip: str
    ports: tuple[PortMapping, ...] = ()
    internal_ipv6: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a container ended. Retryable failures are those before its processes ran."""

    failed: bool
    reason: str = ""
    retryable: bool = False


@dataclass(frozen=True, slots=True)
class Container:
    """One container. `allocated_at` is in seconds since the epoch."""

    guid: str
    demand: Demand
    tags: Mapping[str, str]
    allocated_at: float
    state: State = State.RESERVED
    request: RunRequest | None = None
    addresses: Addresses | None = None
    outcome: Outcome | None = None
    stop_wanted: bool = False
    routable: bool = True
    internal_routes: tuple[str, ...] = ()
    metric_tags: Mapping[str, str] = field(default_factory=dict)


def initialize(container: Container, request: RunRequest) -> Container:
    """Accept a run request.

    Raises:
        InvalidTransition: there was one already, or the reservation is over.
    """
    if container.state is not State.RESERVED:
        raise InvalidTransition
    return replace(
        container,
        state=State.INITIALIZING,
        request=request,
        internal_routes=request.internal_routes,
        metric_tags=dict(request.log.tags),
    )


def create(container: Container, addresses: Addresses) -> Container:
    """The engine has made it. Raises InvalidTransition unless it was initializing."""
    if container.state is not State.INITIALIZING:
        raise InvalidTransition
    return replace(container, state=State.CREATED, addresses=addresses)


def run(container: Container) -> Container:
    """Its process tree is ready. Raises InvalidTransition unless it was created."""
    if container.state is not State.CREATED:
        raise InvalidTransition
    return replace(container, state=State.RUNNING)


def complete(container: Container, outcome: Outcome) -> Container:
    """It ended. What has ended keeps its first outcome."""
    if container.state is State.COMPLETED:
        return container
    shortened = replace(outcome, reason=shortened_reason(outcome.reason))
    return replace(container, state=State.COMPLETED, outcome=shortened)


def want_stop(container: Container) -> Container:
    """Remember that somebody asked it to stop."""
    return replace(container, stop_wanted=True)


def has_expired(container: Container, *, now: float, after: float) -> bool:
    """Whether a reservation was never used for `after` seconds."""
    return container.state is State.RESERVED and now - container.allocated_at >= after


EXPIRED = Outcome(failed=True, reason="expired container")
MISSING = Outcome(failed=True, reason="missing garden container")
STOPPED_BEFORE_RUNNING = Outcome(failed=True, reason="stopped-before-running")
DEPENDENCIES_FAILED = Outcome(failed=True, reason="failed to download cached artifacts", retryable=True)
VOLUMES_FAILED = Outcome(failed=True, reason="failed to mount volume", retryable=True)


def creation_failed(error: str) -> Outcome:
    return Outcome(failed=True, reason=f"failed to create container: {error}", retryable=True)
