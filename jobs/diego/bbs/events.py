"""Who is listening to the BBS, and what they hear (contract/bbs-api.md section 5, contract/lifecycle.md section 9).

What a change means for listeners is decided in `core.events`; here it is encoded once per kind of stream, and only
if somebody listens. Called in the server's loop, in the order in which the database accepted the changes.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from diego.bbs.core import events as told
from diego.bbs.core.deprecated import oldest_desired_lrp
from diego.bbs.core.layers import downgrade_task
from diego.bbs.core.lifecycle import Change, Crash, Rows
from diego.models import DesiredLRP, Task
from diego.models.entries import list_entry
from diego.runtime.hub import Hub


class Heard(Protocol):
    """One who is told of changes, in the order in which the database accepts them."""

    def actual(
        self, rows: Rows, changes: Sequence[Change], crash: Crash | None = None, trace_id: str = ""
    ) -> None: ...

    def desired_created(self, lrp: DesiredLRP, trace_id: str) -> None: ...

    def desired_changed(self, before: DesiredLRP, after: DesiredLRP, trace_id: str) -> None: ...

    def desired_removed(self, lrp: DesiredLRP, trace_id: str) -> None: ...

    def task_created(self, task: Task) -> None: ...

    def task_changed(self, before: Task, after: Task) -> None: ...

    def task_removed(self, task: Task) -> None: ...


class Announcer:
    """The streams of one BBS. The `old_` ones have the same events with definitions in their oldest forms."""

    def __init__(self) -> None:
        self.instances, self.old_instances = Hub(), Hub()
        self.groups, self.old_groups = Hub(), Hub()
        self.tasks, self.old_tasks = Hub(), Hub()

    @property
    def hubs(self) -> tuple[Hub, ...]:
        return (
            self.instances,
            self.old_instances,
            self.groups,
            self.old_groups,
            self.tasks,
            self.old_tasks,
        )

    def close(self) -> None:
        """End every stream."""
        for hub in self.hubs:
            hub.close()

    def actual(
        self, rows: Rows, changes: Sequence[Change], crash: Crash | None = None, trace_id: str = ""
    ) -> None:
        """Changes to the records of one key, which before them were `rows`."""
        instances = self.instances.subscribers or self.old_instances.subscribers
        if instances:
            _publish((self.instances, self.old_instances), told.instance_events(changes, crash, trace_id))
        if self.groups.subscribers or self.old_groups.subscribers:
            _publish((self.groups, self.old_groups), told.group_events(rows, changes, crash))

    def desired_created(self, lrp: DesiredLRP, trace_id: str) -> None:
        self._desired(lambda form: told.desired_created(form(lrp), trace_id))

    def desired_changed(self, before: DesiredLRP, after: DesiredLRP, trace_id: str) -> None:
        self._desired(lambda form: told.desired_changed(form(before), form(after), trace_id))

    def desired_removed(self, lrp: DesiredLRP, trace_id: str) -> None:
        self._desired(lambda form: told.desired_removed(form(lrp), trace_id))

    def task_created(self, task: Task) -> None:
        self._task(lambda form: told.task_created(form(task)))

    def task_changed(self, before: Task, after: Task) -> None:
        self._task(lambda form: told.task_changed(form(before), form(after)))

    def task_removed(self, task: Task) -> None:
        self._task(lambda form: told.task_removed(form(task)))

    def _desired(self, event: Callable[[Callable[[DesiredLRP], bytes]], told.Event]) -> None:
        present = (self.instances, self.groups)
        if any(hub.subscribers for hub in present):
            _publish(present, [event(lambda lrp: lrp.frame)])
        old = (self.old_instances, self.old_groups)
        if any(hub.subscribers for hub in old):
            _publish(old, [event(_old_desired)])

    def _task(self, event: Callable[[Callable[[Task], bytes]], told.Event]) -> None:
        if self.tasks.subscribers:
            _publish((self.tasks,), [event(lambda task: task.frame)])
        if self.old_tasks.subscribers:
            _publish((self.old_tasks,), [event(_old_task)])


def wants_cell(cell_id: str) -> Callable[[str | None], bool] | None:
    """The filter of a stream that asked for one cell: events of that cell, and those that concern everybody."""
    if not cell_id:
        return None
    return lambda tag: tag is None or tag == cell_id


def _publish(hubs: Iterable[Hub], events: Iterable[told.Event]) -> None:
    for event in events:
        for hub in hubs:
            hub.publish(event.name, event.data, tag=event.cell_id)


def _old_desired(lrp: DesiredLRP) -> bytes:
    message = lrp.message()
    oldest_desired_lrp(message)
    return list_entry(message.SerializeToString())


def _old_task(task: Task) -> bytes:
    message = task.message()
    downgrade_task(message.task_definition)
    return list_entry(message.SerializeToString())
