"""Use-cases of tasks: from the wish to the result, and telling it to whoever waits."""

from collections.abc import Callable, Iterable
from operator import attrgetter

from diego.bbs.commits import Transaction
from diego.bbs.core import tasks, validation
from diego.bbs.core.layers import downgrade_task
from diego.bbs.outside import CallFailed
from diego.bbs.service.context import Context, log
from diego.bbs.wire_answers import start_task_answer
from diego.models import BbsError, ErrorType, Task, TaskState
from diego.models.entries import list_entry
from diego.runtime.api import Answer
from diego.runtime.logs import trace
from diego.wire import task_requests_pb2


class TaskService:
    """What runs once."""

    def __init__(self, context: Context, *, max_retries: int) -> None:
        self._context = context
        self._memory = context.memory
        self._max_retries = max_retries

    # ---- who asks

    def list(self, asked: task_requests_pb2.TasksRequest, *, layers: bool = True) -> Answer:
        """The tasks that fit the filters. Without `layers` in the form for clients that do not know them."""
        table = self._memory.tasks
        if any(_fits(table.by_guid[guid], asked.domain, asked.cell_id) for guid in table.unreadable):
            raise BbsError(ErrorType.DESERIALIZE)
        guids: Iterable[str] = table.by_guid
        if asked.cell_id:
            guids = table.by_cell.of(asked.cell_id)
        elif asked.domain:
            guids = table.by_domain.of(asked.domain)
        tasks = (table.by_guid[guid] for guid in guids if guid not in table.unreadable)
        fitting = [task for task in tasks if _fits(task, asked.domain, asked.cell_id)]
        return self._context.listed(fitting, attrgetter("frame") if layers else _downgraded)

    def get(self, asked: task_requests_pb2.TaskByGuidRequest, *, layers: bool = True) -> bytes:
        validation.refuse([] if asked.task_guid else [validation.field("task_guid")])
        table = self._memory.tasks
        task = table.by_guid.get(asked.task_guid)
        if task is None:
            raise BbsError.not_found()
        if task.definition is None:
            raise BbsError(ErrorType.DESERIALIZE)
        return task.frame if layers else _downgraded(task)

    # ---- who wants, and who runs

    def desire(self, asked: task_requests_pb2.DesireTaskRequest) -> Answer:
        """Something shall run once: remember it, and have a cell found for it."""
        definition = asked.task_definition if asked.HasField("task_definition") else None
        validation.refuse(validation.task(asked.task_guid, asked.domain, definition))
        if self._memory.newest_task(asked.task_guid) is not None:
            raise BbsError.exists()
        asked.task_definition.DiscardUnknownFields()
        task = tasks.desire(
            asked.task_guid,
            asked.domain,
            asked.task_definition.SerializeToString(deterministic=True),
            now=self._context.now(),
        )
        transaction = self._context.committer.begin()
        transaction.task(task.guid, task)
        transaction.tell(lambda announcer: announcer.task_created(task))
        transaction.then.append(lambda: self._context.auctioneer.start_tasks([task]))
        return transaction.commit()

    def start(self, asked: task_requests_pb2.StartTaskRequest) -> Answer:
        self._refuse_invalid(asked.task_guid, cell_id=asked.cell_id)
        task = self._newest(asked.task_guid)
        after = tasks.start(task, asked.cell_id, now=self._context.now())
        if after is task:
            return start_task_answer(should_start=False)
        return self._change(task, after, start_task_answer(should_start=True))

    def cancel(self, asked: task_requests_pb2.TaskGuidRequest, *, request_id: str) -> Answer:
        """Somebody no longer wants it; a cell that runs it is told, and it counts as failed at once."""
        self._refuse_no_guid(asked.task_guid)
        task = self._newest(asked.task_guid)
        after = tasks.cancel(task, now=self._context.now())
        return self._complete(task, after, lambda: self._cancel_on_cell(task, request_id))

    def fail(self, asked: task_requests_pb2.FailTaskRequest) -> Answer:
        self._refuse_invalid(asked.task_guid, failure_reason=asked.failure_reason)
        task = self._newest(asked.task_guid)
        return self._complete(task, tasks.fail(task, asked.failure_reason, now=self._context.now()))

    def reject(self, asked: task_requests_pb2.RejectTaskRequest) -> Answer:
        self._refuse_invalid(asked.task_guid, failure_reason=asked.rejection_reason)
        task = self._newest(asked.task_guid)
        before, after = tasks.reject(
            task, asked.rejection_reason, max_retries=self._max_retries, now=self._context.now()
        )
        if after.state is TaskState.COMPLETED:
            return self._complete(before, after)
        return self._change(before, after)

    def complete(self, asked: task_requests_pb2.CompleteTaskRequest) -> Answer:
        self._refuse_invalid(asked.task_guid, cell_id=asked.cell_id)
        task = self._newest(asked.task_guid)
        after = tasks.complete(
            task,
            asked.cell_id,
            failed=asked.failed,
            failure_reason=asked.failure_reason,
            result=asked.result,
            now=self._context.now(),
        )
        return self._complete(task, after)

    def resolving(self, asked: task_requests_pb2.TaskGuidRequest) -> Answer:
        self._refuse_no_guid(asked.task_guid)
        task = self._newest(asked.task_guid)
        return self._change(task, tasks.resolving(task, now=self._context.now()))

    def delete(self, asked: task_requests_pb2.TaskGuidRequest) -> Answer:
        self._refuse_no_guid(asked.task_guid)
        task = self._newest(asked.task_guid)
        tasks.delete(task)
        return self.forget(task)

    def forget(self, task: Task) -> Answer:
        """Delete the record."""
        transaction = self._context.committer.begin()
        transaction.task(task.guid, None)
        transaction.tell(lambda announcer: announcer.task_removed(task))
        return transaction.commit()

    # ---- telling the result

    def tell_result(self, guid: str) -> None:
        """Tell whoever waits for a completed task how it ended, and then delete it."""
        task = self._memory.newest_task(guid)
        if task is None or task.state is not TaskState.COMPLETED:
            return
        url = task.parsed_definition().completion_callback_url
        if not url:
            return
        taken = tasks.resolving(task, now=self._context.now())
        transaction = self._changing(task, taken)
        transaction.then.append(lambda: self._call_back(taken, url))
        transaction.commit()

    def _call_back(self, task: Task, url: str) -> None:
        def call() -> None:
            if self._context.callbacks.tell(task, url):
                self._context.in_loop(lambda: self._told(task))

        self._context.outside.do(call)

    def _told(self, task: Task) -> None:
        now = self._memory.newest_task(task.guid)
        if now is not None and now.state is TaskState.RESOLVING and now.created_at == task.created_at:
            self.forget(now)

    def _cancel_on_cell(self, task: Task, request_id: str) -> None:
        if not task.cell_id:
            return

        def cancel() -> None:
            try:
                cell = self._context.cells.find(task.cell_id)
                if cell is not None:
                    self._context.reps.cancel_task(cell, task.guid, request_id)
            except (BbsError, CallFailed) as error:
                log.error(
                    "cancel-failed",
                    task=task.guid,
                    cell=task.cell_id,
                    error=str(error),
                    **trace(request_id),
                )

        self._context.outside.do(cancel)

    # ---- shared

    def _complete(self, before: Task, after: Task, act: Callable[[], None] | None = None) -> Answer:
        transaction = self._changing(before, after)
        if act is not None:
            transaction.then.append(act)
        transaction.then.append(lambda: self.tell_result(after.guid))
        return transaction.commit()

    def _change(self, before: Task, after: Task, answer: bytes = b"") -> Answer:
        return self._changing(before, after).commit(answer)

    def _changing(self, before: Task, after: Task) -> Transaction:
        transaction = self._context.committer.begin()
        transaction.task(after.guid, after)
        transaction.tell(lambda announcer: announcer.task_changed(before, after))
        return transaction

    def _newest(self, guid: str) -> Task:
        task = self._memory.newest_task(guid)
        if task is None:
            raise BbsError.not_found()
        if task.definition is None:
            raise BbsError(ErrorType.DESERIALIZE)
        return task

    def _refuse_no_guid(self, guid: str) -> None:
        if not guid:
            raise BbsError.invalid_request(validation.field("task_guid"))

    def _refuse_invalid(self, guid: str, **needed: str) -> None:
        findings = validation.guid("task_guid", guid)
        validation.refuse(findings + [validation.field(name) for name, value in needed.items() if not value])


def _fits(task: Task, domain: str, cell_id: str) -> bool:
    return (not domain or task.domain == domain) and (not cell_id or task.cell_id == cell_id)


def _downgraded(task: Task) -> bytes:
    message = task.message()
    downgrade_task(message.task_definition)
    return list_entry(message.SerializeToString())
