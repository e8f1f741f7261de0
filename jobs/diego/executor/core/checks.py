"""Declarative health checks: what is checked, when, and what is said about it (contract/executor.md section 6).

A check has two lives. At startup all checks of an instance must pass, each
tried again until it does or the start timeout is over. From then on each is
made at its own interval, and the first failure of any ends the instance.

The startup schedule is ours (ours.md section 3): 0, 0.1, 0.2, 0.4, 0.8 and 1.6 s
after the begin and every 2 s from there, so that an app is up when it is up.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from diego.executor.core.texts import rounded_duration
from diego.wire.check_definition_pb2 import Check as CheckMessage
from diego.wire.check_definition_pb2 import CheckDefinition

DEFAULT_SOURCE = "HEALTH"
NO_ADDRESS = "failure to find suitable interface"
HTTP_OK = 200
HEADERS = {"User-Agent": "diego-healthcheck", "X-Forwarded-Proto": "https"}


@dataclass(frozen=True, slots=True)
class TcpCheck:
    """Passes when a connection is made. Seconds throughout."""

    port: int
    timeout: float
    interval: float


@dataclass(frozen=True, slots=True)
class HttpCheck:
    """Passes when a GET of `path` ends, after redirects, with 200. Seconds throughout."""

    port: int
    timeout: float
    interval: float
    path: str


Check = TcpCheck | HttpCheck


def usable_checks(checks: Sequence[CheckMessage], *, timeout: float, interval: float) -> tuple[Check, ...]:
    """The checks that can be made; one without a port from 1 to 65535 is skipped.

    Args:
        checks: as the definition has them.
        timeout: seconds, for those that name none.
        interval: seconds, for those that name none.
    """
    usable: list[Check] = []
    for check in checks:
        if check.HasField("http_check"):
            http = check.http_check
            if 1 <= http.port <= 65535:
                usable.append(
                    HttpCheck(
                        port=http.port,
                        timeout=_seconds(http.request_timeout_ms, timeout),
                        interval=_seconds(http.interval_ms, interval),
                        path=http.path or "/",
                    )
                )
        elif check.HasField("tcp_check"):
            tcp = check.tcp_check
            if 1 <= tcp.port <= 65535:
                usable.append(
                    TcpCheck(
                        port=tcp.port,
                        timeout=_seconds(tcp.connect_timeout_ms, timeout),
                        interval=_seconds(tcp.interval_ms, interval),
                    )
                )
    return tuple(usable)


def log_source(definition: CheckDefinition) -> str:
    """The source that the checker's own output carries."""
    return definition.log_source or DEFAULT_SOURCE


def startup_moments(interval: float = 2.0) -> Iterator[float]:
    """Seconds after the begin at which a startup check is made: quick at first, then every `interval`."""
    yield 0.0
    moment = 0.1
    while moment < 1.6:
        yield moment
        moment *= 2
    while True:
        yield moment
        moment += interval


def startup_failure(timeout: str, attempts: int, failure: str) -> str:
    """The checker's output when an instance never passed; `timeout` as Go prints it."""
    return f"Timed out after {timeout} ({attempts} attempts) waiting for startup check to succeed: {failure}"


def liveness_failure(failure: str) -> str:
    return f"Liveness check unsuccessful: {failure}"


def tcp_timed_out(address: str, port: int, seconds: float) -> str:
    return f"failed to make TCP connection to {address}:{port}: timed out after {seconds:.2f} seconds"


def tcp_failed(address: str, port: int, system_error: str) -> str:
    return f"failed to make TCP connection to {address}:{port}: {system_error}"


def http_status(path: str, port: int, status: int, milliseconds: int) -> str:
    return (
        f"failed to make HTTP request to '{path}' on port {port}:"
        f" received status code {status} in {milliseconds}ms"
    )


def http_timed_out(path: str, port: int, seconds: float) -> str:
    return f"failed to make HTTP request to '{path}' on port {port}: timed out after {seconds:.2f} seconds"


def http_failed(path: str, port: int) -> str:
    return f"failed to make HTTP request to '{path}' on port {port}: connection refused"


BEGIN = "Starting health monitoring of container"
HEALTHY = "Container became healthy"
UNHEALTHY = "Container became unhealthy"


def never_passed(seconds: float) -> str:
    """For the app's log, when the startup phase gave up after `seconds`."""
    return f"Failed after {rounded_duration(seconds)}: startup health check never passed."


def never_healthy(seconds: float, output: str) -> str:
    """The crash reason of an instance that did not pass its startup phase."""
    return f"Instance never healthy after {rounded_duration(seconds)}: {output}"


def became_unhealthy(output: str) -> str:
    """The crash reason of an instance that failed a liveness check."""
    return f"Instance became unhealthy: {output}"


def _seconds(milliseconds: int, default: float) -> float:
    return milliseconds / 1000 if milliseconds else default
