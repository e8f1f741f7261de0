"""The store without a database: the same promises, for tests of what stands on a store."""

import asyncio
import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from threading import Event

from diego.bbs.core.history import Row
from diego.bbs.store import (
    CommitFailed,
    CommitUnknown,
    DeleteActual,
    DeleteDesired,
    DeleteDomain,
    DeleteTask,
    Fenced,
    Loaded,
    PutActual,
    PutDesired,
    PutDomain,
    PutTask,
    StoreUnavailable,
    Write,
    latest,
)
from diego.bbs.store.batch import identity
from diego.models import Domain


@dataclass
class MemoryDatabase:
    """What several stores share. A test may take it away (`away`), or break commits under way.

    `break_commits`: each entry breaks one commit and is used up; True takes place, False does not, None is never
    known.
    """

    epoch: int = 0
    puts: dict[Hashable, Write] = field(default_factory=dict)
    away: bool = False
    break_commits: list[bool | None] = field(default_factory=list)
    commits: int = 0
    history: list[Row] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


class MemoryStore:
    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self._epoch = 0

    @property
    def settling(self) -> bool:
        return False

    def take_over(self) -> int:
        with self._database.lock:
            self._check_present()
            self._database.epoch += 1
            self._epoch = self._database.epoch
            return self._epoch

    def still_mine(self) -> bool:
        self._check_present()
        return self._database.epoch == self._epoch

    def migrate(self) -> None:
        self._check_present()

    def commit(self, writes: Sequence[Write], told: Sequence[Row] = ()) -> None:
        with self._database.lock:
            if self._database.away:
                raise CommitFailed("the database is away")
            if self._database.epoch != self._epoch:
                raise Fenced(f"another BBS has taken over since epoch {self._epoch}")
            takes_place = self._database.break_commits.pop(0) if self._database.break_commits else True
            if takes_place is None:
                raise CommitUnknown("the database was lost while it committed")
            if not takes_place:
                raise CommitFailed("the database was lost while it committed")
            self._apply(writes)
            self._database.history.extend(told)

    def commit_in_loop(
        self,
        loop: asyncio.AbstractEventLoop,  # noqa: ARG002 - the protocol's, as those that follow
        writes: Sequence[Write],  # noqa: ARG002
        told: Sequence[Row],  # noqa: ARG002
        done: Callable[[Callable[[], None] | None], None],  # noqa: ARG002
    ) -> bool:
        """A thread does it."""
        return False

    def trim_history(self, first_kept: int, at_once: int) -> int:
        with self._database.lock:
            self._check_present()
            rows = self._database.history
            count = min(sum(row.id < first_kept for row in rows), at_once)
            del rows[:count]
            return count

    def load(self) -> Loaded:
        loaded = Loaded()
        with self._database.lock:
            self._check_present()
            for write in self._database.puts.values():
                match write:
                    case PutDomain(domain, expires_at_ns):
                        loaded.domains.append(Domain(domain, expires_at_ns))
                    case PutDesired(record):
                        loaded.desired.append(record)
                    case PutActual(lrp):
                        loaded.actual.append(lrp)
                    case PutTask(task):
                        loaded.tasks.append(task)
        return loaded

    def reencrypt(self, stopping: Event) -> int:  # noqa: ARG002 - the protocol's
        """Nothing is encrypted in memory."""
        return 0

    def close(self) -> None:
        """Nothing to close."""

    def _apply(self, writes: Sequence[Write]) -> None:
        self._database.commits += 1
        for write in latest(writes):
            if isinstance(write, DeleteDomain | DeleteDesired | DeleteActual | DeleteTask):
                self._database.puts.pop(identity(write), None)
            else:
                self._database.puts[identity(write)] = write

    def _check_present(self) -> None:
        if self._database.away:
            raise StoreUnavailable("the database is away")
