"""supervisord as the hosts run it: supervisor's own, with one fault of its poller mended.

Supervisor (4.3) polls file descriptors by their numbers. When one was closed unseen and its number is given to the next
program's standard input, and that program closes it, the kernel reports an error on it (POLLERR) at each poll, at once.
Supervisor looks at no such report and forgets nothing, so that it goes round thousands of times a second for as long
as the program lives. Here the number is forgotten: whoever still has something to read or write there is registered
again before the next poll anyhow.
"""

import select

from supervisor import poller, supervisord


class Poller(poller.PollPoller):  # type: ignore[misc]  # supervisor has no types
    """Forgets a descriptor with which nothing can be done."""

    def _ignore_invalid(self, fd: int, eventmask: int) -> bool:
        if eventmask & select.POLLERR and not eventmask & (self.READ | self.WRITE):
            self._poller.unregister(fd)
            self.readables.discard(fd)
            self.writables.discard(fd)
            return True
        return bool(super()._ignore_invalid(fd, eventmask))


def main() -> None:
    """Be supervisord, with its own command line."""
    poller.Poller = Poller
    supervisord.main()
