"""What the file server answers: files below /v1/static/, and on the plain listener perhaps only a redirect."""

import asyncio
from html import escape
from pathlib import Path

from flask import Flask, Response, redirect, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import MethodNotAllowed

from diego.file_server.core import kinds
from diego.file_server.core.conditions import Decision, Part, Version, decide, http_date
from diego.file_server.core.paths import RefusedPath, base_name, relative_path
from diego.file_server.files import PIECE, Checksums, IsDirectory, OpenFile
from diego.runtime import metrics
from diego.runtime.api import TEXT, Api
from diego.runtime.exchange import Exchange
from diego.runtime.logs import Logger

PREFIX = "/v1/static/"


class Refused(Exception):
    """The answer is this status with this text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def file_api(directory: Path, log: Logger) -> Api:
    """Serves the files of `directory`."""
    app = Flask("file_server")
    api = Api(app)
    app.register_error_handler(MethodNotAllowed, _anything_else)
    checksums = Checksums()
    answers = metrics.counter("file_server_answers_total", "Requests answered, by status.", ["status"])
    sent = metrics.counter("file_server_sent_bytes_total", "Bytes of files sent.")

    @api.exchange("GET", PREFIX + "<path:path>")
    async def get(x: Exchange) -> None:
        await serve(x)

    @api.exchange("HEAD", PREFIX + "<path:path>")
    async def head(x: Exchange) -> None:
        await serve(x)

    async def serve(x: Exchange) -> None:
        try:
            file, version = await asyncio.to_thread(_find, directory, x.params["path"], checksums)
        except Refused as refused:
            log.debug("refused", path=x.params["path"], status=refused.status)
            answers.labels(refused.status).inc()
            await _error(x, refused.status, refused.text)
            return
        try:
            decision = decide(x.headers, version)
            answers.labels(decision.status).inc()
            await _answer(x, file, version, decision)
            if decision.part is not None and x.method == "GET":
                sent.inc(decision.part.length)
        finally:
            file.close()

    return api


def redirect_api(https_port: int) -> Api:
    """Sends everybody to the HTTPS listener of the same host."""
    app = Flask("file_server redirect")

    def to_https() -> ResponseReturnValue:
        host = (
            request.host.rpartition("]")[0] + "]" if "[" in request.host else request.host.partition(":")[0]
        )
        path = request.environ.get("RAW_URI", request.path)
        target = f"https://{host}:{https_port}{path if path.startswith('/') else '/' + path}"
        answer = redirect(target, 301, Response)
        answer.set_data(f'<a href="{escape(target)}">Moved Permanently</a>.\n\n')
        return answer

    app.before_request(to_https)
    return Api(app)


def _anything_else(_error: MethodNotAllowed) -> ResponseReturnValue:
    answer = Response("404 page not found\n", 404, content_type=TEXT)
    answer.headers["X-Content-Type-Options"] = "nosniff"
    return answer


def _find(directory: Path, asked: str, checksums: Checksums) -> tuple[OpenFile, Version]:
    """The file, open, and its version. Raises Refused. Waits for the disk."""
    name = base_name(asked)
    try:
        path = directory / relative_path(asked)
    except RefusedPath:
        raise Refused(400, "invalid URL path") from None
    try:
        file = OpenFile.at(path)
    except FileNotFoundError:
        raise Refused(404, f"File not found: {name}") from None
    except IsDirectory:
        raise Refused(401, "Unauthorized to list the directory") from None
    except OSError:
        raise Refused(500, f"Cannot stat file: {name}") from None
    try:
        return file, file.version(checksums)
    except OSError:
        file.close()
        raise Refused(500, "Error calculating checksum of file") from None


async def _answer(x: Exchange, file: OpenFile, version: Version, decision: Decision) -> None:
    headers = {"ETag": version.etag}
    if decision.status == 304:
        await x.reply(304, b"", headers)
        return
    headers["Last-Modified"] = http_date(version.modified)
    if decision.part is None:
        if decision.status == 416:
            headers["Content-Range"] = f"bytes */{version.size}"
        await _error(x, decision.status, decision.error, headers)
        return
    beginning = await asyncio.to_thread(file.read, 0, kinds.SNIFFED)
    headers["Content-Type"] = kinds.content_type(x.params["path"], beginning)
    headers["Accept-Ranges"] = "bytes"
    headers["Content-Length"] = str(decision.part.length)
    if decision.status == 206:
        last = decision.part.start + decision.part.length - 1
        headers["Content-Range"] = f"bytes {decision.part.start}-{last}/{version.size}"
    await x.start(decision.status, headers)
    if x.method != "HEAD":
        await _send(x, file, decision.part)
    await x.finish()


async def _send(x: Exchange, file: OpenFile, part: Part) -> None:
    at, end = part.start, part.start + part.length
    while at < end:
        piece = await asyncio.to_thread(file.read, at, min(PIECE, end - at))
        if not piece:
            raise OSError("the file became shorter while it was sent")
        await x.write(piece)
        at += len(piece)


async def _error(x: Exchange, status: int, text: str, headers: dict[str, str] | None = None) -> None:
    fields = {**(headers or {}), "Content-Type": TEXT, "X-Content-Type-Options": "nosniff"}
    await x.reply(status, f"{text}\n".encode() if text else b"", fields)
