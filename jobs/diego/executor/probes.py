"""Makes declarative checks from the cell's own loop against a container's address (ours.md section 3).

A probe answers with what is wrong, or None when the check passed. Texts are
those of the original's checker (contract/executor.md section 6).
"""

import asyncio
import os
import time
from typing import Protocol

import aiohttp

from diego.executor.core.checks import (
    HEADERS,
    HTTP_OK,
    Check,
    HttpCheck,
    TcpCheck,
    http_failed,
    http_status,
    http_timed_out,
    tcp_failed,
    tcp_timed_out,
)

BODY_LIMIT = 1 << 20
"""Bytes of a body that are read before its connection is closed."""


class Prober(Protocol):
    """Makes one check against an address."""

    async def probe(self, check: Check, address: str) -> str | None: ...


class NetworkProber:
    """Checks over the network, at most `at_a_time` of them side by side."""

    def __init__(self, at_a_time: int) -> None:
        self._slots = asyncio.Semaphore(at_a_time)

    async def probe(self, check: Check, address: str) -> str | None:
        async with self._slots:
            match check:
                case TcpCheck():
                    return await _tcp(check, address)
                case HttpCheck():
                    return await _http(check, address)


async def _tcp(check: TcpCheck, address: str) -> str | None:
    try:
        async with asyncio.timeout(check.timeout):
            _, writer = await asyncio.open_connection(address, check.port)
    except TimeoutError:
        return tcp_timed_out(address, check.port, check.timeout)
    except OSError as error:
        return tcp_failed(address, check.port, _system_error(error))
    writer.close()
    return None


async def _http(check: HttpCheck, address: str) -> str | None:
    begun = time.monotonic()
    path = check.path if check.path.startswith("/") else f"/{check.path}"
    timeout = aiohttp.ClientTimeout(total=check.timeout)
    connector = aiohttp.TCPConnector(force_close=True, limit=1)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session,
            session.get(f"http://{address}:{check.port}{path}", headers=HEADERS) as response,
        ):
            await response.content.read(BODY_LIMIT)
            status = response.status
    except TimeoutError:
        return http_timed_out(check.path, check.port, check.timeout)
    except (aiohttp.ClientError, OSError, ValueError):
        return http_failed(check.path, check.port)
    if status == HTTP_OK:
        return None
    return http_status(check.path, check.port, status, round((time.monotonic() - begun) * 1000))


def _system_error(error: OSError) -> str:
    """The system's words for it, as Go writes them: in lower case, without a number."""
    if error.errno is None:
        return str(error)
    return os.strerror(error.errno).lower()
