"""Ports for servers of tests.

Usually the kernel says which port of loopback is free. Between that and the server's start, or while a server is down that
keeps its port over a restart, somebody's outgoing connection may get it. Where the loopback is a test's own, PORTS
names ports that the kernel gives to no connection, and they are dealt out in order.
"""

import itertools
import os
import socket
import threading

PORTS = "DIEGO_TEST_PORTS"
"""Environment variable: FIRST-LAST, ports of which none belongs to anybody else."""

_guard = threading.Lock()
_dealt = itertools.count()


def free_port() -> int:
    """A port of loopback that nobody has at the moment."""
    own = os.environ.get(PORTS, "")
    if not own:
        with socket.create_server(("127.0.0.1", 0)) as server:
            return int(server.getsockname()[1])
    first, _, last = own.partition("-")
    with _guard:
        port = int(first) + next(_dealt)
    if port > int(last):
        raise RuntimeError(f"the ports {own} are used up")
    return port
