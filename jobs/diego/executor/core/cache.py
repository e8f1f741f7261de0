"""Which downloads are kept and which go (contract/executor.md section 5, "Downloads and cache").

An entry is one download of one cache key, in one form: unpacked for bind
mounts, or as a tar to be streamed. What is in use stays; of the rest, the
least recently used goes first while the whole is larger than its limit. A newer
download of a key replaces the older entry, which is removed once nobody uses it.
"""

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum


class Form(StrEnum):
    TAR = "tar"
    """A plain tar file, to be streamed into a container."""
    TREE = "tree"
    """An unpacked directory, to be mounted into containers."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One kept download. `name` is its file or directory; times in seconds since the epoch, sizes in bytes."""

    name: str
    key: str
    form: Form
    size: int
    used_at: float
    etag: str = ""
    last_modified: str = ""

    @property
    def can_be_asked_again(self) -> bool:
        """Whether the server can be asked if it is still the same."""
        return bool(self.etag or self.last_modified)


def stem(cache_key: str) -> str:
    """The name under which a key is kept: the hex MD5 of the key, as in the original."""
    return hashlib.md5(cache_key.encode(), usedforsecurity=False).hexdigest()


def newest(entries: Iterable[Entry], cache_key: str, form: Form) -> Entry | None:
    """The entry that answers for a key in a form, if there is one."""
    matching = [entry for entry in entries if entry.key == cache_key and entry.form is form]
    return max(matching, key=lambda entry: entry.used_at, default=None)


def to_evict(
    entries: Collection[Entry], in_use: Collection[str], *, limit: int, incoming: int = 0
) -> list[Entry]:
    """The entries to remove so that `incoming` more bytes fit below `limit`, least recently used first.

    Everything in use stays, even where that leaves the cache too large.
    """
    size = sum(entry.size for entry in entries) + incoming
    gone = []
    for entry in sorted(entries, key=lambda entry: (entry.used_at, entry.name)):
        if size <= limit:
            break
        if entry.name not in in_use:
            gone.append(entry)
            size -= entry.size
    return gone


def superseded(entries: Collection[Entry], in_use: Collection[str]) -> list[Entry]:
    """Older entries of a key and form of which a newer one is there, and which nobody uses any more."""
    return [
        entry
        for entry in entries
        if entry.name not in in_use and newest(entries, entry.key, entry.form) is not entry
    ]


def strangers(present: Iterable[str], entries: Iterable[Entry]) -> list[str]:
    """Files in the cache's directory that belong to no entry: left of an interrupted download."""
    known = {entry.name for entry in entries}
    return [name for name in present if name not in known]
