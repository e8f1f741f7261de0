"""A process without free file handles holds its lock and is of no use to anybody: it ends, and begins anew.

Renewals go on over connections that are open already, while no caller gets in and nothing can be asked of others. So
whoever holds a lock looks each second whether a file can still be opened.
"""

import errno
import os
from collections.abc import Callable

from diego.runtime.process import Runtime

LOOK_EVERY = 1.0
LOOKS = 5
"""How many looks in a row must fail: a burst of callers passes."""


def can_open() -> bool:
    """Whether this process has a file handle left."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return False
        raise
    return True


def watch(
    runtime: Runtime, *, look: Callable[[], bool] = can_open, every: float = LOOK_EVERY, looks: int = LOOKS
) -> None:
    """End the worker when there was no handle for `looks` looks in a row; gunicorn starts a new one."""

    def run() -> None:
        failed = 0
        while not runtime.stopping.wait(every):
            failed = 0 if look() else failed + 1
            if failed == looks:
                runtime.end(f"no file handle was free for {looks * every:g} s")

    runtime.background("handles", run)
