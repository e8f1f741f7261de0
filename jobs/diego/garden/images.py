"""Root file systems that containers share: unpacked once per version of a tar file.

An image is known by its file's path, time and size, so that a new tar under an old name
is a new image. It is unpacked beside its place, made durable and renamed: what lies in
place is whole, even after a power cut.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from diego.garden.core.oci import IdMap
from diego.garden.core.specs import Image
from diego.garden.errors import GardenError
from diego.runtime.logs import get_logger

UNPACK_SECONDS = 600.0
log = get_logger("garden")


@dataclass(frozen=True, slots=True)
class Layer:
    """An unpacked image: the lower directory of its containers, and the bytes it takes."""

    key: str
    rootfs: Path
    size: int
    env: tuple[str, ...] = ()


class ImageStore:
    """The unpacked images below one directory."""

    def __init__(self, directory: Path, ids: IdMap) -> None:
        self.directory = directory
        self._ids = ids

    def prepare(self) -> None:
        """Make the directory, and remove what an interrupted unpacking has left."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o711)
        for path in self.directory.glob("*.part"):
            shutil.rmtree(path)

    def key(self, image: Image) -> str:
        """The name under which the image is, or would be, unpacked.

        Raises:
            GardenError: the URI is of a kind this engine does not offer, or there is no such file.
        """
        if not image.uri.startswith("/"):
            raise GardenError(f"image {image.uri!r}: only the absolute path of a tar file is offered")
        path = Path(image.uri)
        if path.is_dir():
            raise GardenError("invalid base image: directory provided instead of a tar file")
        try:
            found = path.stat()
        except OSError as error:
            raise GardenError(f"local image not found in `{image.uri}`: {error.strerror}") from error
        name = f"{path}:{found.st_mtime_ns}:{found.st_size}:{self._ids.start}:{self._ids.size}"
        return hashlib.sha256(name.encode()).hexdigest()[:32]

    def layer(self, key: str) -> Layer | None:
        """The unpacked image of this key, if it is there."""
        place = self.directory / key
        try:
            facts = json.loads((place / "image.json").read_text())
        except FileNotFoundError:
            return None
        return Layer(key, place / "rootfs", facts["size"])

    def unpack(self, image: Image, key: str) -> Layer:
        """Unpack the image under its key. Two at once for one key are the caller's to prevent."""
        part = self.directory / f"{key}.part"
        shutil.rmtree(part, ignore_errors=True)
        rootfs = part / "rootfs"
        rootfs.mkdir(parents=True)
        part.chmod(0o711)
        os.chown(rootfs, self._ids.start, self._ids.start)
        with Path(image.uri).open("rb") as archive:
            done = subprocess.run(
                [sys.executable, "-m", "diego.garden.unpack", str(self._ids.start), str(self._ids.size)],
                stdin=archive,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd=rootfs,
                check=False,
                timeout=UNPACK_SECONDS,
            )
        if done.returncode:
            shutil.rmtree(part)
            text = done.stderr.decode(errors="replace").strip()[-2000:]
            raise GardenError(f"unpacking {image.uri}: {text}")
        rootfs.chmod(0o755)
        size = tree_bytes(rootfs)
        (part / "image.json").write_text(json.dumps({"size": size, "source": image.uri}) + "\n")
        os.sync()
        place = self.directory / key
        part.rename(place)
        log.info("image.unpacked", source=image.uri, key=key, bytes=size)
        return Layer(key, place / "rootfs", size)

    def collect(self, in_use: Collection[str]) -> None:
        """Remove images that no container uses and whose file is gone or changed."""
        for place in self.directory.iterdir():
            if place.name in in_use or not place.is_dir():
                continue
            try:
                source = json.loads((place / "image.json").read_text())["source"]
                current = self.key(Image(source))
            except (OSError, ValueError, KeyError, GardenError):
                current = None
            if current != place.name:
                log.info("image.removed", key=place.name)
                shutil.rmtree(place)


def tree_bytes(top: Path) -> int:
    """The bytes that a directory takes on the disk, each hard-linked file once."""
    seen: set[int] = set()
    total = 0
    for directory, _, names in os.walk(top):
        for path in (directory, *(f"{directory}/{name}" for name in names)):
            found = os.lstat(path)
            if found.st_ino not in seen:
                seen.add(found.st_ino)
                total += found.st_blocks * 512
    return total
