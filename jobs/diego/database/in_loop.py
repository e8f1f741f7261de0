"""Exchanges with the server that an event loop carries on, so that no thread waits for their answers.

A thread that waits has to be handed the interpreter for each answer, and the loop has to get it back. For the small
commits of many callers that costs more than the exchanges themselves (docs/performance-notes.md).
"""

import asyncio
import ssl
import time
from collections.abc import Callable, Sequence

from pymysql.err import InternalError, MySQLError, OperationalError

from diego.database.connections import HEAD_BYTES, Connection, read_count
from diego.database.errors import CR_SERVER_LOST, DatabaseError, DeadlineExceeded, translate

Outcome = list[int] | DatabaseError
"""What each statement of an exchange matched or changed, or the first failure."""

READ_BYTES = 64 << 10
NOT_NOW = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError, InterruptedError)


class Conversation:
    """What is said over one connection, from when this is made until `end`. Everything here runs in the loop.

    The connection must be in step with its server, and nobody else may use it meanwhile. After a failure that is not
    the server's answer the connection is closed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: Connection, deadline: float) -> None:
        """All exchanges together end by `deadline`, on the monotonic clock."""
        self._loop = loop
        self._connection = connection
        self._socket = connection.begin_in_loop()
        self._unsent = memoryview(b"")
        self._waits_to_send = False
        self._received = bytearray()
        self._expected = 0
        self._counts: list[int] = []
        self._failure: DatabaseError | None = None
        self._began = 0.0
        self._done: Callable[[Outcome], None] | None = None
        loop.add_reader(self._socket, self._on_readable)
        self._timer = loop.call_later(max(deadline - time.monotonic(), 0.0), self._overdue)

    def exchange(self, statements: Sequence[bytes], done: Callable[[Outcome], None]) -> None:
        """Send statements without rows together; `done` is called once, when all of them are answered or none will be.

        One that fails does not keep those behind it from being carried out: the transaction must be rolled back.
        Each must be shorter than a packet (`connections.fits_packet`).
        """
        self._done = done
        self._expected = len(statements)
        self._counts, self._failure = [], None
        self._began = self._connection.exchange_began()
        self._unsent = memoryview(Connection.packets(statements))
        self._send()

    def end(self) -> None:
        """The loop looks at the connection no more; whoever has it may use it in the ordinary way."""
        self._timer.cancel()
        self._loop.remove_reader(self._socket)
        if self._waits_to_send:
            self._loop.remove_writer(self._socket)
            self._waits_to_send = False
        self._connection.end_in_loop()

    def _send(self) -> None:
        try:
            while self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except NOT_NOW:
            if not self._waits_to_send:
                self._waits_to_send = True
                self._loop.add_writer(self._socket, self._send)
            return
        except OSError as error:
            self._lost(f"cannot send: {error}")
            return
        if self._waits_to_send:
            self._waits_to_send = False
            self._loop.remove_writer(self._socket)

    def _on_readable(self) -> None:
        try:
            while self._done is not None:
                data = self._socket.recv(READ_BYTES)
                if not data:
                    self._lost("the server ended the connection")
                    return
                self._received += data
                self._take_answers()
        except NOT_NOW:
            return
        except OSError as error:
            self._lost(str(error))

    def _take_answers(self) -> None:
        """Read what has arrived whole."""
        received = self._received
        while self._expected and len(received) >= HEAD_BYTES:
            end = HEAD_BYTES + int.from_bytes(received[:3], "little")
            if len(received) < end:
                return
            number, packet = received[3], bytes(received[HEAD_BYTES:end])
            del received[:end]
            self._expected -= 1
            try:
                self._counts.append(read_count(number, packet))
            except MySQLError as error:
                self._failure = self._failure or translate(error)
                if number != 1 or isinstance(error, InternalError):  # no answer: the server says that it ends
                    self._settle(self._failure, in_step=False)
                    return
        if not self._expected:
            self._settle(self._failure or self._counts, in_step=True)

    def _overdue(self) -> None:
        self._settle(
            DeadlineExceeded("the time for the database's work is over", CR_SERVER_LOST), in_step=False
        )

    def _lost(self, why: str) -> None:
        self._settle(translate(OperationalError(CR_SERVER_LOST, why)), in_step=False)

    def _settle(self, outcome: Outcome, *, in_step: bool) -> None:
        done, self._done = self._done, None
        if done is None:
            return
        self._connection.exchange_ended(self._began, succeeded=not isinstance(outcome, DatabaseError))
        if not in_step:
            self._connection.out_of_step = True
        done(outcome)
