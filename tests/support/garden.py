"""A garden with its keeper for tests: real containers, in namespaces that leave the machine's network alone.

Needs root, runc, nftables, iproute2, e2fsprogs and catatonit. The root file system is
put together from the machine's own shell and a few programs with their libraries.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from diego.garden.client import ConnectionLost, GardenClient, Process
from support.ports import free_port

T = TypeVar("T")

PROGRAMS = "sh cat ls sleep echo id env head dd touch mkdir chmod stat df ln readlink sync hostname"
PROGRAMS += " perl unshare mount grep"
NEEDED = ("runc", "nft", "ip", "mkfs.ext4", "nsenter", "unshare", "catatonit", "perl", "tar")
PASSWD = (
    "root:x:0:0:root:/root:/bin/sh\nvcap:x:2000:2000::/home/vcap:/bin/sh\nweb:x:33:33::/home/web:/bin/sh\n"
)
GROUP = "root:x:0:\nvcap:x:2000:\nweb:x:33:\naudio:x:29:vcap\nvideo:x:44:vcap,web\n"
EXTERNAL, OUTSIDE = "198.51.100.1", "198.51.100.2"
DEADLINE = 60.0


def require() -> None:
    """Skip where there is no root; fail where only programs are missing."""
    if os.geteuid() != 0:
        pytest.skip("containers need root")
    missing = [program for program in NEEDED if shutil.which(program) is None]
    assert not missing, f"install what provides: {', '.join(missing)}"


def build_rootfs(tar: Path) -> None:
    """Make a small root file system from this machine's programs."""
    require()
    with tarfile.open(tar, "w") as archive:
        for path, mode in (
            ("tmp", 0o1777),
            ("root", 0o700),
            ("etc", 0o755),
            ("home", 0o755),
            ("home/vcap", 0o755),
            ("proc", 0o755),
            ("dev", 0o755),
            ("sys", 0o755),
        ):
            entry = tarfile.TarInfo(path)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            entry.uid = entry.gid = 2000 if path == "home/vcap" else 0
            archive.addfile(entry)
        for name, text in (("etc/passwd", PASSWD), ("etc/group", GROUP)):
            _add(archive, name, text.encode(), 0o644)
        files: dict[str, Path] = {}
        for program in PROGRAMS.split():
            found = shutil.which(program, path="/usr/bin:/bin:/usr/sbin:/sbin")
            assert found is not None, program
            files[f"bin/{program}"] = Path(found).resolve()
            for library in re.findall(r"(/\S+) \(0x", subprocess.check_output(["ldd", found], text=True)):
                files[library.lstrip("/")] = Path(library).resolve()
        for perl in Path("/usr/lib").glob("*-linux-gnu/perl-base"):
            for file in perl.rglob("*"):
                if file.is_file():
                    files[str(file).lstrip("/")] = file
        for name, file in files.items():
            _add(archive, name, file.read_bytes(), 0o755)
        _add(archive, "bin/setuid-id", Path("/usr/bin/id").resolve().read_bytes(), 0o4755)


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


class Space:
    """A private mount and network namespace: the cell, and a second one that is the world outside."""

    def __init__(self) -> None:
        self._holders = [_hold("--mount", "--net", "--propagation=private"), _hold("--net")]
        inside, outside = (holder.pid for holder in self._holders)
        self.pid = inside
        self.outside = outside
        for pid, commands in (
            (inside, f"link set lo up\nlink add up0 type veth peer name out0 netns {outside}\n"),
            (inside, f"addr add {EXTERNAL}/24 dev up0\nlink set up0 up\nroute add default via {OUTSIDE}\n"),
            (inside, "addr add 169.254.0.2/32 dev lo\n"),
            (outside, f"link set lo up\naddr add {OUTSIDE}/24 dev out0\nlink set out0 up\n"),
        ):
            self.run(["ip", "-batch", "-"], text=commands, pid=pid)

    def command(self, *words: str, pid: int | None = None) -> list[str]:
        mount = [] if pid not in (None, self.pid) else ["--mount"]
        return ["nsenter", "--target", str(pid or self.pid), *mount, "--net", *words]

    def run(self, words: list[str], *, text: str = "", pid: int | None = None) -> str:
        done = subprocess.run(
            self.command(*words, pid=pid), input=text, capture_output=True, text=True, check=False, timeout=30
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def connect(self, address: str, port: int, *, outside: bool = False, seconds: float = 20.0) -> str:
        """What a TCP server says at once; the error's name if there is none."""
        script = (
            "import socket,sys\n"
            "try:\n"
            f"  s=socket.create_connection(({address!r},{port}),{seconds})\n"
            "  print(s.recv(1000).decode().strip())\n"
            "except OSError as e: print(type(e).__name__)\n"
        )
        return self.run([sys.executable, "-S", "-c", script], pid=self.outside if outside else None).strip()

    def serve(self, port: int, *, outside: bool = False, address: str = "0.0.0.0") -> subprocess.Popen[bytes]:
        """A server that says `hello <peer's address>` and closes."""
        script = (
            f"import socket\ns=socket.create_server(({address!r},{port}))\nprint('up',flush=True)\n"
            "while True:\n  c,a=s.accept()\n  c.sendall(b'hello '+a[0].encode()); c.close()\n"
        )
        server = subprocess.Popen(
            self.command(sys.executable, "-S", "-c", script, pid=self.outside if outside else None),
            stdout=subprocess.PIPE,
        )
        assert server.stdout is not None
        assert server.stdout.readline() == b"up\n"
        return server

    def close(self) -> None:
        for holder in self._holders:
            end(holder)


def _hold(*namespaces: str) -> subprocess.Popen[bytes]:
    """A process in new namespaces that waits until it is killed."""
    script = "import os\nos.write(1,b'.')\nos.read(0,1)\n"
    holder = subprocess.Popen(
        ["unshare", *namespaces, sys.executable, "-S", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.read(1) == b"."
    return holder


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that a test has started."""
    process.kill()
    process.wait(DEADLINE)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


class Garden:
    """A running garden and keeper, and what they keep."""

    def __init__(self, directory: Path, rootfs: Path, **config: Any) -> None:
        self.directory = directory
        self.rootfs = str(rootfs)
        self.space = Space()
        self.name = f"gardentest{secrets.token_hex(3)}"
        self.config: dict[str, Any] = {
            "listen_address": str(directory / "garden.sock"),
            "listen_group": "",
            "debug_listen_address": f"127.0.0.1:{free_port()}",
            "keeper_socket": str(directory / "keeper.sock"),
            "data_dir": str(directory / "data"),
            "runtime_root": str(directory / "runc"),
            "runtime_plugin": shutil.which("runc"),
            "init_bin": shutil.which("catatonit"),
            "cgroup_parent": self.name,
            "default_container_rootfs": str(rootfs),
            "network_pool": "10.255.7.0/24",
            "dns_servers": ["169.254.0.2"],
            "external_ip": EXTERNAL,
            "reserved_space_for_other_jobs_in_mb": 0,
            "unlimited_disk_bytes": 64 << 20,
            **config,
        }
        self.client = GardenClient("unix", self.config["listen_address"])
        self.orphans: list[int] = []
        self.master: subprocess.Popen[bytes] | None = None
        self.keeper: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.start_keeper()
        self.start_garden()

    def start_keeper(self) -> None:
        words = ("-m", "diego.garden.keeper", "--socket", self.config["keeper_socket"])
        self.keeper = self._start("keeper", sys.executable, *words)

    def start_garden(self) -> None:
        path = self.directory / "garden.json"
        path.write_text(json.dumps(self.config))
        main = "from diego.runtime.main import main; raise SystemExit(main())"
        self.master = self._start("garden", sys.executable, "-c", main, "garden", "--config", str(path))
        for pid in self.orphans:  # a worker without its master serves for about a second more
            wait_gone(pid)
        self.orphans = []
        self.run(self.wait_until_it_serves())

    def _start(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        with (self.directory / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                self.space.command(*words), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    async def wait_until_it_serves(self) -> None:
        deadline = time.monotonic() + DEADLINE
        while True:
            try:
                await self.client.ping()
                return
            except ConnectionLost:
                if time.monotonic() > deadline:
                    raise AssertionError(self.log()) from None
                await asyncio.sleep(0.05)

    def log(self, name: str = "garden") -> str:
        return (self.directory / f"{name}.log").read_text()[-5000:]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run(asyncio.wait_for(work, 60))

    def workers(self) -> list[int]:
        assert self.master is not None
        return children(self.master.pid)

    def kill_garden(self, *, master: bool = True, workers: bool = True) -> None:
        """Kill -9. Whoever is left of garden is left."""
        assert self.master is not None
        pids = self.workers()
        if master:
            end(self.master)
            self.orphans = [] if workers else pids
        for pid in pids if workers else []:
            os.kill(pid, signal.SIGKILL)
            wait_gone(pid)

    def wait_until_ended(self, handle: str, process_id: str) -> None:
        """Until the end of a process is known, whether garden is there or not."""
        exit_file = self.directory / "data/depot" / handle / "processes" / process_id / "exit"
        deadline = time.monotonic() + DEADLINE
        while not exit_file.exists():
            assert time.monotonic() < deadline, f"{process_id} does not end"
            time.sleep(0.02)

    def wait_until_no_runtime_works(self) -> None:
        """Until what a killed garden had the runtime do is over."""
        root = str(self.directory / "runc").encode()
        deadline = time.monotonic() + DEADLINE
        while any(self.config["runtime_plugin"].encode() in words and root in words for words in _commands()):
            assert time.monotonic() < deadline, "the runtime still works"
            time.sleep(0.02)

    def kill_keeper(self) -> None:
        assert self.keeper is not None
        end(self.keeper)

    def container_processes(self) -> set[int]:
        """All processes in containers."""
        found: set[int] = set()
        for top in Path("/sys/fs/cgroup").glob(f"*/{self.name}"):
            for directory, _, _ in os.walk(top):
                try:
                    found.update(int(pid) for pid in Path(directory, "cgroup.procs").read_text().split())
                except OSError:
                    continue  # the group was just removed
        return found

    def leftovers(self) -> list[str]:
        """What is left of containers on the machine."""
        found = [f"process {pid}" for pid in self.container_processes()]
        mounts = Path(f"/proc/{self.space.pid}/mounts").read_text().splitlines()
        found += [f"mount {line}" for line in mounts if str(self.directory) in line]
        for path in Path("/sys/block").glob("loop*/loop/backing_file"):
            try:
                if str(self.directory) in path.read_text():
                    found.append(f"loop device {path}")
            except OSError:
                continue  # it was just detached
        links = self.space.run(["ip", "-o", "link", "show", "group", "77"])
        found += [f"link {line}" for line in links.splitlines()]
        rules = self.space.run(["nft", "list", "table", "ip", "garden"])
        found += [f"rule {line.strip()}" for line in rules.splitlines() if "10.255.7." in line]
        groups = {path.name for path in Path("/sys/fs/cgroup").glob(f"*/{self.name}/*/")}
        found += [f"cgroup {name}" for name in groups]
        for name in ("data/depot", "runc"):
            directory = self.directory / name
            found += [f"file {path}" for path in directory.glob("*")] if directory.exists() else []
        return found

    def close(self) -> None:
        """Kill everything and remove what it held, whatever state it is in."""
        for process in (self.master, self.keeper):
            if process is not None and process.poll() is None:
                pids = children(process.pid)
                end(process)
                for pid in pids:
                    kill_quietly(pid)
                    wait_gone(pid)
        deadline = time.monotonic() + DEADLINE
        while (pids_left := self.container_processes()) and time.monotonic() < deadline:
            for pid in pids_left:
                kill_quietly(pid)
            time.sleep(0.02)
        self.space.close()  # with the mount namespace go the mounts and the loop devices
        for top in Path("/sys/fs/cgroup").glob(f"*/{self.name}"):
            for directory, _, _ in os.walk(top, topdown=False):
                _remove_group(Path(directory))

    # Conveniences

    async def create(self, **spec: Any) -> str:
        return await self.client.create(spec)

    async def sh(self, handle: str, script: str, **spec: Any) -> tuple[int, str, str]:
        """Run a script; its status and output."""
        process = await self.client.run(handle, {"path": "sh", "args": ["-c", script], **spec})
        return await collect(process)


async def collect(process: Process) -> tuple[int, str, str]:
    """The status and the whole output of a process."""
    stdout, stderr, status = await asyncio.gather(
        _text(process.stdout), _text(process.stderr), process.wait()
    )
    await process.close()
    return status, stdout, stderr


async def _text(stream: Any) -> str:
    return b"".join([piece async for piece in stream]).decode()


async def line(stream: Any) -> str:
    """What comes next, up to a whole line."""
    text = b""
    while not text.endswith(b"\n"):
        try:
            text += await anext(stream)
        except StopAsyncIteration:
            break
    return text.decode()


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):  # the second when it goes while it is read
        return []


def _commands() -> Iterator[list[bytes]]:
    """The words of every process of the machine."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended


def _remove_group(directory: Path) -> None:
    """Remove a control group; the kernel may count those just killed for a moment more."""
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            directory.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def kill_quietly(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def wait_gone(pid: int) -> None:
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):  # the second when it goes while it is read
            return
        if state == "Z":
            return
        time.sleep(0.01)
    raise AssertionError(f"{pid} lives")


@contextmanager
def running(directory: Path, rootfs: Path, **config: Any) -> Iterator[Garden]:
    garden = Garden(directory, rootfs, **config)
    try:
        garden.start()
        yield garden
    finally:
        garden.close()


@contextmanager
def directory() -> Iterator[Path]:
    """A directory that containers' users can pass through, unlike pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="garden-test-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def a_tar(**files: str | bytes) -> bytes:
    """A tar of regular files; `__` in a name stands for a slash."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            text = content if isinstance(content, bytes) else content.encode()
            _add(archive, name.replace("__", "/"), text, 0o666)
    return buffer.getvalue()


async def chunks(data: bytes, size: int = 65536) -> AsyncIterator[bytes]:
    """Pieces of something, as a streamed body wants them."""
    for start in range(0, len(data), size):
        yield data[start : start + size]
