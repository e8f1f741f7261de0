"""System calls that Python has no words for: mounts, loop devices, namespaces, paths kept below a root.

Each function is one call with an OSError on failure, and lets other threads run meanwhile.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)

MS_NOSUID, MS_NODEV, MS_NOATIME = 2, 4, 1024
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8
CLONE_NEWUSER = 0x10000000

SYS_OPENAT2 = 437
RESOLVE_NO_MAGICLINKS, RESOLVE_IN_ROOT = 0x02, 0x10

LOOP_CONTROL = "/dev/loop-control"
LOOP_CTL_GET_FREE, LOOP_CONFIGURE = 0x4C82, 0x4C0A
LO_FLAGS_AUTOCLEAR, LO_FLAGS_DIRECT_IO = 4, 16
LOOP_MAJOR = 7
LOOP_TRIES = 64
PIDFD_GET_INFO, PIDFD_INFO_EXIT = 0xC040FF0B, 8


def _check(result: int, path: str | Path = "") -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(path))
    return result


def mount(source: str | Path, target: str | Path, kind: str, flags: int, options: str) -> None:
    """Mount a file system."""
    words = [str(word).encode() for word in (source, target, kind)]
    _check(_libc.mount(*words, ctypes.c_ulong(flags), options.encode()), target)


def unmount(target: str | Path) -> bool:
    """Take off the uppermost mount at `target`, though it be in use; False if nothing is mounted there."""
    if _libc.umount2(str(target).encode(), UMOUNT_NOFOLLOW) == 0:
        return True
    code = ctypes.get_errno()
    if code == errno.EBUSY:
        _check(_libc.umount2(str(target).encode(), MNT_DETACH | UMOUNT_NOFOLLOW), target)
        return True
    if code in (errno.EINVAL, errno.ENOENT):
        return False
    raise OSError(code, os.strerror(code), str(target))


def unshare(flags: int) -> None:
    """Leave the caller's namespaces of these kinds for new ones."""
    _check(_libc.unshare(flags))


@contextmanager
def loop_device(file: Path) -> Iterator[str]:
    """A loop device over `file`, for the time of the block and for as long as it is mounted.

    Other hosts on the same machine take loop devices too, so a number that was free a
    moment ago may be taken. Where /dev is no devtmpfs the node is missing: it is made.
    """
    backing = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        path, device = _take_loop_device(backing)
    finally:
        os.close(backing)
    try:
        yield path
    finally:
        os.close(device)  # detaches by itself when nothing has it mounted


def _take_loop_device(backing: int) -> tuple[str, int]:
    for _ in range(LOOP_TRIES):
        control = os.open(LOOP_CONTROL, os.O_RDWR | os.O_CLOEXEC)
        try:
            number = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
        finally:
            os.close(control)
        path = f"/dev/loop{number}"
        if not Path(path).exists():
            make_loop_node(path, number)
        device = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            configure_loop(device, backing)
        except OSError as error:
            os.close(device)
            if error.errno != errno.EBUSY:
                raise
        else:
            return path, device
    raise OSError(errno.EBUSY, "every free loop device was taken by others")


def make_loop_node(path: str, number: int) -> None:
    """Make a loop device's node, unless somebody was faster."""
    try:
        os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(LOOP_MAJOR, number))
    except FileExistsError:
        return


def configure_loop(device: int, backing: int) -> None:
    """Attach a file to a loop device; direct I/O where the file system below offers it."""
    try:
        fcntl.ioctl(device, LOOP_CONFIGURE, _loop_config(backing, LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        fcntl.ioctl(device, LOOP_CONFIGURE, _loop_config(backing, LO_FLAGS_AUTOCLEAR))


def _loop_config(backing: int, flags: int) -> bytes:
    """A struct loop_config: fd, block size, a loop_info64 of 232 bytes (its flags at 52), reserved."""
    info = bytearray(232)
    struct.pack_into("=I", info, 52, flags)
    return struct.pack("=II", backing, 4096) + bytes(info) + bytes(64)


def exit_status(pidfd: int) -> int | None:
    """How a process ended that was not our child, as a wait status; None where the kernel does not tell.

    Linux 6.15 and later remember it for whoever holds a pidfd, once the parent has taken note.
    """
    info = bytearray(64)
    struct.pack_into("=Q", info, 0, PIDFD_INFO_EXIT)
    try:
        fcntl.ioctl(pidfd, PIDFD_GET_INFO, info)
    except OSError:
        return None
    (mask,) = struct.unpack_from("=Q", info, 0)
    (status,) = struct.unpack_from("=i", info, 60)
    return int(status) if mask & PIDFD_INFO_EXIT else None


def open_in_root(root: int, path: str, flags: int) -> int:
    """open(2) of a path that cannot leave the directory `root`, whatever links lie in its way."""
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    descriptor = _libc.syscall(SYS_OPENAT2, root, path.encode(), how, ctypes.c_size_t(len(how)))
    return _check(descriptor, path)
