"""Processes with a root file system of their own, in real containers (contract/garden.md section 5.2)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from diego.garden.client import ContainerNotFound, ExecutableNotFound, GardenError
from support import garden as support
from support.garden import Garden, collect, line

pytestmark = pytest.mark.root

MIB = 1 << 20
DEADLINE = 30.0
SERVER = (
    "$| = 1; use IO::Socket::INET;"
    "$s = IO::Socket::INET->new(LocalPort => 8080, LocalAddr => '127.0.0.1', Listen => 9) or die;"
    'print "up\\n"; while ($c = $s->accept) { print $c "hello\\n"; close $c }'
)
ASK = "use IO::Socket::INET; $s = IO::Socket::INET->new('127.0.0.1:8080') or die; print <$s>"
FILL = "$x = 'a' x 100_000_000; print length $x"


@pytest.fixture(scope="module")
def garden() -> Iterator[Garden]:
    with support.directory() as directory:
        support.build_rootfs(directory / "rootfs.tar")
        with support.running(directory, directory / "rootfs.tar") as garden:
            yield garden


@pytest.fixture
def handle(garden: Garden) -> Iterator[str]:
    handle = garden.run(garden.create(limits={"memory_limits": {"limit_in_bytes": 48 * MIB}}, env=["OF=app"]))
    yield handle
    with contextlib.suppress(ContainerNotFound):
        garden.run(garden.client.destroy(handle))


def pea(garden: Garden, script: str, **spec: Any) -> dict[str, Any]:
    return {"path": "sh", "args": ["-c", script], "image": {"uri": garden.rootfs}, **spec}


def run(garden: Garden, handle: str, script: str, **spec: Any) -> tuple[int, str, str]:
    async def go() -> tuple[int, str, str]:
        return await collect(await garden.client.run(handle, pea(garden, script, **spec)))

    return garden.run(go())


def of_peas(garden: Garden, handle: str) -> list[str]:
    """What is there of peas: files, mounts, the runtime's state, groups."""
    top = garden.directory / "data/depot" / handle / "peas"
    found = [str(path) for path in top.glob("*")]
    found += [thing for thing in garden.leftovers() if f"{handle}/peas" in thing or f"{handle}:" in thing]
    found += [str(path) for path in (garden.directory / "runc").glob(f"{handle}.*")]
    for controller in Path("/sys/fs/cgroup").glob(f"*/{garden.name}"):
        for directory, names, _ in os.walk(controller / handle):  # it minds no group that goes meanwhile
            found += [f"{directory}/{name}" for name in names if name != "init"]
    return found


def wait_until_no_pea_is_left(garden: Garden, handle: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while left := of_peas(garden, handle):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_a_pea_has_its_own_files_and_the_containers_everything_else(garden: Garden, handle: str) -> None:
    namespaces = "cd /proc/self/ns; for n in user pid ipc uts net mnt; do readlink $n; done"
    garden.run(garden.sh(handle, "echo app > /of-the-app; echo 1.2.3.4 other >> /etc/hosts"))
    app = garden.run(garden.sh(handle, namespaces))[1].splitlines()

    here = run(garden, handle, f"{namespaces}; hostname; cat /etc/hosts; ls /of-the-app")

    assert here[1].splitlines()[:5] == app[:5]
    assert here[1].splitlines()[5] != app[5]
    assert here[1].splitlines()[6] == handle[-49:]
    assert "1.2.3.4 other" in here[1]
    assert "No such file" in here[2]


def test_output_status_and_signals_are_those_of_any_process(garden: Garden, handle: str) -> None:
    async def killed() -> list[int]:
        processes = [await garden.client.run(handle, pea(garden, "exec sleep 1000")) for _ in range(2)]
        await processes[0].signal(1)
        status = (await collect(processes[0]))[0]
        await processes[1].signal(1)
        return [status, (await collect(processes[1]))[0]]

    assert run(garden, handle, "echo out; echo err >&2; exit 7") == (7, "out\n", "err\n")
    assert garden.run(killed()) == [137, 137]
    wait_until_no_pea_is_left(garden, handle)


def test_user_environment_and_directory_come_from_the_pea_and_its_image(garden: Garden, handle: str) -> None:
    script = "id -u; echo $HOME $USER [$OF] $MINE; echo > /proc/self/fd/1; head -n 1 /proc/self/status"

    found = run(garden, handle, f"{script}; ls -d .; readlink /proc/self/cwd", user="vcap", env=["MINE=x"])
    there = run(garden, handle, "readlink /proc/self/cwd", dir="/home/vcap")
    missing = run(garden, handle, "readlink /proc/self/cwd", dir="/not/there")

    assert found[1].splitlines()[:2] == ["2000", "/home/vcap vcap [] x"]
    assert [answer[1].split()[-1] for answer in (found, there, missing)] == ["/", "/home/vcap", "/"]
    with pytest.raises(GardenError, match="unable to find user nobody: no matching entries in passwd file"):
        run(garden, handle, "true", user="nobody")


def test_bind_mounts_are_the_peas_own(garden: Garden, handle: str) -> None:
    shared = garden.directory / "shared"
    shared.mkdir(mode=0o777)
    (shared / "tool").write_text("#!/bin/sh\necho tool says hello\n")
    (shared / "tool").chmod(0o755)
    mounts = [{"src_path": str(shared), "dst_path": "/etc/cf-assets/healthcheck"}]

    async def go() -> tuple[int, str, str]:
        spec = {"path": "./tool", "dir": "/etc/cf-assets/healthcheck", "bind_mounts": mounts}
        return await collect(
            await garden.client.run(handle, {"image": {"uri": garden.rootfs}, "user": "vcap", **spec})
        )

    assert garden.run(go()) == (0, "tool says hello\n", "")
    read_only = run(garden, handle, "echo > /etc/cf-assets/healthcheck/x", bind_mounts=mounts)
    assert "Read-only file system" in read_only[2]
    assert garden.run(garden.sh(handle, "ls /etc/cf-assets"))[0] != 0
    with pytest.raises(GardenError, match="bind mount /nowhere: No such file"):
        run(garden, handle, "true", bind_mounts=[{"src_path": "/nowhere", "dst_path": "/x"}])


def test_a_pea_checks_what_listens_in_its_container(garden: Garden, handle: str) -> None:
    async def go() -> tuple[int, str, str]:
        server = await garden.client.run(handle, {"path": "perl", "args": ["-e", SERVER]})
        assert await line(server.stdout) == "up\n"
        spec = {"path": "perl", "args": ["-e", ASK], "limits": {}, "rlimits": {"nofile": 1024}}
        found = await collect(await garden.client.run(handle, {**pea(garden, ""), **spec}))
        await server.signal(1)
        await collect(server)
        return found

    assert garden.run(go()) == (0, "hello\n", "")


def test_it_may_do_no_more_than_the_container(garden: Garden, handle: str) -> None:
    script = "cat /proc/self/status | grep -E '^(Cap|Seccomp:|NoNew)'; ls /proc/kcore /dev"

    assert run(garden, handle, script) == garden.run(garden.sh(handle, script))
    assert "Operation not permitted" in run(garden, handle, "unshare --user true")[2]
    assert run(garden, handle, "mount -t tmpfs none /tmp")[0] != 0


def test_the_containers_memory_limit_holds_for_a_pea_without_its_own(garden: Garden, handle: str) -> None:
    within = garden.run(perl(garden, handle))
    info = garden.run(garden.client.info(handle))
    beside = garden.run(perl(garden, handle, limits={}))
    own = garden.run(perl(garden, handle, limits={"memory_limits": {"limit_in_bytes": 32 * MIB}}))

    assert within[:2] == (137, "")
    assert info["Events"] == ["Out of memory"]
    assert beside[:2] == (0, "100000000")
    assert own[:2] == (137, "")
    assert garden.run(garden.client.info(handle))["Events"] == ["Out of memory"]  # the last was the pea's own


async def perl(garden: Garden, handle: str, **spec: Any) -> tuple[int, str, str]:
    return await collect(
        await garden.client.run(handle, {**pea(garden, ""), "path": "perl", "args": ["-e", FILL], **spec})
    )


def test_a_pea_is_measured_under_its_process_id(garden: Garden, handle: str) -> None:
    async def go() -> dict[str, Any]:
        spec = pea(
            garden, "dd if=/dev/zero of=/big bs=1M count=5; sync; echo up; exec sleep 100", id="check-1"
        )
        process = await garden.client.run(handle, spec)
        assert await line(process.stdout) == "up\n"
        found = await garden.client.bulk_metrics(["check-1", handle])
        await process.signal(1)
        await collect(process)
        return found

    found = garden.run(go())

    of_pea, of_container = found["check-1"]["Metrics"], found[handle]["Metrics"]
    assert 5 * MIB <= of_pea["DiskStat"]["ExclusiveBytesUsed"] < 6 * MIB
    assert of_pea["DiskStat"]["TotalBytesUsed"] > of_pea["DiskStat"]["ExclusiveBytesUsed"] + 5 * MIB
    assert of_container["DiskStat"]["ExclusiveBytesUsed"] < 5 * MIB
    assert of_pea["CPUEntitlement"] == 0
    assert (of_pea["PidStat"]["Current"], of_container["PidStat"]["Current"]) == (1, 2)
    assert of_pea["CPUStat"]["Usage"] > 0
    assert garden.run(garden.client.bulk_metrics(["check-1"]))["check-1"]["Err"] is not None


def test_what_cannot_start_leaves_nothing(garden: Garden, handle: str) -> None:
    with pytest.raises(ExecutableNotFound, match="not found in"):
        garden.run(garden.client.run(handle, {**pea(garden, ""), "path": "nonesuch"}))
    with pytest.raises(GardenError, match="local image not found"):
        garden.run(garden.client.run(handle, {**pea(garden, ""), "image": {"uri": "/nowhere.tar"}}))

    assert of_peas(garden, handle) == []


def test_children_of_a_pea_end_with_it(garden: Garden, handle: str) -> None:
    assert run(garden, handle, "sleep 1000 > /dev/null 2>&1 & echo done")[:2] == (0, "done\n")

    wait_until_no_pea_is_left(garden, handle)
    assert garden.run(garden.client.bulk_metrics([handle]))[handle]["Metrics"]["PidStat"]["Current"] == 1


def test_destroying_the_container_ends_its_peas_and_leaves_nothing(garden: Garden, handle: str) -> None:
    async def go() -> list[Any]:
        specs = [pea(garden, "exec sleep 1000"), pea(garden, "exec sleep 1000", limits={})]
        processes = [await garden.client.run(handle, spec) for spec in specs]
        waits = [asyncio.ensure_future(collect(process)) for process in processes]
        late = [asyncio.ensure_future(garden.client.run(handle, pea(garden, "sleep 9"))) for _ in range(4)]
        await asyncio.sleep(0.02)  # some are being made when the end comes
        await garden.client.destroy(handle)
        for process in await asyncio.gather(*late, return_exceptions=True):
            if not isinstance(process, BaseException):
                await process.close()
        return [(await wait)[0] for wait in waits]

    assert garden.run(go()) == [137, 137]
    assert garden.leftovers() == []


def test_peas_outlive_garden_and_are_removed_when_they_end_without_it(garden: Garden, handle: str) -> None:
    async def before() -> None:
        script = "echo up; while read x; do echo $x; done; exit 5"
        lives = await garden.client.run(handle, pea(garden, script, id="lives"))
        assert await line(lives.stdout) == "up\n"
        await lives.close()
        ends = await garden.client.run(handle, pea(garden, "sleep 0.5; exit 3", id="ends", limits={}))
        await ends.close()

    async def after() -> list[int]:
        await garden.wait_until_it_serves()
        lives = await garden.client.attach(handle, "lives")
        await lives.write_input("again\n")
        assert await line(lives.stdout) == "again\n"
        ended = (await collect(await garden.client.attach(handle, "ends")))[0]
        await lives.end_input()
        return [(await collect(lives))[0], ended]

    garden.run(before())
    garden.kill_garden()
    garden.wait_until_ended(handle, "ends")
    garden.start_garden()

    assert garden.run(after()) == [5, 3]
    wait_until_no_pea_is_left(garden, handle)
    garden.run(garden.client.destroy(handle))
    assert garden.leftovers() == []


def test_a_container_that_died_while_garden_was_away_goes_with_its_peas(garden: Garden, handle: str) -> None:
    async def start() -> None:
        own: dict[str, Any] = {"limits": {}}
        for spec in ({}, own):
            process = await garden.client.run(handle, pea(garden, "exec sleep 1000", **spec))
            await process.close()

    garden.run(start())
    garden.kill_garden()
    for pid in garden.container_processes():
        support.kill_quietly(pid)
        support.wait_gone(pid)
    garden.start_garden()

    assert garden.run(garden.client.containers()) == []
    assert garden.leftovers() == []
