"""A real MariaDB for tests: one server per test run, a fresh schema and user per test.

The server keeps its promises as a deployed one does: a commit is on the disk before it is answered. It
shows the certificate of the deployment's database, so that clients can check it. Tests may kill it and
start it again on the same port and the same data.
"""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pymysql
from pymysql.connections import Connection
from pymysql.cursors import Cursor

from support import pki
from support.ports import free_port
from support.stopped import wait_until_stopped

START_SECONDS = 90.0
STOP_SECONDS = 30.0
CONNECT_SECONDS = 60
"""Not the server's own time: a busy machine's."""
LEAF = "mysql_server_certificate"


@dataclass(frozen=True)
class Database:
    """An empty schema and the only user who may use it."""

    host: str
    port: int
    name: str
    user: str
    password: str
    ca_file: Path

    @property
    def dsn(self) -> str:
        """The connection string in the form that the jobs' configs carry."""
        return f"{self.user}:{self.password}@tcp({self.host}:{self.port})/{self.name}"

    def connect(self) -> "Connection[Cursor]":
        """A connection of the test's own, committing by itself."""
        return pymysql.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            database=self.name,
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=CONNECT_SECONDS,
            read_timeout=60,
            write_timeout=60,
        )

    def rows(self, query: str, *arguments: object) -> list[tuple[object, ...]]:
        """All rows of one query; also for statements without rows."""
        with closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(query, arguments or None)
            return list(cursor.fetchall())


class MariaDb:
    """A server in a directory of its own, on a port of 127.0.0.1 that it keeps over restarts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.host = "127.0.0.1"
        self.port = 0
        self.socket = directory / "mariadb.sock"
        self.ca_file = directory / f"{pki.BY_NAME[LEAF].ca}.crt"
        self.log = directory / "mariadb.log"
        self._temporary = directory / "temporary"
        """A server that starts deletes all temporary tables that it finds, also those of others."""
        self._process: subprocess.Popen[bytes] | None = None
        self._user = _server_user()

    def initialise(self) -> None:
        """Make the data directory. Takes about a second."""
        pki.write(self.directory, LEAF)
        self._temporary.mkdir()
        for path in (self.directory, *self.directory.iterdir()):
            shutil.chown(path, self._user)
        subprocess.run(
            [
                "mariadb-install-db",
                "--no-defaults",
                f"--datadir={self.directory / 'data'}",
                f"--user={self._user}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--skip-name-resolve",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "TMPDIR": str(self._temporary)},
            timeout=180,
        )

    def start(self) -> None:
        """Start and wait until the server answers.

        Raises:
            RuntimeError: it ended at once, or did not answer within START_SECONDS.
        """
        self.port = self.port or free_port()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log, env=self._environment())
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            if self._accepts():
                self.root().close()
                return
            time.sleep(0.05)
        raise RuntimeError(f"mariadbd did not start:\n{self.log.read_text()[-2000:]}")

    def stop(self) -> None:
        """End the server in good order, or by force after STOP_SECONDS."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server as a power cut would."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Stop the server's work without closing a connection; `resume` ends that."""
        self._signal(signal.SIGSTOP)
        if self._process is not None:
            wait_until_stopped(self._process.pid)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def root(self) -> "Connection[Cursor]":
        """The administrator's connection, through the Unix socket."""
        return pymysql.connect(
            unix_socket=str(self.socket),
            user="root",
            autocommit=True,
            connect_timeout=CONNECT_SECONDS,
            read_timeout=60,
        )

    def create_database(self, name: str = "") -> Database:
        """A new empty schema with a user of the same name and a random password."""
        name = name or f"test_{secrets.token_hex(6)}"
        password = secrets.token_urlsafe(12)
        with closing(self.root()) as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
            cursor.execute(f"CREATE USER `{name}`@`%%` IDENTIFIED BY %s", (password,))
            cursor.execute(f"GRANT ALL ON `{name}`.* TO `{name}`@`%`")
        return Database(self.host, self.port, name, name, password, self.ca_file)

    def drop_database(self, database: Database) -> None:
        with closing(self.root()) as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS `{database.name}`")
            cursor.execute(f"DROP USER IF EXISTS `{database.user}`@`%`")

    def _accepts(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "TMPDIR": str(self._temporary)}

    def _command(self) -> list[str]:
        return [
            "mariadbd",
            "--no-defaults",
            f"--user={self._user}",
            f"--datadir={self.directory / 'data'}",
            f"--socket={self.socket}",
            f"--pid-file={self.directory / 'mariadb.pid'}",
            f"--bind-address={self.host}",
            f"--port={self.port}",
            f"--ssl-ca={self.ca_file}",
            f"--ssl-cert={self.directory / LEAF}.crt",
            f"--ssl-key={self.directory / LEAF}.key",
            "--skip-name-resolve",
            "--innodb-flush-log-at-trx-commit=1",
            "--innodb-use-native-aio=0",
            "--innodb-buffer-pool-size=256M",
            "--character-set-server=utf8mb4",
            "--max-connections=300",
        ]

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._signal(signal.SIGCONT)
        self._signal(number)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_SECONDS)
        self._process = None


@contextmanager
def running() -> Iterator[MariaDb]:
    """A server for the length of a with-block."""
    directory = Path(tempfile.mkdtemp(prefix="diego-mariadb-"))
    server = MariaDb(directory)
    try:
        server.initialise()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


def _server_user() -> str:
    """Who the server runs as: it refuses to be root by accident, and nobody else can change users."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    try:
        return pwd.getpwnam("mysql").pw_name
    except KeyError:
        return "nobody"
