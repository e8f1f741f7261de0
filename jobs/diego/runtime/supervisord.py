"""The supervisor of a host's jobs: supervisor's own daemon, which waits where it would spin.

supervisor 4.3 forgets to take a program's closed pipe out of what it polls. When the number is given to the next
program's standard input, and that program closes it, the kernel reports an error for it at once and for ever; the
daemon looks at nothing but readable and writable, and goes round some thousand times a second.
"""

import select
import sys
from typing import Any

from supervisor import poller, supervisord


class Poller(poller.PollPoller):  # type: ignore[misc]  # supervisor has no types
    """Takes a descriptor out that is broken and has nothing to be read or written."""

    def _ignore_invalid(self, fd: int, eventmask: int) -> bool:
        if eventmask & select.POLLERR and not eventmask & (self.READ | self.WRITE):
            eventmask |= select.POLLNVAL
        ignored: bool = super()._ignore_invalid(fd, eventmask)
        return ignored


def main(arguments: list[str] | None = None) -> Any:
    """`diego-supervisord`: supervisord's options, as they are."""
    poller.Poller = Poller
    return supervisord.main(sys.argv[1:] if arguments is None else arguments)
