"""Garden's side of files.py: one helper process per transfer, its pipes fed and drained in the event loop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

from diego.garden import files
from diego.garden.core.users import User
from diego.garden.errors import GardenError

PIECE = 256 * 1024
AT_ONCE = 16
END_SECONDS = 60.0
LONGEST_TEXT = 2000


class Body(Protocol):
    """A request's body."""

    async def read(self, most: int = 65536) -> bytes:
        """The next piece; empty at the end."""


class Transfers:
    """Streams into and out of containers, a bounded number at once."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(AT_ONCE)

    async def stream_in(self, pid: int, user: User, destination: str, body: Body) -> None:
        """Unpack a request's tar in the container of this init.

        Raises:
            GardenError: with what stood in the way. The body is read to its end all the same.
        """
        async with self._places:
            helper = await _start("in", pid, user, destination, stdin=asyncio.subprocess.PIPE)
            errors = asyncio.get_running_loop().create_task(_text(helper.stderr))
            try:
                await _feed(helper, body)
                status = await asyncio.wait_for(helper.wait(), END_SECONDS)
                text = await errors
            finally:
                await _end(helper, errors)
        if status:
            raise GardenError(f"stream-in: nstar: error streaming in: {text}")

    async def stream_out(self, pid: int, user: User, source: str) -> AsyncIterator[bytes]:
        """A tar of something in the container of this init, piece by piece.

        Raises:
            GardenError: with what stood in the way: before the first piece, if it can be known then.
        """
        async with self._places:
            helper = await _start("out", pid, user, source, stdin=asyncio.subprocess.DEVNULL)
            errors = asyncio.get_running_loop().create_task(_text(helper.stderr))
            try:
                if helper.stdout is None:
                    raise GardenError("stream-out: no pipe")
                while piece := await helper.stdout.read(PIECE):
                    yield piece
                status = await asyncio.wait_for(helper.wait(), END_SECONDS)
                text = await errors
            finally:
                await _end(helper, errors)
        if status:
            raise GardenError(f"stream-out: nstar: error streaming out: {text}")


async def _start(
    direction: str, pid: int, user: User, path: str, *, stdin: int
) -> asyncio.subprocess.Process:
    words = [direction, str(pid), str(user.uid), str(user.gid)]
    words += [",".join(str(group) for group in user.groups), user.home, path]
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-S",
        str(Path(files.__file__)),
        *words,
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=PIECE,
    )


async def _feed(helper: asyncio.subprocess.Process, body: Body) -> None:
    """Give the helper the whole body; one that has ended early needs no more, but the client must be heard out."""
    listening = True
    while piece := await body.read(PIECE):
        if not listening or helper.stdin is None:
            continue
        try:
            helper.stdin.write(piece)
            await helper.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            listening = False
    if helper.stdin is not None:
        helper.stdin.close()


async def _text(stream: asyncio.StreamReader | None) -> str:
    """The last of what the helper said."""
    text = b""
    while stream is not None and (piece := await stream.read(PIECE)):
        text = (text + piece)[-LONGEST_TEXT:]
    return text.decode(errors="replace").strip()


async def _end(helper: asyncio.subprocess.Process, errors: asyncio.Task[str]) -> None:
    """Leave nothing behind, however the transfer ended."""
    if helper.returncode is None:
        helper.kill()
        await helper.wait()
    errors.cancel()
