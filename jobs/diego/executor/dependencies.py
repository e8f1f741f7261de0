"""Cached dependencies of a container: fetched side by side, mounted read-only (contract/executor.md section 5)."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from diego.executor.archives import BadArchive
from diego.executor.cache import DownloadCache
from diego.executor.core.requests import RunRequest
from diego.executor.core.texts import byte_size
from diego.executor.downloads import Checksum, DownloadFailed
from diego.executor.logs import ContainerLog
from diego.wire.cached_dependency_pb2 import CachedDependency


class DependenciesFailed(Exception):
    """One of them could not be had."""


@dataclass(frozen=True, slots=True)
class HeldDependency:
    """An unpacked dependency that the cache keeps until it is released."""

    name: str
    path: Path
    target: str


async def fetch_all(request: RunRequest, cache: DownloadCache, log: ContainerLog) -> list[HeldDependency]:
    """All dependencies of `request`, in its order; the first failure ends the others.

    Raises:
        DependenciesFailed: and nothing is held.
    """
    tasks = [
        asyncio.ensure_future(_fetch(dependency, cache, log)) for dependency in request.cached_dependencies
    ]
    if not tasks:
        return []
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        ended = all(task.done() and not task.cancelled() and not task.exception() for task in tasks)
        if not ended:
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, HeldDependency):
                    cache.release(result.name)
    failures = [error for task in tasks if not task.cancelled() and (error := task.exception())]
    if failures:
        raise DependenciesFailed(str(failures[0])) from failures[0]
    return [task.result() for task in tasks]


async def _fetch(dependency: CachedDependency, cache: DownloadCache, log: ContainerLog) -> HeldDependency:
    source, name = dependency.log_source, dependency.name
    if name:
        log.tell(f"Downloading {name}...", source=source)
    url = getattr(dependency, "from")
    checksum = Checksum(dependency.checksum_algorithm, dependency.checksum_value)
    try:
        kept = await cache.tree(url, dependency.cache_key or url, checksum)
    except (DownloadFailed, BadArchive, OSError) as error:
        if name:
            log.tell(f"Downloading {name} failed", source=source)
        raise DependenciesFailed(f"{name or url}: {error}") from error
    if name:
        size = f" ({byte_size(kept.fetched)})" if kept.fetched is not None else ""
        log.tell(f"Downloaded {name}{size}", source=source)
    return HeldDependency(kept.name, kept.path, dependency.to)
