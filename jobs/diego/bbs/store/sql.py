"""The store in MariaDB: the original's tables, and one row of ours, the fence.

Every transaction that writes begins with `UPDATE diego_fence SET seq = seq + 1 WHERE epoch = ours`. No row
changed means that another one has taken over. Reading the row would not do: on Galera only writes are
certified against each other (ours.md section 2).

The row tells more. Only we count with our epoch, so that after a connection broke inside a commit the counter
says whether that commit took place, as soon as the database can be asked again.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import Event
from typing import Any, TypeVar

from diego.bbs.core.history import Row
from diego.bbs.store import (
    CommitFailed,
    CommitUnknown,
    Fenced,
    Loaded,
    StoreUnavailable,
    UnknownKeyLabel,
    UnreadableDesired,
    Unrecoverable,
    Write,
    history,
    rows,
    schema,
)
from diego.bbs.store.encryption import Encryption, Undecodable
from diego.bbs.store.statements import ACTUAL, DESIRED, DOMAINS, ENCRYPTED, TASKS, Statements, Table, encoded
from diego.database import (
    Connection,
    ConnectionLost,
    Conversation,
    DatabaseError,
    Deadlock,
    MissingTable,
    Pool,
    PoolStatistics,
    Settings,
)
from diego.database.in_loop import Outcome
from diego.database.pool import PAUSE_SECONDS, PERIOD, READ_COMMITTED, REPEATABLE_READ
from diego.models import ActualLRP, Domain
from diego.runtime.logs import get_logger

FENCE = f"""
CREATE TABLE IF NOT EXISTS diego_fence (
  id INT PRIMARY KEY,
  epoch BIGINT NOT NULL,
  seq BIGINT NOT NULL
) {schema.TABLE}
"""
FENCE_ROW = 1
RAISE_FENCE = b"UPDATE diego_fence SET seq = seq + %d WHERE id = %d AND epoch = %d"
READ_FENCE = "SELECT epoch, seq FROM diego_fence WHERE id = %s"
READ_FENCE_LOCKED = f"{READ_FENCE} FOR UPDATE"
COMMIT_STEP = 1
SETTLE_STEP = 2
"""A commit raises the counter by one, asking for a commit's fate by two: so an odd difference to what was last
known says that the commit took place, however often it was asked."""

DEADLOCKS = 10
FIRST_PAUSE = 0.02
"""How often a transaction is tried that others' keep from happening. All that is written meanwhile waits for it, and falls
with it: so more often, and sooner again, than the original's three times half a second apart."""

LOAD_SECONDS = 300.0
MIGRATION_SECONDS = 3600.0
SETTLE_SECONDS = 60.0
"""Longer than a restart of the database, and than the three failed looks after which a watch over it ends us."""

SETTLE_PAUSE = 0.25
REENCRYPT_ROWS = 100
EXCHANGE_BYTES = 4 << 20
"""Statements of a commit are sent together up to about this length: each answer waited for costs a turn of threads."""
CONNECTIONS = 4
UNKNOWN_VARIABLE = 1193

log = get_logger("bbs")

T = TypeVar("T")


class SqlStore:
    """One BBS's store in a MariaDB schema.

    `settle_seconds` is how long a commit waits for a lost database to come back and tell its fate;
    `with_history` whether the takeover is noted in the history.
    """

    def __init__(
        self,
        settings: Settings,
        encryption: Encryption,
        *,
        settle_seconds: float = SETTLE_SECONDS,
        with_history: bool = True,
        lifetime: float = 0.0,
        period: float = PERIOD,
    ) -> None:
        self._settings = settings
        self._encryption = encryption
        self._settle_seconds = settle_seconds
        self._with_history = with_history
        self.history_position = history.Position()
        self._pool = Pool(
            settings, size=CONNECTIONS, isolation=READ_COMMITTED, lifetime=lifetime, period=period
        )
        self._writing = threading.Lock()
        self._settling = False
        self._epoch = 0
        self._seq = 0

    @property
    def settling(self) -> bool:
        return self._settling

    def statistics(self) -> PoolStatistics:
        """The connections' numbers."""
        return self._pool.statistics()

    def close(self) -> None:
        self._pool.close()

    # ---- the fence

    def take_over(self) -> int:
        def work(connection: Connection) -> tuple[tuple[int, int], history.Position]:
            connection.run("INSERT IGNORE INTO diego_fence (id, epoch, seq) VALUES (%s, 0, 0)", (FENCE_ROW,))
            connection.run("UPDATE diego_fence SET epoch = epoch + 1 WHERE id = %s", (FENCE_ROW,))
            epoch, seq = self._fence_row(connection)
            if not self._with_history:
                return (epoch, seq), history.Position()
            return (epoch, seq), history.begin(connection, epoch, time.time_ns())

        with self._writing, _available():
            self._pool.transact(lambda connection: connection.run(FENCE))
            self._pool.transact(lambda connection: connection.run(history.TABLE))
            # once only: who asked must see that the lock is still held before it is tried again
            with self._pool.connection(self._pool.deadline()) as connection:
                (self._epoch, self._seq), self.history_position = work(connection)
                connection.commit_work()
            return self._epoch

    def still_mine(self) -> bool:
        def work(connection: Connection) -> bool:
            _see_everything(connection)
            epoch, _ = self._fence_row(connection)
            return epoch == self._epoch

        with _available():
            return self._pool.transact(work)

    def _fence_row(self, connection: Connection, *, locked: bool = False) -> tuple[int, int]:
        found = connection.row(READ_FENCE_LOCKED if locked else READ_FENCE, (FENCE_ROW,))
        return (0, 0) if found is None else (int(found[0]), int(found[1]))

    def _raise_fence(self, connection: Connection, step: int) -> None:
        """Write the fence in this transaction.

        Raises:
            Fenced: it is another one's.
        """
        self._check_fence(connection.run(self._fence(step)))

    def _fence(self, step: int) -> bytes:
        return RAISE_FENCE % (step, FENCE_ROW, self._epoch)

    def _check_fence(self, changed: int) -> None:
        if changed != 1:
            raise self._taken_over()

    def _taken_over(self) -> Fenced:
        return Fenced(f"another BBS has taken over since epoch {self._epoch}")

    # ---- writing

    def commit(self, writes: Sequence[Write], told: Sequence[Row] = ()) -> None:
        work = self._work_of(self._statements(writes, told))
        with self._writing:
            self._write(work)

    def commit_in_loop(
        self,
        loop: asyncio.AbstractEventLoop,
        writes: Sequence[Write],
        told: Sequence[Row],
        done: Callable[[Callable[[], None] | None], None],
    ) -> bool:
        if not self._writing.acquire(blocking=False):
            return False
        deadline = self._pool.deadline()
        connection = self._pool.take_idle(deadline)
        if connection is None:
            self._writing.release()
            return False
        try:
            statements = self._statements(writes, told)
            if sum(map(len, statements)) <= EXCHANGE_BYTES:
                self._converse(loop, connection, statements, deadline, done)
                return True
        except BaseException:
            self._put_off(connection)
            raise
        self._put_off(connection)
        return False

    def _put_off(self, connection: Connection) -> None:
        """Nothing was begun."""
        self._pool.give_back(connection, clean=True)
        self._writing.release()

    def _converse(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: Connection,
        statements: Sequence[bytes],
        deadline: float,
        done: Callable[[Callable[[], None] | None], None],
    ) -> None:
        """One attempt in the loop: the same two exchanges as `_attempt`. Whatever goes wrong is a thread's to mend."""
        talk = Conversation(loop, connection, deadline)

        def written(outcome: Outcome) -> None:
            if isinstance(outcome, DatabaseError):
                trouble(partial(self._undo, connection, outcome))
            elif outcome[0] != 1:
                trouble(partial(self._undo, connection, self._taken_over()))
            else:
                talk.exchange([b"COMMIT"], committed)

        def committed(outcome: Outcome) -> None:
            if isinstance(outcome, DatabaseError):
                trouble(partial(self._find_out, connection, outcome))
                return
            talk.end()
            self._seq += COMMIT_STEP
            self._pool.give_back(connection, clean=True)
            self._writing.release()
            done(None)

        def trouble(first: Callable[[], bool]) -> None:
            talk.end()
            done(partial(self._go_on, self._work_of(statements), first))

        talk.exchange(statements, written)

    def _undo(self, connection: Connection, failure: DatabaseError | Fenced) -> bool:
        """An attempt failed before its commit."""
        self._pool.give_back(connection, clean=False)
        raise failure

    def _find_out(self, connection: Connection, failure: DatabaseError) -> bool:
        """An attempt failed in its commit. Whether it took place; if not, it was a deadlock."""
        connection.discard()
        self._pool.give_back(connection, clean=False)
        return self._judge(failure)

    def _go_on(self, work: Callable[[Connection], None], first: Callable[[], bool]) -> None:
        """In a thread: what became of the first attempt, and the further ones."""
        try:
            self._write(work, first)
        finally:
            self._writing.release()

    def _statements(self, writes: Sequence[Write], told: Sequence[Row]) -> list[bytes]:
        statements = [self._fence(COMMIT_STEP), *Statements.of(writes, self._encryption).texts()]
        statements += map(encoded, history.statements(told))
        return statements

    def _work_of(self, statements: Sequence[bytes]) -> Callable[[Connection], None]:
        def work(connection: Connection) -> None:
            exchanges = _exchanges(statements)
            self._check_fence(connection.run_all(next(exchanges))[0])
            for some in exchanges:
                connection.run_all(some)

        return work

    def trim_history(self, first_kept: int, at_once: int) -> int:
        return self._in_write(lambda connection: history.trim(connection, first_kept, at_once))

    def _write(self, work: Callable[[Connection], None], first: Callable[[], bool] | None = None) -> None:
        """One fenced transaction, tried again where that helps; `self._writing` is held.

        `first` tells how the first attempt ended that was made already, as `_attempt` would.
        """
        deadline = self._pool.deadline()
        attempt = first or partial(self._attempt, work, deadline)
        lost = deadlocks = 0
        while True:
            try:
                if attempt():
                    return
                deadlocks += (
                    1  # at the commit: on a Galera cluster a later writer of the same row finds out there
                )
                cause: DatabaseError = Deadlock("sql-deadlock")
            except Deadlock as error:
                deadlocks += 1
                cause = error
                time.sleep(min(FIRST_PAUSE * 2**deadlocks, PAUSE_SECONDS))
            except ConnectionLost as error:
                # Before the commit, so nothing happened. Kept connections die with the server: once more, on a new one.
                self._pool.purge()
                lost += 1
                cause = error
            except MissingTable as error:
                raise Unrecoverable(f"Unrecoverable Error: {error.cause}") from error
            except DatabaseError as error:
                raise CommitFailed(_told(error)) from error
            if lost > 1 or deadlocks >= DEADLOCKS:
                raise CommitFailed(_told(cause)) from cause
            attempt = partial(self._attempt, work, deadline)

    def _attempt(self, work: Callable[[Connection], None], deadline: float) -> bool:
        """Whether the transaction took place; if not, it was a deadlock. `work` begins with writing the fence.

        Raises:
            CommitFailed: the commit failed otherwise, for certain.
            DatabaseError: something failed before the commit.
        """
        with self._pool.connection(deadline) as connection:
            work(connection)
            failure = _failure_of(connection.commit_work)
            if failure is None:
                self._seq += COMMIT_STEP
                return True
            connection.discard()
        return self._judge(failure)

    def _judge(self, failure: DatabaseError) -> bool:
        """Whether the commit that ended with `failure` took place; if not, it was a deadlock.

        Raises:
            CommitFailed: it failed otherwise, for certain.
            CommitUnknown, Fenced
        """
        if self._took_place(failure):
            return True
        if isinstance(failure, Deadlock):
            return False
        raise CommitFailed(_told(failure)) from failure

    def _took_place(self, cause: DatabaseError) -> bool:
        """Find out whether the commit that ended with `cause` took place. If not, it never will.

        Raises:
            CommitUnknown: the database did not come back in time.
            Fenced
        """
        log.error("store.commit-fate-unknown", cause=_told(cause))
        end = time.monotonic() + self._settle_seconds
        self._settling = not isinstance(cause, Deadlock)  # whoever said so is there, and tells at once
        pause = FIRST_PAUSE
        try:
            while True:
                try:
                    took_place = self._ask_fate(min(self._pool.deadline(), end))
                except DatabaseError as error:
                    self._settling = self._settling or not isinstance(error, Deadlock)
                    self._pool.purge()
                    pause = min(pause * 2, SETTLE_PAUSE)
                    log.info("store.commit-fate-not-told", cause=_told(error))
                    if time.monotonic() + pause >= end:
                        raise CommitUnknown(f"{_told(cause)}; then {_told(error)}") from error
                    time.sleep(pause)
                else:
                    log.info("store.commit-fate-known", took_place=took_place)
                    return took_place
        finally:
            self._settling = False

    def _ask_fate(self, deadline: float) -> bool:
        """Whether the last commit took place. The answer is final: it is only given after a write of the fence.

        On the same server the lock on the row waits for the transaction in question. On another server of a Galera
        cluster that transaction may still be on its way; our write of the same row then makes it fail.
        """
        with self._pool.connection(deadline) as connection:
            _see_everything(connection)
            epoch, seq = self._fence_row(connection, locked=True)
            if epoch != self._epoch:
                raise Fenced(f"another BBS has taken over since epoch {self._epoch}")
            self._raise_fence(connection, SETTLE_STEP)
            connection.commit_work()
        took_place = (seq - self._seq) % SETTLE_STEP == COMMIT_STEP
        self._seq = seq + SETTLE_STEP
        return took_place

    # ---- schema and encryption

    def migrate(self) -> None:
        with self._writing, _available():
            deadline = time.monotonic() + MIGRATION_SECONDS
            with self._pool.connection(deadline) as connection:
                schema.migrate(
                    connection,
                    self._encryption,
                    fence=lambda: self._raise_fence(connection, SETTLE_STEP),
                )
                self._check_label(connection)
                _, self._seq = self._fence_row(connection)
                connection.commit_work()

    def _check_label(self, connection: Connection) -> None:
        label = schema.configuration(connection, schema.ENCRYPTION_KEY_LABEL)
        if label is None:
            self._raise_fence(connection, SETTLE_STEP)
            schema.put_configuration(connection, schema.ENCRYPTION_KEY_LABEL, self._encryption.active_label)
            connection.commit_work()
        elif not self._encryption.knows(label):
            raise UnknownKeyLabel(f"the database is encrypted with the unknown key {label!r}")

    def reencrypt(self, stopping: Event) -> int:
        with _available():
            label = self._pool.transact(
                lambda connection: schema.configuration(connection, schema.ENCRYPTION_KEY_LABEL)
            )
        if label == self._encryption.active_label:
            return 0
        log.info("store.reencryption-started", before=label, now=self._encryption.active_label)
        count = 0
        for table, columns in ENCRYPTED:
            for keys in self._keys(table):
                if stopping.is_set():
                    return count
                count += self._in_write(partial(self._reencrypt, table, columns, keys))
        self._in_write(
            lambda connection: schema.put_configuration(
                connection, schema.ENCRYPTION_KEY_LABEL, self._encryption.active_label
            )
        )
        log.info("store.reencryption-finished", rows=count)
        return count

    def _in_write(self, work: Callable[[Connection], T]) -> T:
        """A fenced transaction with a result; a failure is that of an unavailable database."""
        results: list[T] = []

        def fenced(connection: Connection) -> None:
            self._raise_fence(connection, COMMIT_STEP)
            results.append(work(connection))

        with self._writing:
            try:
                self._write(fenced)
            except (CommitFailed, CommitUnknown) as error:
                raise StoreUnavailable(error.text) from error
        return results[-1]

    def _keys(self, table: Table) -> Iterator[list[tuple[Any, ...]]]:
        """The keys of a table's present rows, in pieces."""
        query = f"SELECT {', '.join(table.key)} FROM {table.name}"  # noqa: S608 - names of columns
        with _available():
            keys = self._pool.transact(lambda connection: connection.rows(query))
        for start in range(0, len(keys), REENCRYPT_ROWS):
            yield keys[start : start + REENCRYPT_ROWS]

    def _reencrypt(
        self, table: Table, columns: tuple[str, ...], keys: list[tuple[Any, ...]], connection: Connection
    ) -> int:
        """Rewrite some rows' columns that the active key did not make; how many rows."""
        names = ", ".join((*table.key, *columns))
        matching = " AND ".join(f"{name} = %s" for name in table.key)
        query = f"SELECT {names} FROM {table.name} WHERE {table.among(len(keys))} FOR UPDATE"  # noqa: S608
        count = 0
        for row in connection.rows(query, [part for key in keys for part in key]):
            key, texts = row[: len(table.key)], row[len(table.key) :]
            changed = {
                name: fresh
                for name, text in zip(columns, texts, strict=True)
                if (fresh := self._fresh(table, key, name, text)) is not None
            }
            if changed:
                changes = ", ".join(f"{name} = %s" for name in changed)
                connection.run(
                    f"UPDATE {table.name} SET {changes} WHERE {matching}",  # noqa: S608 - names of columns
                    (*changed.values(), *key),
                )
                count += 1
        return count

    def _fresh(self, table: Table, key: tuple[Any, ...], column: str, text: str | None) -> str | None:
        """The text encrypted anew, or None where there is nothing to do, or it cannot be read."""
        if text is None or self._encryption.is_current(text):
            return None
        try:
            return self._encryption.encrypt(self._encryption.decrypt(text))
        except Undecodable as error:
            log.error(
                "store.reencryption-skipped", table=table.name, key=key, column=column, error=str(error)
            )
            return None

    # ---- loading

    def load(self) -> Loaded:
        loaded = Loaded()
        with _available():
            connection = Connection(
                self._settings,
                tls=self._settings.tls(),
                isolation=REPEATABLE_READ,
                deadline=time.monotonic() + self._settings.operation_timeout,
            )
            try:
                connection.allow(time.monotonic() + LOAD_SECONDS)
                _see_everything(connection)
                connection.run("START TRANSACTION WITH CONSISTENT SNAPSHOT")
                self._load(connection, loaded)
            finally:
                connection.discard()
        return loaded

    def _load(self, connection: Connection, loaded: Loaded) -> None:
        encryption = self._encryption
        for domain, expires_at in _read(connection, DOMAINS):
            loaded.domains.append(Domain(domain, expires_at or 0))
        for columns in _read(connection, DESIRED):
            desired = rows.desired_record(columns, encryption)
            if isinstance(desired, UnreadableDesired):
                log.error("store.unreadable-desired-lrp", process_guid=desired.process_guid)
                loaded.unreadable_desired.append(desired)
            else:
                loaded.desired.append(desired)
        for columns in _read(connection, ACTUAL):
            actual = rows.actual_record(columns, encryption)
            if isinstance(actual, ActualLRP):
                loaded.actual.append(actual)
            else:
                log.error("store.unreadable-actual-lrp", key=actual)
                loaded.unreadable_actual.append(actual)
        for columns in _read(connection, TASKS):
            loaded.tasks.append(rows.task_record(columns, encryption))


def _exchanges(statements: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Statements to send together, as many as are not too long."""
    some: list[bytes] = []
    length = 0
    for statement in statements:
        if some and length + len(statement) > EXCHANGE_BYTES:
            yield some
            some, length = [], 0
        some.append(statement)
        length += len(statement)
    yield some


def _read(connection: Connection, table: Table) -> Iterator[list[Any]]:
    """A table's rows."""
    numbers = table.number_places
    for found in connection.stream_rows(table.select):
        columns: list[Any] = found
        for at in numbers:
            if columns[at] is not None:
                columns[at] = int(columns[at])
        yield columns


def _see_everything(connection: Connection) -> None:
    """On a Galera cluster: wait until this server has applied what the others committed."""
    try:
        connection.run("SET SESSION wsrep_sync_wait = 15")
    except DatabaseError as error:
        if error.code != UNKNOWN_VARIABLE:
            raise


def _failure_of(work: Callable[[], None]) -> DatabaseError | None:
    try:
        work()
    except DatabaseError as error:
        return error
    return None


def _told(error: DatabaseError) -> str:
    return f"{error.text} ({error.cause})" if error.cause else error.text


@contextmanager
def _available() -> Iterator[None]:
    """Inside, a database that fails is an unavailable store."""
    try:
        yield
    except MissingTable as error:
        raise Unrecoverable(f"Unrecoverable Error: {error.cause}") from error
    except DatabaseError as error:
        raise StoreUnavailable(_told(error)) from error
