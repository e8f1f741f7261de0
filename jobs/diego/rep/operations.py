"""Brings containers and the BBS's records together, by the rules of `core.reconcile`."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from diego.bbs.client import BbsClient, EvacuationRefused, Unreachable
from diego.executor.core.containers import Container, Outcome, State
from diego.executor.core.errors import ExecutorError
from diego.executor.garden import ConnectionLost, GardenError
from diego.executor.service import Executor, FileTooLarge, NoSuchFile
from diego.models.errors import BbsError, ErrorType
from diego.rep.core.capacity import Tag, is_lrp
from diego.rep.core.conversion import (
    CannotConvert,
    NotSupported,
    RootfsUnknown,
    lrp_request,
    task_request,
)
from diego.rep.core.evacuation import (
    EvacuationCall,
    evacuation_call,
    has_routes,
    requesting_replacement,
)
from diego.rep.core.operations import OperationQueue
from diego.rep.core.reconcile import (
    NO_TASK_CONTAINER,
    ContainerOperation,
    LrpCall,
    MissingLrpOperation,
    MissingTaskOperation,
    Operation,
    TaskCall,
    bulk_operations,
    loses_claim,
    loses_start,
    loses_task,
    lrp_call,
    must_run,
    task_call,
)
from diego.runtime import metrics
from diego.runtime.logs import get_logger
from diego.wire.actual_lrp_pb2 import (
    ActualLRP,
    ActualLRPInstanceKey,
    ActualLRPInternalRoute,
    ActualLRPKey,
    ActualLRPNetInfo,
    PortMapping,
)
from diego.wire.actual_lrp_requests_pb2 import StartActualLRPRequest
from diego.wire.evacuation_pb2 import EvacuateRunningActualLRPRequest

CALLS_AT_A_TIME = 32
RETRY_PAUSE = 1.0
"""Seconds until an operation is tried again that found no BBS: long before the next bulk sync."""
ROUTES_GO_FIRST = 2.0
"""Seconds from the BBS's word that an instance was replaced, which ends its routes, until the instance is stopped."""
RESULT_LIMIT = 51_200
"""Bytes of a task's result file."""
FAILED_TO_RUN = "failed to run container"
FAILED_TO_FETCH_RESULT = "failed to fetch result"
INVALID_TRANSITION = "invalid state transition"

log = get_logger("rep")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Identity:
    """What every call says of this cell."""

    cell_id: str
    zone: str
    prefers_instance_address: bool


@dataclass(slots=True)
class Operations:
    """Runs the operations of all keys, side by side, one at a time for each.

    `evacuating` says whether the cell is being emptied; `evacuees` are the running instances that asked for a
    replacement, each with what the BBS last said.
    """

    bbs: BbsClient
    executor: Executor
    identity: Identity
    stacks: dict[str, str]
    evacuating: Callable[[], bool] = lambda: False
    evacuees: dict[str, str] = field(default_factory=dict)
    _queue: OperationQueue[Operation] = field(default_factory=OperationQueue)
    _running: set["asyncio.Task[None]"] = field(default_factory=set)
    _threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(CALLS_AT_A_TIME, thread_name_prefix="bbs-call")
    )

    def push(self, operation: Operation) -> None:
        """Have it done as soon as its key is free. In the loop."""
        begin = self._queue.push(operation.guid, operation)
        if begin is not None:
            self._begin(begin)

    async def sync(self) -> None:
        """Compare everything here with everything the BBS has of this cell.

        A failure to list is told in the log and skips the round.
        """
        begun = time.monotonic()
        cell = self.identity.cell_id
        try:
            lrps, tasks = await asyncio.gather(
                self._call(lambda: self.bbs.actual_lrps(cell_id=cell)),
                self._call(lambda: self.bbs.tasks(cell_id=cell)),
            )
        except BbsError as error:
            log.error("bulk-sync.failed", error=str(error))
            return
        guids = [container.guid for container in self.executor.containers()]
        for operation in bulk_operations(guids, lrps, tasks):
            self.push(operation)
        _SYNC_DURATION.set(time.monotonic() - begun)

    async def settled(self) -> None:
        """Wait until nothing is under way."""
        while self._running:
            await asyncio.wait(self._running)

    async def stranded(self) -> int:
        """How many records of this cell are evacuating. Raises BbsError."""
        cell = self.identity.cell_id
        lrps = await self._call(lambda: self.bbs.actual_lrps(cell_id=cell))
        return sum(lrp.presence == ActualLRP.EVACUATING for lrp in lrps)

    def _begin(self, operation: Operation) -> None:
        task = asyncio.ensure_future(self._guarded(operation))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _guarded(self, operation: Operation) -> None:
        try:
            await self._perform(operation)
        except Unreachable as error:
            log.info("operation.bbs-unreachable", guid=operation.guid, error=str(error))
            asyncio.get_running_loop().call_later(RETRY_PAUSE, self.push, operation)
        except (BbsError, ExecutorError, GardenError, ConnectionLost, OSError) as error:
            log.error("operation.failed", guid=operation.guid, error=str(error))
        except Exception:
            log.exception("operation.broken", guid=operation.guid)
        following = self._queue.finished(operation.guid)
        if following is not None:
            self._begin(following)

    async def _perform(self, operation: Operation) -> None:
        container = self.executor.get(operation.guid)
        match operation:
            case ContainerOperation():
                if container is None:
                    return
                await (self._lrp(container) if is_lrp(container) else self._task(container))
            case MissingLrpOperation():
                if container is None:
                    await self._remove_missing(operation)
            case MissingTaskOperation():
                if container is None:
                    await self._complete_missing(operation.guid)

    # LRPs

    async def _lrp(self, container: Container) -> None:
        if self.evacuating():
            await self._evacuate(container)
            return
        match lrp_call(container):
            case LrpCall.CLAIM:
                await self._claim(container)
            case LrpCall.START:
                await self._start(container)
            case LrpCall.REMOVE:
                await self._ended(container, lambda: self._remove_record(container))
            case LrpCall.CRASH:
                await self._ended(container, lambda: self._crash_record(container))

    async def _claim(self, container: Container) -> None:
        key, instance = self._keys(container)
        try:
            await self._call(lambda: self.bbs.claim_actual_lrp(key.process_guid, key.index, instance))
        except BbsError as error:
            if not loses_claim(error.type):
                raise
            log.info("instance.not-ours", guid=container.guid, error=str(error))
            await self.executor.delete(container.guid)
            return
        if container.state is State.RESERVED:
            await self._run_lrp(container, key)

    async def _run_lrp(self, container: Container, key: ActualLRPKey) -> None:
        desired = await self._call(lambda: self.bbs.desired_lrp(key.process_guid))
        try:
            request = lrp_request(desired, container.guid, key.index, self.stacks)
        except NotSupported as error:
            self.executor.fail(container.guid, str(error))
            return
        except (RootfsUnknown, CannotConvert) as error:
            log.error("instance.not-converted", guid=container.guid, error=str(error))
            return
        try:
            self.executor.run(request)
        except ExecutorError as error:
            log.error("instance.not-run", guid=container.guid, error=str(error))
            await self.executor.delete(container.guid)
            await self._remove_record(container)

    async def _start(self, container: Container) -> None:
        request = self._start_request(container)
        try:
            await self._call(lambda: self.bbs.start_actual_lrp(request))
        except BbsError as error:
            if not loses_start(error.type):
                raise
            log.info("instance.not-wanted", guid=container.guid, error=str(error))
            self.executor.stop(container.guid)

    async def _ended(self, container: Container, tell: Callable[[], Any]) -> None:
        """Tell the BBS, whatever it thinks of it, and free the room."""
        try:
            await tell()
        except Unreachable:
            raise  # it was not told: the container waits
        except BbsError as error:
            log.info("instance.end-refused", guid=container.guid, error=str(error))
        await self.executor.delete(container.guid)

    async def _remove_record(self, container: Container) -> None:
        key, instance = self._keys(container)
        await self._call(lambda: self.bbs.remove_actual_lrp(key.process_guid, key.index, instance))

    async def _crash_record(self, container: Container) -> None:
        key, instance = self._keys(container)
        reason = container.outcome.reason if container.outcome else ""
        await self._call(lambda: self.bbs.crash_actual_lrp(key, instance, reason))

    async def _remove_missing(self, operation: MissingLrpOperation) -> None:
        key = ActualLRPKey(
            process_guid=operation.process_guid, index=operation.index, domain=operation.domain
        )
        instance = ActualLRPInstanceKey(instance_guid=operation.guid, cell_id=operation.cell_id)
        log.info("instance.without-container", guid=operation.guid, process_guid=key.process_guid)
        if operation.remove:
            await self._removed(lambda: self.bbs.remove_actual_lrp(key.process_guid, key.index, instance))
        if operation.remove_evacuating:
            await self._removed(lambda: self.bbs.remove_evacuating_actual_lrp(key, instance))

    async def _removed(self, remove: Callable[[], None]) -> None:
        """Have a record removed; that the BBS refuses is its affair, and no reason to leave the other one."""
        try:
            await self._call(remove)
        except Unreachable:
            raise
        except BbsError as error:
            log.info("record.not-removed", error=str(error))

    # LRPs of a cell that is being emptied

    async def _evacuate(self, container: Container) -> None:
        key, instance = self._keys(container)
        reason = container.outcome.reason if container.outcome else ""
        bbs = self.bbs

        async def tell(call: Callable[[], bool]) -> None:
            await self._ended(container, lambda: self._call(call))

        match evacuation_call(container):
            case EvacuationCall.CLAIMED:
                await tell(lambda: bbs.evacuate_claimed_actual_lrp(key, instance))
            case EvacuationCall.STOPPED:
                await tell(lambda: bbs.evacuate_stopped_actual_lrp(key, instance))
            case EvacuationCall.CRASHED:
                await tell(lambda: bbs.evacuate_crashed_actual_lrp(key, instance, reason))
            case EvacuationCall.RUNNING:
                if await self._is_kept(container):
                    return
                log.info("instance.evacuated", guid=container.guid)
                if has_routes(container):
                    await asyncio.sleep(ROUTES_GO_FIRST)
                await self.executor.delete(container.guid)
        self.evacuees.pop(container.guid, None)

    async def _is_kept(self, container: Container) -> bool:
        """Whether a running instance goes on, because its replacement does not run yet or nobody could say."""
        guid = container.guid
        if guid not in self.evacuees:
            self.executor.say(guid, requesting_replacement(self.identity.cell_id, guid))
            self.evacuees[guid] = ""
        start = self._start_request(container)
        request = EvacuateRunningActualLRPRequest(
            actual_lrp_key=start.actual_lrp_key,
            actual_lrp_instance_key=start.actual_lrp_instance_key,
            actual_lrp_net_info=start.actual_lrp_net_info,
            actual_lrp_internal_routes=start.actual_lrp_internal_routes,
            metric_tags=start.metric_tags,
            Routable=start.Routable,
            availability_zone=start.availability_zone,
        )
        try:
            kept = await self._call(lambda: self.bbs.evacuate_running_actual_lrp(request))
        except EvacuationRefused as error:
            log.info("instance.evacuation-refused", guid=guid, error=str(error), kept=error.keep_container)
            self.evacuees[guid] = str(error)
            return error.keep_container
        except BbsError as error:
            self.evacuees[guid] = str(error)
            raise
        self.evacuees[guid] = ""
        return kept

    def _keys(self, container: Container) -> tuple[ActualLRPKey, ActualLRPInstanceKey]:
        tags = container.tags
        key = ActualLRPKey(
            process_guid=tags[Tag.PROCESS_GUID],
            index=int(tags[Tag.PROCESS_INDEX]),
            domain=tags[Tag.DOMAIN],
        )
        instance = ActualLRPInstanceKey(instance_guid=container.guid, cell_id=self.identity.cell_id)
        return key, instance

    def _start_request(self, container: Container) -> StartActualLRPRequest:
        key, instance = self._keys(container)
        net = ActualLRPNetInfo(
            preferred_address=ActualLRPNetInfo.INSTANCE
            if self.identity.prefers_instance_address
            else ActualLRPNetInfo.HOST
        )
        addresses = container.addresses
        if addresses is not None:
            net.address = addresses.external_ip
            net.instance_address = addresses.internal_ip
            net.instance_ipv6_address = addresses.internal_ipv6
            net.ports.extend(
                PortMapping(container_port=port.container_port, host_port=port.host_port)
                for port in addresses.ports
            )
        return StartActualLRPRequest(
            actual_lrp_key=key,
            actual_lrp_instance_key=instance,
            actual_lrp_net_info=net,
            actual_lrp_internal_routes=[
                ActualLRPInternalRoute(hostname=name) for name in container.internal_routes
            ],
            metric_tags=dict(container.metric_tags),
            Routable=container.routable,
            availability_zone=self.identity.zone,
        )

    # Tasks

    async def _task(self, container: Container) -> None:
        match task_call(container):
            case TaskCall.START:
                await self._start_task(container)
            case TaskCall.REJECT:
                reason = container.outcome.reason if container.outcome else ""
                await self._ended(
                    container,
                    lambda: self._call(lambda: self.bbs.reject_task(container.guid, reason)),
                )
            case TaskCall.COMPLETE:
                await self._ended(container, lambda: self._complete_task(container))

    async def _start_task(self, container: Container) -> None:
        guid, cell = container.guid, self.identity.cell_id
        try:
            should_run = await self._call(lambda: self.bbs.start_task(guid, cell))
        except BbsError as error:
            if not loses_task(error.type):
                raise
            log.info("task.not-ours", guid=guid, error=str(error))
            await self.executor.delete(guid)
            return
        if container.state is not State.RESERVED:
            return  # it runs already, whatever the BBS had to be told
        task = await self._call(lambda: self.bbs.task(guid))
        if not should_run and not must_run(task, cell, container):
            return
        try:
            self.executor.run(task_request(task, self.stacks))
        except NotSupported as error:
            self.executor.fail(guid, str(error))
        except (RootfsUnknown, CannotConvert, ExecutorError) as error:
            log.error("task.not-run", guid=guid, error=str(error))
            self.executor.fail(guid, FAILED_TO_RUN)

    async def _complete_task(self, container: Container) -> None:
        outcome = container.outcome or Outcome(failed=False)
        failed, reason, result = outcome.failed, outcome.reason, ""
        result_file = container.request.result_file if container.request else ""
        if result_file:
            try:
                content = await self.executor.read_file(container.guid, result_file, RESULT_LIMIT)
                result = content.decode(errors="replace")
            except (NoSuchFile, FileTooLarge, GardenError, ConnectionLost) as error:
                log.error("task.result-not-read", guid=container.guid, error=str(error))
                if not failed:
                    failed, reason = True, FAILED_TO_FETCH_RESULT
        try:
            await self._complete(container.guid, failed=failed, reason=reason, result=result)
        except BbsError as error:
            if error.type is not ErrorType.INVALID_STATE_TRANSITION:
                raise
            await self._complete(container.guid, failed=True, reason=INVALID_TRANSITION, result="")

    async def _complete_missing(self, guid: str) -> None:
        log.info("task.without-container", guid=guid)
        await self._complete(guid, failed=True, reason=NO_TASK_CONTAINER, result=NO_TASK_CONTAINER)

    async def _complete(self, guid: str, *, failed: bool, reason: str, result: str) -> None:
        cell = self.identity.cell_id
        await self._call(
            lambda: self.bbs.complete_task(guid, cell, failed=failed, failure_reason=reason, result=result)
        )

    async def _call(self, call: Callable[[], T]) -> T:
        """A call of the BBS, which blocks, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


_SYNC_DURATION = metrics.gauge(
    metrics.name_of("RepBulkSyncDuration", unit=metrics.Unit.NANOS), "how long the last bulk sync took"
)
