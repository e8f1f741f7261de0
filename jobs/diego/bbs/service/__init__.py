"""The use-cases of the BBS: read what is newest, let the core decide, make it durable, act.

Methods run in the server's loop and give an answer, or one that is to come. What is refused is raised as a
BbsError before anything has happened.
"""

from diego.bbs.service.actual_lrps import ActualLRPService
from diego.bbs.service.context import Context
from diego.bbs.service.desired_lrps import DesiredLRPService
from diego.bbs.service.registry import RegistryService
from diego.bbs.service.tasks import TaskService

__all__ = ["ActualLRPService", "Context", "DesiredLRPService", "RegistryService", "Service", "TaskService"]


class Service:
    """All use-cases, put together."""

    def __init__(self, context: Context, *, max_task_retries: int) -> None:
        self.context = context
        self.registry = RegistryService(context)
        self.actual_lrps = ActualLRPService(context)
        self.desired_lrps = DesiredLRPService(context)
        self.tasks = TaskService(context, max_retries=max_task_retries)
