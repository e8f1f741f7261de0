"""Keeps the containers' records on disk, so that a restarted rep finds them (ours.md section 3)."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from diego.executor.core.records import BadRecord, Record, decode, encode
from diego.runtime.logs import get_logger

log = get_logger("rep")

_SUFFIX = ".json"


class RecordStore:
    """One file per container, written whole and durably before `save` returns.

    Writes happen one after the other on a thread of their own, in the order in
    which they were asked for, so the newest state is the one that stays.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="records")

    async def save(self, record: Record) -> None:
        """Remember `record`. Raises OSError when the disk refuses it."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._writer, self._write, record.container.guid, encode(record))

    async def remove(self, guid: str) -> None:
        """Forget a container; one that was not remembered is fine."""
        await asyncio.get_running_loop().run_in_executor(self._writer, self._unlink, guid)

    def load(self) -> list[Record]:
        """Every record that can be read. A damaged one is removed, with a line in the log: its container is a stray."""
        records = []
        for path in sorted(self._directory.iterdir()):
            if path.suffix != _SUFFIX:
                path.unlink(missing_ok=True)  # left of a write that was cut off
                continue
            try:
                records.append(decode(path.read_bytes()))
            except BadRecord as error:
                log.error("container-record.damaged", file=path.name, error=str(error))
                path.unlink(missing_ok=True)
        return records

    def _write(self, guid: str, text: bytes) -> None:
        path = self._path(guid)
        beside = path.with_suffix(".new")
        with beside.open("wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        self._sync_directory()

    def _unlink(self, guid: str) -> None:
        self._path(guid).unlink(missing_ok=True)
        self._sync_directory()

    def _sync_directory(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _path(self, guid: str) -> Path:
        return self._directory / f"{guid}{_SUFFIX}"
