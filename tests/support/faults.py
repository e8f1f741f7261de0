"""What befalls the hosts and jobs of a lab, on purpose: lost power, a cut cable, a pause, a killed or stopped job.

Each fault comes in two forms: as a command, and as a context in which it holds. The end of a context undoes it,
whatever happened within.
"""

import json
import shlex
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from diego.bosh_dns.config import SERVER_NAME
from diego.runtime.http import ConnectionFailed, HttpClient
from diego.runtime.tls import client_context
from support.lab import Lab
from support.observe import eventually

API_PORTS = {"bbs": ("diego-api", 8889), "auctioneer": ("scheduler", 9016)}
"""Jobs of which one is active: their group, and the port that only the active one has open."""

DESCENDANTS = (
    "import os,signal,sys\n"
    "parents={}\n"
    "for p in filter(str.isdigit, os.listdir('/proc')):\n"
    "  try: parents.setdefault(int(open('/proc/%s/stat'%p).read().rpartition(')')[2].split()[1]),[]).append(int(p))\n"
    "  except OSError: continue\n"
    "found=[int(sys.argv[1])]\n"
    "for p in found: found += parents.get(p,[])\n"
    "for p in found:\n"
    "  try: os.kill(p, getattr(signal,'SIG'+sys.argv[2]))\n"
    "  except ProcessLookupError: continue\n"
    "print(*found)\n"
)
"""A program for the host: send a signal to a process and all below it, the parents first."""

ANSWERS_WITHIN = 60.0


class Faults:
    """The faults of one lab."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._off: set[str] = set()
        self._paused: set[str] = set()
        self._stopped: dict[str, set[str]] = {}
        self._health: dict[str, HttpClient] = {}

    # hosts

    def power_off(self, host: str) -> None:
        """Every process of the host is gone at once and its peers hear nothing more; its disk stays."""
        self._off.add(host)
        self._lab("power-off", host)

    def power_on(self, host: str) -> None:
        """Returns when the host's sshd answers; its jobs come up meanwhile."""
        self._lab("power-on", host)
        self._off.discard(host)
        self._paused.discard(host)

    @contextmanager
    def powered_off(self, host: str) -> Iterator[None]:
        self.power_off(host)
        try:
            yield
        finally:
            self.power_on(host)

    def cut_off(self, host: str, *peers: str, one_way: bool = False) -> None:
        """Nothing passes between the host and its peers (none named: anybody); `one_way`: what it sends is lost."""
        words = ["--from", *peers] if peers else []
        self._lab("cut", host, *words, *(["--one-way"] if one_way else []))

    def heal(self) -> None:
        """Undo every cut."""
        self._lab("heal")

    @contextmanager
    def cut(self, host: str, *peers: str, one_way: bool = False) -> Iterator[None]:
        self.cut_off(host, *peers, one_way=one_way)
        try:
            yield
        finally:
            self.heal()

    def pause(self, host: str) -> None:
        """All processes of the host stop where they are, containers' too; its kernel still accepts connections."""
        self._paused.add(host)
        self._lab("pause", host)

    def resume(self, host: str) -> None:
        """They go on as if nothing had been."""
        self._lab("resume", host)
        self._paused.discard(host)

    @contextmanager
    def paused(self, host: str) -> Iterator[None]:
        self.pause(host)
        try:
            yield
        finally:
            self.resume(host)

    # jobs

    def kill(self, host: str, program: str, signal: str = "KILL") -> list[int]:
        """Send a signal to a supervised program and all its processes at once; their numbers.

        Supervisor starts it again when that ended it.
        """
        pid = self._supervisor(host, "pid", program).strip()
        command = f"python3 -c {shlex.quote(DESCENDANTS)} {pid} {signal}"
        done = self.lab.run(command, host=host)
        assert done.returncode == 0, f"{program} on {host}: {done.stdout}{done.stderr}"
        return [int(word) for word in done.stdout.split()]

    def terminate(self, host: str, program: str) -> None:
        """Ask a program's main process to end, as an operator's kill does; supervisor starts it again."""
        self._supervisor(host, "signal", "TERM", program)

    def stop(self, host: str, *programs: str) -> None:
        """By supervisor: they stay down until `start`."""
        self._stopped.setdefault(host, set()).update(programs)
        self._supervisor(host, "stop", *programs)

    def start(self, host: str, *programs: str) -> None:
        self._supervisor(host, "start", *programs)
        self._stopped.get(host, set()).difference_update(programs)

    @contextmanager
    def stopped(self, host: str, *programs: str) -> Iterator[None]:
        self.stop(host, *programs)
        try:
            yield
        finally:
            self.start(host, *programs)

    @contextmanager
    def frozen(self, host: str, program: str) -> Iterator[None]:
        """All processes of one program are stopped (SIGSTOP), and continued at the end."""
        self.kill(host, program, "STOP")
        try:
            yield
        finally:
            self.kill(host, program, "CONT")

    def programs(self, host: str) -> dict[str, str]:
        """Supervisor's word on each program of a host; empty when it does not answer."""
        shown = self.lab.run("supervisorctl --configuration /etc/supervisord.conf status", host=host)
        rows = (line.split() for line in shown.stdout.splitlines())
        return {row[0].split(":")[-1]: row[1] for row in rows if len(row) > 1 and row[1].isupper()}

    # who is what

    def active(self, job: str) -> list[str]:
        """The hosts whose `job` (bbs, auctioneer) has its API open: one, but for a moment none or, wrongly, two."""
        group, port = API_PORTS[job]
        return [host for host in self.lab.groups[group] if self.accepts(host, port)]

    def holder(self, job: str) -> str:
        """The one host whose `job` is active, waited for."""

        def one() -> str:
            found = self.active(job)
            return found[0] if len(found) == 1 else ""

        return eventually(one, within=ANSWERS_WITHIN, what=f"one {job} has its API open")

    def standby(self, job: str) -> str:
        """The first host whose `job` waits."""
        holder = self.holder(job)
        return next(host for host in self.lab.groups[API_PORTS[job][0]] if host != holder)

    def accepts(self, host: str, port: int, timeout: float = 2.0) -> bool:
        """Whether something accepts connections there."""
        try:
            socket.create_connection((self.lab.address(host), port), timeout=timeout).close()
        except OSError:
            return False
        return True

    def host_of(self, instance: str) -> str:
        """The host of an instance such as diego-cell-0."""
        group, _, index = instance.rpartition("-")
        return self.lab.groups[group][int(index)]

    def well(self, host: str) -> bool:
        """Whether the host says that every program of it runs and is healthy; it looks each five seconds."""
        try:
            answer = self._health_of(host).request("GET", "/health")
        except ConnectionFailed:
            return False
        return answer.status == 200 and json.loads(answer.body)["state"] == "running"

    def all_well(self) -> bool:
        """Whether every host is well."""
        return all(self.well(host) for host in self.lab.hosts)

    def undo(self) -> None:
        """End whatever still holds of what this object did: no cut, no pause, no host without power or program."""
        self.heal()
        for host in list(self._off):
            self.power_on(host)
        for host in list(self._paused):
            self.resume(host)
        for host, programs in self._stopped.items():
            if programs:
                eventually(
                    partial(self.programs, host), within=ANSWERS_WITHIN, what=f"supervisor on {host} answers"
                )
                self.start(host, *programs)

    def _health_of(self, host: str) -> HttpClient:
        if host not in self._health:
            certs = self.lab.directory / "certs"
            tls = client_context(
                certs / "dns_health_client.crt", certs / "dns_health_client.key", certs / "dns_ca.crt"
            )
            url = f"https://{self.lab.address(host)}:8853"
            self._health[host] = HttpClient(url, tls=tls, timeout=3.0, server_name=SERVER_NAME)
        return self._health[host]

    def _lab(self, command: str, *words: str) -> None:
        done = self.lab.lab(command, *words)
        assert done.returncode == 0, f"lab {command} {' '.join(words)}: {done.stderr}"

    def _supervisor(self, host: str, *words: str) -> str:
        command = shlex.join(["supervisorctl", "--configuration", "/etc/supervisord.conf", *words])
        done = self.lab.run(command, host=host, timeout=90)
        assert done.returncode == 0, f"{host}: {command}: {done.stdout}{done.stderr}"
        return done.stdout


@contextmanager
def timed(what: str) -> Iterator[list[float]]:
    """Measure how long the block takes, print it, and leave the seconds in the list."""
    seconds: list[float] = []
    began = time.monotonic()
    yield seconds
    seconds.append(time.monotonic() - began)
    print(f"{what}: {seconds[0]:.2f} s")
