"""Event streams (contract/bbs-api.md section 5)."""

from collections.abc import Callable

from diego.bbs.events import Announcer, wants_cell
from diego.bbs.views.routes import Routes, parsed
from diego.models import BbsError
from diego.runtime.api import Answer, Reply, Subscribe
from diego.runtime.hub import Hub
from diego.wire import events_pb2

FAILED = Reply(500, b"", "text/plain; charset=utf-8")
"""For a request that cannot be read, and when there is nothing more to hear."""


def add_to(routes: Routes, announcer: Announcer) -> None:
    routes.add_stream("/v1/events/lrp_instances.r1", "POST", _by_cell(announcer.instances))
    routes.add_stream("/v1/events/lrp_instances", "POST", _by_cell(announcer.old_instances))
    routes.add_stream("/v1/events.r1", "GET", _by_cell(announcer.groups))
    routes.add_stream("/v1/events", "GET", _by_cell(announcer.old_groups))
    routes.add_stream("/v1/events/tasks.r1", "POST", _whole(announcer.tasks))
    routes.add_stream("/v1/events/tasks", "POST", _whole(announcer.old_tasks))


def _by_cell(hub: Hub) -> Callable[[bytes], Answer]:
    """Those of one cell, if the request names one."""

    def subscribe(body: bytes) -> Answer:
        try:
            asked = parsed(events_pb2.EventsByCellId, body)
        except BbsError:
            return FAILED
        return FAILED if hub.closed else Subscribe(hub, wants_cell(asked.cell_id))

    return subscribe


def _whole(hub: Hub) -> Callable[[bytes], Answer]:
    """All of them; the body is never looked at."""
    return lambda _body: FAILED if hub.closed else Subscribe(hub)
