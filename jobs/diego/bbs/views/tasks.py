"""Tasks: lists, and every step of their life."""

from functools import partial

from diego.bbs.service import TaskService
from diego.bbs.views.routes import Routes
from diego.wire import task_requests_pb2 as asked


def add_to(routes: Routes, tasks: TaskService) -> None:
    routes.add("/v1/tasks/list.r3", asked.TasksRequest, tasks.list)
    routes.add("/v1/tasks/list.r2", asked.TasksRequest, partial(tasks.list, layers=False))
    routes.add("/v1/tasks/get_by_task_guid.r3", asked.TaskByGuidRequest, tasks.get)
    routes.add("/v1/tasks/get_by_task_guid.r2", asked.TaskByGuidRequest, partial(tasks.get, layers=False))
    routes.add("/v1/tasks/desire.r2", asked.DesireTaskRequest, tasks.desire)
    routes.add("/v1/tasks/start", asked.StartTaskRequest, tasks.start)
    routes.add_traced(
        "/v1/tasks/cancel",
        asked.TaskGuidRequest,
        lambda message, request_id: tasks.cancel(message, request_id=request_id),
    )
    routes.add("/v1/tasks/fail", asked.FailTaskRequest, tasks.fail)
    routes.add("/v1/tasks/reject", asked.RejectTaskRequest, tasks.reject)
    routes.add("/v1/tasks/complete", asked.CompleteTaskRequest, tasks.complete)
    routes.add("/v1/tasks/resolving", asked.TaskGuidRequest, tasks.resolving)
    routes.add("/v1/tasks/delete", asked.TaskGuidRequest, tasks.delete)
