"""What the healthchecker tells: `GET /` the state of the host and its daemons, as JSON."""

from flask import Flask, jsonify
from flask.typing import ResponseReturnValue

from diego.healthchecker.core.watch import host_state
from diego.healthchecker.watcher import Watcher


def add_status(app: Flask, watchers: list[Watcher]) -> None:
    """Add the status to the debug listener."""

    @app.get("/")
    def status() -> ResponseReturnValue:
        watches = [watcher.watch for watcher in watchers]
        return jsonify(
            state=host_state(watches),
            daemons=[
                {
                    "name": watcher.name,
                    "program": watcher.program,
                    "state": "failing" if watch.failing else watch.condition,
                    "healthy": watch.healthy,
                    "failures": watch.failures,
                    "restarts": watch.restarts,
                    "error": watcher.error,
                }
                for watcher, watch in zip(watchers, watches, strict=True)
            ],
        )
