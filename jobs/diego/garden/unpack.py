"""Unpack a root file system's tar (standard input) into the current directory, with the owners shifted.

tar runs as root of a user namespace with the containers' id map. So the kernel shifts
the owners, and keeps what a later chown would lose: setuid bits and file capabilities.

    python -m diego.garden.unpack START SIZE < rootfs.tar

Device nodes cannot be made there, and containers have a /dev of their own: what the
archive has in /dev is left out.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from diego.garden import kernel

TAR = ["tar", "--extract", "--file=-", "--preserve-permissions", "--numeric-owner"]
TAR += ["--xattrs", "--xattrs-include=security.capability", "--xattrs-include=user.*"]
TAR += ["--exclude=./dev/*", "--exclude=dev/*"]
GZIP = b"\x1f\x8b"


def in_user_namespace(command: list[str], start: int, size: int) -> int:
    """Run a command as root of a new user namespace; its exit status."""
    unshared, may_go_on = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        kernel.unshare(kernel.CLONE_NEWUSER)
        os.write(unshared[1], b".")
        os.close(may_go_on[1])
        if os.read(may_go_on[0], 1) != b".":
            os._exit(1)  # the parent has failed
        os.setgroups([])
        os.setgid(0)
        os.setuid(0)
        os.umask(0)
        os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
    os.close(unshared[1])
    if os.read(unshared[0], 1) == b".":
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{pid}/{name}").write_text(f"0 {start} {size}\n")
        os.write(may_go_on[1], b".")
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
    """Unpack as the module says."""
    start, size = (int(word) for word in sys.argv[1:])
    if not stat.S_ISREG(os.fstat(0).st_mode):
        sys.exit("standard input is not a file")
    packed = os.pread(0, len(GZIP), 0) == GZIP
    sys.exit(in_user_namespace([*TAR, "--gzip"] if packed else TAR, start, size))


if __name__ == "__main__":
    main()
