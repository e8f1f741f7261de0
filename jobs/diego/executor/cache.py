"""Downloads that are kept and shared between containers (contract/executor.md section 5).

Fetching and unpacking happen in a bounded pool of threads, which is also the
limit of downloads at a time. Everything else happens in the loop. Two who want
the same key wait for each other, so it is fetched once.
"""

import asyncio
import json
import shutil
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

from diego.executor.archives import BadArchive, to_tar, unpack
from diego.executor.core.cache import Entry, Form, newest, stem, strangers, superseded, to_evict
from diego.executor.downloads import Checksum, Downloader, DownloadFailed, Fetched
from diego.runtime.logs import get_logger

INDEX = "index.json"
T = TypeVar("T")

log = get_logger("rep")


@dataclass(frozen=True, slots=True)
class Kept:
    """A download at hand. `fetched` is the size in bytes of what came over the network, None when nothing did."""

    name: str
    path: Path
    fetched: int | None


class DownloadCache:
    """The cell's cache, in a directory of its own.

    Args:
        limit: bytes that it may hold, and that one download may have.
        at_a_time: downloads that run side by side.
    """

    def __init__(self, directory: Path, downloader: Downloader, *, limit: int, at_a_time: int) -> None:
        self._directory = directory
        self._downloader = downloader
        self._limit = limit
        self._entries: dict[str, Entry] = {}
        self._users: dict[str, int] = {}
        self._locks: dict[tuple[str, Form], _SharedLock] = {}
        self._slots = asyncio.Semaphore(at_a_time)
        self._pool = ThreadPoolExecutor(at_a_time + 1, thread_name_prefix="download")
        directory.mkdir(parents=True, exist_ok=True)

    def recover(self) -> None:
        """Take up what the last life of the rep left; remove what belongs to nothing. Blocks."""
        try:
            found = json.loads((self._directory / INDEX).read_bytes())
            entries = [Entry(**{**entry, "form": Form(entry["form"])}) for entry in found]
        except FileNotFoundError:
            entries = []
        except (ValueError, TypeError, KeyError) as error:
            log.error("cache.index-damaged", error=str(error))
            entries = []
        self._entries = {entry.name: entry for entry in entries if (self._directory / entry.name).exists()}
        present = [path.name for path in self._directory.iterdir() if path.name != INDEX]
        for name in strangers(present, self._entries.values()):
            _remove(self._directory / name)

    def hold(self, name: str) -> None:
        """Count a container of the last life that still has the entry mounted."""
        self._users[name] = self._users.get(name, 0) + 1

    def release(self, name: str) -> None:
        """One user less; what nobody uses may go."""
        left = self._users.get(name, 0) - 1
        if left > 0:
            self._users[name] = left
        else:
            self._users.pop(name, None)

    def path(self, name: str) -> Path:
        return self._directory / name

    async def tree(self, url: str, cache_key: str, checksum: Checksum) -> Kept:
        """The unpacked download, held for the caller until `release`.

        Raises:
            DownloadFailed: it could not be fetched, or cannot be kept.
            BadArchive: it is no archive.
        """
        async with self._alone(cache_key, Form.TREE):
            kept = await self._get(url, cache_key, Form.TREE, checksum, must_keep=True)
            self.hold(kept.name)
            return kept

    @asynccontextmanager
    async def tar(self, url: str, cache_key: str, checksum: Checksum) -> AsyncIterator[Kept]:
        """The download as a plain tar file, at hand inside the block.

        Raises:
            DownloadFailed: it could not be fetched.
            BadArchive: it is no archive.
        """
        if not cache_key:
            kept = await self._fetch(url, "", Form.TAR, checksum, None)
            try:
                yield kept
            finally:
                kept.path.unlink(missing_ok=True)
            return
        async with self._alone(cache_key, Form.TAR):
            kept = await self._get(url, cache_key, Form.TAR, checksum, must_keep=False)
            self.hold(kept.name)
        try:
            yield kept
        finally:
            self.release(kept.name)
            if kept.name not in self._entries and kept.name not in self._users:
                kept.path.unlink(missing_ok=True)

    async def _get(
        self, url: str, cache_key: str, form: Form, checksum: Checksum, *, must_keep: bool
    ) -> Kept:
        known = newest(self._entries.values(), cache_key, form)
        if known is not None:
            self.hold(known.name)  # it must not be evicted while its server is asked
        try:
            kept = await self._fetch(url, cache_key, form, checksum, known)
        finally:
            if known is not None:
                self.release(known.name)
        if must_keep and kept.name not in self._entries:
            await self._in_thread(lambda: _remove(kept.path))
            raise DownloadFailed(
                "cannot be cached: the answer has neither ETag nor Last-Modified", final=True
            )
        return kept

    async def _fetch(
        self, url: str, cache_key: str, form: Form, checksum: Checksum, known: Entry | None
    ) -> Kept:
        serial = uuid.uuid4().hex[:12]
        name = f"{stem(cache_key or url)}-{serial}.{form}"
        raw = self._directory / f"{name}.part"
        target = self._directory / name
        cancelled = threading.Event()

        def work() -> tuple[Fetched, int]:
            try:
                fetched = self._downloader.fetch(
                    url,
                    raw,
                    checksum=checksum,
                    limit=self._limit,
                    cancelled=cancelled,
                    etag=known.etag if known else "",
                    last_modified=known.last_modified if known else "",
                )
                if fetched.size is None:
                    return fetched, 0
                if form is Form.TREE:
                    return fetched, unpack(raw, target, self._limit)
                to_tar(raw, target, self._limit)
                return fetched, target.stat().st_size
            except BaseException:
                _remove(target)
                raise
            finally:
                raw.unlink(missing_ok=True)

        async with self._slots:
            try:
                fetched, size = await self._in_thread(work)
            except asyncio.CancelledError:
                cancelled.set()
                raise
        if fetched.size is None:
            if known is None:
                raise DownloadFailed("not modified, though it was never fetched", final=True)
            entry = replace(known, used_at=time.time())
            self._entries[entry.name] = entry
            return Kept(entry.name, self._directory / entry.name, None)
        entry = Entry(name, cache_key, form, size, time.time(), fetched.etag, fetched.last_modified)
        if cache_key and entry.can_be_asked_again:
            self._entries[name] = entry
            self.hold(name)
            try:
                await self._make_room()
            finally:
                self.release(name)
        return Kept(name, target, fetched.size)

    async def _make_room(self) -> None:
        gone = superseded(list(self._entries.values()), self._users)
        for entry in gone:
            del self._entries[entry.name]
        more = to_evict(list(self._entries.values()), self._users, limit=self._limit)
        for entry in more:
            del self._entries[entry.name]
        index = json.dumps([asdict(entry) for entry in self._entries.values()]).encode()
        names = [entry.name for entry in (*gone, *more)]
        await self._in_thread(lambda: self._write(index, names))

    def _write(self, index: bytes, gone: list[str]) -> None:
        beside = self._directory / f"{INDEX}.{uuid.uuid4().hex[:8]}.part"
        beside.write_bytes(index)
        beside.replace(self._directory / INDEX)
        for name in gone:
            _remove(self._directory / name)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    @asynccontextmanager
    async def _alone(self, cache_key: str, form: Form) -> AsyncIterator[None]:
        """One at a time for each key and form."""
        shared = self._locks.setdefault((cache_key, form), _SharedLock())
        shared.waiting += 1
        try:
            async with shared.lock:
                yield
        finally:
            shared.waiting -= 1
            if shared.waiting == 0:
                self._locks.pop((cache_key, form), None)


class _SharedLock:
    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.waiting = 0


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


__all__ = ["BadArchive", "DownloadCache", "DownloadFailed", "Kept"]
