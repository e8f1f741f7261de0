"""The rep's use-cases: what the auctioneer, the BBS and an operator ask of a cell.

Everything happens in the loop: the executor's containers are the only state.
"""

import asyncio
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from diego.executor.core.errors import ExecutorError
from diego.executor.garden import ConnectionLost, GardenError
from diego.executor.service import Executor, Measured
from diego.rep.core.capacity import (
    INSTANCE_GUID_LENGTH,
    CellFacts,
    Tag,
    can_be_rooted,
    cell_state,
    is_lrp,
    lrp_reservation,
    task_reservation,
    that_fit,
)
from diego.rep.core.work import LrpWork, TaskWork, Work, line
from diego.runtime.logs import get_logger

log = get_logger("rep")


class WrongCell(Exception):
    """The work is for another cell."""


@dataclass(slots=True)
class Service:
    """What can be asked of this cell."""

    facts: CellFacts
    executor: Executor
    stacks: Mapping[str, str]
    evacuating: Callable[[], bool] = lambda: False
    _deleting: set["asyncio.Task[None]"] = field(default_factory=set)

    def state(self) -> tuple[bool, bytes]:
        """Whether the cell is healthy, and its state for the auctioneer."""
        executor = self.executor
        body = cell_state(
            self.facts,
            executor.containers(),
            total=executor.total,
            free=executor.remaining(),
            evacuating=self.evacuating(),
        )
        return executor.healthy, body

    def perform(self, work: Work) -> Work:
        """Reserve room for what fits; the rest is handed back: all of it while the cell is being emptied.

        Raises:
            WrongCell: nothing is done.
        """
        if work.cell_id and work.cell_id != self.facts.cell_id:
            raise WrongCell
        if self.evacuating():
            log.info("work.refused-evacuating", lrps=len(work.lrps), tasks=len(work.tasks))
            return work
        fitting, refused = that_fit(work.lrps, self.executor.remaining().memory_mb)
        refused += [lrp for lrp in fitting if not self._reserve_lrp(lrp)]
        refused_tasks = [task for task in work.tasks if not self._reserve_task(task)]
        if refused or refused_tasks:
            log.info("work.refused", lrps=len(refused), tasks=len(refused_tasks))
        return Work(tuple(refused), tuple(refused_tasks))

    def stop_lrp(self, instance_guid: str) -> None:
        """Signal an instance to stop. Raises ContainerNotFound."""
        self.executor.stop(instance_guid)

    async def update_lrp(
        self, instance_guid: str, routes: tuple[str, ...] | None, tags: Mapping[str, str] | None
    ) -> None:
        """Replace an instance's internal routes and metric tags, where given. Raises ContainerNotFound."""
        await self.executor.update(instance_guid, routes, tags)

    def cancel_task(self, task_guid: str) -> None:
        """End a task's container, in the background; one that is not there is fine."""
        task = asyncio.ensure_future(self._delete(task_guid))
        self._deleting.add(task)
        task.add_done_callback(self._deleting.discard)

    def container_metrics(self) -> bytes:
        """What each measured container used at the last sample (contract/rep.md section 2.1)."""
        measured = self.executor.measured()
        return line(
            {
                "cell_id": self.facts.cell_id,
                "lrps": [_lrp_metrics(one) for one in measured if is_lrp(one.container)],
                "tasks": [
                    {**_metrics(one), "task_guid": one.container.guid}
                    for one in measured
                    if not is_lrp(one.container)
                ],
            }
        )

    def _reserve_lrp(self, lrp: LrpWork) -> bool:
        instance_guid = str(uuid.uuid4())[:INSTANCE_GUID_LENGTH]
        demand, tags = lrp_reservation(lrp, instance_guid)
        if not can_be_rooted(lrp, self.stacks) or not lrp.process_guid:
            return False
        try:
            self.executor.allocate(instance_guid, demand, tags)
        except ExecutorError as error:
            log.info("instance.not-reserved", process_guid=lrp.process_guid, error=str(error))
            return False
        log.info("instance.reserved", process_guid=lrp.process_guid, guid=instance_guid)
        return True

    def _reserve_task(self, task: TaskWork) -> bool:
        demand, tags = task_reservation(task)
        if not can_be_rooted(task, self.stacks):
            return False
        try:
            self.executor.allocate(task.task_guid, demand, tags)
        except ExecutorError as error:
            log.info("task.not-reserved", guid=task.task_guid, error=str(error))
            return False
        log.info("task.reserved", guid=task.task_guid)
        return True

    async def _delete(self, guid: str) -> None:
        try:
            await self.executor.delete(guid)
        except (GardenError, ConnectionLost) as error:
            log.error("task.not-deleted", guid=guid, error=str(error))


def _lrp_metrics(one: Measured) -> dict[str, Any]:
    tags = one.container.tags
    return {
        **_metrics(one),
        "instance_guid": one.container.guid,
        "process_guid": tags[Tag.PROCESS_GUID],
        "index": int(tags[Tag.PROCESS_INDEX]),
    }


def _metrics(one: Measured) -> dict[str, Any]:
    request = one.container.request
    found: dict[str, Any] = {
        "metric_guid": request.metrics.guid if request else "",
        "cpu_usage_fraction": one.usage.cpu_fraction,
        "disk_usage_bytes": one.usage.disk_bytes,
        "disk_quota_bytes": one.disk_quota,
        "memory_usage_bytes": one.usage.memory_bytes,
        "memory_quota_bytes": one.memory_quota,
    }
    if one.usage.rx_bytes is not None:
        found["rx_bytes"] = one.usage.rx_bytes
    if one.usage.tx_bytes is not None:
        found["tx_bytes"] = one.usage.tx_bytes
    return found
