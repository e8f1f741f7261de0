"""The healthchecker as a process, with a real supervisor and a daemon that is well or not."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from diego.healthchecker.watcher import Restarts
from diego.runtime.http import HttpClient
from diego.runtime.supervisor import State, Supervisor, SupervisorError
from support.worker import JobProcess, diego_job, free_port, job_process, until

DAEMON = dedent("""
    import socket, sys, time
    path, port = sys.argv[1], int(sys.argv[2])
    with open(path + ".starts", "a") as starts: starts.write("x")
    try:
        mode = open(path + ".mode").read()
    except FileNotFoundError:
        mode = "good"
    if mode.startswith("ends ") and len(open(path + ".starts").read()) < int(mode.split()[1]):
        sys.exit(3)
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            connection, _ = server.accept()
            connection.recv(1000)
            try:
                well = open(path + ".mode").read() != "bad"
            except FileNotFoundError:
                well = True
            connection.sendall(b"HTTP/1.0 %s\\r\\n\\r\\n" % (b"200 OK" if well else b"500 No"))
            connection.close()
""")


class Host:
    """A supervisor with one daemon."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "supervisor.sock"
        self.port = free_port()
        (directory / "daemon.py").write_text(DAEMON)
        (directory / "supervisord.conf").write_text(
            dedent(f"""
            [supervisord]
            nodaemon=true
            logfile={directory}/supervisord.log
            pidfile={directory}/supervisord.pid
            [unix_http_server]
            file={self.socket}
            [rpcinterface:supervisor]
            supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
            [program:daemon]
            command={sys.executable} {directory}/daemon.py {directory}/daemon {self.port}
            startsecs=0
            startretries=0
            autorestart=unexpected
            stopwaitsecs=2
            """)
        )
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(directory / "supervisord.conf")]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.supervisor = Supervisor(self.socket)
        until(self.is_running)

    def is_running(self) -> bool:
        try:
            return self.supervisor.program("daemon").state is State.RUNNING
        except SupervisorError:
            return False

    @property
    def starts(self) -> int:
        path = self.directory / "daemon.starts"
        return len(path.read_text()) if path.exists() else 0

    def become(self, mode: str) -> None:
        """`good`, `bad`, or `ends N`: it ends by itself before its start number N."""
        fresh = self.directory / "daemon.mode.new"
        fresh.write_text(mode)
        fresh.replace(self.directory / "daemon.mode")

    def config(self, **more: Any) -> dict[str, Any]:
        endpoint = {"url": f"http://127.0.0.1:{self.port}/ping"}
        return {
            "daemons": [{"component_name": "one", "program": "daemon", "healthcheck_endpoint": endpoint}],
            "debug_address": f"127.0.0.1:{free_port()}",
            "supervisor_socket": str(self.socket),
            "counter_directory": str(self.directory / "counters"),
            "healthcheck_poll_interval": "50ms",
            "healthcheck_timeout": "30s",
            "start_response_delay_interval": "3s",
            "startup_delay_buffer": "50ms",
            **more,
        }

    def counter(self) -> str:
        path = self.directory / "counters" / "one.counter"
        return path.read_text() if path.exists() else ""

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(60)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    found = Host(tmp_path)
    yield found
    found.end()


@contextlib.contextmanager
def checking(host: Host, **more: Any) -> Iterator[tuple[JobProcess, HttpClient]]:
    config = host.config(**more)
    with job_process(diego_job("healthchecker"), config, host.directory, name="healthchecker") as job:
        client = HttpClient(f"http://{config['debug_address']}", timeout=30)
        until(lambda: job.events("healthchecker.serving"))
        yield job, client


@pytest.fixture
def checker(host: Host) -> Iterator[tuple[JobProcess, HttpClient]]:
    """One that grants the daemon more time to start than it takes on a stalled machine."""
    with checking(host) as found:
        yield found


def status(client: HttpClient) -> dict[str, Any]:
    found = json.loads(client.request("GET", "/").body)
    assert isinstance(found, dict)
    return found


def test_a_daemon_that_is_not_well_is_restarted_and_found_well_again(
    host: Host, checker: tuple[JobProcess, HttpClient]
) -> None:
    _, client = checker
    until(lambda: status(client)["state"] == "running")
    until(lambda: host.counter() == "0\n")

    host.become("bad")
    until(lambda: host.starts >= 3)
    until(lambda: int(host.counter()) >= 2)
    host.become("good")

    until(lambda: status(client)["state"] == "running")
    until(lambda: host.counter() == "0\n")
    assert b'healthchecker_healthy{daemon="one"} 1.0' in client.request("GET", "/metrics").body


def test_after_ten_in_a_row_the_daemon_is_left_running_and_reported(host: Host) -> None:
    host.become("bad")
    with checking(host, start_response_delay_interval="100ms") as (job, client):
        until(lambda: status(client)["state"] == "failing", seconds=90)

        until(lambda: host.counter() == "10\n")
        assert b'healthchecker_restarts{daemon="one"} 9.0' in client.request("GET", "/metrics").body
        until(lambda: job.events("healthchecker.gave-up"))
        started = host.supervisor.program("daemon").started
        time.sleep(0.5)
        assert host.supervisor.program("daemon").started == started
        assert host.is_running()
        until(lambda: status(client)["daemons"][0]["error"] == "status 500")


def test_what_an_operator_stopped_stays_stopped(host: Host, checker: tuple[JobProcess, HttpClient]) -> None:
    _, client = checker
    until(lambda: status(client)["state"] == "running")

    host.supervisor.stop("daemon")

    until(lambda: status(client)["state"] == "stopped")
    time.sleep(0.5)
    assert host.supervisor.program("daemon").state is State.STOPPED
    assert host.counter() == "0\n"


def test_what_supervisor_has_given_up_is_started_again(
    host: Host, checker: tuple[JobProcess, HttpClient]
) -> None:
    _, client = checker
    until(lambda: status(client)["state"] == "running")
    host.become(f"ends {host.starts + 4}")
    host.supervisor.stop("daemon")
    until(lambda: host.supervisor.program("daemon").state is State.STOPPED)
    host.supervisor.start("daemon")

    until(lambda: host.starts >= 4)
    until(lambda: status(client)["state"] == "running")


def test_a_restart_that_a_killed_healthchecker_left_half_done_is_ended(host: Host, tmp_path: Path) -> None:
    Restarts(tmp_path / "counters" / "one.counter").begin()
    host.supervisor.stop("daemon")
    until(lambda: host.supervisor.program("daemon").state is State.STOPPED)

    with job_process(diego_job("healthchecker"), host.config(), tmp_path, name="healthchecker"):
        until(host.is_running)


def test_a_supervisor_that_is_away_does_not_end_the_healthchecker(
    host: Host, checker: tuple[JobProcess, HttpClient]
) -> None:
    job, client = checker
    until(lambda: status(client)["state"] == "running")

    host._process.send_signal(signal.SIGTERM)
    host._process.wait(60)

    until(lambda: "supervisor" in status(client)["daemons"][0]["error"])
    assert job.process.poll() is None
