"""What the active BBS knows: every record, and the ways by which records are found.

Two views of the same records. *Visible* is what the database has accepted: every answer to a reader comes from
it. *Newest* is visible plus what is on its way to the database: every decision is made on it, so that two calls
that arrive together do not both win. When a commit fails, what was on its way is forgotten as a whole.

Everything here belongs to the server's loop.
"""

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from diego.bbs.core.convergence import outdated
from diego.bbs.core.lifecycle import Key, Rows
from diego.bbs.counts import TaskTotals
from diego.models import ActualLRP, ActualLRPState, DesiredLRP, Domain, Presence, Task, TaskState
from diego.models.actual_lrp import Identity

ORDINARY, EVACUATING, SUSPECT = Presence.ORDINARY, Presence.EVACUATING, Presence.SUSPECT
UNCLAIMED, CRASHED = ActualLRPState.UNCLAIMED, ActualLRPState.CRASHED

K = TypeVar("K")
V = TypeVar("V")

Ordered = dict[K, None]
"""A set that is walked in the order in which its members came."""


class Grouped(Generic[K]):
    """Keys by some property that many records share, such as their cell."""

    __slots__ = ("by_group",)

    def __init__(self) -> None:
        self.by_group: dict[str, Ordered[K]] = {}

    def add(self, group: str, key: K) -> None:
        members = self.by_group.get(group)
        if members is None:
            members = self.by_group[group] = {}
        members[key] = None

    def drop(self, group: str, key: K) -> None:
        members = self.by_group.get(group)
        if members is not None:
            members.pop(key, None)
            if not members:
                del self.by_group[group]

    def of(self, group: str) -> Mapping[K, None]:
        return self.by_group.get(group, {})


class Overlay(Generic[K, V]):
    """What is on its way to the database: per key the newest value (None: deleted) and who wrote it."""

    __slots__ = ("by_key",)

    def __init__(self) -> None:
        self.by_key: dict[K, tuple[V | None, int]] = {}

    def put(self, key: K, value: V | None, writer: int) -> None:
        self.by_key[key] = (value, writer)

    def settle(self, key: K, writer: int) -> None:
        """The database has what `writer` wrote; somebody after him may have written again."""
        entry = self.by_key.get(key)
        if entry is not None and entry[1] == writer:
            del self.by_key[key]


class ActualLRPs:
    """The visible records of actual LRPs."""

    def __init__(self) -> None:
        self.by_identity: dict[Identity, ActualLRP] = {}
        self.by_process: dict[str, dict[Identity, ActualLRP]] = {}
        self.by_cell: Grouped[Identity] = Grouped()
        self.by_domain: Grouped[Identity] = Grouped()
        self.unclaimed: Ordered[Identity] = {}
        self.crashed: Ordered[Identity] = {}
        self.evacuating: Ordered[Identity] = {}
        self.suspect: Ordered[Identity] = {}
        self.counts = {(presence, state): 0 for presence in Presence for state in ActualLRPState}

    def get(self, identity: Identity) -> ActualLRP | None:
        return self.by_identity.get(identity)

    def put(self, identity: Identity, row: ActualLRP) -> None:
        before = self.by_identity.get(identity)
        self.by_identity[identity] = row
        if before is None:
            rows = self.by_process.get(row.process_guid)
            if rows is None:
                rows = self.by_process[row.process_guid] = {}
            rows[identity] = row
            self.by_domain.add(row.domain, identity)
            if row.cell_id:
                self.by_cell.add(row.cell_id, identity)
            self._count(row, None)
            self._mark(identity, row, None)
            return
        self.by_process[row.process_guid][identity] = row
        if before.cell_id != row.cell_id:
            self.by_cell.drop(before.cell_id, identity)
            if row.cell_id:
                self.by_cell.add(row.cell_id, identity)
        if before.domain != row.domain:
            self.by_domain.drop(before.domain, identity)
            self.by_domain.add(row.domain, identity)
        if before.state is not row.state:
            self._count(row, before)
            self._mark(identity, row, before)

    def drop(self, identity: Identity) -> None:
        row = self.by_identity.pop(identity, None)
        if row is None:
            return
        rows = self.by_process[identity[0]]
        del rows[identity]
        if not rows:
            del self.by_process[identity[0]]
        self.counts[row.presence, row.state] -= 1
        self.by_cell.drop(row.cell_id, identity)
        self.by_domain.drop(row.domain, identity)
        for marked in (self.unclaimed, self.crashed, self.evacuating, self.suspect):
            marked.pop(identity, None)

    def _count(self, row: ActualLRP, before: ActualLRP | None) -> None:
        self.counts[row.presence, row.state] += 1
        if before is not None:
            self.counts[before.presence, before.state] -= 1

    def _mark(self, identity: Identity, row: ActualLRP, before: ActualLRP | None) -> None:
        if before is not None:
            if before.state is UNCLAIMED:
                del self.unclaimed[identity]
            elif before.state is CRASHED:
                del self.crashed[identity]
        if row.state is UNCLAIMED:
            self.unclaimed[identity] = None
        elif row.state is CRASHED:
            self.crashed[identity] = None
        if row.presence is EVACUATING:
            self.evacuating[identity] = None
        elif row.presence is SUSPECT:
            self.suspect[identity] = None

    def __iter__(self) -> Iterator[ActualLRP]:
        return iter(self.by_identity.values())


class DesiredLRPs:
    """The visible records of desired LRPs."""

    def __init__(self) -> None:
        self.by_guid: dict[str, DesiredLRP] = {}
        self.instances = 0
        """How many instances are wanted in all."""
        self.by_domain: Grouped[str] = Grouped()

    def put(self, lrp: DesiredLRP) -> None:
        guid = lrp.process_guid
        before = self.by_guid.get(guid)
        self.instances += lrp.instances - (0 if before is None else before.instances)
        self.by_guid[guid] = lrp
        if before is None:
            self.by_domain.add(lrp.domain, guid)
        elif before.domain != lrp.domain:
            self.by_domain.drop(before.domain, guid)
            self.by_domain.add(lrp.domain, guid)

    def drop(self, guid: str) -> None:
        lrp = self.by_guid.pop(guid, None)
        if lrp is None:
            return
        self.instances -= lrp.instances
        self.by_domain.drop(lrp.domain, guid)


class Tasks:
    """The visible records of tasks. One whose definition cannot be read is kept, but no list has it."""

    def __init__(self) -> None:
        self.by_guid: dict[str, Task] = {}
        self.by_cell: Grouped[str] = Grouped()
        self.by_domain: Grouped[str] = Grouped()
        self.by_state: dict[TaskState, Ordered[str]] = {state: {} for state in TaskState}
        self.unreadable: Ordered[str] = {}
        self.totals = TaskTotals()

    def put(self, task: Task) -> None:
        guid = task.guid
        before = self.by_guid.get(guid)
        if before is not None:
            if before.state is not task.state:
                self.totals.note(before, task)
            self.drop(guid)
        self.by_guid[guid] = task
        self.by_state[task.state][guid] = None
        if task.definition is None:
            self.unreadable[guid] = None
            return
        self.by_domain.add(task.domain, guid)
        if task.cell_id:
            self.by_cell.add(task.cell_id, guid)

    def numbers(self) -> dict[TaskState, int]:
        """How many tasks are in each state."""
        return {state: len(guids) for state, guids in self.by_state.items()}

    def drop(self, guid: str) -> None:
        task = self.by_guid.pop(guid, None)
        if task is None:
            return
        self.by_state[task.state].pop(guid, None)
        self.unreadable.pop(guid, None)
        self.by_domain.drop(task.domain, guid)
        self.by_cell.drop(task.cell_id, guid)


@dataclass
class Attention:
    """Where the visible records are not as they should be, kept up to date with every change.

    Convergence looks at these instead of at everything: a quarter of a million records in good order cost it
    nothing.
    """

    irregular: Ordered[str] = field(default_factory=dict)
    """Processes whose ORDINARY records are not exactly the wanted indices; also those that nobody wants."""
    outdated: Ordered[Identity] = field(default_factory=dict)
    """Running records whose cell should know of other routes or tags."""


class Memory:
    """Everything, in both views."""

    def __init__(self) -> None:
        self.domains: dict[str, Domain] = {}
        self.desired = DesiredLRPs()
        self.actual = ActualLRPs()
        self.tasks = Tasks()
        self.attention = Attention()
        self._extra: dict[str, int] = {}
        """Processes with ORDINARY records of an index that nobody wants: how many."""
        self._beside: dict[str, int] = {}
        """Processes with records of another presence: how many."""
        self.unreadable_desired: dict[str, str] = {}
        """Desired LRPs of which a part cannot be read: their domain."""
        self._domains_ahead: Overlay[str, Domain] = Overlay()
        self._desired_ahead: Overlay[str, DesiredLRP] = Overlay()
        self._actual_ahead: dict[str, Overlay[Identity, ActualLRP]] = {}
        self._tasks_ahead: Overlay[str, Task] = Overlay()

    # ---- newest

    def newest_domain(self, name: str) -> Domain | None:
        entry = self._domains_ahead.by_key.get(name)
        return self.domains.get(name) if entry is None else entry[0]

    def newest_desired(self, guid: str) -> DesiredLRP | None:
        entry = self._desired_ahead.by_key.get(guid)
        return self.desired.by_guid.get(guid) if entry is None else entry[0]

    def newest_task(self, guid: str) -> Task | None:
        entry = self._tasks_ahead.by_key.get(guid)
        return self.tasks.by_guid.get(guid) if entry is None else entry[0]

    def newest_rows(self, process_guid: str, index: int) -> Rows:
        """The records of one index."""
        visible = self.actual.by_process.get(process_guid)
        ahead = self._actual_ahead.get(process_guid)
        if ahead is None:
            if visible is None:
                return NO_ROWS
            get = visible.get
            return Rows(
                get((process_guid, index, ORDINARY)),
                get((process_guid, index, EVACUATING)),
                get((process_guid, index, SUSPECT)),
            )
        return Rows(*(_newest(visible, ahead, (process_guid, index, presence)) for presence in Presence))

    def newest_rows_of(self, process_guid: str) -> list[ActualLRP]:
        """All records of a process."""
        visible = self.actual.by_process.get(process_guid, {})
        ahead = self._actual_ahead.get(process_guid)
        if ahead is None:
            return list(visible.values())
        rows = dict(visible)
        for identity, (row, _) in ahead.by_key.items():
            if row is None:
                rows.pop(identity, None)
            else:
                rows[identity] = row
        return list(rows.values())

    def newest_tasks(self, guids: Iterable[str]) -> Iterator[Task]:
        for guid in guids:
            task = self.newest_task(guid)
            if task is not None:
                yield task

    # ---- on the way to the database

    def domain_ahead(self, name: str, value: Domain | None, writer: int) -> None:
        self._domains_ahead.put(name, value, writer)

    def desired_ahead(self, guid: str, value: DesiredLRP | None, writer: int) -> None:
        self._desired_ahead.put(guid, value, writer)

    def task_ahead(self, guid: str, value: Task | None, writer: int) -> None:
        self._tasks_ahead.put(guid, value, writer)

    def actual_ahead(self, identity: Identity, value: ActualLRP | None, writer: int) -> None:
        ahead = self._actual_ahead.get(identity[0])
        if ahead is None:
            ahead = self._actual_ahead[identity[0]] = Overlay()
        ahead.put(identity, value, writer)

    def forget_ahead(self) -> None:
        """Nothing of what was on its way will arrive."""
        self._domains_ahead = Overlay()
        self._desired_ahead = Overlay()
        self._actual_ahead = {}
        self._tasks_ahead = Overlay()

    # ---- accepted by the database

    def put_domain(self, name: str, value: Domain | None, writer: int = 0) -> None:
        self._domains_ahead.settle(name, writer)
        if value is None:
            self.domains.pop(name, None)
        else:
            self.domains[name] = value

    def put_desired(self, guid: str, value: DesiredLRP | None, writer: int = 0) -> None:
        self._desired_ahead.settle(guid, writer)
        if value is None:
            self.desired.drop(guid)
            self.unreadable_desired.pop(guid, None)
        else:
            self.desired.put(value)
        self._regard_wanted(guid)

    def put_task(self, guid: str, value: Task | None, writer: int = 0) -> None:
        self._tasks_ahead.settle(guid, writer)
        if value is None:
            self.tasks.drop(guid)
        else:
            self.tasks.put(value)

    def put_actual(self, identity: Identity, value: ActualLRP | None, writer: int = 0) -> None:
        guid = identity[0]
        ahead = self._actual_ahead.get(guid)
        if ahead is not None:
            ahead.settle(identity, writer)
            if not ahead.by_key:
                del self._actual_ahead[guid]
        lrp = self.desired.by_guid.get(guid)
        came = (value is not None) - (identity in self.actual.by_identity)
        if value is None:
            self.actual.drop(identity)
        else:
            self.actual.put(identity, value)
        if came:
            wanted = 0 if lrp is None else lrp.instances
            if identity[2] is not ORDINARY:
                _add(self._beside, guid, came)
            elif identity[1] >= wanted:
                _add(self._extra, guid, came)
            self._regard_process(guid, wanted)
        self._regard_row(identity, value, lrp)

    # ---- what needs attention

    def _regard_wanted(self, guid: str) -> None:
        """What is wanted of a process has changed."""
        lrp = self.desired.by_guid.get(guid)
        wanted = 0 if lrp is None else lrp.instances
        rows = self.actual.by_process.get(guid, {})
        extra = sum(identity[2] is ORDINARY and identity[1] >= wanted for identity in rows)
        _add(self._extra, guid, extra - self._extra.get(guid, 0))
        self._regard_process(guid, wanted)
        for identity, row in rows.items():
            self._regard_row(identity, row, lrp)

    def _regard_process(self, guid: str, wanted: int) -> None:
        ordinary = len(self.actual.by_process.get(guid, ())) - self._beside.get(guid, 0)
        _set(self.attention.irregular, guid, member=ordinary != wanted or guid in self._extra)

    def _regard_row(self, identity: Identity, row: ActualLRP | None, lrp: DesiredLRP | None) -> None:
        differs = row is not None and lrp is not None and outdated(row, lrp) is not None
        _set(self.attention.outdated, identity, member=differs)

    def indices_to_converge(self, cells: Iterable[str]) -> list[Key]:
        """Every index about which convergence may have something to say, given the cells that are there."""
        keys: Ordered[tuple[str, int]] = {}
        actual = self.actual
        for marked in (
            actual.evacuating,
            actual.suspect,
            actual.unclaimed,
            actual.crashed,
            self.attention.outdated,
        ):
            keys.update(dict.fromkeys((guid, index) for guid, index, _ in marked))
        for cell in actual.by_cell.by_group.keys() - set(cells):
            keys.update(dict.fromkeys((guid, index) for guid, index, _ in actual.by_cell.of(cell)))
        for guid in self.attention.irregular:
            lrp = self.desired.by_guid.get(guid)
            wanted = 0 if lrp is None else lrp.instances
            keys.update(dict.fromkeys((guid, index) for index in range(wanted)))
            keys.update(dict.fromkeys((guid, identity[1]) for identity in actual.by_process.get(guid, {})))
        return [Key(guid, index, self._domain_of(guid)) for guid, index in keys]

    def indices_of_cells(self, cells: Iterable[str]) -> list[Key]:
        """The indices whose instances stand or fall with a cell: those of absent cells, and the doubtful ones."""
        keys: Ordered[tuple[str, int]] = {}
        actual = self.actual
        for cell in actual.by_cell.by_group.keys() - set(cells):
            keys.update(dict.fromkeys((guid, index) for guid, index, _ in actual.by_cell.of(cell)))
        keys.update(dict.fromkeys((guid, index) for guid, index, _ in actual.suspect))
        return [Key(guid, index, self._domain_of(guid)) for guid, index in keys]

    def tasks_of_lost_cells(self, cells: Set[str]) -> list[str]:
        """The running tasks of cells that are not there."""
        running = self.tasks.by_state[TaskState.RUNNING]
        by_cell = self.tasks.by_cell
        lost = by_cell.by_group.keys() - cells
        return [guid for cell in lost for guid in by_cell.of(cell) if guid in running]

    def _domain_of(self, guid: str) -> str:
        lrp = self.desired.by_guid.get(guid)
        if lrp is not None:
            return lrp.domain
        rows = self.actual.by_process.get(guid)
        return next(iter(rows.values())).domain if rows else ""


NO_ROWS = Rows()


def _newest(
    visible: Mapping[Identity, ActualLRP] | None, ahead: Overlay[Identity, ActualLRP], identity: Identity
) -> ActualLRP | None:
    entry = ahead.by_key.get(identity)
    if entry is not None:
        return entry[0]
    return None if visible is None else visible.get(identity)


def _set(marked: "Ordered[K]", key: K, *, member: bool) -> None:
    if member:
        marked[key] = None
    else:
        marked.pop(key, None)


def _add(counts: dict[str, int], key: str, number: int) -> None:
    """Add to a count that is kept only where it is not zero."""
    total = counts.get(key, 0) + number
    if total:
        counts[key] = total
    else:
        counts.pop(key, None)
