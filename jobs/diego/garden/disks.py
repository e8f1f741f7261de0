"""A container's root file system: the shared image below, a disk of its own above.

The disk is a sparse file with ext4 on a loop device, so that the container gets
"no space left" at its limit and `df` inside shows the limit. It is gone with the
container, so nothing is ever synced for safety's sake (overlay option `volatile`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from diego.garden import kernel
from diego.garden.core.limits import BLOCK_SIZE, INODE_SIZE, DiskSize
from diego.garden.errors import GardenError

MKFS_SECONDS = 60.0


class Disk:
    """Where one container's file systems lie, below its directory."""

    def __init__(self, directory: Path) -> None:
        self.image = directory / "disk.img"
        self.mounted = directory / "disk"
        self.rootfs = directory / "rootfs"

    def make(self, size: DiskSize, *, lower: Path, owner: int) -> None:
        """Make and mount both; `owner` is the host's id of the container's root."""
        _make_file_system(self.image, size)
        self.mounted.mkdir()
        self.rootfs.mkdir()
        with kernel.loop_device(self.image) as device:
            flags = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOATIME
            kernel.mount(device, self.mounted, "ext4", flags, "noinit_itable,discard")
        upper, work = self.mounted / "upper", self.mounted / "work"
        for path in (upper, work):
            path.mkdir()
            os.chown(path, owner, owner)
        upper.chmod(0o755)
        kernel.mount(
            "overlay",
            self.rootfs,
            "overlay",
            kernel.MS_NODEV,
            f"lowerdir={lower},upperdir={upper},workdir={work},volatile",
        )

    def used(self) -> tuple[int, int]:
        """Bytes and inodes that the container itself has written."""
        found = os.statvfs(self.mounted)
        return (found.f_blocks - found.f_bfree) * found.f_frsize, found.f_files - found.f_ffree

    def remove(self) -> None:
        """Unmount and delete; what is gone already is no error."""
        for path in (self.rootfs, self.mounted):
            while kernel.unmount(path):
                pass
            if path.is_dir():
                path.rmdir()
        self.image.unlink(missing_ok=True)


def _make_file_system(image: Path, size: DiskSize) -> None:
    with image.open("wb") as file:
        file.truncate(size.file)
    command = ["mkfs.ext4", "-q", "-F", "-m", "0", "-b", str(BLOCK_SIZE), "-I", str(INODE_SIZE)]
    command += ["-N", str(size.inodes), "-O", "^has_journal,^resize_inode"]
    command += ["-E", "lazy_itable_init=1,nodiscard", str(image)]
    done = subprocess.run(
        command, capture_output=True, check=False, timeout=MKFS_SECONDS, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise GardenError(f"making a disk: {done.stderr.decode(errors='replace').strip()}")


def capacity(directory: Path) -> int:
    """The size of the file system that holds `directory`, in bytes."""
    return shutil.disk_usage(directory).total


def mount_options(path: str) -> tuple[str, ...]:
    """The restrictions of the file system that holds `path`, which a bind mount of it must keep."""
    flags = os.statvfs(path).f_flag
    names = {
        os.ST_NOSUID: "nosuid",
        os.ST_NODEV: "nodev",
        os.ST_NOEXEC: "noexec",
        os.ST_NOATIME: "noatime",
        os.ST_NODIRATIME: "nodiratime",
        os.ST_RELATIME: "relatime",
    }
    return tuple(name for flag, name in names.items() if flags & flag)
