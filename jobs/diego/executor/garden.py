"""The container engine as the executor sees it: a protocol that the engine's client satisfies."""

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from enum import IntEnum
from typing import Any, Protocol

from diego.garden.client import ConnectionLost, ContainerNotFound, GardenError, ProcessNotFound


class Signal(IntEnum):
    """The two signals that the engine's protocol has."""

    TERM = 0
    KILL = 1


class Process(Protocol):
    """A process of a container, over one connection to the engine.

    Both streams must be read to their end; `wait` answers once the process has
    ended. When the connection breaks, all three raise ConnectionLost, and the
    process runs on.
    """

    @property
    def stdout(self) -> AsyncIterator[bytes]: ...

    @property
    def stderr(self) -> AsyncIterator[bytes]: ...

    async def wait(self) -> int: ...

    async def signal(self, number: int) -> None: ...

    async def leave(self) -> None:
        """Take no more output; the streams end after what is on the way. The process runs on."""

    async def close(self) -> None: ...


class Garden(Protocol):
    """Requests of contract/garden.md section 3. Documents are the JSON of its sections 4 to 6."""

    async def ping(self) -> None: ...

    async def capacity(self) -> dict[str, int]: ...

    async def create(self, spec: Mapping[str, Any]) -> str: ...

    async def containers(self, properties: Mapping[str, str]) -> list[str]: ...

    async def destroy(self, handle: str) -> None: ...

    async def info(self, handle: str) -> dict[str, Any]: ...

    async def bulk_metrics(self, handles: Sequence[str]) -> dict[str, Any]: ...

    async def set_property(self, handle: str, key: str, value: str) -> None: ...

    async def stream_in(
        self, handle: str, user: str, destination: str, chunks: AsyncIterable[bytes]
    ) -> None: ...

    def stream_out(self, handle: str, user: str, source: str) -> AsyncIterator[bytes]: ...

    async def run(self, handle: str, spec: Mapping[str, Any]) -> Process: ...

    async def attach(self, handle: str, process_id: str) -> Process: ...


__all__ = [
    "ConnectionLost",
    "ContainerNotFound",
    "Garden",
    "GardenError",
    "Process",
    "ProcessNotFound",
    "Signal",
]
