"""What the loopback listeners answer: health, metrics, log level (contract/bbs-api.md section 2)."""

from flask import Flask, Response, request
from flask.typing import ResponseReturnValue

from diego.runtime import logs, metrics
from diego.runtime.api import TEXT, Api, Call, Reply

EMPTY = Reply(200, content_type="")


def debug_api(name: str) -> Api:
    """`/ping`, `/metrics` in Prometheus' form, and `/log-level`: read it, or PUT or POST a new one."""
    app = Flask(f"{name} debug")
    api = Api(app)
    log = logs.get_logger(name)

    @api.rpc("/ping", method="GET")
    def ping(_call: Call) -> Reply:
        return EMPTY

    @app.get("/metrics")
    def read_metrics() -> ResponseReturnValue:
        return Response(metrics.render(), content_type=metrics.CONTENT_TYPE)

    @app.get("/log-level")
    def read_level() -> ResponseReturnValue:
        return Response(logs.level().name.lower() + "\n", content_type=TEXT)

    @app.route("/log-level", methods=["PUT", "POST"])
    def change_level() -> ResponseReturnValue:
        try:
            level = logs.set_level(request.get_data(as_text=True))
        except ValueError as error:
            return Response(f"{error}\n", 400, content_type=TEXT)
        log.info("log-level-changed", level=level.name.lower())
        return Response(level.name.lower() + "\n", content_type=TEXT)

    return api


def health_api() -> Api:
    """200 and nothing else, whatever is asked."""
    app = Flask("health")
    app.before_request(_nothing)
    return Api(app)


def _nothing() -> ResponseReturnValue:
    return Response(b"", 200, content_type="")
