"""Locks in memory: for tests of what stands on a store, and held to the same tests as the SQL store."""

import threading
from collections.abc import Callable

from diego.database import BadValue
from diego.locket.core.locks import Row
from diego.locket.store import MAX_KEY, MAX_VALUE


class MemoryLockStore:
    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}
        self._lock = threading.Lock()

    def create_table(self) -> None:
        """Nothing to make."""

    def ping(self) -> None:
        """Memory is always there."""

    def change(
        self,
        path: str,
        decide: Callable[[Row | None], Row | None],
        *,
        guess: Row | None = None,  # noqa: ARG002 - nothing is saved by it here
    ) -> Row | None:
        with self._lock:
            after = decide(self._rows.get(path))
            if after is None:
                self._rows.pop(path, None)
            elif max(len(after.path), len(after.owner)) > MAX_KEY or len(after.value) > MAX_VALUE:
                raise BadValue("sql-bad-request")
            else:
                self._rows[path] = after
            return after

    def fetch(self, path: str) -> Row | None:
        return self._rows.get(path)

    def fetch_all(self, type_text: str) -> list[Row]:
        return [row for row in self.rows() if row.type == type_text]

    def rows(self) -> list[Row]:
        with self._lock:
            return list(self._rows.values())
