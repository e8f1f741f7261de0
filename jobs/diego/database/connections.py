"""One connection to MariaDB whose every exchange ends by a deadline."""

import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymysql.connections import Connection as DriverConnection
from pymysql.cursors import Cursor, SSCursor

from diego.database.dsn import DataSource
from diego.database.errors import ConnectionLost, DatabaseError, DeadlineExceeded, translated

SQL_MODE = "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO"
GROUP_CONCAT_MAX_LEN = 78888889
CONNECT_SECONDS = 5.0
SMALLEST_WAIT = 0.05
"""Seconds that an exchange begun just before its deadline is still given."""

if TYPE_CHECKING:
    _Base = DriverConnection[Cursor]
else:
    _Base = DriverConnection


@dataclass(frozen=True, slots=True)
class Settings:
    """How to connect. Times in seconds.

    `ca_file` given: the connection is encrypted, and the server's certificate checked against it; with
    `verify_identity` also that it names the host.
    """

    source: DataSource
    ca_file: Path | None = None
    verify_identity: bool = True
    connect_timeout: float = CONNECT_SECONDS
    operation_timeout: float = 10.0

    def tls(self) -> ssl.SSLContext | None:
        """Build the TLS context; reads the CA file.

        Raises:
            OSError, ssl.SSLError: the file cannot be read or holds no certificate.

        """
        if self.ca_file is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = self.verify_identity
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cafile=str(self.ca_file))
        return context


class Connection(_Base):
    """A connection on which each exchange with the server is bounded by `allow`'s deadline.

    The driver knows a limit for each read only; a call of several statements needs one for them all. A
    connection that missed its deadline is out of step with the server and is closed.
    """

    def __init__(
        self, settings: Settings, *, tls: ssl.SSLContext | None, isolation: str, deadline: float
    ) -> None:
        source = settings.source
        self.opened = time.monotonic()
        self._deadline = min(deadline, self.opened + settings.connect_timeout)
        limit = max(self._deadline - self.opened, SMALLEST_WAIT)
        encryption: dict[str, Any] = {"ssl": tls} if tls else {"ssl_disabled": True}
        with self._bounded():
            super().__init__(
                host=source.host,
                port=source.port,
                user=source.user,
                password=source.password.encode(),
                database=source.schema,
                charset="utf8mb4",
                autocommit=False,
                connect_timeout=limit,
                read_timeout=limit,
                write_timeout=limit,
                sql_mode=SQL_MODE,
                init_command=f"SET SESSION group_concat_max_len = {GROUP_CONCAT_MAX_LEN}",
                **encryption,
            )
            self.query(f"SET SESSION TRANSACTION ISOLATION LEVEL {isolation}")

    def allow(self, until: float) -> None:
        """From now on every exchange ends by `until`, on the monotonic clock."""
        self._deadline = until

    def query(self, sql: str | bytes, unbuffered: bool = False) -> int:  # noqa: FBT001 - the driver's
        """One exchange with the server: every statement comes by here."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded("the time for the database's work is over")
        self._read_timeout = self._write_timeout = max(left, SMALLEST_WAIT)
        return super().query(sql, unbuffered)

    def run(self, query: str, arguments: object = None) -> int:
        """One statement without rows; the number of rows that it matched or changed.

        Raises:
            DatabaseError: of the kind that fits.

        """
        with self._bounded(), self.cursor() as cursor:
            return cursor.execute(query, arguments)

    def run_many(self, query: str, rows: list[tuple[Any, ...]]) -> None:
        """One statement for many rows, sent in as few exchanges as the driver can."""
        with self._bounded(), self.cursor() as cursor:
            cursor.executemany(query, rows)

    def rows(self, query: str, arguments: object = None) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with self._bounded(), self.cursor() as cursor:
            cursor.execute(query, arguments)
            return list(cursor.fetchall())

    def row(self, query: str, arguments: object = None) -> tuple[Any, ...] | None:
        """The first row of a query, if there is one."""
        found = self.rows(query, arguments)
        return found[0] if found else None

    def stream(self, query: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a query as they come: none is kept. Read them all, or discard the connection."""
        with self._bounded(), SSCursor(self) as cursor:
            cursor.execute(query)
            while row := cursor.fetchone():
                yield row

    def begin_work(self) -> None:
        with self._bounded():
            self.query("BEGIN")

    def commit_work(self) -> None:
        with self._bounded():
            self.query("COMMIT")

    def try_roll_back(self) -> None:
        """End the transaction without effect; a connection that cannot do so is closed, with the same effect."""
        try:
            with self._bounded():
                self.query("ROLLBACK")
        except (DatabaseError, ValueError):
            self.discard()

    def discard(self) -> None:
        """Close; the server undoes what was not committed."""
        if self.usable:
            self.close()

    @property
    def usable(self) -> bool:
        return bool(self.open)

    @contextmanager
    def _bounded(self) -> Iterator[None]:
        """Inside, the driver's errors leave as ours, and a missed deadline as such."""
        try:
            with translated():
                yield
        except ConnectionLost as error:
            if time.monotonic() >= self._deadline:
                raise DeadlineExceeded("the time for the database's work is over", error.code) from error
            raise
