"""Fetches assets for containers over HTTP, in threads (contract/executor.md section 5, "Downloads and cache")."""

import hashlib
import random
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import urllib3

from diego.runtime.logs import get_logger
from diego.runtime.tls import client_context

ATTEMPTS = 4
CONNECT_TIMEOUT = 10.0
IDLE_TIMEOUT = 10.0
TOTAL_TIMEOUT = 600.0
LONGEST_PAUSE = 5.0
REDIRECTS = 10
PIECE = 256 << 10
DIGESTS = frozenset({"md5", "sha1", "sha256"})

log = get_logger("rep")


class DownloadFailed(Exception):
    """An asset could not be fetched. `final`: trying again would not help."""

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


@dataclass(frozen=True, slots=True)
class Checksum:
    """What the fetched bytes must sum up to; nothing is checked without an algorithm. The value is hex."""

    algorithm: str = ""
    value: str = ""

    @property
    def wanted(self) -> bool:
        return bool(self.algorithm or self.value)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What the server answered. `size` is None when the asset has not changed."""

    size: int | None
    etag: str
    last_modified: str


@dataclass(frozen=True, slots=True)
class Trust:
    """Who we are to asset servers, and whom we trust; empty paths are left out."""

    cert: str = ""
    key: str = ""
    ca: str = ""
    further_ca: str = ""
    skip_verification: bool = False

    def context(self) -> ssl.SSLContext:
        """For assets of this deployment and of the world.

        Raises:
            TlsError: a file cannot be used.
        """
        context = client_context(self.cert or None, self.key or None, self.ca or None)
        context.load_default_certs()
        if self.further_ca:
            context.load_verify_locations(self.further_ca)
        if self.skip_verification:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class HttpTransport:
    """Connections to asset servers, through the proxy of the environment where there is one."""

    def __init__(self, trust: Trust) -> None:
        self._context = trust.context()
        self._direct = self._manager()
        self._proxies: dict[str, urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def request(
        self, method: str, url: str, *, headers: dict[str, str], body: object = None, redirects: int = 0
    ) -> urllib3.BaseHTTPResponse:
        """One request, whose answer's body is still to be read.

        Raises:
            urllib3.exceptions.HTTPError: no answer came.
        """
        retries = urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=redirects)
        return self._manager_for(url).request(
            method,
            url,
            headers=headers,
            body=body,  # type: ignore[arg-type]  # a file, which the library reads
            preload_content=False,
            decode_content=False,
            redirect=redirects > 0,
            retries=retries,
        )

    def _manager_for(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        proxy = urllib.request.getproxies().get(parts.scheme)
        if not proxy or urllib.request.proxy_bypass(parts.hostname or ""):
            return self._direct
        with self._lock:
            if proxy not in self._proxies:
                self._proxies[proxy] = urllib3.ProxyManager(
                    proxy, ssl_context=self._context, timeout=_timeout(), maxsize=8
                )
            return self._proxies[proxy]

    def _manager(self) -> urllib3.PoolManager:
        return urllib3.PoolManager(ssl_context=self._context, timeout=_timeout(), maxsize=8)


class Downloader:
    """Fetches one asset at a time into a file. Blocks; for threads."""

    def __init__(
        self,
        transport: HttpTransport,
        *,
        clock: Callable[[], float] = time.monotonic,
        attempts: int = ATTEMPTS,
        first_pause: float = 0.5,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._attempts = attempts
        self._first_pause = first_pause

    def fetch(
        self,
        url: str,
        to: Path,
        *,
        checksum: Checksum,
        limit: int,
        cancelled: threading.Event,
        etag: str = "",
        last_modified: str = "",
    ) -> Fetched:
        """Fetch `url` into the file `to`, unless it is still the one of `etag` or `last_modified`.

        It may have `limit` bytes; when `cancelled` is set, the fetch ends soon with an error.

        Raises:
            DownloadFailed: every attempt failed, or one in a way that another would not mend.
        """
        deadline = self._clock() + TOTAL_TIMEOUT
        headers = {"If-None-Match": etag} if etag else {}
        if last_modified:
            headers["If-Modified-Since"] = last_modified
        for attempt in range(self._attempts):
            try:
                return self._attempt(url, to, headers, checksum, limit, deadline, cancelled)
            except DownloadFailed as error:
                log.info("download.attempt-failed", attempt=attempt + 1, error=str(error))
                if error.final or attempt + 1 == self._attempts:
                    raise
            pause = min(self._first_pause * 2**attempt, LONGEST_PAUSE) + random.uniform(0, 0.2)  # noqa: S311  no secret
            if cancelled.wait(pause):
                raise DownloadFailed("cancelled", final=True)
        raise DownloadFailed("no attempt was made", final=True)

    def _attempt(
        self,
        url: str,
        to: Path,
        headers: dict[str, str],
        checksum: Checksum,
        limit: int,
        deadline: float,
        cancelled: threading.Event,
    ) -> Fetched:
        if urlsplit(url).scheme not in {"http", "https"}:
            raise DownloadFailed("not an http or https URL", final=True)
        try:
            response = self._transport.request("GET", url, headers=headers, redirects=REDIRECTS)
            try:
                return self._receive(response, to, checksum, limit, deadline, cancelled)
            finally:
                response.close()
        except urllib3.exceptions.LocationParseError as error:
            raise DownloadFailed(f"not a URL: {error}", final=True) from error
        except urllib3.exceptions.HTTPError as error:
            raise DownloadFailed(f"{type(error).__name__}: {error}") from error

    def _receive(
        self,
        response: urllib3.BaseHTTPResponse,
        to: Path,
        checksum: Checksum,
        limit: int,
        deadline: float,
        cancelled: threading.Event,
    ) -> Fetched:
        etag, modified = response.headers.get("ETag", ""), response.headers.get("Last-Modified", "")
        if response.status == 304:
            return Fetched(None, etag, modified)
        if response.status != 200:
            raise DownloadFailed(f"Download failed: Status code {response.status}")
        digest = _digest(checksum)
        size = 0
        with to.open("wb") as file:
            for piece in response.stream(PIECE, decode_content=False):
                if cancelled.is_set():
                    raise DownloadFailed("cancelled", final=True)
                if self._clock() > deadline:
                    raise DownloadFailed(f"took longer than {TOTAL_TIMEOUT:.0f} seconds", final=True)
                size += len(piece)
                if size > limit:
                    raise DownloadFailed(f"larger than {limit} bytes", final=True)
                digest.update(piece)
                file.write(piece)
        if checksum.wanted and digest.hexdigest() != checksum.value.strip("\"'").lower():
            raise DownloadFailed(
                f"Checksum failed: expected {checksum.algorithm} {checksum.value},"
                f" received {digest.hexdigest()}",
                final=True,
            )
        return Fetched(size, etag, modified)


def _digest(checksum: Checksum) -> "hashlib._Hash":
    if not checksum.wanted:
        return hashlib.sha256()
    algorithm = checksum.algorithm.lower()
    if algorithm not in DIGESTS or not checksum.value:
        raise DownloadFailed(f"Checksum failed: algorithm {checksum.algorithm!r} is not known", final=True)
    return hashlib.new(algorithm, usedforsecurity=False)


def _timeout() -> urllib3.Timeout:
    return urllib3.Timeout(connect=CONNECT_TIMEOUT, read=IDLE_TIMEOUT)
