"""Output on its way from a pipe to those who hear it: nothing lost, nothing endless."""

import asyncio
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from diego.garden import outputs
from diego.garden.outputs import ASIDE_BYTES, PIECE, Hearer, Output


class Ear:
    """A connection that remembers what it was sent; it may be slow, or break."""

    def __init__(self) -> None:
        self.heard = b""
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.broken = False

    async def write(self, data: bytes) -> None:
        await self.may_go_on.wait()
        if self.broken:
            raise ConnectionResetError
        self.heard += data


class Pipe:
    """A process's output: a FIFO with a writer, and the Output that reads it."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.writer = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self.exited = asyncio.Event()
        self.output = Output(path, self.exited)

    def write(self, data: bytes) -> None:
        assert os.write(self.writer, data) == len(data)

    def end(self) -> None:
        os.close(self.writer)
        self.writer = -1

    def close(self) -> None:
        self.output.close()
        if self.writer >= 0:
            self.end()

    async def connect(self) -> tuple[Hearer, Ear]:
        hearer, ear = Hearer(), Ear()
        self.output.add(hearer)
        await hearer.connect(ear)
        self.output.notice()
        return hearer, ear


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 10))


async def settle() -> None:
    """Let everything happen that can happen now."""
    for _ in range(20):
        await asyncio.sleep(0.001)


def test_output_is_heard_as_it_comes_until_its_end(tmp_path: Path) -> None:
    async def go() -> None:
        pipe = Pipe(tmp_path / "out")
        hearer, ear = await pipe.connect()
        pipe.write(b"one ")
        await settle()
        assert ear.heard == b"one "
        pipe.write(b"two")
        pipe.end()
        await hearer.ended.wait()
        assert ear.heard == b"one two"
        assert pipe.output.ended.is_set()
        pipe.close()

    run(go())


def test_nothing_is_taken_while_nobody_listens(tmp_path: Path) -> None:
    async def go() -> None:
        pipe = Pipe(tmp_path / "out")
        pipe.write(b"before ")
        await settle()
        hearer, first = await pipe.connect()
        await settle()
        pipe.output.remove(hearer)
        pipe.write(b"between ")
        await settle()
        _, second = await pipe.connect()
        pipe.write(b"after")
        await settle()

        assert first.heard == b"before "
        assert second.heard == b"between after"
        pipe.close()

    run(go())


def test_all_hear_everything_that_comes_after_they_came(tmp_path: Path) -> None:
    async def go() -> None:
        pipe = Pipe(tmp_path / "out")
        _, first = await pipe.connect()
        pipe.write(b"a")
        await settle()
        _, second = await pipe.connect()
        pipe.write(b"b")
        await settle()

        assert (first.heard, second.heard) == (b"ab", b"b")
        pipe.close()

    run(go())


def test_a_slow_listener_holds_the_process_up_and_loses_nothing(tmp_path: Path) -> None:
    async def go() -> None:
        pipe = Pipe(tmp_path / "out")
        hearer, ear = await pipe.connect()
        ear.may_go_on.clear()
        written = 0
        for _ in range(100):
            try:
                written += os.write(pipe.writer, b"x" * 4096)
            except BlockingIOError:
                break
            await settle()
        assert written <= 65536 + PIECE
        ear.may_go_on.set()
        pipe.end()
        await hearer.ended.wait()
        assert len(ear.heard) == written
        pipe.close()

    run(go())


def test_a_client_that_comes_late_for_its_stream_gets_all_of_it(tmp_path: Path) -> None:
    async def go() -> None:
        pipe = Pipe(tmp_path / "out")
        hearer, ear = Hearer(), Ear()
        pipe.output.add(hearer)
        pipe.write(b"early")
        pipe.exited.set()
        pipe.output.notice()
        pipe.end()
        await pipe.output.ended.wait()
        await hearer.connect(ear)
        assert ear.heard == b"early"
        assert hearer.ended.is_set()
        pipe.close()

    run(go())


def test_a_client_that_never_comes_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "UNWANTED_AFTER", 0.05)

    async def go() -> None:
        pipe = Pipe(tmp_path / "out")
        deaf, ear = Hearer(), Ear()
        pipe.output.add(deaf)
        written = 0
        while written < 2 * ASIDE_BYTES:
            try:
                written += os.write(pipe.writer, b"x" * PIECE)
            except BlockingIOError:
                await asyncio.sleep(0.005)
        await settle()
        await deaf.connect(ear)
        assert ASIDE_BYTES - PIECE <= len(ear.heard) <= ASIDE_BYTES
        pipe.close()

    run(go())


def test_a_broken_connection_is_heard_no_more(tmp_path: Path) -> None:
    async def go() -> None:
        pipe = Pipe(tmp_path / "out")
        hearer, ear = await pipe.connect()
        ear.broken = True
        pipe.write(b"lost")
        await hearer.ended.wait()
        pipe.write(b"kept")
        await settle()
        _, next_ear = await pipe.connect()
        await settle()
        assert next_ear.heard == b"kept"
        pipe.close()

    run(go())


def test_an_output_that_was_read_to_its_end_is_at_its_end(tmp_path: Path) -> None:
    async def go() -> None:
        output = Output(tmp_path / "no-fifo", asyncio.Event())
        hearer = Hearer()
        output.add(hearer)
        assert output.ended.is_set()
        assert hearer.ended.is_set()

    run(go())
