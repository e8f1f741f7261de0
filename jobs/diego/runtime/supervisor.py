"""The host's supervisor, asked through its own socket (XML-RPC over a Unix socket)."""

import http.client
import socket
import xmlrpc.client
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

SOCKET = Path("/var/vcap/sys/run/supervisor/supervisor.sock")
TIMEOUT = 10.0


class State(StrEnum):
    """What supervisor says of a program."""

    STOPPED = "STOPPED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    BACKOFF = "BACKOFF"
    STOPPING = "STOPPING"
    EXITED = "EXITED"
    FATAL = "FATAL"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Program:
    """One supervised program at a moment."""

    name: str
    """`group:name` where the group has another name."""
    state: State
    started: int = 0
    """Seconds since the epoch, of the last start; 0: never."""
    exit_status: int = 0


class SupervisorError(Exception):
    """Supervisor cannot be reached, or refuses."""


class Supervisor:
    """Calls supervisor. Each call has its own connection, so threads may share this."""

    def __init__(self, path: Path = SOCKET, timeout: float = TIMEOUT) -> None:
        self._path = path
        self._timeout = timeout

    def programs(self) -> list[Program]:
        """Every program of this host. Raises SupervisorError."""
        return [_program(found) for found in cast(list[dict[str, Any]], self._call("getAllProcessInfo"))]

    def program(self, name: str) -> Program:
        """Raises SupervisorError; also when there is no such program."""
        return _program(cast(dict[str, Any], self._call("getProcessInfo", name)))

    def stop(self, name: str) -> None:
        """Tell it to stop; does not wait until it has. That it does not run is no error."""
        self._call("stopProcess", name, False, fine="NOT_RUNNING")

    def start(self, name: str) -> None:
        """Tell it to start; does not wait until it has. That it runs already is no error."""
        self._call("startProcess", name, False, fine="ALREADY_STARTED")

    def _call(self, method: str, *arguments: Any, fine: str = "") -> Any:
        proxy = xmlrpc.client.ServerProxy(
            "http://supervisor/RPC2", transport=_UnixTransport(self._path, self._timeout)
        )
        try:
            with proxy:
                return getattr(proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if fine and fault.faultString.startswith(fine):
                return None
            raise SupervisorError(f"{method}: {fault.faultString}") from fault
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            raise SupervisorError(f"{self._path}: {error or type(error).__name__}") from error


def _program(found: dict[str, Any]) -> Program:
    group, name = found["group"], found["name"]
    return Program(
        name=name if group == name else f"{group}:{name}",
        state=State(found["statename"]),
        started=int(found["start"]),
        exit_status=int(found["exitstatus"]),
    )


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__()
        self._path = path
        self._timeout = timeout

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = _UnixConnection(self._path, self._timeout)
        self._connection = host, connection  # where `close` of the base class looks for it
        return connection


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("supervisor", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
