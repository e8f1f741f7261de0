"""A proxy between a job and MariaDB that understands statements: it holds, delays or refuses them.

The job must connect without TLS. What a statement is part of is known too, so that "the commit of a transaction
that raised the epoch" can be named. No job has hooks for tests: this is how tests reach the moments between them.
"""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Protocol

from support.mariadb import Database

QUERY = 3
HEAD = 4
OK, END, FAILED = 0x00, 0xFE, 0xFF
LONGEST_END = 9
FENCED_WRITE = re.compile(rb"UPDATE diego_fence SET seq = seq \+ \d+ WHERE id = \d+ AND epoch = (\d+)")
COMMIT = b"COMMIT"
LONGEST_HOLD = 150.0
"""Seconds after which what is held goes on, so that a test that failed leaves nothing behind."""


@dataclass(frozen=True)
class Statement:
    """A statement on its way to the server, and what its transaction has said before it."""

    text: bytes
    before: tuple[bytes, ...] = ()

    def within(self, *parts: bytes) -> bool:
        """Whether each part stands in its transaction so far, itself included."""
        said = b"\n".join((*self.before, self.text))
        return all(part in said for part in parts)


Which = Callable[[Statement], bool]


def begins(text: bytes, *within: bytes) -> Which:
    """A statement that begins so, in a transaction that says all of `within`."""
    return lambda statement: statement.text.startswith(text) and statement.within(*within)


@dataclass(frozen=True)
class Refusal:
    """An error of the server's: number, state, text. `rolls_back`: it ends the transaction, as a deadlock does."""

    code: int
    state: str
    text: str
    rolls_back: bool = False

    def packet(self) -> bytes:
        body = b"\xff" + self.code.to_bytes(2, "little") + b"#" + self.state.encode() + self.text.encode()
        return len(body).to_bytes(3, "little") + b"\x01" + body


DEADLOCK = Refusal(1213, "40001", "Deadlock found when trying to get lock; try restarting transaction", True)
LOCK_WAIT = Refusal(1205, "HY000", "Lock wait timeout exceeded; try restarting transaction")
READ_ONLY = Refusal(1290, "HY000", "The MariaDB server is running with the --read-only option")
TABLE_FULL = Refusal(1114, "HY000", "The table 'actual_lrps' is full")


class Hold:
    """One statement that will be held, before it reaches the server or after its effect, before its answer."""

    def __init__(self, which: Which, *, answer: bool) -> None:
        self.which = which
        self.answer = answer
        self.reached = threading.Event()
        self._released = threading.Event()

    def wait(self, seconds: float = 30.0) -> None:
        """Until the statement is there.

        Raises:
            TimeoutError: it did not come.
        """
        if not self.reached.wait(seconds):
            raise TimeoutError("the statement did not come")

    def release(self) -> None:
        self._released.set()

    def stand(self) -> None:
        self.reached.set()
        self._released.wait(LONGEST_HOLD)


class Fault(Protocol):
    """Whether a statement is refused, and how: asked for each one, from many threads."""

    def __call__(self, statement: Statement) -> Refusal | None: ...


@dataclass(frozen=True)
class Committed:
    """A fenced write whose commit the server acknowledged."""

    at: float
    epoch: int


@dataclass
class SqlProxy:
    """Forwards connections to a server. What may be changed at any time: `delay`, `fault`, and the holds.

    Attributes:
        delay: seconds before a statement is forwarded.
        fault: which statements are refused instead.
        committed: the fenced writes that the server acknowledged, in that order, held answers included.
        refused: the refusals so far.
    """

    target: tuple[str, int]
    delay: Callable[[Statement], float] = lambda _statement: 0.0
    fault: Fault | None = None
    committed: list[Committed] = field(default_factory=list)
    refused: int = 0
    statements: int = 0

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._holds: list[Hold] = []
        self._every: list[Hold] = []
        self._lock = threading.Lock()
        self._connections: set[_Connection] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self, which: Which, *, answer: bool = False) -> Hold:
        """Hold the next statement of this kind; with `answer` let it happen and hold what the server says."""
        hold = Hold(which, answer=answer)
        with self._lock:
            self._holds.append(hold)
            self._every.append(hold)
        return hold

    def taken(self, statement: Statement) -> Hold | None:
        """The hold that is for this statement, if any."""
        with self._lock:
            for hold in self._holds:
                if hold.which(statement):
                    self._holds.remove(hold)
                    return hold
        return None

    def drop_all(self) -> None:
        """Cut every connection."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.cut()

    def close(self) -> None:
        with self._lock:
            self._holds.clear()
            every = list(self._every)
        for hold in every:
            hold.release()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop_all()

    def forget(self, connection: "_Connection") -> None:
        with self._lock:
            self._connections.discard(connection)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(self.target, timeout=10)
                except OSError:
                    client.close()
                    continue
                server.settimeout(None)
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection = _Connection(self, client, server)
                with self._lock:
                    self._connections.add(connection)
                connection.start()


class _Connection:
    """Both directions of one connection, a thread each.

    A client may send several statements before it reads an answer. What is special about a statement happens in its
    place: after the answers to those before it have gone by.
    """

    def __init__(self, proxy: SqlProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._said: list[bytes] = []
        self._answers = _Answers()
        self._changed = threading.Condition()
        self._open = 0
        """Statements that the server has not answered yet."""
        self._held: Hold | None = None
        self._instead: Refusal | None = None
        self._epoch: int | None = None
        self._running = 2

    def start(self) -> None:
        for direction in (self._from_client, self._from_server):
            threading.Thread(target=self._run, args=(direction,), daemon=True).start()

    def _run(self, direction: Callable[[], None]) -> None:
        try:
            direction()
        finally:
            with self._changed:
                self._running -= 1
                last = not self._running
            if last:
                self._client.close()
                self._server.close()

    def cut(self) -> None:
        """End both directions. The sockets stay open until both have noticed.

        A number that is given again at once would have the one that reads on take what comes on the next connection.
        """
        for end in (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._proxy.forget(self)
        with self._changed:
            self._open = 0
            self._changed.notify_all()

    def _from_client(self) -> None:
        with suppress(OSError):
            while packet := _packet(self._client):
                if packet[3] == 0 and len(packet) > HEAD and packet[HEAD] == QUERY:
                    self._statement(packet)
                else:
                    self._server.sendall(packet)
        self.cut()

    def _statement(self, packet: bytes) -> None:
        proxy = self._proxy
        text = packet[HEAD + 1 :]
        statement = Statement(text, tuple(self._said))
        proxy.statements += 1
        epoch = None
        if text.startswith((COMMIT, b"ROLLBACK")):
            fenced = next((found for said in self._said if (found := FENCED_WRITE.match(said))), None)
            epoch = int(fenced[1]) if fenced and text.startswith(COMMIT) else None
            self._said.clear()
        else:
            self._said.append(text[:4096])
        refusal = proxy.fault(statement) if proxy.fault is not None else None
        hold = proxy.taken(statement) if refusal is None else None
        if epoch is not None or refusal is not None or hold is not None:
            self._wait_for_answers()
        if refusal is not None:
            self._refuse(refusal)
            return
        if hold is not None and not hold.answer:
            hold.stand()
        elif hold is not None:
            self._held = hold
        seconds = proxy.delay(statement)
        if seconds:
            time.sleep(seconds)
        self._epoch = epoch
        self._send(packet)

    def _refuse(self, refusal: Refusal) -> None:
        self._proxy.refused += 1
        if refusal.rolls_back:
            self._said.clear()
            self._instead = refusal
            self._send(b"\x09\x00\x00\x00\x03ROLLBACK")
        else:
            self._client.sendall(refusal.packet())

    def _send(self, packet: bytes) -> None:
        with self._changed:
            self._open += 1
        self._server.sendall(packet)

    def _wait_for_answers(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._open, LONGEST_HOLD)

    def _from_server(self) -> None:
        with suppress(OSError):
            while packet := _packet(self._server):
                hold, self._held = self._held, None
                epoch, self._epoch = self._epoch, None
                if epoch is not None and packet[HEAD] == OK:
                    self._proxy.committed.append(Committed(time.monotonic(), epoch))
                if hold is not None:
                    hold.stand()
                instead, self._instead = self._instead, None
                self._client.sendall(packet if instead is None else instead.packet())
                if self._open and self._answers.ends_with(packet[HEAD:]):
                    with self._changed:
                        self._open = max(0, self._open - 1)
                        self._changed.notify_all()
        self.cut()


class _Answers:
    """Where an answer ends: with its only packet, or with the second end mark of its columns and rows."""

    def __init__(self) -> None:
        self._marks = 0
        self._rows = False

    def ends_with(self, body: bytes) -> bool:
        first = body[0] if body else OK
        if not self._rows:
            if first in (OK, FAILED):
                return True
            self._rows = True
            self._marks = 0
            return False
        if first == END and len(body) < LONGEST_END:
            self._marks += 1
        if first == FAILED or self._marks == 2:
            self._rows = False
            return True
        return False


@contextmanager
def proxying(database: Database) -> Iterator[tuple[SqlProxy, Database]]:
    """A proxy before a database, and the database as it is seen through it."""
    proxy = SqlProxy((database.host, database.port))
    try:
        yield proxy, replace(database, host="127.0.0.1", port=proxy.port)
    finally:
        proxy.close()


def every(number: int, refusal: Refusal, *, first: int = 0) -> Fault:
    """Refuse the commit of each `number`th transaction that writes, from the `first` on."""
    lock = threading.Lock()
    seen = -first

    def fault(statement: Statement) -> Refusal | None:
        nonlocal seen
        if not (statement.text.startswith(COMMIT) and _writes(statement.before)):
            return None
        with lock:
            seen += 1
            return refusal if seen > 0 and seen % number == 0 else None

    return fault


def writes_refused(refusal: Refusal) -> Fault:
    """Refuse every statement that writes, as a server does that may not, or cannot."""
    return lambda statement: refusal if _writes((statement.text,)) else None


def _writes(statements: Sequence[bytes]) -> bool:
    return any(text.startswith((b"INSERT", b"UPDATE", b"DELETE")) for text in statements)


def _packet(sock: socket.socket) -> bytes:
    """One packet, whole; empty at the end."""
    head = _exactly(sock, HEAD)
    return head + _exactly(sock, int.from_bytes(head[:3], "little")) if head else b""


def _exactly(sock: socket.socket, size: int) -> bytes:
    parts: list[bytes] = []
    left = size
    while left:
        part = sock.recv(left)
        if not part:
            return b""
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
