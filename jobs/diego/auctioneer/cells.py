"""Asking the cells: all states side by side, and handing out the work.

A cell that does not answer delays a round once, by the state timeout at most. From then on rounds wait for it only
`PATIENCE_WITH_SILENT`; its answer is awaited on the side, and when one comes the cell is a cell like the others.
"""

import asyncio
import errno
import socket
import ssl
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
from aiohttp import AddrInfoType

from diego.auctioneer.core.cells import CellState, decode_state
from diego.auctioneer.core.requests import Undecodable
from diego.auctioneer.core.starts import Start
from diego.auctioneer.core.work import encode_work, handed_back
from diego.runtime.logs import get_logger
from diego.wire.cells_pb2 import CellPresence

T = TypeVar("T")

PATIENCE_WITH_SILENT = 0.5
"""Seconds that a round waits for a cell whose last state did not come in time."""
CONNECT_RETRIES = 1
"""How often the kernel asks again for a connection before it gives up: a host that is gone costs about 3 s.

The handshake after it has the whole time of the call: when an auctioneer starts with a thousand cells, theirs wait for
each other for longer than that.
"""
GONE = frozenset({errno.ETIMEDOUT, errno.EHOSTUNREACH})
BODY_LIMIT = 64 << 20
NAMES_FOR = 30
"""Seconds that a cell's address is remembered."""
KEEP_IDLE = 15.0

log = get_logger("auctioneer")


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell that can be asked."""

    cell_id: str
    url: str


class CellFailed(Exception):
    """A cell's answer cannot be used. `silent`: none came."""

    def __init__(self, text: str, *, silent: bool = False) -> None:
        super().__init__(text)
        self.silent = silent


def reachable(presences: Iterable[CellPresence], *, require_tls: bool) -> list[Cell]:
    """The cells that may be asked: over TLS, or in plain HTTP where that is allowed."""
    cells = []
    for presence in presences:
        if presence.rep_url.startswith("https://"):
            cells.append(Cell(presence.cell_id, presence.rep_url.rstrip("/")))
        elif not require_tls and presence.rep_address:
            cells.append(Cell(presence.cell_id, presence.rep_address.rstrip("/")))
        else:
            log.error("cell-without-tls", cell_id=presence.cell_id, rep_url=presence.rep_url)
    return cells


class Cells:
    """The auctioneer's calls to reps. Used on one event loop only."""

    def __init__(
        self,
        tls: ssl.SSLContext | None,
        *,
        state_timeout: float,
        work_timeout: float,
        workers: int,
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        self._tls = tls
        self._state_timeout = state_timeout
        self._work_timeout = work_timeout
        self._workers = workers
        self._failed = failed
        self._session: aiohttp.ClientSession | None = None
        self._silent: set[str] = set()
        self._late: dict[str, asyncio.Task[CellState]] = {}
        self.left_out: Mapping[str, str] = {}
        """Why cells gave no state that can be used when the states were last asked for, by their id."""

    @property
    def silent(self) -> frozenset[str]:
        """Cells that did not answer in time when they were last asked."""
        return frozenset(self._silent)

    async def states(self, cells: Sequence[Cell], request_id: str) -> list[CellState]:
        """The states that came, without those of evacuating cells."""
        known = {cell.cell_id for cell in cells}
        self._silent &= known
        left_out: dict[str, str] = {}
        answers = await asyncio.gather(*(self._state_in_time(cell, request_id, left_out) for cell in cells))
        states = [state for state in answers if state is not None]
        left_out.update((state.cell_id, "is being emptied") for state in states if state.evacuating)
        self.left_out = left_out
        return [state for state in states if not state.evacuating]

    async def hand_out(self, cell: Cell, starts: Sequence[Start], request_id: str) -> Sequence[Start]:
        """Give a cell its work. Returns what it handed back.

        Raises:
            CellFailed: what became of the work is not known.
        """
        body = encode_work(cell.cell_id, starts)
        answer = await self._call("POST", f"{cell.url}/work", body, request_id, self._work_timeout)
        try:
            return handed_back(answer, starts)
        except Undecodable as error:
            raise CellFailed(str(error)) from error

    async def close(self) -> None:
        """End what is under way."""
        for task in self._late.values():
            task.cancel()
        if self._session is not None:
            await self._session.close()

    async def _state_in_time(self, cell: Cell, request_id: str, left_out: dict[str, str]) -> CellState | None:
        """A cell's state, or None when the round must do without; why is noted in `left_out`."""
        began = time.monotonic()
        late = self._late.get(cell.cell_id)
        task = late or asyncio.ensure_future(self._state(cell, request_id))
        patience = PATIENCE_WITH_SILENT if cell.cell_id in self._silent else self._state_timeout + 1
        try:
            state = await asyncio.wait_for(asyncio.shield(task), patience)
        except TimeoutError:
            self._await_aside(cell, task)
            left_out[cell.cell_id] = f"did not tell its state within {patience:g} s"
            self._failed()
            return None
        except CellFailed as error:
            if error.silent:
                self._silent.add(cell.cell_id)
            left_out[cell.cell_id] = (
                f"did not tell its state within {self._state_timeout:g} s"
                if error.silent
                else f"did not tell its state: {error}"
            )
            self._failed()
            log.error(
                "no-cell-state",
                cell_id=cell.cell_id,
                error=str(error),
                seconds=round(time.monotonic() - began, 3),
            )
            return None
        if task is late:
            # What it said was true when it was asked, in an earlier round; now that it speaks, ask again.
            self._silent.discard(cell.cell_id)
            return await self._state_in_time(cell, request_id, left_out)
        self._silent.discard(cell.cell_id)
        return state

    def _await_aside(self, cell: Cell, task: "asyncio.Task[CellState]") -> None:
        """Let a silent cell's answer come when it comes: it then counts as one that answers."""
        if self._late.get(cell.cell_id) is task:
            return

        def came(done: "asyncio.Task[CellState]") -> None:
            self._late.pop(cell.cell_id, None)
            if not done.cancelled() and done.exception() is None:
                self._silent.discard(cell.cell_id)

        self._late[cell.cell_id] = task
        task.add_done_callback(came)

    async def _state(self, cell: Cell, request_id: str) -> CellState:
        answer = await self._call("GET", f"{cell.url}/state", b"", request_id, self._state_timeout)
        try:
            return decode_state(answer, cell.cell_id)
        except Undecodable as error:
            raise CellFailed(f"undecodable state: {error}") from error

    async def _call(self, method: str, url: str, body: bytes, request_id: str, seconds: float) -> bytes:
        """The body of a 200 answer. Raises CellFailed."""
        headers = {"X-Vcap-Request-Id": request_id} if request_id else {}
        timeout = aiohttp.ClientTimeout(total=seconds)
        try:
            async with self._opened().request(
                method, url, data=body or None, headers=headers, timeout=timeout, allow_redirects=False
            ) as answer:
                read = await _bounded(answer.content)
                if answer.status != 200:
                    raise CellFailed(f"status {answer.status}")
                return read
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            text = str(error) or type(error).__name__
            raise CellFailed(text, silent=_is_silence(error)) from error

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=self._workers,
                ssl=self._tls if self._tls is not None else True,
                ttl_dns_cache=NAMES_FOR,
                keepalive_timeout=KEEP_IDLE,
                socket_factory=_impatient_socket,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                trust_env=False,
                auto_decompress=True,
                skip_auto_headers=("User-Agent", "Content-Type", "Accept"),
            )
        return self._session


def _impatient_socket(address: AddrInfoType) -> socket.socket:
    family, kind, protocol, *_ = address
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, CONNECT_RETRIES)
    return sock


def _is_silence(error: Exception) -> bool:
    """Whether nobody answered, rather than somebody with an error."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.errno in GONE
    return isinstance(error, TimeoutError)


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    pieces = bytearray()
    async for piece in content.iter_any():
        pieces += piece
        if len(pieces) > BODY_LIMIT:
            raise CellFailed(f"an answer longer than {BODY_LIMIT} bytes")
    return bytes(pieces)


async def side_by_side(calls: Mapping[Any, Coroutine[Any, Any, T]]) -> dict[Any, T | BaseException]:
    """Run all; what each gave or raised, by its key."""
    results = await asyncio.gather(*calls.values(), return_exceptions=True)
    return dict(zip(calls, results, strict=True))
