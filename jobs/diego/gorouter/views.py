"""The loopback listeners: status, and the routes as they stand."""

import time

import orjson
from flask import Flask, Response
from flask.typing import ResponseReturnValue

from diego.gorouter.core.documents import listing
from diego.gorouter.core.table import Table
from diego.gorouter.plane import Plane
from diego.runtime.api import Api, Call, Reply
from diego.runtime.debug import debug_api

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


def status_api(plane: Plane) -> Api:
    """`/health` and the original's `is-process-alive` probe, with metrics and log level beside them."""
    api = debug_api("gorouter")

    @api.app.get("/health")
    def health() -> ResponseReturnValue:
        """Whether this router has its routes: deploys wait for that."""
        return said(200, "ok") if plane.filled else said(503, "no routes yet")

    @api.app.get("/is-process-alive-do-not-use-for-loadbalancing")
    def alive() -> ResponseReturnValue:
        return said(200, "ok")

    def said(status: int, word: str) -> Response:
        headers = {"Cache-Control": "private, max-age=0", "Expires": "0"}
        return Response(f"{word}\n", status, headers, content_type=TEXT)

    return api


def routes_api(table: Table) -> Api:
    """`/routes`: every route with its endpoints (contract/routing.md section 12)."""
    api = Api(Flask("gorouter routes"))

    @api.rpc("/routes", method="GET")
    def routes(_call: Call) -> Reply:
        return Reply(200, orjson.dumps(listing(table.pools, time.monotonic())) + b"\n", JSON)

    return api
