"""The keeper as a program: it starts, holds, waits, and tells. Needs no root and no container."""

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from diego.garden.keeper_client import Keeper, KeeperLost, StartFailed
from support.stopped import wait_until_stopped
from support.worker import until

# Starts a shell, writes its pid down, and ends without waiting for it (a shell as launcher might reap it).
LAUNCHER = """
import os, sys, time
pid = os.fork() or os.execl("/bin/sh", "sh", "-c", sys.argv[3])
open(sys.argv[1], "w").write(str(pid))
time.sleep(float(sys.argv[2]))
os._exit(0)
"""


@contextmanager
def keeper_process(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "diego.garden.keeper", "--socket", str(path)], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()


class Scene:
    """A client of a running keeper, and what it was told."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.exits: dict[str, int] = {}
        self.held: set[str] = set()
        self.found = 0
        self.keeper = Keeper(
            directory / "keeper.sock", on_exit=self.exits.__setitem__, on_connected=self._hold
        )

    def _hold(self, keys: set[str]) -> None:
        self.held = keys
        self.found += 1

    def place(self, name: str) -> Path:
        place = self.directory / name
        place.mkdir()
        for fifo in ("stdin", "stdout", "stderr"):
            os.mkfifo(place / fifo)
        return place

    async def start(self, name: str, script: str, *, linger: float = 0) -> int:
        """Start a shell script in the background, as the runtime would."""
        place = self.place(name)
        words = [sys.executable, "-S", "-c", LAUNCHER, str(place / "pid"), str(linger), script]
        return await self.keeper.start(name, place, words)

    async def exit(self, name: str) -> int:
        while name not in self.exits:
            await asyncio.sleep(0.005)
        return self.exits[name]

    def read(self, name: str, stream: str = "stdout") -> bytes:
        """What waits in an output; waits for it itself if it has not been written yet."""
        descriptor = os.open(self.directory / name / stream, os.O_RDONLY | os.O_NONBLOCK)
        try:
            select.select([descriptor], [], [], 30)
            return os.read(descriptor, 1 << 20)
        finally:
            os.close(descriptor)


def run(scene: Scene, work: Coroutine[Any, Any, None]) -> None:
    async def both() -> None:
        client = asyncio.create_task(scene.keeper.run())
        try:
            await asyncio.wait_for(work, 60)
        finally:
            client.cancel()
            await asyncio.gather(client, return_exceptions=True)

    asyncio.run(both())


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with keeper_process(tmp_path / "keeper.sock"):
        yield Scene(tmp_path)


def test_exit_statuses_are_told_and_written_down(scene: Scene) -> None:
    async def go() -> None:
        await scene.start("a", "exit 7")
        await scene.start("b", "kill -9 $$")
        assert (await scene.exit("a"), await scene.exit("b")) == (7, 137)
        assert (scene.directory / "a/exit").read_text() == "7"
        assert (scene.directory / "b/exit").read_text() == "137"

    run(scene, go())


def test_a_process_that_ends_before_its_start_is_told_is_no_exception(scene: Scene) -> None:
    async def go() -> None:
        await scene.start("quick", "exit 3", linger=0.2)
        assert await scene.exit("quick") == 3

    run(scene, go())


def test_output_waits_after_the_end_of_its_process(scene: Scene) -> None:
    async def go() -> None:
        await scene.start("a", "echo out; echo err >&2")
        await scene.exit("a")
        assert scene.read("a") == b"out\n"
        assert scene.read("a", "stderr") == b"err\n"

    run(scene, go())


def test_a_failed_start_is_told(scene: Scene) -> None:
    async def go() -> None:
        with pytest.raises(StartFailed):
            await scene.keeper.start("a", scene.place("a"), ["/bin/sh", "-c", "exit 9"])
        with pytest.raises(StartFailed):
            await scene.keeper.start("b", scene.place("b"), ["/no/such/program"])
        with pytest.raises(StartFailed):  # it says that it has started a process, and has not
            await scene.keeper.start("c", scene.place("c"), ["/bin/sh", "-c", "exit 0"])
        assert await scene.start("d", "exit 0") > 0

    run(scene, go())


def test_input_ends_only_when_it_is_told_to(scene: Scene) -> None:
    async def go() -> None:
        await scene.start("a", "read line; echo got $line; cat; echo end")
        writer = os.open(scene.directory / "a/stdin", os.O_WRONLY | os.O_NONBLOCK)
        os.write(writer, b"text\n")
        os.close(writer)
        await asyncio.sleep(0.2)
        assert "a" not in scene.exits
        await scene.keeper.close_input("a")
        assert await scene.exit("a") == 0
        assert scene.read("a") == b"got text\nend\n"

    run(scene, go())


def test_a_next_client_learns_what_is_held_and_what_has_ended(scene: Scene) -> None:
    async def first() -> None:
        await scene.start("a", "sleep 0.2; exit 4")

    async def second() -> None:
        while not scene.found:
            await asyncio.sleep(0.005)
        assert scene.held == {"a"}
        await scene.keeper.drop("a")

    run(scene, first())
    status = scene.directory / "a/exit"
    until(lambda: status.exists() and status.read_text() == "4")
    scene.found = 0
    run(scene, second())


def test_many_keys_are_told_in_several_packets(scene: Scene) -> None:
    async def go() -> None:
        for number in range(250):
            place = scene.place(f"long-name-{'x' * 180}-{number}")
            await scene.keeper.hold(place.name, place, with_input=False)

    async def again() -> None:
        while not scene.found:
            await asyncio.sleep(0.005)
        assert len([key for key in scene.held if key.startswith("long-name")]) == 250

    async def connected() -> None:
        while not scene.found:
            await asyncio.sleep(0.005)
        await go()
        await scene.start("last", "exit 0")  # answered when all before it are held

    run(scene, connected())
    scene.found = 0
    run(scene, again())


def test_processes_outlive_the_keeper_and_a_next_one_holds_them(tmp_path: Path) -> None:
    scene = Scene(tmp_path)

    async def before() -> None:
        await scene.start("a", "echo one; read go; echo two; read go")

    async def after() -> None:
        while not scene.found:
            await asyncio.sleep(0.005)
        assert scene.held == set()
        await scene.keeper.hold("a", tmp_path / "a", with_input=True)
        os.write(writer, b"go\n")
        await asyncio.sleep(0.2)
        assert scene.read("a") == b"two\n"

    with keeper_process(tmp_path / "keeper.sock"):
        run(scene, before())
        pid = int((tmp_path / "a/pid").read_text())
        writer = os.open(tmp_path / "a/stdin", os.O_WRONLY | os.O_NONBLOCK)
        assert scene.read("a") == b"one\n"
    os.kill(pid, 0)
    scene.found = 0
    with keeper_process(tmp_path / "keeper.sock"):
        run(scene, after())
        os.kill(pid, signal.SIGKILL)
    os.close(writer)


def test_a_start_that_the_keeper_does_not_survive_is_told(tmp_path: Path) -> None:
    scene = Scene(tmp_path)

    async def go() -> None:
        start = asyncio.create_task(scene.keeper.start("a", scene.place("a"), ["/bin/sleep", "20"]))
        await asyncio.sleep(0.3)
        process.kill()
        with pytest.raises(KeeperLost):
            await start

    with keeper_process(tmp_path / "keeper.sock") as process:
        run(scene, go())


def test_requests_to_a_stopped_keeper_wait_and_fail_when_it_is_killed(tmp_path: Path) -> None:
    scene = Scene(tmp_path)

    async def go() -> None:
        while not scene.found:
            await asyncio.sleep(0.005)
        process.send_signal(signal.SIGSTOP)
        wait_until_stopped(process.pid)
        requests = [asyncio.create_task(scene.keeper.drop("x" * 30_000)) for _ in range(50)]
        await asyncio.sleep(0.1)
        assert not all(request.done() for request in requests)
        process.kill()
        await asyncio.gather(*requests)

    with keeper_process(tmp_path / "keeper.sock") as process:
        run(scene, go())


def test_an_odd_request_is_answered_and_harms_nobody(scene: Scene) -> None:
    async def go() -> None:
        while not scene.found:
            await asyncio.sleep(0.005)
        await scene.keeper.hold("a", scene.directory / "no-such-place", with_input=True)
        assert await scene.start("b", "exit 0") > 0

    run(scene, go())
