"""Archives as they are fetched: recognised by content, made a plain tar, or unpacked safely.

Nothing is unpacked outside the directory that it is for, through a link of the
archive's own or otherwise, and nothing grows beyond the bound given. All
functions block; they run in threads.
"""

import gzip
import os
import shutil
import stat
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

PIECE = 256 << 10


class BadArchive(Exception):
    """What was fetched is no archive that can be used."""


def kind_of(path: Path) -> str:
    """`gzip`, `zip` or `tar`, by content.

    Raises:
        BadArchive: `unknown archive format`.
    """
    with path.open("rb") as file:
        head = file.read(512)
    if head[:2] == b"\x1f\x8b":
        return "gzip"
    if head[:4] in {b"PK\x03\x04", b"PK\x05\x06"}:
        return "zip"
    if head[257:262] == b"ustar" or (len(head) == 512 and not any(head)):
        return "tar"
    raise BadArchive("unknown archive format")


def to_tar(archive: Path, tar: Path, limit: int) -> None:
    """Write the archive as a plain tar file of at most `limit` bytes; `archive` is used up.

    Raises:
        BadArchive: it is none, or is larger unpacked.
    """
    kind = kind_of(archive)
    if kind == "tar":
        archive.replace(tar)
        return
    try:
        if kind == "gzip":
            with gzip.open(archive) as source, tar.open("wb") as target:
                _copy(source, target, _Allowance(limit))
        else:
            _zip_to_tar(archive, tar, limit)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise BadArchive(f"{kind}: {error}") from error
    archive.unlink()


def unpack(archive: Path, directory: Path, limit: int) -> int:
    """Unpack into the new `directory`; the bytes of its files. `archive` stays.

    Files become readable for everybody, since a container's users are others on
    the cell; set-id bits do not survive. Devices are left out.

    Raises:
        BadArchive: it is none, names something outside, or is larger than `limit` bytes.
    """
    kind = kind_of(archive)
    directory.mkdir()
    directory.chmod(0o755)
    allowance = _Allowance(limit)
    try:
        if kind == "zip":
            with zipfile.ZipFile(archive) as source:
                for info in source.infolist():
                    _unpack_zipped(source, info, directory, allowance)
        else:
            with tarfile.open(archive, "r:gz" if kind == "gzip" else "r:") as source:
                for member in source:
                    _unpack_member(source, member, directory, allowance)
    except (
        OSError,
        EOFError,
        zlib.error,
        tarfile.TarError,
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise BadArchive(f"{kind}: {error}") from error
    return allowance.used


@contextmanager
def first_file(tar: Path) -> Iterator[tuple[IO[bytes], int] | None]:
    """The first regular file of a tar and its size, or None when there is none."""
    try:
        with tarfile.open(tar, "r:") as source:
            for member in source:
                if member.isfile():
                    file = source.extractfile(member)
                    if file is None:
                        break
                    with closing(file):
                        yield file, member.size
                    return
    except (tarfile.TarError, EOFError) as error:
        raise BadArchive(f"tar: {error}") from error
    yield None


class _Allowance:
    """Bytes that may still be written."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.used = 0

    def take(self, count: int) -> None:
        self.used += count
        if self.used > self._limit:
            raise BadArchive(f"larger than {self._limit} bytes unpacked")


def _copy(source: IO[bytes] | gzip.GzipFile, target: IO[bytes], allowance: _Allowance) -> None:
    while piece := source.read(PIECE):
        allowance.take(len(piece))
        target.write(piece)


def _zip_to_tar(archive: Path, tar: Path, limit: int) -> None:
    allowance = _Allowance(limit)
    with zipfile.ZipFile(archive) as source, tarfile.open(tar, "w", format=tarfile.PAX_FORMAT) as target:
        for info in source.infolist():
            mode = info.external_attr >> 16
            member = tarfile.TarInfo(info.filename.rstrip("/") or ".")
            member.mtime = int(time.mktime((*info.date_time, 0, 0, -1)))
            member.mode = stat.S_IMODE(mode) or (0o755 if info.is_dir() else 0o644)
            if info.is_dir():
                member.type = tarfile.DIRTYPE
                target.addfile(member)
            elif stat.S_ISLNK(mode):
                member.type = tarfile.SYMTYPE
                member.linkname = source.read(info).decode()
                target.addfile(member)
            else:
                allowance.take(info.file_size)
                member.size = info.file_size
                with source.open(info) as file:
                    target.addfile(member, file)


def _unpack_member(
    source: tarfile.TarFile, member: tarfile.TarInfo, directory: Path, allowance: _Allowance
) -> None:
    target = _inside(directory, member.name)
    if member.isdir():
        _make_directory(target, member.mode)
    elif member.issym():
        _make_way(target)
        target.symlink_to(member.linkname)
    elif member.islnk():
        _make_way(target)
        other = _inside(directory, member.linkname)
        if not other.is_file() or other.is_symlink():
            raise BadArchive(f"link to what is not there: {member.name}")
        os.link(other, target)
    elif member.isfile():
        file = source.extractfile(member)
        if file is not None:
            _write(target, file, member.mode, allowance)


def _unpack_zipped(
    source: zipfile.ZipFile, info: zipfile.ZipInfo, directory: Path, allowance: _Allowance
) -> None:
    target = _inside(directory, info.filename)
    mode = info.external_attr >> 16
    if info.is_dir():
        _make_directory(target, stat.S_IMODE(mode) or 0o755)
    elif stat.S_ISLNK(mode):
        _make_way(target)
        target.symlink_to(source.read(info).decode())
    else:
        with source.open(info) as file:
            _write(target, file, stat.S_IMODE(mode) or 0o644, allowance)


def _inside(directory: Path, name: str) -> Path:
    """Where a member goes. No part of the way there is a link, so it is below `directory`."""
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise BadArchive(f"names something outside: {name}")
    place = directory
    for part in parts[:-1]:
        place /= part
        if place.is_symlink():
            raise BadArchive(f"goes through a link: {name}")
    return directory.joinpath(*parts)


def _make_directory(target: Path, mode: int) -> None:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        target.unlink()
    target.mkdir(parents=True, exist_ok=True)
    target.chmod((mode & 0o777) | 0o755)


def _make_way(target: Path) -> None:
    """Make the parents of `target`, and room for it: the last member of a name counts."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_symlink() or target.is_file():
        target.unlink()
    elif target.is_dir():
        shutil.rmtree(target)


def _write(target: Path, source: IO[bytes], mode: int, allowance: _Allowance) -> None:
    _make_way(target)
    with target.open("xb") as file:
        _copy(source, file, allowance)
    target.chmod((mode & 0o755) | 0o644)
