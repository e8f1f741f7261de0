"""Garden's routes (contract/garden.md section 3): parse, call the engine, answer.

Process connections leave HTTP after their head: it claims a chunked body, as the
original's does, but what follows is bare.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from diego.garden.core import frames, specs
from diego.garden.core.specs import Fields
from diego.garden.engine import Engine
from diego.garden.errors import GardenError
from diego.garden.outputs import Hearer
from diego.garden.processes import STREAMS, Attachment, Process
from diego.runtime.api import Api
from diego.runtime.exchange import Exchange, RawConnection
from diego.runtime.logs import get_logger

JSON = {"Content-Type": "application/json"}
TAR = {"Content-Type": "application/x-tar"}
RUN_HEAD = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
ATTACH_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
SPEC_BYTES = 16 << 20
log = get_logger("garden")

Answerer = Callable[[Exchange], Awaitable[Any]]


async def reply(x: Exchange, document: Any, status: int = 200) -> None:
    """Answer with one JSON value and a newline."""
    await x.reply(status, json.dumps(document, separators=(",", ":")).encode() + b"\n", JSON)


async def document_of(x: Exchange) -> Any:
    """The request's JSON value; absent is as good as null."""
    try:
        body = await x.body(SPEC_BYTES)
        return json.loads(body) if body.strip() else None
    except ValueError as error:
        raise GardenError(f"cannot decode the request: {error}") from error


def add_views(api: Api, engine: Engine) -> None:
    """Register every route."""
    routes = _Routes(api, engine)
    _add_host_views(routes, engine)
    _add_container_views(routes, engine)
    _add_property_views(routes, engine)
    _add_limit_views(routes, engine)
    _add_network_views(routes, engine)
    _add_file_views(routes, engine)
    _add_process_views(routes, engine)


class _Routes:
    """Registers handlers: each waits until garden is ready, and its errors become answers."""

    def __init__(self, api: Api, engine: Engine) -> None:
        self._api = api
        self._engine = engine

    def answer(self, method: str, pattern: str) -> Callable[[Answerer], Answerer]:
        """A handler whose result is the JSON answer."""

        def register(handler: Answerer) -> Answerer:
            async def answered(x: Exchange) -> None:
                await reply(x, await handler(x))

            self.exchange(method, pattern)(answered)
            return handler

        return register

    def exchange(self, method: str, pattern: str) -> Callable[[Answerer], Answerer]:
        """A handler that answers by itself."""

        def register(handler: Answerer) -> Answerer:
            async def guarded(x: Exchange) -> None:
                await self._engine.ready.wait()
                try:
                    with self._engine.request_on(x.params.get("handle", "")):
                        await handler(x)
                except GardenError as error:
                    await self._refuse(x, error)
                except ConnectionError:
                    raise
                except OSError as error:
                    await self._refuse(x, GardenError(str(error)))

            self._api.exchange(method, pattern)(guarded)
            return handler

        return register

    async def _refuse(self, x: Exchange, error: GardenError) -> None:
        log.info("refused", method=x.method, path=x.path, error=str(error))
        if x.started:
            raise error  # too late for an answer: the connection breaks, and the client sees that
        await reply(x, error.document(), error.status)


def _add_host_views(routes: _Routes, engine: Engine) -> None:
    @routes.answer("GET", "/ping")
    async def ping(_: Exchange) -> Any:
        return {}

    @routes.answer("GET", "/capacity")
    async def capacity(_: Exchange) -> Any:
        return {name: value for name, value in engine.capacity().items() if value}

    @routes.answer("GET", "/containers/bulk_metrics")
    async def bulk_metrics(x: Exchange) -> Any:
        return _bulk(x, "Metrics", engine.metrics)

    @routes.answer("GET", "/containers/bulk_info")
    async def bulk_info(x: Exchange) -> Any:
        return _bulk(x, "Info", engine.info)


def _bulk(x: Exchange, name: str, ask: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """What `ask` says of each of the request's handles, or the error that it met."""
    if "handles" not in x.query:
        raise GardenError("no handles given")
    answers: dict[str, Any] = {}
    for handle in filter(None, x.query["handles"][0].split(",")):
        try:
            answers[handle] = {name: ask(handle), "Err": None}
        except GardenError as error:
            answers[handle] = {name: {}, "Err": error.document()}
        except OSError as error:  # it goes away at this moment
            answers[handle] = {name: {}, "Err": GardenError(str(error)).document()}
    return answers


def _add_container_views(routes: _Routes, engine: Engine) -> None:
    @routes.answer("POST", "/containers")
    async def create(x: Exchange) -> Any:
        spec = specs.container_spec(await document_of(x))
        return {"Handle": await engine.create(spec)}

    @routes.answer("GET", "/containers")
    async def handles(x: Exchange) -> Any:
        return {"Handles": engine.handles({key: values[0] for key, values in x.query.items()})}

    @routes.answer("DELETE", "/containers/<handle>")
    async def destroy(x: Exchange) -> Any:
        await engine.destroy(x.params["handle"])
        return {}

    @routes.answer("GET", "/containers/<handle>/info")
    async def info(x: Exchange) -> Any:
        return engine.info(x.params["handle"])

    @routes.answer("GET", "/containers/<handle>/metrics")
    async def metrics(x: Exchange) -> Any:
        return engine.metrics(x.params["handle"])

    @routes.answer("PUT", "/containers/<handle>/stop")
    async def stop(x: Exchange) -> Any:
        kill = Fields(await document_of(x), "stop").boolean("kill")
        await engine.stop(x.params["handle"], kill=kill)
        return {}

    @routes.answer("PUT", "/containers/<handle>/grace_time")
    async def grace_time(x: Exchange) -> Any:
        nanoseconds = Fields({"grace_time": await document_of(x)}, "body").number("grace_time")
        await engine.set_grace_time(x.params["handle"], nanoseconds)
        return {}


def _add_property_views(routes: _Routes, engine: Engine) -> None:
    @routes.answer("GET", "/containers/<handle>/properties")
    async def properties(x: Exchange) -> Any:
        return engine.properties(x.params["handle"])

    @routes.answer("GET", "/containers/<handle>/properties/<key>")
    async def get_property(x: Exchange) -> Any:
        key = x.params["key"]
        try:
            return {"value": engine.properties(x.params["handle"])[key]}
        except KeyError:
            raise GardenError(f"property does not exist: {key}") from None

    @routes.answer("PUT", "/containers/<handle>/properties/<key>")
    async def set_property(x: Exchange) -> Any:
        value = Fields(await document_of(x), "property").text("value")
        await engine.set_property(x.params["handle"], x.params["key"], value)
        return {}

    @routes.answer("DELETE", "/containers/<handle>/properties/<key>")
    async def remove_property(x: Exchange) -> Any:
        await engine.set_property(x.params["handle"], x.params["key"], None)
        return {}


def _add_limit_views(routes: _Routes, engine: Engine) -> None:
    @routes.answer("GET", "/containers/<handle>/limits/bandwidth")
    async def bandwidth(x: Exchange) -> Any:
        engine.container(x.params["handle"])
        return {}

    @routes.answer("GET", "/containers/<handle>/limits/disk")
    async def disk(x: Exchange) -> Any:
        engine.container(x.params["handle"])
        return {}

    @routes.answer("GET", "/containers/<handle>/limits/cpu")
    async def cpu(x: Exchange) -> Any:
        return _without_zero("limit_in_shares", engine.cpu_limit(x.params["handle"]))

    @routes.answer("GET", "/containers/<handle>/limits/memory")
    async def memory(x: Exchange) -> Any:
        return _without_zero("limit_in_bytes", engine.memory_limit(x.params["handle"]))


def _without_zero(name: str, value: int) -> dict[str, int]:
    return {name: value} if value else {}


def _add_network_views(routes: _Routes, engine: Engine) -> None:
    @routes.answer("POST", "/containers/<handle>/net/in")
    async def net_in(x: Exchange) -> Any:
        wanted = specs.port_mapping(Fields(await document_of(x), "net_in"))
        given = await engine.net_in(x.params["handle"], wanted)
        return {"host_port": given.host_port, "container_port": given.container_port}

    @routes.answer("POST", "/containers/<handle>/net/out")
    async def net_out(x: Exchange) -> Any:
        await engine.net_out(x.params["handle"], specs.net_out_rules(await document_of(x)))
        return {}

    @routes.answer("POST", "/containers/<handle>/net/out/bulk")
    async def bulk_net_out(x: Exchange) -> Any:
        await engine.net_out(x.params["handle"], specs.net_out_rules(await document_of(x) or []))
        return {}


def _add_file_views(routes: _Routes, engine: Engine) -> None:
    @routes.answer("PUT", "/containers/<handle>/files")
    async def stream_in(x: Exchange) -> Any:
        user, destination = _first(x, "user"), _first(x, "destination")
        await engine.stream_in(x.params["handle"], user, destination, x)
        return {}

    @routes.exchange("GET", "/containers/<handle>/files")
    async def stream_out(x: Exchange) -> None:
        pieces = engine.stream_out(x.params["handle"], _first(x, "user"), _first(x, "source"))
        async for piece in pieces:
            if not x.started:
                await x.start(200, TAR)
            await x.write(piece)
        await x.finish()


def _first(x: Exchange, name: str) -> str:
    return x.query.get(name, [""])[0]


def _add_process_views(routes: _Routes, engine: Engine) -> None:
    @routes.exchange("POST", "/containers/<handle>/processes")
    async def run(x: Exchange) -> None:
        spec = specs.process_spec(await document_of(x))
        process = await engine.run(x.params["handle"], spec)
        await converse(x, engine, process, RUN_HEAD)

    @routes.exchange("GET", "/containers/<handle>/processes/<process_id>")
    async def attach(x: Exchange) -> None:
        process = engine.processes.find(x.params["handle"], x.params["process_id"])
        await converse(x, engine, process, ATTACH_HEAD)

    for name in STREAMS:

        @routes.exchange("GET", f"/containers/<handle>/processes/<process_id>/attaches/<stream_id>/{name}")
        async def stream(x: Exchange, name: str = name) -> None:
            connection = x.take_over(STREAM_HEAD)
            attachment = engine.processes.attachment(x.params["stream_id"])
            if attachment is not None:
                await _pour(connection, attachment.hearers[name], attachment, name)
            connection.close()


async def _pour(connection: RawConnection, hearer: Hearer, attachment: Attachment, name: str) -> None:
    """Give a stream's connection its output until that ends."""
    await hearer.connect(connection)
    attachment.process.outputs[name].notice()
    await hearer.ended.wait()


async def converse(x: Exchange, engine: Engine, process: Process, head: bytes) -> None:
    """Serve a process's main connection until the process has ended or the client goes.

    A client that goes leaves the process as it is, its standard input too: it may be a
    rep that restarts, and the app shall not see that.
    """
    attachment = engine.processes.attach(process)
    connection = x.take_over(head)
    finished = asyncio.ensure_future(attachment.finished())
    obeying = asyncio.ensure_future(_obey(connection, engine, process))
    try:
        await connection.write(frames.started(process.id, attachment.stream_id))
        await asyncio.wait([finished, obeying], return_when=asyncio.FIRST_COMPLETED)
        if finished.done() and not obeying.done():
            await connection.write(finished.result().frame(process.id))
            await engine.processes.told(process)
    finally:
        finished.cancel()
        obeying.cancel()
        engine.processes.detach(attachment)
        connection.close()


async def _obey(connection: RawConnection, engine: Engine, process: Process) -> None:
    """Do what the client's frames say, until it closes or sends what is no frame."""
    lines = frames.Lines()
    while data := await connection.read():
        try:
            asked = [frames.decode(line) for line in lines.feed(data)]
        except GardenError as error:
            log.info("process.bad-frame", process=process.id, error=str(error))
            return
        for frame in asked:
            match frame:
                case frames.Input(data=text):
                    await process.write_input(text)
                case frames.EndOfInput():
                    await engine.processes.end_input(process)
                case frames.SendSignal(signal=number):
                    process.send_signal(number)
