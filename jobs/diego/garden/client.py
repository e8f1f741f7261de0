"""Garden as the rep sees it: an asyncio client of contract/garden.md's API, over its Unix socket or TCP.

One connection per request, and three per process. Dictionaries are the JSON objects of
the contract. Nothing is retried: whoever calls knows whether a second try is right.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from signal import SIGKILL, SIGTERM
from typing import Any
from urllib.parse import quote, urlencode

from diego.garden.core import frames
from diego.garden.errors import (
    ContainerNotFound,
    ExecutableNotFound,
    GardenError,
    ProcessNotFound,
    ServiceUnavailable,
    Unrecoverable,
    from_document,
)

__all__ = [
    "ConnectionLost",
    "ContainerNotFound",
    "ExecutableNotFound",
    "GardenClient",
    "GardenError",
    "Process",
    "ProcessNotFound",
    "ServiceUnavailable",
    "Unrecoverable",
]

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 120.0
CREATE_SECONDS = 900.0  # the first container of an image waits until it is unpacked
HEAD_BYTES = 64 << 10
PIECE = 64 << 10
DRAIN_SECONDS = 10.0


class ConnectionLost(ConnectionError):
    """Garden refused the connection, or broke it off before its answer was whole. Its containers live on."""


class GardenClient:
    """Calls one garden."""

    def __init__(self, network: str, address: str) -> None:
        """`network` is "unix" with a path, or "tcp" with host:port."""
        self._network = network
        self._address = address

    async def ping(self) -> None:
        """Ask whether garden serves."""
        await self._call("GET", "/ping")

    async def capacity(self) -> dict[str, int]:
        """What the host offers."""
        return dict(await self._call("GET", "/capacity"))

    async def create(self, spec: Mapping[str, Any]) -> str:
        """Make a container; its handle."""
        answer = await self._call("POST", "/containers", spec, seconds=CREATE_SECONDS)
        return str(answer["Handle"])

    async def destroy(self, handle: str) -> None:
        """Remove a container with everything in it."""
        await self._call("DELETE", f"/containers/{_part(handle)}", seconds=150.0)

    async def containers(self, properties: Mapping[str, str] | None = None) -> list[str]:
        """The handles of containers that have all these properties."""
        answer = await self._call("GET", "/containers?" + urlencode(properties or {}))
        return list(answer["Handles"])

    async def info(self, handle: str) -> dict[str, Any]:
        """A container's addresses, ports, events and properties."""
        return dict(await self._call("GET", f"/containers/{_part(handle)}/info"))

    async def bulk_metrics(self, handles: Iterable[str]) -> dict[str, dict[str, Any]]:
        """For each handle its `Metrics`, or what went wrong as `Err`."""
        return dict(
            await self._call("GET", "/containers/bulk_metrics?" + urlencode({"handles": ",".join(handles)}))
        )

    async def properties(self, handle: str) -> dict[str, str]:
        """A container's properties."""
        return dict(await self._call("GET", f"/containers/{_part(handle)}/properties"))

    async def set_property(self, handle: str, key: str, value: str) -> None:
        """Set a property."""
        path = f"/containers/{_part(handle)}/properties/{_part(key)}"
        await self._call("PUT", path, {"value": value})

    async def remove_property(self, handle: str, key: str) -> None:
        """Remove a property, if it is there."""
        await self._call("DELETE", f"/containers/{_part(handle)}/properties/{_part(key)}")

    async def stop(self, handle: str, *, kill: bool = False) -> None:
        """End all processes of a container, kindly unless `kill`."""
        await self._call("PUT", f"/containers/{_part(handle)}/stop", {"kill": kill})

    async def net_in(self, handle: str, host_port: int, container_port: int) -> tuple[int, int]:
        """Map a port: the host's and the container's."""
        body = {"handle": handle, "host_port": host_port, "container_port": container_port}
        answer = await self._call("POST", f"/containers/{_part(handle)}/net/in", body)
        return answer["host_port"], answer["container_port"]

    async def stream_in(self, handle: str, user: str, destination: str, chunks: AsyncIterable[bytes]) -> None:
        """Unpack a tar in the container, as its user, below `destination`."""
        query = urlencode({"user": user, "destination": destination})
        connection = await self._connect()
        async with connection:
            headers = {"Content-Type": "application/x-tar", "Transfer-Encoding": "chunked"}
            await connection.send_head("PUT", f"/containers/{_part(handle)}/files?{query}", headers)
            try:
                async for chunk in chunks:
                    if chunk:
                        await connection.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                await connection.send(b"0\r\n\r\n")
            except ConnectionLost:
                pass  # garden may have answered before the end; the answer says why
            await connection.answer(ANSWER_SECONDS)

    async def stream_out(self, handle: str, user: str, source: str) -> AsyncIterator[bytes]:
        """A tar of something in the container, piece by piece."""
        query = urlencode({"user": user, "source": source})
        async with await self._connect() as connection:
            await connection.send_head("GET", f"/containers/{_part(handle)}/files?{query}", {})
            headers = await connection.expect(200)
            async for piece in connection.pieces(headers, ANSWER_SECONDS):
                yield piece

    async def run(self, handle: str, spec: Mapping[str, Any]) -> Process:
        """Start a process."""
        return await self._process("POST", f"/containers/{_part(handle)}/processes", spec)

    async def attach(self, handle: str, process_id: str) -> Process:
        """Connect to a process that runs, or has run."""
        return await self._process("GET", f"/containers/{_part(handle)}/processes/{_part(process_id)}", None)

    async def _process(self, method: str, path: str, spec: Mapping[str, Any] | None) -> Process:
        main = await self._connect()
        try:
            await main.send_request(method, path, spec, {})
            await main.expect(200, 201)
            first = frames.decode_server(await main.line(ANSWER_SECONDS))
            base = path if method == "GET" else f"{path}/{_part(first.process_id)}"
            streams = [
                await self._stream(f"{base}/attaches/{first.stream_id}/{n}") for n in ("stdout", "stderr")
            ]
        except BaseException:
            main.close()
            raise
        return Process(first.process_id, main, *streams)

    async def _stream(self, path: str) -> _Connection:
        connection = await self._connect()
        try:
            await connection.send_head("GET", path, {})
            await connection.expect(200)
        except BaseException:
            connection.close()
            raise
        return connection

    async def _call(
        self,
        method: str,
        path: str,
        document: Mapping[str, Any] | None = None,
        *,
        seconds: float = ANSWER_SECONDS,
    ) -> Any:
        async with await self._connect() as connection:
            await connection.send_request(method, path, document, {"Connection": "close"})
            return await connection.answer(seconds)

    async def _connect(self) -> _Connection:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                if self._network == "unix":
                    streams = await asyncio.open_unix_connection(self._address, limit=HEAD_BYTES)
                else:
                    host, _, port = self._address.rpartition(":")
                    streams = await asyncio.open_connection(host, int(port), limit=HEAD_BYTES)
        except (OSError, TimeoutError) as error:
            raise ConnectionLost(f"garden at {self._address}: {error or 'no connection'}") from error
        return _Connection(*streams)


class Process:
    """A process in a container, as long as garden is connected.

    `stdout` and `stderr` give the output as it comes, from when the process was run or
    attached; both must be read, or the process is held up. They end when it has ended.
    """

    def __init__(self, process_id: str, main: _Connection, stdout: _Connection, stderr: _Connection) -> None:
        self.id = process_id
        self.stdout = stdout.raw()
        self.stderr = stderr.raw()
        self._connections = (main, stdout, stderr)
        self._main = main
        self._exit = asyncio.get_running_loop().create_task(self._read_exit())
        self._exit.add_done_callback(_retrieved)

    async def wait(self) -> int:
        """The exit status, 128 + n for one killed by signal n.

        Raises:
            ConnectionLost: garden went away. The process may live: attach again.
            GardenError: it has ended, and nobody knows how.
        """
        return await asyncio.shield(self._exit)

    async def signal(self, number: int) -> None:
        """Send 0, SIGTERM, or 1, SIGKILL, to the process alone. Raises ConnectionLost."""
        await self._main.send(frames.send_signal(self.id, SIGKILL if number else SIGTERM))

    async def write_input(self, text: str) -> None:
        """Write text to its standard input. Raises ConnectionLost."""
        await self._main.send(frames.write_input(self.id, text))

    async def end_input(self) -> None:
        """End its standard input. Raises ConnectionLost."""
        await self._main.send(frames.end_input(self.id))

    async def leave(self) -> None:
        """Say that we go: garden takes no more output for us, and the streams end after what is on the way.

        Whoever reads them to their end and attaches later misses nothing.
        """
        self._main.half_close()

    async def close(self) -> None:
        """Go at once. The process runs on."""
        self._exit.cancel()
        for connection in self._connections:
            connection.close()

    async def _read_exit(self) -> int:
        frame = frames.decode_server(await self._main.line(None))
        if frame.error is not None:
            raise GardenError(f"connection: process error: {frame.error}")
        if frame.exit_status is None:
            raise ConnectionLost("garden sent an unknown frame")
        return frame.exit_status


def _retrieved(task: asyncio.Task[int]) -> None:
    """Somebody has looked at the result, though nobody may have waited."""
    if not task.cancelled():
        task.exception()


class _Connection:
    """One connection, with as much of HTTP as garden speaks."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def __aenter__(self) -> _Connection:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._writer.close()

    def half_close(self) -> None:
        if self._writer.can_write_eof() and not self._writer.is_closing():
            self._writer.write_eof()

    async def send(self, data: bytes) -> None:
        """Send; waits for a peer that does not read, up to the usual time. Raises ConnectionLost."""
        try:
            self._writer.write(data)
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._writer.drain()
        except (OSError, TimeoutError, RuntimeError) as error:
            raise ConnectionLost(str(error)) from error

    async def send_head(self, method: str, path: str, headers: Mapping[str, str]) -> None:
        lines = [f"{method} {path} HTTP/1.1", "Host: garden", *(f"{k}: {v}" for k, v in headers.items())]
        await self.send(("\r\n".join(lines) + "\r\n\r\n").encode())

    async def send_request(
        self, method: str, path: str, document: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> None:
        body = b"" if document is None else json.dumps(document).encode() + b"\n"
        if body:
            headers = {**headers, "Content-Type": "application/json", "Content-Length": str(len(body))}
        await self.send_head(method, path, headers)
        if body:
            await self.send(body)

    async def answer(self, seconds: float) -> Any:
        """The JSON value of a whole answer. Raises the error that it tells of."""
        status, headers = await self.head(seconds)
        body = await self.body(headers, seconds)
        if status != 200:
            raise _error(status, body)
        try:
            return json.loads(body)
        except ValueError as error:
            raise GardenError(f"bad response: {body[:200]!r}") from error

    async def expect(self, *statuses: int) -> dict[str, str]:
        """The header fields of an answer of one of these statuses. Raises the error that another tells of."""
        status, headers = await self.head(ANSWER_SECONDS)
        if status not in statuses:
            raise _error(status, await self.body(headers, ANSWER_SECONDS))
        return headers

    async def head(self, seconds: float) -> tuple[int, dict[str, str]]:
        """The status and the header fields, their names in lower case."""
        text = (await self._until(b"\r\n\r\n", seconds)).decode("latin-1")
        first, *lines = text.strip().split("\r\n")
        fields = (line.partition(":") for line in lines)
        try:
            return int(first.split()[1]), {name.strip().lower(): value.strip() for name, _, value in fields}
        except (IndexError, ValueError) as error:
            raise ConnectionLost(f"no HTTP: {first[:100]!r}") from error

    async def body(self, headers: Mapping[str, str], seconds: float) -> bytes:
        return b"".join([piece async for piece in self.pieces(headers, seconds)])

    async def pieces(self, headers: Mapping[str, str], seconds: float) -> AsyncIterator[bytes]:
        """The body in pieces, each within `seconds`. One that breaks off raises ConnectionLost."""
        if "chunked" in headers.get("transfer-encoding", ""):
            while size := int((await self._until(b"\r\n", seconds)).split(b";")[0], 16):
                async for piece in self._exactly(size, seconds):
                    yield piece
                await self._until(b"\r\n", seconds)
            await self._until(b"\r\n", seconds)
            return
        async for piece in self._exactly(int(headers.get("content-length", 0)), seconds):
            yield piece

    async def line(self, seconds: float | None) -> bytes:
        return await self._until(b"\n", seconds)

    async def raw(self) -> AsyncIterator[bytes]:
        """What comes until the end; a broken connection ends it too, and the main one tells."""
        while True:
            try:
                data = await self._reader.read(PIECE)
            except OSError:
                return
            if not data:
                return
            yield data

    async def _exactly(self, size: int, seconds: float) -> AsyncIterator[bytes]:
        while size:
            try:
                async with asyncio.timeout(seconds):
                    piece = await self._reader.read(min(size, PIECE))
            except (OSError, TimeoutError) as error:
                raise ConnectionLost(str(error) or "garden sends no more") from error
            if not piece:
                raise ConnectionLost("garden broke off its answer")
            size -= len(piece)
            yield piece

    async def _until(self, end: bytes, seconds: float | None) -> bytes:
        try:
            async with asyncio.timeout(seconds):
                return await self._reader.readuntil(end)
        except asyncio.IncompleteReadError as error:
            raise ConnectionLost("garden closed the connection") from error
        except (OSError, TimeoutError, asyncio.LimitOverrunError) as error:
            raise ConnectionLost(str(error) or "garden does not answer") from error


def _error(status: int, body: bytes) -> GardenError:
    """The error that an answer tells of."""
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if isinstance(document, dict) and "Type" in document:
        return from_document(document)
    return GardenError(f"bad response: {status} {body[:200].decode(errors='replace').strip()}")


def _part(text: str) -> str:
    return quote(text, safe="")
