"""Ports for servers of tests.

A port that the kernel gives can be somebody's outgoing connection between that and the server's start, or while a server
is down that keeps its port over a restart. So ports are dealt out from below the range that the kernel gives to
connections, in blocks: a process that has one holds a name for it, which is as far known as the ports are, in its
network namespace, and which goes when the process does. PORTS names ports of one's own, where the loopback is too.
"""

import itertools
import os
import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

PORTS = "DIEGO_TEST_PORTS"
"""Environment variable: FIRST-LAST, ports of which none belongs to anybody else."""

BLOCK = 64
BLOCKS = 200
"""Right below what the kernel gives to connections."""
LOWEST = 5000
"""Below it lie the ports of programs that a machine may run."""

_guard = threading.Lock()
_dealt = itertools.count()


def free_port() -> int:
    """A port of loopback that nobody has, and that nobody else gets."""
    own = os.environ.get(PORTS, "")
    if not own:
        with _guard:
            return next(_free)
    first, _, last = own.partition("-")
    with _guard:
        port = int(first) + next(_dealt)
    if port > int(last):
        raise RuntimeError(f"the ports {own} are used up")
    return port


def _ports() -> Iterator[int]:
    """Every port once; a block is taken when the one before it is used up."""
    above = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    blocks = [start for number in range(BLOCKS) if (start := above - (number + 1) * BLOCK) >= LOWEST]
    random.shuffle(blocks)  # whoever starts at the same time looks elsewhere
    for start in blocks:
        name = socket.socket(socket.AF_UNIX)
        try:
            name.bind(f"\0diego-test-ports-{start}")
        except OSError:
            name.close()
            continue
        name.detach()  # held until the process ends
        yield from filter(_is_free, range(start, start + BLOCK))
    raise RuntimeError("the ports of tests are used up")


def _is_free(port: int) -> bool:
    """Whether nobody has it, and no connection of an earlier server is left that a new one could stumble over."""
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        try:
            tcp.bind(("127.0.0.1", port))
            udp.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


_free = _ports()
