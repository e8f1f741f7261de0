"""Locket's four use-cases: read under lock, let core decide, keep what it decided."""

import uuid
from collections.abc import Callable

from diego.locket.core import locks
from diego.locket.core.locks import Kind, Row
from diego.locket.expiry import Expiry
from diego.locket.store import LockStore


def new_uuid() -> str:
    return str(uuid.uuid4())


class LocketService:
    """Raises `core.locks.Refused` where the answer is an error, and `DatabaseError` where the database fails."""

    def __init__(self, store: LockStore, expiry: Expiry, *, new_id: Callable[[], str] = new_uuid) -> None:
        self._store = store
        self._expiry = expiry
        self._new_id = new_id

    def lock(self, *, key: str, owner: str, value: str, type_code: int, ttl: int) -> None:
        """Acquire a lock, or refresh one's own."""
        asked = locks.wanted(key=key, owner=owner, value=value, type_code=type_code, ttl=ttl)
        seen = self._expiry.seen(key)
        with self._expiry.watching():
            row = self._store.change(
                key,
                lambda found: locks.lock(found, asked, new_id=self._new_id),
                guess=seen if seen is not None and seen.owner == owner else None,
            )
        if row is not None:
            self._expiry.saw(row)

    def release(self, *, key: str, owner: str) -> None:
        """Give a lock up."""
        with self._expiry.watching():
            self._store.change(key, lambda found: None if locks.release(found, owner) else found)

    def fetch(self, key: str) -> Row:
        with self._expiry.watching():
            return locks.fetch(self._store.fetch(key))

    def left(self, key: str) -> float | None:
        """How many seconds a lock lives unless it is refreshed, as seen from here; None while that is not known."""
        return self._expiry.left(key)

    def fetch_all(self, type_code: int) -> list[Row]:
        kind: Kind = locks.kind_of(type_code)
        with self._expiry.watching():
            return self._store.fetch_all(kind.text)
