"""What happened, and what was: routes of ours, in JSON, answered in the pool of threads."""

import time
from collections.abc import Callable

import orjson
from flask import Flask, Response, request
from flask.typing import ResponseReturnValue

from diego.bbs.core.history import Json
from diego.bbs.core.history_questions import BadQuestion, moment, page
from diego.bbs.history import History
from diego.bbs.store import StoreError
from diego.bbs.views.routes import Gate

OFF = "history: it is turned off by history_max_age or history_max_rows"
TEXT = "text/plain; charset=utf-8"


def add_to(app: Flask, history: History | None, gate: Gate) -> None:
    @app.get("/v1/history")
    def events() -> ResponseReturnValue:
        """What happened to a process, a task, an instance, or all of them."""
        return answered(lambda kept: kept.page(page(request.args)))

    @app.get("/v1/actual_lrps_at")
    def actual_lrps_at() -> ResponseReturnValue:
        """The actual LRPs of an earlier moment."""
        return answered(lambda kept: kept.actual_lrps_at(moment(request.args, time.time_ns())))

    def answered(ask: Callable[[History], Json]) -> Response:
        if not gate():
            return _text(503, "this BBS is not active", {"Retry-After": "1"})
        if history is None:
            return _text(400, OFF)
        try:
            return Response(orjson.dumps(ask(history)), content_type="application/json")
        except BadQuestion as error:
            return _text(400, str(error))
        except StoreError as error:
            return _text(503, f"the history cannot be read: {error.text}", {"Retry-After": "1"})


def _text(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return Response(text, status, headers, content_type=TEXT)
