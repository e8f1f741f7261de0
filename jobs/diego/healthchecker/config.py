"""Which daemons are watched, and how; names and defaults are the original's."""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from diego.healthchecker.core.watch import Policy
from diego.runtime.config import Duration
from diego.runtime.supervisor import SOCKET


@dataclass(frozen=True)
class Endpoint:
    """Where a daemon is asked. Exactly one of `url`, `tcp` and `socket`."""

    url: str = ""
    """http or https: GET must answer 200. The daemon's certificate is not looked at."""
    tcp: str = ""
    """host:port that must accept a connection."""
    socket: str = ""
    """Path of a Unix socket: must accept a connection, or with `path` answer GET with 200."""
    path: str = ""
    user: str = ""
    password: str = ""
    cert_file: Path | None = None
    key_file: Path | None = None

    def check(self) -> list[str]:
        faults = []
        if len([where for where in (self.url, self.tcp, self.socket) if where]) != 1:
            faults.append("exactly one of url, tcp and socket must be given")
        if self.url and (
            urlsplit(self.url).scheme not in {"http", "https"} or not urlsplit(self.url).hostname
        ):
            faults.append(f"url: not a URL of http or https: {self.url!r}")
        if self.tcp and not self.tcp.rpartition(":")[2].isdigit():
            faults.append(f"tcp: not an address of the form host:port: {self.tcp!r}")
        if (self.cert_file is None) != (self.key_file is None):
            faults.append("cert_file, key_file: one is of no use without the other")
        return faults


@dataclass(frozen=True)
class Daemon:
    """One daemon. Its intervals are the job's where it has none of its own."""

    component_name: str
    healthcheck_endpoint: Endpoint
    program: str = ""
    """Its name in supervisor, when that is another one."""
    failure_counter_file: Path | None = None
    healthcheck_poll_interval: Duration | None = None
    healthcheck_timeout: Duration | None = None
    start_response_delay_interval: Duration | None = None
    startup_delay_buffer: Duration | None = None

    def check(self) -> list[str]:
        name = self.component_name
        return [] if name and "/" not in name else [f"component_name: not usable: {name!r}"]


@dataclass(frozen=True)
class HealthcheckerConfig:
    daemons: list[Daemon] = field(default_factory=list)
    debug_address: str = field(default="127.0.0.1:17054", metadata={"kind": "address"})
    supervisor_socket: Path = SOCKET
    counter_directory: Path = Path("/var/vcap/data/healthchecker")
    healthcheck_poll_interval: Duration = 10.0
    healthcheck_timeout: Duration = 5.0
    start_response_delay_interval: Duration = 30.0
    startup_delay_buffer: Duration = 5.0
    log_level: str = "info"
    time_format: str = "rfc3339"

    def check(self) -> list[str]:
        names = [daemon.component_name for daemon in self.daemons]
        twice = sorted({name for name in names if names.count(name) > 1})
        return [f"daemons: {name} stands there twice" for name in twice]

    def policy(self, daemon: Daemon) -> Policy:
        """How `daemon` is watched. A zero means the default, as in the original."""
        delay = daemon.start_response_delay_interval or self.start_response_delay_interval
        buffer = daemon.startup_delay_buffer or self.startup_delay_buffer
        return Policy(
            poll_interval=daemon.healthcheck_poll_interval or self.healthcheck_poll_interval,
            timeout=daemon.healthcheck_timeout or self.healthcheck_timeout,
            grace=delay + buffer,
        )

    def counter_file(self, daemon: Daemon) -> Path:
        return daemon.failure_counter_file or self.counter_directory / f"{daemon.component_name}.counter"
