"""The auctioneer's API (contract/auction.md section 2)."""

import time
from collections.abc import Callable
from dataclasses import asdict

import orjson
from flask import Flask

from diego.auctioneer.core.explanations import Explanation
from diego.auctioneer.core.requests import Asked, Undecodable, decode_lrps, decode_tasks
from diego.auctioneer.measures import Measures
from diego.auctioneer.runner import QueueFull, Runner
from diego.runtime.api import Answer, Api, Call, Reply
from diego.runtime.exchange import Exchange
from diego.runtime.logs import get_logger, trace

JSON = "application/json"
QUEUED = Reply(202, b"{}", JSON)

log = get_logger("auctioneer")


def auction_api(runner: Runner, measures: Measures) -> Api:
    """`/v1/lrps` and `/v1/tasks`: 202 means queued, nothing more. Ours: `/v1/explanations/GUID`."""
    api = Api(Flask("auctioneer"))

    @api.rpc("/v1/lrps")
    def lrps(call: Call) -> Answer:
        return take(call, decode_lrps)

    @api.rpc("/v1/tasks")
    def tasks(call: Call) -> Answer:
        return take(call, decode_tasks)

    @api.exchange("GET", "/v1/explanations/<guid>")
    async def explanations(exchange: Exchange) -> None:
        found = [_told(at, explanation) for at, explanation in runner.memory.of(exchange.params["guid"])]
        await exchange.reply(200, orjson.dumps(found), {"Content-Type": JSON})

    def take(call: Call, decode: Callable[[bytes], Asked]) -> Reply:
        began = time.monotonic()
        try:
            asked = decode(call.body)
            if asked.dropped:
                log.error("invalid-starts-dropped", count=asked.dropped, **trace(call.request_id))
            runner.ask(asked.starts, call.request_id)
        except Undecodable as error:
            return _error(400, str(error))
        except QueueFull:
            return _error(503, "too many starts are waiting")
        finally:
            measures.requests += 1
            measures.request_seconds = time.monotonic() - began
        return QUEUED

    return api


def _error(status: int, text: str) -> Reply:
    return Reply(status, orjson.dumps({"error": text}), JSON)


def _told(at: float, explanation: Explanation) -> dict[str, object]:
    key = explanation.key
    return {
        "guid": key.guid,
        "index": None if key.is_task else key.number,
        "at": at,
        "cell": explanation.cell,
        "score": explanation.score,
        "best": [{"cell": cell, "score": score} for cell, score in explanation.best],
        "zones": dict(explanation.zones),
        "considered": explanation.considered,
        "excluded": [asdict(excluded) for excluded in explanation.excluded],
        "error": explanation.error,
    }
