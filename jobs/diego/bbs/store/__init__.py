"""Where the BBS's truth is kept: the protocol, and the words it is spoken in.

The active BBS decides in memory and hands over what is to become durable as a list of writes, each a whole
record or its removal. One `commit` is one transaction, and it carries the fence: a store that another one has
taken over from can never write again (ours.md section 2).

    sql          MariaDB, in the original's schema (contract/lifecycle.md section 11)
    memory       the same promises without a database, held to the same tests
    rows         records to columns and back
    history      the table of what happened, ours
    encryption   what stands encrypted in a column (section 10)
    schema       the numbered migrations
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Protocol

from diego.bbs.core.history import Row
from diego.models import ActualLRP, DesiredLRP, Domain, Presence, Task
from diego.models.actual_lrp import Identity

__all__ = [
    "CommitFailed",
    "CommitUnknown",
    "DeleteActual",
    "DeleteDesired",
    "DeleteDomain",
    "DeleteTask",
    "Fenced",
    "Loaded",
    "PutActual",
    "PutDesired",
    "PutDomain",
    "PutTask",
    "SchemaTooNew",
    "Store",
    "StoreError",
    "StoreUnavailable",
    "UnknownKeyLabel",
    "UnreadableDesired",
    "Unrecoverable",
    "Write",
    "fits",
    "latest",
]


class StoreError(Exception):
    """The store could not do what was asked. `text` says why."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class StoreUnavailable(StoreError):
    """The database cannot be reached or does not answer: try again later."""


class Fenced(StoreError):
    """Another BBS has taken over. Nothing was written, and nothing will be."""


class CommitFailed(StoreError):
    """Nothing of the batch was written, for certain. The same again may succeed."""


class CommitUnknown(StoreError):
    """The database was lost while it committed, and did not come back in time to tell: only loading tells."""


class Unrecoverable(StoreError):
    """A table is missing: nothing will succeed until the schema is made anew."""


class SchemaTooNew(StoreError):
    """A newer BBS has migrated the database."""


class UnknownKeyLabel(StoreError):
    """The database is encrypted with a key that the configuration does not have."""


@dataclass(frozen=True, slots=True)
class PutDomain:
    domain: str
    expires_at_ns: int


@dataclass(frozen=True, slots=True)
class DeleteDomain:
    domain: str


@dataclass(frozen=True, slots=True)
class PutDesired:
    record: DesiredLRP


@dataclass(frozen=True, slots=True)
class DeleteDesired:
    process_guid: str


@dataclass(frozen=True, slots=True)
class PutActual:
    lrp: ActualLRP


@dataclass(frozen=True, slots=True)
class DeleteActual:
    process_guid: str
    index: int
    presence: Presence


@dataclass(frozen=True, slots=True)
class PutTask:
    task: Task


@dataclass(frozen=True, slots=True)
class DeleteTask:
    guid: str


Write = (
    PutDomain | DeleteDomain | PutDesired | DeleteDesired | PutActual | DeleteActual | PutTask | DeleteTask
)
"""One record as it shall be from now on, or its removal. Removing what is not there is fine."""


@dataclass(frozen=True, slots=True)
class UnreadableDesired:
    """A desired LRP whose columns cannot be read.

    `deletable`: its run info is unreadable, so that lists skip and delete it. Otherwise only its routes or
    metric tags are, and it stays.
    """

    process_guid: str
    domain: str
    deletable: bool


@dataclass(slots=True)
class Loaded:
    """Everything that the store has. A task whose definition cannot be read has the definition None."""

    domains: list[Domain] = field(default_factory=list)
    desired: list[DesiredLRP] = field(default_factory=list)
    actual: list[ActualLRP] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    unreadable_desired: list[UnreadableDesired] = field(default_factory=list)
    unreadable_actual: list[Identity] = field(default_factory=list)


class Store(Protocol):
    """One BBS's way to its database. `commit` and `reencrypt` may be called from different threads."""

    @property
    def settling(self) -> bool:
        """Whether a commit's fate is being found out: new writes would wait long."""

    def take_over(self) -> int:
        """Raise the fence's epoch and remember it as ours: from now on no store before us can write.

        Raises:
            StoreUnavailable
        """

    def migrate(self) -> None:
        """Bring the schema to the newest version. Ours to call only after `take_over`.

        Raises:
            StoreUnavailable, SchemaTooNew, UnknownKeyLabel
        """

    def load(self) -> Loaded:
        """Everything, as one moment saw it.

        Raises:
            StoreUnavailable
        """

    def commit(self, writes: Sequence[Write], told: Sequence[Row] = ()) -> None:
        """Make the writes durable, all or none; of two for the same record the later counts.

        `told` are the rows of history that tell of them: durable together with them, or not at all.

        When the connection breaks during the commit itself, this waits for the database to come back and tell.

        Raises:
            Fenced, CommitFailed, CommitUnknown, Unrecoverable
        """

    def commit_in_loop(
        self,
        loop: asyncio.AbstractEventLoop,
        writes: Sequence[Write],
        told: Sequence[Row],
        done: Callable[[Callable[[], None] | None], None],
    ) -> bool:
        """Begin what `commit` does, in the loop and without waiting. False: nothing was begun, `commit` has to do it.

        `done` is called in the loop: with None when the writes are durable, else with what is left to do, for a
        thread: it does what `commit` would, its errors included, and must be called before anything else is committed.
        """

    def trim_history(self, first_kept: int, at_once: int) -> int:
        """Delete at most `at_once` of the rows of history before row `first_kept`; how many.

        Raises:
            StoreUnavailable, Fenced
        """

    def still_mine(self) -> bool:
        """Whether nobody has taken over since.

        Raises:
            StoreUnavailable
        """

    def reencrypt(self, stopping: Event) -> int:
        """Rewrite what is not encrypted with the active key, and then note its label; the rows rewritten.

        Raises:
            StoreUnavailable, Fenced
        """

    def close(self) -> None:
        """Close the connections."""


from diego.bbs.store.batch import latest  # noqa: E402 - they need the words above
from diego.bbs.store.widths import fits  # noqa: E402 - the same
