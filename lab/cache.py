"""What is slow to make, kept outside the checkout under a key of everything it is made from.

An artefact is a directory `KIND-KEY` with its files in `content` and a mark beside them, written last. The mark has a
fingerprint of the files: what was cut short or changed since is not trusted, and made again.
"""

import fcntl
import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.identity import LabError
from lab.mounts import unmount_below
from lab.shell import tell

KEPT_OF_A_KIND = 2
"""So many artefacts of a kind stay in the cache, the newest ones."""
PIECE = 1 << 20


def cache_directory() -> Path:
    """`DIEGO_LAB_CACHE`, or where the machine keeps such things."""
    chosen = os.environ.get("DIEGO_LAB_CACHE")
    if chosen:
        return Path(chosen)
    if os.geteuid() == 0:
        return Path("/var/cache/diego-lab")
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "diego-lab"


@dataclass(frozen=True)
class Artefact:
    """Something to make: `parts` is everything that decides what comes out."""

    kind: str
    parts: Mapping[str, object]
    make: Callable[[Path], None]
    takes: str
    "How long it takes, for the one who waits."
    by_content: bool = True
    "Whether the fingerprint reads the files; else it takes their sizes and times (a whole file system)."

    @property
    def key(self) -> str:
        return hashlib.sha256(json.dumps(self.parts, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.key}"


class Cache:
    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or cache_directory()

    def find(self, artefact: Artefact) -> Path | None:
        """The artefact's files if they are all as they were made."""
        place = self.directory / artefact.name
        try:
            mark = json.loads((place / "mark.json").read_text())
        except (OSError, ValueError):
            return None
        content = place / "content"
        if mark.get("fingerprint") != fingerprint(content, by_content=artefact.by_content):
            return None
        return content

    def ensure(self, artefact: Artefact) -> Path:
        """The artefact's files, made now unless they are there and whole.

        Raises:
            LabError: it could not be made.

        """
        with self._locked(artefact.name):
            found = self.find(artefact)
            if found:
                tell(f"{artefact.kind}: from the cache")
                return found
            return self._make(artefact)

    def _make(self, artefact: Artefact) -> Path:
        place = self.directory / artefact.name
        if place.exists():
            tell(f"{artefact.kind}: what the cache has of it is not whole; making it again")
            _remove(place)
        new = self.directory / f".{artefact.name}.new"
        _remove(new)
        (new / "content").mkdir(parents=True)
        tell(f"{artefact.kind}: making it (about {artefact.takes})")
        began = time.monotonic()
        artefact.make(new / "content")
        mark = {
            "parts": dict(artefact.parts),
            "fingerprint": fingerprint(new / "content", by_content=artefact.by_content),
        }
        (new / "mark.json").write_text(json.dumps(mark, indent=1))
        os.sync()
        new.rename(place)
        tell(f"{artefact.kind}: made in {time.monotonic() - began:.1f} s")
        return place / "content"

    def prune(self, in_use: set[Path]) -> None:
        """Drop old artefacts, but none that a lab stands on."""
        by_kind: dict[str, list[Path]] = {}
        for mark in self.directory.glob("*/mark.json"):
            by_kind.setdefault(mark.parent.name.rpartition("-")[0], []).append(mark)
        for marks in by_kind.values():
            marks.sort(key=lambda mark: mark.stat().st_mtime, reverse=True)
            for mark in marks[KEPT_OF_A_KIND:]:
                if mark.parent / "content" not in in_use:
                    _remove(mark.parent)

    def clear(self, in_use: set[Path]) -> None:
        """Remove the whole cache.

        Raises:
            LabError: a lab stands on a part of it.

        """
        used = sorted(str(path) for path in in_use if path.is_relative_to(self.directory))
        if used:
            raise LabError(f"a lab is up and stands on {', '.join(used)}: take it down first (make down)")
        _remove(self.directory)

    def log(self, artefact: Artefact | str) -> Path:
        name = artefact if isinstance(artefact, str) else artefact.name
        return self.directory / "logs" / f"{name}.log"

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """Several runs may want the same artefact: one makes it, the others wait and find it."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / f".{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def fingerprint(top: Path, *, by_content: bool) -> str:
    """A hash over the names, kinds, modes, owners and sizes below `top`, with contents or times of files."""
    seen = hashlib.sha256()
    for path in _walk(top):
        about = path.lstat()
        words: list[object] = [path.relative_to(top), about.st_mode, about.st_uid, about.st_gid]
        if stat.S_ISLNK(about.st_mode):
            words.append(path.readlink())
        elif stat.S_ISREG(about.st_mode):
            words.append(about.st_size)
            words.append(_content(path) if by_content else about.st_mtime_ns)
        seen.update("\0".join(str(word) for word in words).encode(errors="surrogateescape") + b"\n")
    return seen.hexdigest()


def _walk(top: Path) -> Iterator[Path]:
    for directory, names, files in os.walk(top):
        names.sort()
        for name in sorted(names + files):
            yield Path(directory, name)


def _content(path: Path) -> str:
    seen = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            seen.update(piece)
    return seen.hexdigest()


def _remove(top: Path) -> None:
    if top.exists():
        unmount_below(top)  # a run that was cut while it made something leaves its mounts
        shutil.rmtree(top)
