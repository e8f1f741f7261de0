"""What the rep's listeners answer (contract/rep.md section 2): parse, one call of the service, answer."""

import asyncio
import json
from typing import Any

from flask import Flask

from diego.executor.core.errors import ExecutorError
from diego.executor.garden import ConnectionLost, GardenError
from diego.executor.logs import FileLogSink
from diego.rep.core.work import BadWork, decode_work, line
from diego.rep.evacuation import Evacuator
from diego.rep.service import Service, WrongCell
from diego.runtime.api import TEXT, Api, Call, Reply
from diego.runtime.exchange import Exchange
from diego.runtime.logs import get_logger

DEFAULT_TAIL = 100
LONGEST_TAIL = 10_000
UPDATE_BODY_LIMIT = 1 << 20
JSON = "application/json"

log = get_logger("rep")


def rep_api(service: Service, logs: FileLogSink, evacuator: Evacuator) -> Api:
    """The API of the securable listener."""
    api = Api(Flask("rep"))

    @api.rpc("/v1/evacuation", method="GET")
    def evacuation(_call: Call) -> Reply:
        """Ours: how far an evacuation is, and what is left on the cell."""
        return Reply(200, line(evacuator.progress()), JSON)

    _answer_auctioneer(api, service)
    _answer_bbs(api, service)
    _answer_readers(api, logs)
    return api


def _answer_auctioneer(api: Api, service: Service) -> None:
    @api.rpc("/state", method="GET")
    def state(_call: Call) -> Reply:
        """Room and containers, for the auctioneer; 503 with the same body while the engine is not well."""
        healthy, body = service.state()
        return Reply(200 if healthy else 503, body, TEXT)

    @api.rpc("/container_metrics", method="GET")
    def container_metrics(_call: Call) -> Reply:
        return Reply(200, service.container_metrics(), TEXT)

    @api.rpc("/work")
    def work(call: Call) -> Reply:
        """The auctioneer gives this cell work; the answer is what the cell does not take."""
        try:
            asked = decode_work(call.body)
        except BadWork as error:
            log.info("work.undecodable", error=str(error))
            return Reply(400, content_type=TEXT)
        try:
            return Reply(200, service.perform(asked).encode(), TEXT)
        except WrongCell:
            log.error("work.for-another-cell", cell_id=asked.cell_id)
            return Reply(500, content_type=TEXT)

    @api.rpc("/sim/reset")
    def reset(_call: Call) -> Reply:
        """Only a simulated rep can be reset."""
        return Reply(500, content_type=TEXT)


def _answer_bbs(api: Api, service: Service) -> None:
    async def update(x: Exchange) -> None:
        """An instance's internal routes or metric tags changed."""
        try:
            routes, tags = _decode_update(await x.body(UPDATE_BODY_LIMIT))
        except ValueError as error:
            log.info("update.undecodable", error=str(error))
            await x.reply(400)
            return
        try:
            await service.update_lrp(x.params["instance_guid"], routes, tags)
        except (ExecutorError, GardenError, ConnectionLost) as error:
            log.error("update.failed", guid=x.params["instance_guid"], error=str(error))
            await x.reply(500)
            return
        await x.reply(202)

    for version in ("v1", "v2"):
        api.exchange("PUT", f"/{version}/lrps/<process_guid>/instances/<instance_guid>")(update)

    @api.exchange("POST", "/v1/lrps/<process_guid>/instances/<instance_guid>/stop")
    async def stop(x: Exchange) -> None:
        """The instance is to end; the answer does not wait for that."""
        try:
            service.stop_lrp(x.params["instance_guid"])
        except ExecutorError as error:
            log.info("stop.failed", guid=x.params["instance_guid"], error=str(error))
            await x.reply(500)
            return
        await x.reply(202)

    @api.exchange("POST", "/v1/tasks/<task_guid>/cancel")
    async def cancel(x: Exchange) -> None:
        """The task is to end, at once."""
        service.cancel_task(x.params["task_guid"])
        await x.reply(202)


def _answer_readers(api: Api, logs: FileLogSink) -> None:
    @api.exchange("GET", "/v1/logs/<instance_guid>")
    async def app_logs(x: Exchange) -> None:
        """Ours: the newest lines of an instance, and with `follow=1` those to come."""
        guid = x.params["instance_guid"]
        if "/" in guid or not logs.knows(guid):
            await x.reply(404, b"no such instance here\n", {"Content-Type": TEXT})
            return
        follow = _first(x, "follow") not in {"", "0", "false"}
        tail = _first(x, "tail") or str(DEFAULT_TAIL)
        if not tail.isdecimal():
            await x.reply(400, b"tail: not a number\n", {"Content-Type": TEXT})
            return
        await _send_logs(x, logs, guid, min(int(tail), LONGEST_TAIL), follow=follow)


def admin_api(evacuator: Evacuator) -> Api:
    """The API of the admin listener."""
    api = Api(Flask("rep admin"))

    @api.rpc("/ping", method="GET")
    def ping(_call: Call) -> Reply:
        return Reply(200, content_type=TEXT)

    @api.exchange("POST", "/evacuate")
    async def evacuate(x: Exchange) -> None:
        """Empty this cell; the answer says where to see that the rep is still there."""
        await evacuator.begin()
        await x.reply(202, line({"ping_path": "/ping"}), {"Content-Type": JSON})

    return api


async def _send_logs(x: Exchange, logs: FileLogSink, guid: str, tail: int, *, follow: bool) -> None:
    if not follow:
        lines = await asyncio.to_thread(logs.tail, guid, tail)
        await x.reply(200, b"".join(lines), {"Content-Type": TEXT})
        return
    x.cancel_when_gone()
    with logs.follow(guid) as follower:
        await x.start(200, {"Content-Type": TEXT})
        lines = await asyncio.to_thread(logs.tail, guid, tail)
        if lines:
            await x.write(b"".join(lines))
        async for one in follower.lines():
            await x.write(one)
    await x.finish()


def _first(x: Exchange, name: str) -> str:
    values = x.query.get(name) or [""]
    return values[0]


def _decode_update(body: bytes) -> tuple[tuple[str, ...] | None, dict[str, str] | None]:
    """Routes and tags of an update; None leaves them as they are.

    Raises:
        ValueError: it is not the JSON of one.
    """
    found: Any = json.loads(body)
    if not isinstance(found, dict):
        raise ValueError("not an object")  # noqa: TRY004  the data is wrong, not the program
    routes, tags = found.get("internal_routes"), found.get("metric_tags")
    try:
        hostnames = None if routes is None else tuple(str(route["hostname"]) for route in routes)
        texts = None if tags is None else {str(name): str(value) for name, value in tags.items()}
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    return hostnames, texts
