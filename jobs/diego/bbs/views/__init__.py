"""The BBS's HTTP API: every path of contract/bbs-api.md section 3, each a direct call and a view of Flask.

A view parses, has one use-case carried out, and answers. What is refused is an error inside the answer.
"""

from flask import Flask

from diego.bbs.events import Announcer
from diego.bbs.history import History
from diego.bbs.service import Service
from diego.bbs.views import actual_lrps, desired_lrps, events, history, registry, tasks
from diego.bbs.views.routes import Gate, Routes
from diego.runtime.api import Api


def bbs_api(service: Service, announcer: Announcer, gate: Gate, kept: History | None = None) -> Api:
    """The whole API; while `gate()` is false every call is answered 503."""
    api = Api(Flask("bbs"))
    routes = Routes(api, gate)
    registry.add_to(routes, service.registry)
    actual_lrps.add_to(routes, service.actual_lrps)
    desired_lrps.add_to(routes, service.desired_lrps)
    tasks.add_to(routes, service.tasks)
    events.add_to(routes, announcer)
    history.add_to(api.app, kept, gate)
    return api
