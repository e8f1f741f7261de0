"""What all containers of a cell share."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from diego.executor.cache import DownloadCache
from diego.executor.core.container_spec import Limits
from diego.executor.garden import Garden
from diego.executor.logs import LogSink
from diego.executor.monitors import Pace
from diego.executor.probes import Prober
from diego.executor.records import RecordStore
from diego.executor.stage import Leaver
from diego.executor.uploads import Uploader


class Event(StrEnum):
    """What the rep is told about a container."""

    RESERVED = "reserved"
    RUNNING = "running"
    COMPLETED = "completed"


UPLOADS_AT_A_TIME = 5


@dataclass(frozen=True, slots=True)
class Settings:
    """The cell's side of running containers. Seconds throughout.

    `trusted_certificates` is a directory of the cell, empty when it has none;
    `temporary` is where files on their way out of containers lie.
    """

    cell_id: str
    limits: Limits
    pace: Pace
    grace: float
    check_timeout: float
    temporary: Path
    trusted_certificates: str = ""
    log_lines_per_second: int = 0
    creates_at_a_time: int = 32
    deletes_at_a_time: int = 32
    checks_at_a_time: int = 64


@dataclass(slots=True)
class Cell:
    """Everything that a container's life needs from outside.

    `leaving` tells whether the rep itself is ending; `tell` is who hears of
    events, set before the first container is there. `rootfs_bytes` is the size
    of each root filesystem that was measured, by its path.
    """

    settings: Settings
    garden: Garden
    records: RecordStore
    sink: LogSink
    cache: DownloadCache
    uploader: Uploader
    prober: Prober
    leaving: Callable[[], bool]
    tell: Callable[[Event, str], None] = lambda _event, _guid: None
    rootfs_bytes: Mapping[str, int] = field(default_factory=dict)
    processes: set[Leaver] = field(default_factory=set)
    creating: asyncio.Semaphore = field(init=False)
    deleting: asyncio.Semaphore = field(init=False)
    uploading: asyncio.Semaphore = field(init=False)
    checking: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self.creating = asyncio.Semaphore(self.settings.creates_at_a_time)
        self.deleting = asyncio.Semaphore(self.settings.deletes_at_a_time)
        self.uploading = asyncio.Semaphore(UPLOADS_AT_A_TIME)
        self.checking = asyncio.Semaphore(self.settings.checks_at_a_time)
