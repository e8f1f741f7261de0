"""Many stand-in cells in one process, each on a port of its own: `python -m bench.stand_ins CERTIFICATES FIRST COUNT LRPS`.

Prints the ports as JSON, and serves until it is killed.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import cast

import uvloop

from diego.runtime import tls
from support.cells import a_state


class Cell(asyncio.Protocol):
    """Answers every request with the same state."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._transport: asyncio.Transport | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own kind

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received and self._transport is not None:
            self._received = self._received.partition(b"\r\n\r\n")[2]  # a GET has no body
            self._transport.write(self._answer)


def answer_of(number: int, lrps: int) -> bytes:
    """What a cell with so many LRPs says of its state."""
    room = {"MemoryMB": 65536, "DiskMB": 262144, "Containers": 250}
    demand = {"MemoryMB": 256, "DiskMB": 1024, "MaxPids": 1024, "RootFs": "preloaded:cflinuxfs4"}
    running = [
        {
            "process_guid": f"{number:08}-{place:04}-4d0e-9d35-4a3c1f6d5a77-5ba0c9f2-0c3f-4d0e-9d35-4a3c1f6d5a77",
            "index": place,
            "domain": "cf-apps",
            "instance_guid": f"{place:08}-aaaa-bbbb-cccc-{number:08}",
            **demand,
            "PlacementTags": [],
            "VolumeDrivers": [],
            "State": "RUNNING",
        }
        for place in range(lrps)
    ]
    state = a_state(
        f"cell-{number}", Zone=f"z{number % 3}", TotalResources=room, AvailableResources=room, LRPs=running
    )
    body = json.dumps(state).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def serve(certificates: Path, first: int, count: int, lrps: int) -> None:
    context = tls.server_context(
        certificates / "diego_rep_agent_v2.crt",
        certificates / "diego_rep_agent_v2.key",
        certificates / "ca.crt",
    )
    loop = asyncio.get_running_loop()
    ports = []
    for number in range(first, first + count):
        answer = answer_of(number, lrps)
        server = await loop.create_server(lambda answer=answer: Cell(answer), "127.0.0.1", 0, ssl=context)  # type: ignore[misc]  # a default keeps this round's value
        ports.append(server.sockets[0].getsockname()[1])
    print(json.dumps(ports), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]), *map(int, sys.argv[2:5])))
