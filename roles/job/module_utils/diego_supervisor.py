# ruff: noqa: INP001  Ansible ships it as a file, from a directory that is no package
"""What the modules on a host share: supervisor's own interface, and a look at a job's health.

It runs on the host under the system's Python: standard library only.
"""

from __future__ import annotations

import http.client
import socket
import urllib.parse
import xmlrpc.client
from pathlib import Path
from typing import Any

VCAP = Path("/var/vcap")
PROGRAMS = Path("/etc/supervisord.d")
SUPERVISOR_SOCKET = VCAP / "sys/run/supervisor/supervisor.sock"
RPC_TIMEOUT = 60.0
HTTP_TIMEOUT = 2.0
LAST_LINES = 50

STARTED = ("RUNNING", "STARTING")
ALREADY_THERE, NOT_RUNNING, ALREADY_STARTED, NO_SUCH_PROCESS = 90, 70, 60, 10


class JobError(Exception):
    """The job cannot be brought to what it should be."""


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=RPC_TIMEOUT)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def make_connection(self, _host: Any) -> UnixConnection:
        return UnixConnection(self.path)


class Supervisor:
    """Supervisor's own interface, on its socket."""

    def __init__(self, path: Path = SUPERVISOR_SOCKET) -> None:
        self.path = path
        self.rpc: Any = xmlrpc.client.ServerProxy("http://localhost", UnixTransport(path)).supervisor

    def state(self, program: str) -> str:
        """The program's state in supervisor's words, MISSING if it is not known or nobody answers."""
        try:
            return str(self.rpc.getProcessInfo(program)["statename"])
        except (OSError, xmlrpc.client.Fault):
            return "MISSING"

    def answers(self) -> bool:
        """Whether supervisor is there."""
        try:
            self.rpc.getState()
        except (OSError, xmlrpc.client.Error):
            return False
        return True

    def reload(self) -> set[str]:
        """Read the files again; the programs that changed in them."""
        _, changed, _ = self.rpc.reloadConfig()[0]
        return set(changed)

    def remove(self, program: str) -> None:
        self._ignoring((NOT_RUNNING, NO_SUCH_PROCESS), self.rpc.stopProcessGroup, program)
        self._ignoring((NO_SUCH_PROCESS,), self.rpc.removeProcessGroup, program)

    def add(self, program: str) -> None:
        self._ignoring((ALREADY_THERE,), self.rpc.addProcessGroup, program)

    def stop(self, program: str, *, wait: bool = True) -> None:
        self._ignoring((NOT_RUNNING, NO_SUCH_PROCESS), self.rpc.stopProcess, program, wait)

    def start(self, program: str) -> None:
        self._ignoring((ALREADY_STARTED,), self.rpc.startProcess, program, False)

    def bring_up(self, program: str, *, due: bool, edited: bool) -> str:
        """Have the program run as its file says: what that took, in a word, or nothing.

        `edited`: its file is another one since supervisor read it; then it has to be taken out and put in again.
        `due`: it has to be started anew though it runs.
        """
        state = self.state(program)
        if state == "MISSING":
            self.add(program)
            return "added"
        if edited and (due or state not in STARTED):
            self.remove(program)
            self.add(program)
            return "replaced"
        if due:
            self.stop(program)
            self.start(program)
            return "restarted"
        if state not in STARTED:
            self.start(program)
            return f"started, it was {state}"
        return ""

    @staticmethod
    def _ignoring(codes: tuple[int, ...], call: Any, *words: Any) -> None:
        try:
            call(*words)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode not in codes:
                raise JobError(f"supervisor: {words[0]}: {fault.faultString}") from fault


def read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None


def get(url: str) -> str:
    """The status of a plain HTTP GET as text, or what went wrong."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=HTTP_TIMEOUT)
    try:
        connection.request("GET", parts.path or "/")
        return str(connection.getresponse().status)
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()


def last_words(job: str, programs: list[str]) -> str:
    """The end of the programs' logs."""
    texts = []
    for program in programs:
        log = VCAP / "sys/log" / job / f"{program}.log"
        lines = (read(log) or "").splitlines()[-LAST_LINES:]
        texts.append("\n".join([f"{log}:", *lines]))
    return "\n".join(texts)
