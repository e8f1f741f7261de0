"""The auctioneer's API (contract/auction.md section 2)."""

import time
from collections.abc import Callable
from dataclasses import asdict

import orjson
from flask import Flask

from diego.auctioneer.core.cells import CellState
from diego.auctioneer.core.explanations import Decision
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
    """`/v1/lrps` and `/v1/tasks`: 202 means queued, nothing more. Ours: `/v1/explanations/GUID`, `/v1/cells`."""
    api = Api(Flask("auctioneer"))

    @api.rpc("/v1/lrps")
    def lrps(call: Call) -> Answer:
        return take(call, decode_lrps)

    @api.rpc("/v1/tasks")
    def tasks(call: Call) -> Answer:
        return take(call, decode_tasks)

    @api.exchange("GET", "/v1/explanations/<guid>")
    async def explanations(exchange: Exchange) -> None:
        found = [_told(decision) for decision in runner.memory.of(exchange.params["guid"])]
        await exchange.reply(200, orjson.dumps(found), {"Content-Type": JSON})

    @api.exchange("GET", "/v1/cells")
    async def cells(exchange: Exchange) -> None:
        at, states, left_out = runner.seen
        told = {"at": at, "cells": [_told_cell(state) for state in states], "left_out": dict(left_out)}
        await exchange.reply(200, orjson.dumps(told), {"Content-Type": JSON})

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


def _told_cell(state: CellState) -> dict[str, object]:
    return {
        "cell_id": state.cell_id,
        "zone": state.zone,
        "available": asdict(state.available),
        "total": asdict(state.total),
        "starting": state.starting,
    }


def _told(decision: Decision) -> dict[str, object]:
    explanation = decision.explanation
    key = explanation.key
    return {
        "guid": key.guid,
        "index": None if key.is_task else key.number,
        "at": decision.at,
        "cell": explanation.cell,
        "score": explanation.score,
        "best": [{"cell": cell, "score": score} for cell, score in explanation.best],
        "zones": dict(explanation.zones),
        "considered": explanation.considered,
        "looked_at": [looked._asdict() for looked in explanation.looked_at],
        "excluded": [asdict(excluded) for excluded in explanation.excluded],
        "left_out": dict(decision.left_out),
        "error": explanation.error,
    }
