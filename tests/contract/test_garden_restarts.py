"""What apps see when garden, its keeper, or the cell's power goes (ours.md section 3): nothing, if they can."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from diego.garden.client import ContainerNotFound, Process
from support import garden as support
from support.garden import EXTERNAL, Garden, collect, line

pytestmark = pytest.mark.root

LOST = "connection: process error: exit status lost: garden's keeper was restarted during the process's life"
COUNT = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done"
SERVER = (
    "$| = 1; use IO::Socket::INET;"
    "$s = IO::Socket::INET->new(LocalPort => 8080, Listen => 9, ReuseAddr => 1) or die;"
    'print "up\\n"; while ($c = $s->accept) { print $c "hello\\n"; close $c }'
)


@pytest.fixture(scope="module")
def rootfs() -> Iterator[Path]:
    with support.directory() as directory:
        support.build_rootfs(directory / "rootfs.tar")
        yield directory / "rootfs.tar"


@pytest.fixture
def garden(rootfs: Path) -> Iterator[Garden]:
    with support.directory() as directory, support.running(directory, rootfs) as garden:
        yield garden


async def start(garden: Garden, handle: str, script: str, process_id: str) -> Process:
    return await garden.client.run(handle, {"path": "sh", "args": ["-c", script], "id": process_id})


async def lines_until(process: Process, last: int) -> list[int]:
    """The numbers that a counting process says, up to `last`."""
    text = b""
    async for piece in process.stdout:
        text += piece
        whole = text.rpartition(b"\n")[0].splitlines()
        if whole and int(whole[-1]) >= last:
            break
    return [int(number) for number in text.rpartition(b"\n")[0].splitlines()]


@pytest.mark.parametrize(
    ("master", "workers"), [(True, True), (True, False), (False, True)], ids=["both", "master", "worker"]
)
def test_apps_outlive_garden(garden: Garden, master: bool, workers: bool) -> None:
    async def before() -> tuple[str, dict[str, Any]]:
        handle = await garden.create(
            handle="app",
            properties={"owner": "me"},
            netin=[{"host_port": 0, "container_port": 8080}],
            limits={"memory_limits": {"limit_in_bytes": 64 << 20}},
        )
        server = await garden.client.run(handle, {"path": "perl", "args": ["-e", SERVER], "id": "server"})
        assert await line(server.stdout) == "up\n"
        await server.close()
        await (await start(garden, handle, "exit 5", "ended")).close()
        return handle, await garden.client.info(handle)

    async def after(handle: str) -> tuple[dict[str, Any], list[Any]]:
        await garden.wait_until_it_serves()
        server = await garden.client.attach(handle, "server")
        ended = await collect(await garden.client.attach(handle, "ended"))
        await server.signal(1)
        return await garden.client.info(handle), [ended, (await collect(server))[0]]

    handle, info = garden.run(before())
    garden.wait_until_ended(handle, "ended")
    pids = garden.container_processes()
    port = info["MappedPorts"][0]["HostPort"]
    garden.kill_garden(master=master, workers=workers)
    assert garden.space.connect(EXTERNAL, port) == "hello"
    if master:
        garden.start_garden()
    again = garden.run(after_worker(garden)) or garden.container_processes()
    assert garden.space.connect(EXTERNAL, port) == "hello"
    info_after, results = garden.run(after(handle))

    assert again == pids
    assert info_after == info
    assert results == [(5, "", ""), 137]
    assert garden.run(garden.client.containers({"owner": "me"})) == [handle]
    garden.run(garden.client.destroy(handle))
    assert garden.leftovers() == []


async def after_worker(garden: Garden) -> set[int]:
    await asyncio.sleep(0.2)
    await garden.wait_until_it_serves()
    return garden.container_processes()


def test_no_line_is_lost_or_doubled_by_an_orderly_goodbye(garden: Garden) -> None:
    async def first() -> list[int]:
        await garden.create(handle="app")
        process = await start(garden, "app", COUNT, "count")
        numbers = await lines_until(process, 20)
        await process.leave()
        rest = b"".join([piece async for piece in process.stdout])
        await process.close()
        return [*numbers, *(int(number) for number in rest.splitlines())]

    async def second() -> list[int]:
        process = await garden.client.attach("app", "count")
        numbers = await lines_until(process, 100)
        await process.close()
        return numbers

    before = garden.run(first())
    garden.kill_garden()
    time.sleep(0.2)
    garden.start_garden()
    after = garden.run(second())

    assert before == list(range(before[-1] + 1))
    assert after == list(range(before[-1] + 1, after[-1] + 1))


def test_output_made_while_garden_is_away_is_there_afterwards(garden: Garden) -> None:
    async def first() -> None:
        await garden.create(handle="app")
        process = await start(
            garden, "app", "read go; sleep 0.3; echo while away; echo too >&2; exit 3", "late"
        )
        await process.write_input("go\n")
        await process.close()

    async def second() -> tuple[int, str, str]:
        return await collect(await garden.client.attach("app", "late"))

    garden.run(first())
    garden.kill_garden()
    garden.wait_until_ended("app", "late")
    garden.start_garden()

    assert garden.run(second()) == (3, "while away\n", "too\n")


def test_apps_outlive_the_keeper(garden: Garden) -> None:
    async def first() -> None:
        await garden.create(handle="app")
        process = await start(garden, "app", COUNT, "count")
        assert len(await lines_until(process, 10)) > 10

        garden.kill_keeper()
        numbers = await lines_until(process, 60)
        assert numbers == list(range(numbers[0], numbers[-1] + 1))

        garden.start_keeper()
        assert await garden.sh("app", "exit 4") == (4, "", "")
        await process.close()

    async def second() -> None:
        process = await garden.client.attach("app", "count")
        numbers = await lines_until(process, 150)
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
        await process.signal(1)
        ends = await asyncio.gather(process.wait(), return_exceptions=True)
        assert [str(end) for end in ends] in (["137"], [LOST])  # newer kernels remember it
        await process.close()

    garden.run(first())
    pids = garden.container_processes()
    garden.kill_garden()  # now only the new keeper holds the pipes
    time.sleep(0.2)
    garden.start_garden()
    assert len(garden.container_processes() & pids) >= 2
    garden.run(second())


def test_apps_outlive_garden_and_keeper_together(garden: Garden) -> None:
    async def first() -> None:
        await garden.create(handle="app")
        process = await start(garden, "app", COUNT, "count")
        assert len(await lines_until(process, 10)) > 10
        await process.close()

    async def second() -> list[int]:
        process = await garden.client.attach("app", "count")
        numbers = await lines_until(process, 100)
        await process.close()
        return numbers

    garden.run(first())
    garden.kill_garden()
    garden.kill_keeper()
    time.sleep(0.3)
    garden.start()

    numbers = garden.run(second())
    assert numbers == list(range(numbers[0], numbers[-1] + 1))


def test_a_second_keeper_waits_for_the_first(garden: Garden) -> None:
    first = garden.keeper
    garden.start_keeper()
    second = garden.keeper
    assert first is not None
    assert second is not None
    garden.run(garden.create(handle="app"))
    assert garden.run(garden.sh("app", "exit 1"))[0] == 1
    assert second.poll() is None

    support.end(first)

    assert garden.run(garden.sh("app", "exit 2"))[0] == 2


def test_half_a_container_is_cleared_away(garden: Garden) -> None:
    async def killed_in_the_middle() -> None:
        creating = [asyncio.ensure_future(garden.create(handle=f"half-{number}")) for number in range(8)]
        await asyncio.sleep(0.08)
        garden.kill_garden()
        await asyncio.gather(*creating, return_exceptions=True)

    garden.run(garden.client.destroy(garden.run(garden.create())))  # the image is there now
    garden.run(killed_in_the_middle())
    garden.wait_until_no_runtime_works()
    garden.start_garden()
    for handle in garden.run(garden.client.containers({"garden.state": "all"})):
        assert garden.run(garden.sh(handle, "echo whole"))[1] == "whole\n"
        garden.run(garden.client.destroy(handle))

    assert garden.leftovers() == []


def test_a_container_whose_init_died_is_cleared_away(garden: Garden) -> None:
    garden.run(garden.create(handle="app", netin=[{"host_port": 0, "container_port": 8080}]))
    pids = garden.container_processes()
    garden.kill_garden()
    for pid in pids:
        support.kill_quietly(pid)
        support.wait_gone(pid)

    garden.start_garden()

    assert garden.run(garden.client.containers({"garden.state": "all"})) == []
    assert garden.leftovers() == []


def test_after_a_power_cut_garden_starts_clean(garden: Garden) -> None:
    garden.run(garden.create(handle="app", netin=[{"host_port": 0, "container_port": 8080}]))
    garden.run(garden.sh("app", "echo hello"))
    kept = garden.directory / "data"
    garden.close()  # every process, mount, link and group; the disk stays
    shutil.rmtree(garden.directory / "runc")
    assert (kept / "depot/app/record.json").exists()

    garden.space = support.Space()
    garden.start()

    with pytest.raises(ContainerNotFound):
        garden.run(garden.client.info("app"))
    assert garden.leftovers() == []
    assert len(list((kept / "images").iterdir())) == 1
    garden.run(garden.create(handle="app"))
    assert garden.run(garden.sh("app", "echo hello"))[1] == "hello\n"


def test_addresses_and_ports_in_use_are_not_given_again(garden: Garden) -> None:
    port = [{"host_port": 0, "container_port": 8080}]
    garden.run(garden.create(handle="old", netin=port))
    gone = garden.run(garden.create(handle="gone", netin=port))
    old, released = (garden.run(garden.client.info(handle)) for handle in ("old", gone))
    garden.run(garden.client.destroy(gone))
    garden.kill_garden()
    garden.start_garden()

    garden.run(garden.create(handle="new", netin=port))
    new = garden.run(garden.client.info("new"))

    assert new["ContainerIP"] != old["ContainerIP"]
    ports = [info["MappedPorts"][0]["HostPort"] for info in (old, released, new)]
    assert len(set(ports)) == 3


def test_an_orderly_end_of_garden_leaves_the_apps(garden: Garden) -> None:
    async def first() -> None:
        await garden.create(handle="app")
        process = await start(garden, "app", COUNT, "count")
        await lines_until(process, 10)
        assert garden.master is not None
        garden.master.terminate()
        with pytest.raises(ConnectionError):
            await process.wait()
        await process.close()

    garden.run(first())
    assert garden.master is not None
    assert garden.master.wait(60) == 128 + signal.SIGTERM
    pids = garden.container_processes()
    garden.start_garden()

    assert len(garden.container_processes() & pids) >= 2  # the third only sleeps
    assert garden.run(garden.client.containers()) == ["app"]
