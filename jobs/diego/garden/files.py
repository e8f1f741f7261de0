"""Put files into a container, or get them out, as one of its users: a program of its own, run by garden.

    python -I -S files.py in  PID UID GID GROUPS HOME DESTINATION < tar
    python -I -S files.py out PID UID GID GROUPS HOME SOURCE > tar

It enters the user and mount namespaces of the container's init `PID` and becomes the
user. So the kernel decides what may be read and written, and no link leads out. It
stays out of the container's pid namespace, where nothing can see or trace it.

Inside, nothing may be loaded from the container's files: everything is imported before,
importing is switched off, and no user or group is looked up by the C library.

Exit status 0; else 1 and a sentence on standard error. Before `out` writes its first
byte it has found its source.
"""

import ctypes
import grp
import os
import pwd
import resource
import stat
import sys
import tarfile
from pathlib import PurePosixPath

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
UMASK = 0o022
MEMORY = 512 << 20  # a hostile archive's header may claim any length
XATTR = "SCHILY.xattr."
PIECE = 1 << 20


class Refused(Exception):
    """Something in the archive or the file system; the text is for the client."""


def enter(pid: int, uid: int, gid: int, groups: list[int]) -> None:
    """Become a user in the container of this init."""
    libc = ctypes.CDLL(None, use_errno=True)
    kinds = (("user", CLONE_NEWUSER), ("mnt", CLONE_NEWNS))
    namespaces = [(os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY), kind) for name, kind in kinds]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    seal()
    for namespace, kind in namespaces:
        if libc.setns(namespace, kind) != 0:
            raise Refused(f"entering the container: {os.strerror(ctypes.get_errno())}")
        os.close(namespace)
    os.setgroups(groups)
    os.setgid(gid)
    # by way of the container's root: leaving that is what makes the kernel take the capabilities away
    os.setuid(0)
    os.setuid(uid)
    os.umask(UMASK)


def seal() -> None:
    """Import nothing more, and look up no names of users."""
    sys.meta_path.clear()
    sys.path_hooks.clear()
    sys.path.clear()
    tarfile.__dict__.update(pwd=None, grp=None)
    del pwd.getpwuid, grp.getgrgid


def put(destination: str) -> None:
    """Unpack standard input below `destination`, which is made if it is missing."""
    make_directories(destination)
    os.chdir(destination)
    directories: list[tarfile.TarInfo] = []
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|", errorlevel=2) as archive:
        for member in archive:
            name = member.name.lstrip("/")
            if ".." in PurePosixPath(name).parts:
                raise Refused(f"{member.name}: Member name contains '..'")
            try:
                unpack(archive, member, name or ".")
            except OSError as error:
                raise Refused(f"{member.name}: {error.strerror or error}") from error
            if member.isdir():
                directories.append(member)
    while sys.stdin.buffer.read(PIECE):  # what comes after the end of the archive
        pass
    for member in reversed(directories):
        set_time(member.name.lstrip("/") or ".", member)


def unpack(archive: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> None:
    """Make one member. What is in its way is replaced, a directory by a directory only."""
    parent = os.path.dirname(name)  # noqa: PTH120 - text, no path of this host
    if parent:
        make_directories(parent)
    if member.isdir():
        if name != ".":
            make_directory(name, member.mode)
        return
    if os.path.lexists(name):
        os.unlink(name)  # noqa: PTH108 - the same
    if member.isreg():
        write_file(archive, member, name)
    elif member.issym():
        os.symlink(member.linkname, name)  # noqa: PTH211 - the same
    elif member.islnk():
        os.link(member.linkname.lstrip("/"), name, follow_symlinks=False)
    elif member.isfifo():
        os.mkfifo(name, member.mode & 0o777)
    else:
        raise Refused(f"{member.name}: Cannot mknod: Operation not permitted")
    if member.isreg():
        set_time(name, member)


def write_file(archive: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> None:
    """Write a regular file with its mode and extended attributes."""
    source = archive.extractfile(member)
    if source is None:
        raise Refused(f"{member.name}: no content")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(name, flags, 0o600)
    try:
        left = member.size
        while piece := source.read(min(PIECE, left)):
            left -= len(piece)
            view = memoryview(piece)
            while view:
                view = view[os.write(descriptor, view) :]
        if left:
            raise Refused("Unexpected EOF in archive")
        for key, value in member.pax_headers.items():
            if key.startswith(XATTR):
                set_attribute(descriptor, key.removeprefix(XATTR), value)
        os.fchmod(descriptor, member.mode & 0o7777 & ~UMASK)
    finally:
        os.close(descriptor)


def set_attribute(descriptor: int, name: str, value: str) -> None:
    """Set an extended attribute; one that this user or file system cannot have is left out, as tar does."""
    try:
        os.setxattr(descriptor, name, value.encode("utf-8", "surrogateescape"))
    except OSError as error:
        sys.stderr.write(f"warning: {name}: {error.strerror}\n")


def set_time(name: str, member: tarfile.TarInfo) -> None:
    """Give a file its time; a directory that others own keeps its own."""
    try:
        os.utime(name, (member.mtime, member.mtime), follow_symlinks=False)
    except PermissionError:
        sys.stderr.write(f"warning: {name}: time not set\n")


def make_directory(name: str, mode: int) -> None:
    """Make a directory, or leave the one that is there."""
    try:
        os.mkdir(name, mode & 0o7777 & ~UMASK)  # noqa: PTH102 - no path of this host
    except FileExistsError:
        if not stat.S_ISDIR(os.stat(name).st_mode):  # noqa: PTH116 - the same
            raise


def make_directories(path: str) -> None:
    """Make a directory with its parents, 0755."""
    try:
        os.makedirs(path, 0o755, exist_ok=True)  # noqa: PTH103 - no path of this host
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error


def get(source: str) -> None:
    """Write `source` as a tar: `/a/b` gives `b` and below, `/a/b/` gives `.` and below."""
    path = PurePosixPath(source)
    name = "." if source.endswith("/") or not path.name else path.name
    try:
        os.lstat(source)
        if name == ".":
            os.listdir(source)  # noqa: PTH208 - no path of this host
    except OSError as error:
        raise Refused(f"{source}: {error.strerror}") from error
    with tarfile.open(
        fileobj=sys.stdout.buffer, mode="w|", format=tarfile.GNU_FORMAT, bufsize=PIECE
    ) as archive:
        archive.add(str(path), arcname=name, filter=renamed)


def renamed(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Entries below `.` begin with `./`."""
    if member.name == ".":
        member.name = "./"
    return member


def main() -> int:
    """Do one transfer."""
    direction, pid, uid, gid, groups, home, path = sys.argv[1:]
    try:
        enter(int(pid), int(uid), int(gid), [int(group) for group in groups.split(",") if group])
        whole = path if path.startswith("/") else f"{home.rstrip('/')}/{path}"
        if direction == "in":
            put(whole)
        else:
            get(whole)
        sys.stdout.flush()
    except (tarfile.TarError, EOFError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except (Refused, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
