"""One connection to MariaDB whose every exchange ends by a deadline."""

import socket
import ssl
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymysql.connections import MAX_PACKET_LEN
from pymysql.connections import Connection as DriverConnection
from pymysql.constants import COMMAND
from pymysql.cursors import Cursor
from pymysql.err import InterfaceError, InternalError, MySQLError, OperationalError
from pymysql.protocol import MysqlPacket

from diego.database.dsn import DataSource
from diego.database.errors import CR_SERVER_LOST, ConnectionLost, DatabaseError, DeadlineExceeded, translated

SQL_MODE = "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO"
GROUP_CONCAT_MAX_LEN = 78888889
IDLE_TRANSACTION_SECONDS = 5
"""How long the server keeps a transaction, with its locks, of a client that has fallen silent. Without this bound a
client that was stopped or cut off in a transaction keeps everybody else from the rows that it wrote, the fence above
all, for as long as its connection seems to live: hours."""

SESSION = (
    f"SET SESSION group_concat_max_len = {GROUP_CONCAT_MAX_LEN}"
    f" /*M!100300 , idle_transaction_timeout = {IDLE_TRANSACTION_SECONDS} */"
)
"""The second setting is MariaDB's only; others read a comment."""

UNKNOWN_VARIABLE = 1193
CONNECT_SECONDS = 5.0
SMALLEST_WAIT = 0.05
"""Seconds that an exchange begun just before its deadline is still given."""

SLACK = 0.2
"""Seconds by which an exchange may be later than its deadline."""

HEAD_BYTES = 4
LENGTH_OF_TWO, LENGTH_OF_THREE = 0xFC, 0xFD
"""What stands before a text of at least 251 bytes: of how many bytes its length is made, which follow."""

NULL = 0xFB
SIZES = {LENGTH_OF_TWO: 2, LENGTH_OF_THREE: 3, 0xFE: 8}

OK, ERROR, END_OF_ROWS, END_BYTES = 0x00, 0xFF, 0xFE, 9

_QUERY_HEAD = struct.Struct("<iB")
"""Three bytes of length, the packet's number 0, the command."""


def fits_packet(statement: bytes) -> bool:
    """Whether it can be sent with others in one exchange."""
    return len(statement) < MAX_PACKET_LEN - 1


def read_count(number: int, packet: bytes) -> int:
    """What the answer to a statement without rows says: how many it matched or changed.

    `number` is the packet's. The driver's own reading makes four objects of it, which in a small commit cost as much
    as all the rest.

    Raises:
        MySQLError: the statement failed; or it is no such answer, and the connection is out of step.
    """
    if number != 1:  # 0: an error that is no answer, as at the server's shutdown
        raise OperationalError(CR_SERVER_LOST, "the server ended the connection")
    if packet[0] != OK:
        MysqlPacket(packet, "utf8").check_error()
        raise InternalError(0, "rows in answer to a statement without rows")
    first = packet[1]
    if first < LENGTH_OF_TWO:
        return first
    return int.from_bytes(packet[2 : 2 + SIZES[first]], "little")


def read_row(packet: bytes) -> list[str | None]:
    """The columns of a row."""
    found: list[str | None] = []
    at, end = 0, len(packet)
    while at < end:
        length = packet[at]
        at += 1
        if length >= NULL:
            if length == NULL:
                found.append(None)
                continue
            size = SIZES[length]
            length = int.from_bytes(packet[at : at + size], "little")
            at += size
        found.append(packet[at : at + length].decode())
        at += length
    return found


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
        self,
        settings: Settings,
        *,
        tls: ssl.SSLContext | None,
        isolation: str,
        deadline: float,
        autocommit: bool = False,
        sees_all: bool = False,
    ) -> None:
        """With `autocommit` a statement outside a transaction is one by itself.

        One that `sees_all` reads on a Galera cluster what every server had committed before; otherwise its server may
        be a little behind the others.
        """
        source = settings.source
        self.opened = time.monotonic()
        self._deadline = min(deadline, self.opened + settings.connect_timeout)
        self._limit = 0.0
        self._current_timeout: float | None = None
        self.out_of_step = False
        """Something was sent whose answer nobody has read."""
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
                autocommit=autocommit,
                connect_timeout=limit,
                read_timeout=limit,
                write_timeout=limit,
                sql_mode=SQL_MODE,
                init_command=SESSION,
                **encryption,
            )
            self.query(f"SET SESSION TRANSACTION ISOLATION LEVEL {isolation}")
        if sees_all:
            self._see_all()

    def _see_all(self) -> None:
        try:
            self.run("SET SESSION wsrep_sync_wait = 1")
        except DatabaseError as error:
            if error.code != UNKNOWN_VARIABLE:
                raise

    def allow(self, until: float) -> None:
        """From now on every exchange ends by `until`, on the monotonic clock."""
        self._deadline = until

    def query(self, sql: str | bytes, unbuffered: bool = False) -> int:  # noqa: FBT001 - the driver's
        """One exchange with the server: every statement comes by here."""
        self._limit_waits()
        return super().query(sql, unbuffered)

    def _limit_waits(self) -> None:
        """Have the next reads and writes end by the deadline.

        A limit that is only a little too long stays: to set one costs a handing over of the interpreter.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded("the time for the database's work is over")
        if not left <= self._limit <= left + SLACK:
            self._limit = self._read_timeout = self._write_timeout = max(left, SMALLEST_WAIT)

    def run(self, query: str | bytes, arguments: object = None) -> int:
        """One statement without rows; the number of rows that it matched or changed.

        Raises:
            DatabaseError: of the kind that fits.

        """
        with self._bounded(), self.cursor() as cursor:
            return cursor.execute(query, arguments)  # type: ignore[arg-type]  # bytes are fine, the stubs say str

    def run_all(self, statements: Sequence[bytes]) -> list[int]:
        """Several statements without rows in one exchange; the rows that each matched or changed.

        All are sent before the first answer is read, so that one that fails does not keep those behind it from
        being carried out: the transaction must be rolled back. The first failure is raised.
        """
        if not all(map(fits_packet, statements)):
            return [self.run(statement) for statement in statements]
        with self._bounded():
            self._limit_waits()
            if not self.usable:
                raise InterfaceError(0, "the connection is closed")
            self._result = None
            if self._current_timeout != self._limit:
                self._sock.settimeout(self._limit)  # type: ignore[attr-defined]  # not in the stubs
                self._current_timeout = self._limit
            self._write_bytes(self.packets(statements))  # type: ignore[attr-defined]  # not in the stubs
            counts: list[int] = []
            failure: MySQLError | None = None
            for _ in statements:
                try:
                    counts.append(self._read_count())
                except MySQLError as error:
                    failure = failure or error
                    if not self.usable:
                        break
            if failure is not None:
                raise failure
            return counts

    def _read_count(self) -> int:
        read = self._read_bytes  # type: ignore[attr-defined]  # not in the stubs, as what follows
        head = read(HEAD_BYTES)
        number = head[3]
        packet: bytes = read(int.from_bytes(head[:3], "little")) if number == 1 else b""
        try:
            return read_count(number, packet)
        except MySQLError as error:
            if number != 1 or isinstance(error, InternalError):
                self._force_close()  # type: ignore[attr-defined]  # not in the stubs
            raise

    @staticmethod
    def packets(statements: Sequence[bytes]) -> bytes:
        """Statements as they are sent."""
        return b"".join(
            part
            for statement in statements
            for part in (_QUERY_HEAD.pack(len(statement) + 1, COMMAND.COM_QUERY), statement)
        )

    # ---- lent to a loop (in_loop.py)

    def begin_in_loop(self) -> socket.socket:
        """From now on a loop reads and writes; the socket does not block."""
        self._result = None
        lent: socket.socket = self._sock  # type: ignore[attr-defined]  # not in the stubs
        lent.setblocking(False)
        self._current_timeout = 0.0
        return lent

    def end_in_loop(self) -> None:
        """The loop is done. A connection that is out of step is closed, without a word that might have to wait."""
        if self.out_of_step and self.usable:
            self._force_close()  # type: ignore[attr-defined]  # not in the stubs

    def exchange_began(self) -> float:
        """An exchange begins that does not come by `query` or `run_all`; what `exchange_ended` wants to know."""
        return 0.0

    def exchange_ended(self, began: float, *, succeeded: bool) -> None:
        """The exchange is over."""

    def rows(self, query: str, arguments: object = None) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with self._bounded(), self.cursor() as cursor:
            cursor.execute(query, arguments)
            return list(cursor.fetchall())

    def row(self, query: str, arguments: object = None) -> tuple[Any, ...] | None:
        """The first row of a query, if there is one."""
        found = self.rows(query, arguments)
        return found[0] if found else None

    def stream_rows(self, query: str) -> Iterator[list[str | None]]:
        """The rows of a query as they come, numbers too as texts. Read them all, or discard the connection.

        The driver's own way takes five times as long: here a row is two reads, and only its columns are made of it.
        """
        with self._bounded():
            self.query(query, unbuffered=True)
            read = self._rfile.read  # type: ignore[attr-defined]  # not in the stubs
            while True:
                head = read(HEAD_BYTES)
                length = int.from_bytes(head[:3], "little")
                packet = read(length)
                if len(head) < HEAD_BYTES or len(packet) < length:
                    raise EOFError("the connection ended in the middle of a result")
                if packet[0] == END_OF_ROWS and length < END_BYTES:
                    if self._result is not None:  # else the driver reads on, at the next statement or its end
                        self._result.unbuffered_active = False
                        self._result = None
                    return
                if packet[0] == ERROR:
                    MysqlPacket(packet, self.encoding).check_error()
                if length == MAX_PACKET_LEN:
                    raise DatabaseError("a row is longer than 16 MiB")
                yield read_row(packet)

    def begin_work(self) -> None:
        with self._bounded():
            self.query("BEGIN")

    def commit_work(self) -> None:
        self.run_all([b"COMMIT"])

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
