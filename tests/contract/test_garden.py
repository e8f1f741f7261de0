"""Garden's API over its socket, with real containers (contract/garden.md)."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from diego.garden.client import (
    ContainerNotFound,
    ExecutableNotFound,
    GardenError,
    Process,
    ProcessNotFound,
)
from support import garden as support
from support.garden import EXTERNAL, OUTSIDE, Garden, a_tar, chunks, collect, line
from support.worker import until

pytestmark = pytest.mark.root

MIB = 1 << 20
SERVER = (
    "use IO::Socket::INET; $s = IO::Socket::INET->new(LocalPort => 8080, Listen => 9, ReuseAddr => 1) or die;"
    'print "up\\n"; $| = 1; print "";'
    'while ($c = $s->accept) { print $c "hello ", $c->peerhost, "\\n"; close $c }'
)


@pytest.fixture(scope="module")
def garden() -> Iterator[Garden]:
    with support.directory() as directory:
        support.build_rootfs(directory / "rootfs.tar")
        with support.running(directory, directory / "rootfs.tar") as garden:
            yield garden


@pytest.fixture
def handle(garden: Garden) -> Iterator[str]:
    """A container without limits."""
    handle = garden.run(garden.create())
    yield handle
    with contextlib.suppress(ContainerNotFound):
        garden.run(garden.client.destroy(handle))


def sh(garden: Garden, handle: str, script: str, **spec: Any) -> tuple[int, str, str]:
    return garden.run(garden.sh(handle, script, **spec))


# Requests and errors


def request(garden: Garden, method: str, path: str, body: bytes = b"") -> tuple[int, str, bytes]:
    """A bare request; status, content type, body."""

    async def ask() -> tuple[int, str, bytes]:
        reader, writer = await asyncio.open_unix_connection(garden.config["listen_address"])
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        answer = await reader.read()
        writer.close()
        top, _, rest = answer.partition(b"\r\n\r\n")
        kind = re.search(rb"(?i)content-type: *([^\r\n]*)", top)
        return int(top.split()[1]), kind[1].decode() if kind else "", rest

    return garden.run(ask())


def test_the_socket_belongs_to_the_group_that_may_call(garden: Garden) -> None:
    mode = Path(garden.config["listen_address"]).stat().st_mode

    assert mode & 0o777 == 0o660


def test_nothing_to_say_is_an_empty_object_and_a_newline(garden: Garden) -> None:
    assert request(garden, "GET", "/ping") == (200, "application/json", b"{}\n")


def test_an_unknown_path_is_no_json(garden: Garden) -> None:
    status, _, body = request(garden, "GET", "/nowhere")

    assert (status, body) == (404, b"404 page not found\n")


def test_a_wrong_method_names_the_right_ones(garden: Garden) -> None:
    status, _, body = request(garden, "PATCH", "/containers")

    assert (status, body.strip()) == (405, b"Method Not Allowed")


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"handle":7}', b'{"limits":{"disk_limits":{"scope":2}}}'])
def test_a_body_that_cannot_be_read_is_an_error_in_the_usual_form(garden: Garden, body: bytes) -> None:
    status, kind, answer = request(garden, "POST", "/containers", body)

    error = json.loads(answer)
    assert (status, kind) == (500, "application/json")
    assert error["Type"] == ""
    assert error["Message"]
    assert set(error) == {"Type", "Message", "Handle", "ProcessID", "Binary"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/containers/nobody"),
        ("GET", "/containers/nobody/info"),
        ("GET", "/containers/nobody/metrics"),
        ("GET", "/containers/nobody/properties"),
        ("GET", "/containers/nobody/files?user=&source=/"),
        ("PUT", "/containers/nobody/files?user=&destination=/"),
        ("POST", "/containers/nobody/processes"),
    ],
)
def test_an_unknown_handle_is_told_with_its_type(garden: Garden, method: str, path: str) -> None:
    body = b'{"path":"true"}' if method == "POST" else b""

    status, _, answer = request(garden, method, path, body)

    assert status == 404
    assert answer == (
        b'{"Type":"ContainerNotFoundError","Message":"unknown handle: nobody","Handle":"nobody",'
        b'"ProcessID":"","Binary":""}\n'
    )


def test_capacity_tells_memory_disk_and_containers(garden: Garden) -> None:
    capacity = garden.run(garden.client.capacity())

    assert capacity["max_containers"] == 250
    assert capacity["memory_in_bytes"] > MIB
    assert 0 < capacity["schedulable_disk_in_bytes"] <= capacity["disk_in_bytes"]


# Containers


def test_a_handle_is_made_up_when_none_is_given(garden: Garden, handle: str) -> None:
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", handle)


def test_a_handle_is_taken_once(garden: Garden, handle: str) -> None:
    with pytest.raises(GardenError, match=re.escape(f"Handle '{handle}' already in use")):
        garden.run(garden.create(handle=handle))


def test_image_and_rootfs_together_are_refused(garden: Garden) -> None:
    with pytest.raises(GardenError, match=re.escape("Cannot provide both Image.URI and RootFSPath")):
        garden.run(garden.create(rootfs="/a", image={"uri": "/b"}))


def test_a_missing_image_leaves_nothing_behind(garden: Garden) -> None:
    before = garden.run(garden.client.containers({"garden.state": "all"}))

    with pytest.raises(GardenError, match="local image not found"):
        garden.run(garden.create(image={"uri": "/no/such.tar"}))

    assert garden.run(garden.client.containers({"garden.state": "all"})) == before


def test_privileged_containers_are_refused(garden: Garden) -> None:
    with pytest.raises(GardenError, match="privileged container creation is disabled"):
        garden.run(garden.create(privileged=True))


def test_a_failed_create_takes_everything_back(garden: Garden) -> None:
    with pytest.raises(GardenError, match="bind mount /no/such"):
        garden.run(
            garden.create(
                handle="half-made",
                bind_mounts=[{"src_path": "/no/such", "dst_path": "/x"}],
                netin=[{"host_port": 0, "container_port": 8080}],
            )
        )

    assert not [thing for thing in garden.leftovers() if "half-made" in thing]
    garden.run(garden.client.destroy(garden.run(garden.create(handle="half-made"))))


def test_lists_are_filtered_by_all_properties(garden: Garden) -> None:
    handles = [garden.run(garden.create(properties={"owner": "me", "n": str(number)})) for number in range(2)]

    try:
        assert sorted(garden.run(garden.client.containers({"owner": "me"}))) == sorted(handles)
        assert garden.run(garden.client.containers({"owner": "me", "n": "1"})) == handles[1:]
        assert garden.run(garden.client.containers({"owner": "you"})) == []
    finally:
        for handle in handles:
            garden.run(garden.client.destroy(handle))


def test_properties_are_set_read_and_removed(garden: Garden, handle: str) -> None:
    path = f"/containers/{handle}/properties"
    garden.run(garden.client.set_property(handle, "log_config", '{"a":1}'))

    assert json.loads(request(garden, "GET", f"{path}/log_config")[2]) == {"value": '{"a":1}'}
    assert garden.run(garden.client.properties(handle))["garden.state"] == "created"

    garden.run(garden.client.remove_property(handle, "log_config"))
    garden.run(garden.client.remove_property(handle, "log_config"))
    status, _, body = request(garden, "GET", f"{path}/log_config")

    assert status == 500
    assert json.loads(body)["Message"] == "property does not exist: log_config"


def test_destroying_twice_at_once_says_so(garden: Garden) -> None:
    handle = garden.run(garden.create())

    async def both() -> list[bytes]:
        address = garden.config["listen_address"]
        connections = [await asyncio.open_unix_connection(address) for _ in range(2)]
        for _, writer in connections:  # one right after the other, before the first is carried out
            writer.write(
                f"DELETE /containers/{handle} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
            )
        answers = await asyncio.gather(*(reader.read() for reader, _ in connections))
        for _, writer in connections:
            writer.close()
        return sorted(answer.partition(b"\r\n\r\n")[2] for answer in answers)

    refused, done = garden.run(both())

    assert done == b"{}\n"
    assert json.loads(refused)["Message"] == "container already being destroyed"


def test_destroy_leaves_nothing(garden: Garden) -> None:
    handle = garden.run(
        garden.create(
            limits={"memory_limits": {"limit_in_bytes": 64 * MIB}},
            netin=[{"host_port": 0, "container_port": 8080}],
            netout_rules=[{"protocol": 1, "ports": [{"start": 80, "end": 80}]}],
        )
    )
    address = garden.run(garden.client.info(handle))["ContainerIP"]

    async def with_processes() -> list[int]:
        run = [garden.client.run(handle, {"path": "sleep", "args": ["1000"]}) for _ in range(3)]
        processes = await asyncio.gather(*run)
        waits = [asyncio.ensure_future(collect(process)) for process in processes]
        await garden.client.destroy(handle)
        return [(await wait)[0] for wait in waits]

    statuses = garden.run(with_processes())

    assert statuses == [137, 137, 137]
    assert not [thing for thing in garden.leftovers() if handle in thing or f"{address} " in thing]
    with pytest.raises(ContainerNotFound):
        garden.run(garden.client.info(handle))


def test_info_has_every_key(garden: Garden) -> None:
    handle = garden.run(garden.create(netin=[{"host_port": 0, "container_port": 8080}]))

    info = garden.run(garden.client.info(handle))
    garden.run(garden.client.destroy(handle))

    keys = "State Events HostIP ContainerIP ContainerIPv6 ExternalIP ContainerPath ProcessIDs Properties"
    assert " ".join(info) == f"{keys} MappedPorts"
    assert (info["State"], info["Events"], info["HostIP"]) == ("active", None, "10.255.7.1")
    assert info["ExternalIP"] == EXTERNAL
    assert info["ContainerIP"].startswith("10.255.7.")
    assert info["MappedPorts"][0]["ContainerPort"] == 8080
    assert 61001 <= info["MappedPorts"][0]["HostPort"] < 61001 + 4534


def test_bulk_metrics_answer_for_each_handle(garden: Garden, handle: str) -> None:
    sh(garden, handle, "dd if=/dev/zero of=/tmp/big bs=1M count=5 2>/dev/null; sync")

    metrics = garden.run(garden.client.bulk_metrics([handle, "nobody"]))

    found = metrics[handle]["Metrics"]
    assert metrics[handle]["Err"] is None
    assert metrics["nobody"]["Err"]["Type"] == "ContainerNotFoundError"
    assert 5 * MIB <= found["DiskStat"]["ExclusiveBytesUsed"] < 6 * MIB
    assert found["DiskStat"]["TotalBytesUsed"] > found["DiskStat"]["ExclusiveBytesUsed"] + 5 * MIB
    assert found["CPUStat"]["Usage"] > 0
    assert found["PidStat"] == {"Current": 1, "Max": 0}
    assert found["Age"] > 0
    assert "TotalUsageTowardLimit" in found["MemoryStat"]
    assert garden.run(garden.client.bulk_metrics([])) == {}


# Processes


def test_output_and_status_come_back(garden: Garden, handle: str) -> None:
    assert sh(garden, handle, "echo out; echo err >&2; exit 7") == (7, "out\n", "err\n")


def test_a_lot_of_output_comes_whole(garden: Garden, handle: str) -> None:
    script = "dd if=/dev/zero bs=1M count=30 2>/dev/null; echo end"

    status, stdout, _ = sh(garden, handle, script)

    assert (status, len(stdout), stdout[-5:]) == (0, 30 * MIB + 4, "\0end\n")


def test_killed_by_a_signal_is_128_and_its_number(garden: Garden, handle: str) -> None:
    assert sh(garden, handle, "kill -9 $$")[0] == 137
    assert sh(garden, handle, "kill -15 $$")[0] == 143


def test_signals_reach_the_process(garden: Garden, handle: str) -> None:
    async def go() -> tuple[int, str, str]:
        script = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
        process = await garden.client.run(handle, {"path": "sh", "args": ["-c", script]})
        ready = await line(process.stdout)
        await process.signal(0)
        status, stdout, stderr = await collect(process)
        return status, ready + stdout, stderr

    assert garden.run(go()) == (3, "ready\nbye\n", "")


def test_a_kill_needs_no_consent(garden: Garden, handle: str) -> None:
    async def go() -> int:
        script = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
        process = await garden.client.run(handle, {"path": "sh", "args": ["-c", script]})
        await line(process.stdout)
        await process.signal(0)
        await process.signal(1)
        return (await collect(process))[0]

    assert garden.run(go()) == 137


def test_a_missing_program_is_no_exit_code(garden: Garden, handle: str) -> None:
    for path in ("no-such-program", "/no/such/program"):
        with pytest.raises(ExecutableNotFound):
            garden.run(garden.client.run(handle, {"path": path}))

    with pytest.raises(ExecutableNotFound, match=re.escape("executable file not found in $PATH")):
        garden.run(garden.client.run(handle, {"path": "no-such-program"}))


def test_an_unknown_user_is_told_to_the_letter(garden: Garden, handle: str) -> None:
    message = "unable to find user nobody: no matching entries in passwd file"

    with pytest.raises(GardenError, match=message):
        garden.run(garden.client.run(handle, {"path": "id", "user": "nobody"}))


def test_a_process_id_is_taken_as_long_as_its_record_is_there(garden: Garden, handle: str) -> None:
    assert sh(garden, handle, "exit 4", id="check/1")[0] == 4

    with pytest.raises(GardenError, match="process ID 'check/1' already in use"):
        sh(garden, handle, "true", id="check/1")


def test_a_user_has_its_groups_home_and_environment(garden: Garden, handle: str) -> None:
    status, stdout, _ = sh(
        garden,
        handle,
        "id -u; id -g; id -G; readlink /proc/self/cwd; echo $HOME $USER $PATH; umask",
        user="vcap",
    )

    assert status == 0
    assert stdout.splitlines() == [
        "2000",
        "2000",
        "2000 29 44",
        "/home/vcap",
        "/home/vcap vcap /usr/local/bin:/usr/bin:/bin",
        "0022",
    ]


def test_a_missing_working_directory_is_made_for_the_user(garden: Garden, handle: str) -> None:
    status, stdout, _ = sh(garden, handle, "stat -c '%U %a' . ..", user="vcap", dir="/made/for/me")

    assert (status, stdout) == (0, "vcap 755\nvcap 755\n")


def test_a_working_directory_cannot_lead_out(garden: Garden, handle: str) -> None:
    sh(garden, handle, "ln -s /proc/1/root /out; ln -s / /here")

    status, stdout, _ = sh(garden, handle, "readlink /proc/self/cwd", dir="/here/../../inside")

    assert (status, stdout) == (0, "/inside\n")
    assert not Path("/inside").exists()


def test_environment_comes_in_layers(garden: Garden) -> None:
    handle = garden.run(garden.create(env=["A=container", "B=container"]))

    async def go() -> str:  # not by the shell, which sorts them anew
        env = await garden.client.run(handle, {"path": "env", "env": ["B=process", "C=process"]})
        return (await collect(env))[1]

    stdout = garden.run(go())
    garden.run(garden.client.destroy(handle))

    lines = [text for text in stdout.splitlines() if text.split("=")[0] in "ABC"]
    assert lines == ["A=container", "B=process", "C=process"]


def test_a_user_may_open_its_own_output_again(garden: Garden, handle: str) -> None:
    script = "echo one > /dev/stdout; echo two > /dev/stderr"

    assert sh(garden, handle, script, user="vcap") == (0, "one\n", "two\n")


def test_standard_input_is_written_and_ended(garden: Garden, handle: str) -> None:
    async def go() -> tuple[int, str, str]:
        process = await garden.client.run(handle, {"path": "cat"})
        await process.write_input("some text\n")
        await process.end_input()
        return await collect(process)

    assert garden.run(go()) == (0, "some text\n", "")


def test_many_processes_at_once(garden: Garden, handle: str) -> None:
    async def go() -> list[tuple[int, str, str]]:
        runs = (garden.sh(handle, f"echo {number}; exit {number}") for number in range(20))
        return await asyncio.gather(*runs)

    assert garden.run(go()) == [(number, f"{number}\n", "") for number in range(20)]


def test_every_client_hears_what_comes_after_it_came(garden: Garden, handle: str) -> None:
    async def go() -> tuple[str, str, list[int]]:
        script = "echo first; read go; echo second; exit 5"
        one = await garden.client.run(handle, {"path": "sh", "args": ["-c", script], "id": "shared"})
        assert await line(one.stdout) == "first\n"
        two = await garden.client.attach(handle, "shared")
        await two.write_input("go\n")
        first, second = await asyncio.gather(collect(one), collect(two))
        return first[1], second[1], [first[0], second[0]]

    assert garden.run(go()) == ("second\n", "second\n", [5, 5])


def test_an_exit_can_be_asked_for_later(garden: Garden, handle: str) -> None:
    sh(garden, handle, "exit 9", id="done")

    async def again() -> tuple[int, str, str]:
        return await collect(await garden.client.attach(handle, "done"))

    assert garden.run(again()) == (9, "", "")
    assert garden.run(again()) == (9, "", "")


def test_attaching_to_nothing_is_not_found(garden: Garden, handle: str) -> None:
    with pytest.raises(ProcessNotFound, match="unknown process: nothing"):
        garden.run(garden.client.attach(handle, "nothing"))


def test_output_waits_for_the_next_client(garden: Garden, handle: str) -> None:
    async def go() -> tuple[int, str, str]:
        script = "echo before; while ! ls /tmp/go >/dev/null 2>&1; do sleep 0.05; done; echo between; exit 6"
        process = await garden.client.run(handle, {"path": "sh", "args": ["-c", script], "id": "waits"})
        assert await line(process.stdout) == "before\n"
        await process.leave()
        assert await collect_streams(process) == ""
        await garden.sh(handle, "touch /tmp/go")
        await asyncio.to_thread(garden.wait_until_ended, handle, "waits")
        return await collect(await garden.client.attach(handle, "waits"))

    assert garden.run(go()) == (6, "between\n", "")


async def collect_streams(process: Process) -> str:
    text = b"".join([piece async for piece in process.stdout]).decode()
    await process.close()
    return text


def test_a_process_runs_on_without_its_client(garden: Garden, handle: str) -> None:
    async def go() -> None:
        process = await garden.client.run(
            handle, {"path": "sh", "args": ["-c", "sleep 0.3; touch /tmp/ran-on"], "id": "alone"}
        )
        await process.close()

    garden.run(go())
    garden.wait_until_ended(handle, "alone")

    assert sh(garden, handle, "ls /tmp/ran-on")[0] == 0


def test_heads_and_frames_are_those_of_the_original(garden: Garden, handle: str) -> None:
    async def go() -> tuple[bytes, dict[str, Any], bytes, bytes, bytes]:
        address = garden.config["listen_address"]
        reader, writer = await asyncio.open_unix_connection(address)
        script = "while ! ls /tmp/go >/dev/null 2>&1; do sleep 0.05; done; echo hi"
        body = json.dumps({"id": "p", "path": "sh", "args": ["-c", script]}).encode()
        writer.write(
            f"POST /containers/{handle}/processes HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
            "Content-Type: application/json\r\n\r\n".encode()
            + body
        )
        head = await reader.readuntil(b"\r\n\r\n")
        first = json.loads(await reader.readline())
        out_reader, out_writer = await asyncio.open_unix_connection(address)
        path = f"/containers/{handle}/processes/p/attaches/{first['stream_id']}/stdout"
        out_writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        output = await out_reader.readuntil(b"\r\n\r\n")
        await garden.sh(handle, "touch /tmp/go")
        output += await out_reader.read()
        last = await reader.read()
        stray_reader, stray_writer = await asyncio.open_unix_connection(address)
        stray_writer.write(
            b"GET /containers/a/processes/b/attaches/unknown/stderr HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        stray = await stray_reader.read()
        for one in (writer, out_writer, stray_writer):
            one.close()
        return head, first, output, last, stray

    head, first, output, last, stray = garden.run(go())

    assert head == (
        b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    assert first["process_id"] == "p"
    stream_head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert output == stream_head + b"hi\n"
    assert last == b'{"process_id":"p","exit_status":0}\n'
    assert stray == stream_head


def test_a_client_that_wants_no_streams_does_not_stop_the_process(garden: Garden, handle: str) -> None:
    async def go() -> bytes:
        reader, writer = await asyncio.open_unix_connection(garden.config["listen_address"])
        script = "dd if=/dev/zero bs=1M count=5 2>/dev/null; exit 8"
        body = json.dumps({"id": "deaf", "path": "sh", "args": ["-c", script]}).encode()
        writer.write(
            f"POST /containers/{handle}/processes HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
            "\r\n".encode()
            + body
        )
        await reader.readuntil(b"\r\n\r\n")
        await reader.readline()
        last = await reader.readline()
        writer.close()
        return last

    assert garden.run(go()) == b'{"process_id":"deaf","exit_status":8}\n'


def test_stop_ends_all_but_the_container(garden: Garden, handle: str) -> None:
    async def go() -> list[int]:
        processes = [await garden.client.run(handle, {"path": "sleep", "args": ["1000"]}) for _ in range(2)]
        await garden.client.stop(handle)
        return [(await collect(process))[0] for process in processes]

    assert garden.run(go()) == [143, 143]
    assert garden.run(garden.client.info(handle))["State"] == "stopped"
    assert sh(garden, handle, "echo still here")[1] == "still here\n"


def test_grace_time_ends_a_container_that_nobody_asks_about(garden: Garden) -> None:
    handle = garden.run(garden.create(grace_time=300_000_000))

    until(lambda: handle not in garden.run(garden.client.containers()))


# Limits


def test_memory_over_the_limit_is_killed_and_told(garden: Garden) -> None:
    handle = garden.run(garden.create(limits={"memory_limits": {"limit_in_bytes": 32 * MIB}}))

    status, stdout, _ = sh(garden, handle, "perl -e '$x = \"a\" x 100_000_000; print length $x'")
    info = garden.run(garden.client.info(handle))
    still = sh(garden, handle, "echo alive")
    limit = request(garden, "GET", f"/containers/{handle}/limits/memory")[2]
    garden.run(garden.client.destroy(handle))

    assert (status, stdout) == (137, "")
    assert info["Events"] == ["Out of memory"]
    assert still == (0, "alive\n", "")
    assert json.loads(limit) == {"limit_in_bytes": 32 * MIB}


def test_processes_over_the_limit_cannot_be_made(garden: Garden) -> None:
    handle = garden.run(garden.create(limits={"pid_limits": {"max": 30}}))

    script = "fork while ($n++ < 60 and defined($p = fork) and ($p or sleep 1 and exit)); print $n"
    script = "for (1..60) { $p = fork; last unless defined $p; $p or (sleep 1, exit); $n++ } print $n"
    status, stdout, _ = sh(garden, handle, f"perl -e '{script}'")
    garden.run(garden.client.destroy(handle))

    assert status == 0
    assert 10 < int(stdout) < 30


def test_cpu_shares_are_told_back(garden: Garden) -> None:
    handle = garden.run(garden.create(limits={"cpu_limits": {"limit_in_shares": 512}}))

    limit = json.loads(request(garden, "GET", f"/containers/{handle}/limits/cpu")[2])
    garden.run(garden.client.destroy(handle))

    unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    assert limit == {"limit_in_shares": 59 if unified else 512}


@pytest.mark.parametrize("scope", [0, 1])
def test_a_full_disk_is_an_error_of_the_process(garden: Garden, scope: int) -> None:
    image = garden.run(image_bytes(garden))
    own = 20 * MIB
    limits = {"disk_limits": {"byte_hard": own + (0 if scope else image), "scope": scope}}
    handle = garden.run(garden.create(limits=limits))

    status, _, stderr = sh(garden, handle, "dd if=/dev/zero of=/big bs=64k; stat -c %s /big", user="root")
    size = int(sh(garden, handle, "stat -c %s /big")[1])
    garden.run(garden.client.destroy(handle))

    assert "No space left on device" in stderr
    assert status == 0
    assert own * 0.9 < size < own * 1.1


async def image_bytes(garden: Garden) -> int:
    handle = await garden.create()
    disk = (await garden.client.bulk_metrics([handle]))[handle]["Metrics"]["DiskStat"]
    await garden.client.destroy(handle)
    return int(disk["TotalBytesUsed"] - disk["ExclusiveBytesUsed"])


def test_an_image_larger_than_the_limit_is_refused(garden: Garden) -> None:
    with pytest.raises(GardenError, match="layers exceed disk quota"):
        garden.run(garden.create(limits={"disk_limits": {"byte_hard": MIB}}))


def test_inodes_are_limited(garden: Garden) -> None:
    limits = {"disk_limits": {"byte_hard": 64 * MIB, "inode_hard": 300, "scope": 1}}
    handle = garden.run(garden.create(limits=limits))

    _, _, stderr = sh(garden, handle, "i=0; while touch /tmp/f$i; do i=$((i+1)); done; echo $i")
    count = int(sh(garden, handle, "set -- /tmp/f*; echo $#")[1])
    garden.run(garden.client.destroy(handle))

    assert "No space left on device" in stderr
    assert 200 < count <= 300


def test_open_files_are_limited_as_asked(garden: Garden, handle: str) -> None:
    assert sh(garden, handle, "ulimit -n; ulimit -Hn", rlimits={"nofile": 1024})[1] == "1024\n1024\n"


# Isolation


def test_root_is_an_ordinary_user_of_the_host(garden: Garden, handle: str) -> None:
    async def go() -> int:
        process = await garden.client.run(handle, {"path": "sleep", "args": ["1000"], "id": "sleeper"})
        pid = int((garden.directory / f"data/depot/{handle}/processes/sleeper/pid").read_text())
        owner = Path(f"/proc/{pid}").stat().st_uid
        await process.signal(1)
        await collect(process)
        return owner

    assert garden.run(go()) == 100_000


def test_dangerous_calls_are_not_permitted(garden: Garden, handle: str) -> None:
    status, _, stderr = sh(garden, handle, "unshare --user true")
    mounted, _, mount_error = sh(garden, handle, "mount -t tmpfs x /tmp")

    assert status != 0
    assert "Operation not permitted" in stderr
    assert mounted != 0
    assert mount_error


def test_capabilities_are_the_few_of_the_contract(garden: Garden, handle: str) -> None:
    script = "grep Cap /proc/self/status"

    root, user = (sh(garden, handle, script, user=name)[1] for name in ("root", "vcap"))

    assert re.findall(r"Cap(\w+):\s*0*(\w+)", root) == [
        ("Inh", "a80425fb"),
        ("Prm", "a80425fb"),
        ("Eff", "a80425fb"),
        ("Bnd", "a80425fb"),
        ("Amb", "0"),
    ]
    assert [value for name, value in re.findall(r"Cap(\w+):\s*0*(\w+)", user) if name in ("Prm", "Eff")] == [
        "0",
        "0",
    ]


def test_setuid_bits_of_the_image_are_kept(garden: Garden, handle: str) -> None:
    assert sh(garden, handle, "setuid-id", user="vcap")[1].startswith(
        "uid=2000(vcap) gid=2000(vcap) euid=0(root)"
    )


def test_a_process_has_no_descriptor_but_its_three(garden: Garden, handle: str) -> None:
    assert sh(garden, handle, "ls /proc/$$/fd")[1].split() == ["0", "1", "2"]


def test_the_host_name_is_the_end_of_the_handle(garden: Garden) -> None:
    name = "a-handle-longer-than-a-host-name-may-be-" + "x" * 40
    handle = garden.run(garden.create(handle=name))

    stdout = sh(garden, handle, "hostname; cat /etc/hosts /etc/resolv.conf")[1].splitlines()
    address = garden.run(garden.client.info(handle))["ContainerIP"]
    garden.run(garden.client.destroy(handle))

    assert stdout == [name[-49:], "127.0.0.1 localhost", f"{address} {name[-49:]}", "nameserver 169.254.0.2"]


def test_bind_mounts_are_read_only_unless_asked(garden: Garden) -> None:
    private = garden.directory / "private"  # only root may pass through here
    private.mkdir(mode=0o700)
    shared = private / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    (shared / "file").write_text("content")
    mounts = [
        {"src_path": str(shared), "dst_path": "/made/ro"},
        {"src_path": str(shared), "dst_path": "/made/rw", "mode": 1},
    ]
    handle = garden.run(garden.create(bind_mounts=mounts))

    read_only = sh(garden, handle, "cat /made/ro/file; echo x > /made/ro/new")
    writable = sh(garden, handle, "echo x > /made/rw/new", user="vcap")
    garden.run(garden.client.destroy(handle))

    assert read_only[0] != 0
    assert read_only[1] == "content"
    assert "Read-only file system" in read_only[2]
    assert writable[0] == 0
    assert (shared / "new").stat().st_uid == 102_000


# Network


@pytest.fixture
def server(garden: Garden) -> Iterator[dict[str, Any]]:
    """A container with a server on its port 8080."""
    handle = garden.run(garden.create(netin=[{"host_port": 0, "container_port": 8080}]))
    process = {"path": "perl", "args": ["-e", SERVER], "id": "server"}

    async def start() -> None:
        started = await garden.client.run(handle, process)
        assert await line(started.stdout) == ""
        await started.close()

    async def background() -> None:
        started = await garden.client.run(handle, {**process, "args": ["-e", "$| = 1; " + SERVER]})
        assert await line(started.stdout) == "up\n"
        await started.close()

    garden.run(background())
    info = garden.run(garden.client.info(handle))
    yield {"handle": handle, "address": info["ContainerIP"], "port": info["MappedPorts"][0]["HostPort"]}
    garden.run(garden.client.destroy(handle))


def ask_from(garden: Garden, handle: str, address: str, port: int) -> str:
    script = (
        f'use IO::Socket::INET; $s = IO::Socket::INET->new(PeerAddr => "{address}:{port}", Timeout => 20)'
        ' or print("refused\\n"), exit; print <$s>'
    )
    return sh(garden, handle, f"perl -e '{script}'")[1].strip()


def test_a_mapped_port_answers_from_everywhere(garden: Garden, server: dict[str, Any], handle: str) -> None:
    from_host = garden.space.connect(EXTERNAL, server["port"])
    from_outside = garden.space.connect(EXTERNAL, server["port"], outside=True)
    from_sibling = ask_from(garden, handle, EXTERNAL, server["port"])
    from_itself = ask_from(garden, server["handle"], EXTERNAL, server["port"])

    assert from_host.startswith("hello ")
    assert from_outside == f"hello {OUTSIDE}"
    assert from_sibling.startswith("hello ")
    assert from_itself.startswith("hello ")


def test_a_container_is_reached_directly_from_its_cell_only(
    garden: Garden, server: dict[str, Any], handle: str
) -> None:
    garden.space.run(["ip", "route", "add", "10.255.7.0/24", "via", EXTERNAL], pid=garden.space.outside)

    assert garden.space.connect(server["address"], 8080) == "hello 10.255.7.1"
    assert garden.space.connect(server["address"], 8080, outside=True, seconds=2) != f"hello {OUTSIDE}"
    assert ask_from(garden, handle, server["address"], 8080) == "refused"


def test_the_outside_is_reached_and_the_cell_is_not(garden: Garden, handle: str) -> None:
    outside = garden.space.serve(8000, outside=True)
    cell = garden.space.serve(8001)
    dns = garden.space.serve(53, address="169.254.0.2")
    try:
        assert ask_from(garden, handle, OUTSIDE, 8000) == f"hello {EXTERNAL}"
        assert ask_from(garden, handle, EXTERNAL, 8001) == "refused"
        assert ask_from(garden, handle, "10.255.7.1", 8001) == "refused"
        assert ask_from(garden, handle, "169.254.0.2", 53).startswith("hello 10.255.7.")
    finally:
        for one in (outside, cell, dns):
            support.end(one)


def test_ports_are_mapped_later_too_and_not_given_again_at_once(garden: Garden) -> None:
    handle = garden.run(garden.create())
    first = garden.run(garden.client.net_in(handle, 0, 8080))
    second = garden.run(garden.client.net_in(handle, 0, 0))
    chosen = garden.run(garden.client.net_in(handle, 50_000, 9000))
    with pytest.raises(GardenError, match="50000"):
        garden.run(garden.client.net_in(handle, 50_000, 9001))
    garden.run(garden.client.destroy(handle))
    other = garden.run(garden.create(netin=[{"host_port": 0, "container_port": 1}]))
    mapped = garden.run(garden.client.info(other))["MappedPorts"]
    garden.run(garden.client.destroy(other))

    assert first[1] == 8080
    assert second[0] == second[1] != first[0]
    assert chosen == (50_000, 9000)
    assert mapped[0]["HostPort"] not in (first[0], second[0])


# Files


def test_a_tar_goes_in_as_the_user_and_comes_out_again(garden: Garden, handle: str) -> None:
    data = a_tar(file="content\n", sub__other="more\n")

    garden.run(garden.client.stream_in(handle, "vcap", "app/new", chunks(data)))
    status, stdout, _ = sh(
        garden, handle, "cd /home/vcap; stat -c '%U %a %n' app/new app/new/file; cat app/new/sub/other"
    )
    out = garden.run(stream_out(garden, handle, "vcap", "app/new"))
    below = garden.run(stream_out(garden, handle, "vcap", "/home/vcap/app/new/"))

    assert (status, stdout) == (0, "vcap 755 app/new\nvcap 644 app/new/file\nmore\n")
    assert sorted(out) == ["new", "new/file", "new/sub", "new/sub/other"]
    assert out["new/sub/other"] == b"more\n"
    assert sorted(below) == [".", "./file", "./sub", "./sub/other"]


async def stream_out(garden: Garden, handle: str, user: str, source: str) -> dict[str, bytes]:
    pieces = [piece async for piece in garden.client.stream_out(handle, user, source)]
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as archive:
        return {
            member.name: file.read() if (file := archive.extractfile(member)) else b"" for member in archive
        }


def test_a_large_body_is_streamed(garden: Garden, handle: str) -> None:
    size = 40 * MIB

    async def body() -> AsyncIterator[bytes]:
        entry = tarfile.TarInfo("large")
        entry.size = size
        yield entry.tobuf()
        for _ in range(size // MIB):
            yield bytes(MIB)
        yield bytes(10240)

    garden.run(garden.client.stream_in(handle, "root", "/tmp", body()))

    assert sh(garden, handle, "stat -c %s /tmp/large")[1] == f"{size}\n"


def test_what_the_user_may_not_write_is_refused(garden: Garden, handle: str) -> None:
    with pytest.raises(GardenError, match=r"stream-in: nstar: error streaming in: .*Permission denied"):
        garden.run(garden.client.stream_in(handle, "vcap", "/root/x", chunks(a_tar(a="1"))))


def test_a_cut_tar_is_an_error(garden: Garden, handle: str) -> None:
    with pytest.raises(GardenError, match="error streaming in"):
        garden.run(garden.client.stream_in(handle, "root", "/tmp", chunks(a_tar(a="x" * 5000)[:2000])))


def test_links_in_a_container_lead_nowhere_else(garden: Garden, handle: str) -> None:
    sh(garden, handle, "ln -s /etc /tmp/link; ln -s ../../../../../../etc /tmp/up")

    garden.run(garden.client.stream_in(handle, "root", "/tmp/up", chunks(a_tar(written="by the test"))))

    assert sh(garden, handle, "cat /etc/written")[1] == "by the test"
    assert not Path("/etc/written").exists()


def test_a_missing_source_is_an_error(garden: Garden, handle: str) -> None:
    with pytest.raises(GardenError, match=r"error streaming out: .*No such file"):
        garden.run(stream_out(garden, handle, "root", "/no/such"))
