"""The processes in containers: started through the keeper, attached to, waited for, found again.

All in the event loop; what blocks (preparing files) is done by the engine's threads.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import secrets
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

from diego.garden import cgroups, keeper_client, kernel
from diego.garden.core import frames
from diego.garden.depot import Depot, ProcessRecord
from diego.garden.errors import GardenError, ProcessNotFound
from diego.garden.outputs import Hearer, Output
from diego.garden.rooted import start_time
from diego.garden.runtime import failure, start_error
from diego.runtime.logs import get_logger

STREAMS = ("stdout", "stderr")
LINGER_SECONDS = 60.0
LOST_START_SECONDS = 2.0
EXIT_FILE_SECONDS = 1.0
LAST_OUTPUT_SECONDS = 5.0
ENDED_KEPT = 1000
POLL_SECONDS = 0.05
LOST = "exit status lost: garden's keeper was restarted during the process's life"
log = get_logger("garden")


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended; the status is None when nobody knows."""

    status: int | None

    def frame(self, process_id: str) -> bytes:
        """The last frame on a main connection."""
        if self.status is None:
            return frames.lost(process_id, LOST)
        return frames.exited(process_id, self.status)


class Attachment:
    """One client's connection to a process: its stream id and its two hearers."""

    def __init__(self, process: Process, stream_id: str) -> None:
        self.process = process
        self.stream_id = stream_id
        self.left = False
        self.hearers = {name: Hearer() for name in STREAMS}

    async def finished(self) -> Exit:
        """Wait until the process has ended and all its output is collected."""
        await self.process.exited.wait()
        for name in STREAMS:
            await self.process.outputs[name].ended.wait()
        return self.process.exit


class Process:
    """A process in a container, from the request to start it until its exit is told."""

    def __init__(self, handle: str, record: ProcessRecord, directory: Path) -> None:
        self.handle = handle
        self.record = record
        self.directory = directory
        self.running = False
        self.waited = False
        self.exited = asyncio.Event()
        self.exit = Exit(None)
        self.outputs: dict[str, Output] = {}
        self._pidfd: int | None = None
        self._input: int | None = None

    @property
    def id(self) -> str:
        """Its name within the container."""
        return self.record.id

    @property
    def key(self) -> str:
        """Its name at the keeper."""
        return f"{self.handle}/{self.id}"

    def open(self) -> None:
        """Open our ends: it runs, or has run."""
        self.running = True
        self.outputs = {name: Output(self.directory / name, self.exited) for name in STREAMS}
        if self.exited.is_set():
            return
        try:
            self._pidfd = os.pidfd_open(self.record.pid)
        except ProcessLookupError:
            self._gone()
            return
        loop = asyncio.get_running_loop()
        loop.add_reader(self._pidfd, self._gone)
        if not self.record.input_ended:
            self._input = _open_writer(self.directory / "stdin")

    def ended(self, status: int | None) -> None:
        """It has ended. The first word counts, but a known status replaces an unknown one."""
        if self.exited.is_set() and self.exit.status is not None:
            return
        self.exit = Exit(status)
        self.exited.set()
        for output in self.outputs.values():
            output.notice()

    def send_signal(self, number: signal.Signals) -> None:
        """Signal the process alone; one that has ended is left in peace."""
        if self._pidfd is None or self.exited.is_set():
            return
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            return

    async def write_input(self, data: bytes) -> None:
        """Write to its standard input; waits while it does not read. Closed: the data goes nowhere."""
        while data and self._input is not None:
            try:
                data = data[os.write(self._input, data) :]
            except BlockingIOError:
                await asyncio.sleep(POLL_SECONDS)
            except BrokenPipeError:
                self.end_input()

    def end_input(self) -> None:
        """Close our end of its standard input."""
        if self._input is not None:
            os.close(self._input)
            self._input = None

    def close(self) -> None:
        """Let go of everything; hearers hear the end."""
        self._forget_pidfd()
        self.end_input()
        for output in self.outputs.values():
            output.close()

    def _gone(self) -> None:
        """The kernel says that it has ended. Its parent, the keeper, will say how; if it was the parent."""
        if self._pidfd is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)
        self._confirming = asyncio.get_running_loop().create_task(self._confirm_exit())

    async def _confirm_exit(self) -> None:
        for _ in range(int(EXIT_FILE_SECONDS / POLL_SECONDS)):
            if self.exited.is_set():
                return
            await asyncio.sleep(POLL_SECONDS)
        status = read_exit(self.directory)
        if status is None and self._pidfd is not None:
            status = _shell_status(kernel.exit_status(self._pidfd))
        self.ended(status)

    def _forget_pidfd(self) -> None:
        if self._pidfd is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None


class Processes:
    """All processes of all containers."""

    def __init__(self, depot: Depot, keeper_path: Path, *, forget_when_waited: bool) -> None:
        self._depot = depot
        self._forget_when_waited = forget_when_waited
        self._of: dict[str, dict[str, Process]] = {}
        self._by_key: dict[str, Process] = {}
        self._attachments: dict[str, Attachment] = {}
        self._boot = secrets.token_hex(4)
        self._numbers = itertools.count(1)
        self._resync: asyncio.Task[None] | None = None
        self.keeper = keeper_client.Keeper(
            keeper_path, on_exit=self._keeper_saw_exit, on_connected=self._keeper_found
        )

    def of(self, handle: str) -> dict[str, Process]:
        """A container's processes by id."""
        return self._of.get(handle, {})

    def find(self, handle: str, process_id: str) -> Process:
        """A running or ended process.

        Raises:
            ProcessNotFound: there is none, or its exit was told and forgotten.
        """
        process = self.of(handle).get(process_id)
        if process is None or not process.running:
            raise ProcessNotFound(process_id)
        return process

    def reserve(self, handle: str, process_id: str) -> Process:
        """Take an id for a process to be started.

        Raises:
            GardenError: the container has a process of this id.
        """
        if process_id in self.of(handle):
            raise GardenError(f"process ID '{process_id}' already in use")
        process = Process(handle, ProcessRecord(process_id), self._depot.process(handle, process_id))
        self._add(process)
        return process

    def discard(self, process: Process) -> None:
        """Give up a process that did not start."""
        self._remove(process)
        process.close()
        shutil.rmtree(process.directory, ignore_errors=True)

    async def start(self, process: Process, command: list[str]) -> None:
        """Have a reserved process started by the keeper; the directory is prepared.

        Raises:
            GardenError: it does not start, with the runtime's text.
        """
        try:
            pid = await self.keeper.start(process.key, process.directory, command)
        except keeper_client.StartFailed as error:
            raise start_error(failure(process.directory / "runtime.log")) from error
        except keeper_client.KeeperLost:
            pid = await self._started_after_all(process)
        process.record = ProcessRecord(process.id, pid, start_time(pid) or 0)
        process.open()
        self._depot.save_process(process.handle, process.record)

    async def _started_after_all(self, process: Process) -> int:
        """The pid of a process whose start the keeper did not live to tell of.

        Raises:
            KeeperLost: it has not come up.
        """
        for _ in range(int(LOST_START_SECONDS / POLL_SECONDS)):
            pid = read_pid(process.directory)
            if pid:
                await self.keeper.hold(process.key, process.directory, with_input=True)
                return pid
            await asyncio.sleep(POLL_SECONDS)
        raise keeper_client.KeeperLost("garden's keeper was lost while it started the process")

    def attach(self, process: Process) -> Attachment:
        """Connect a client: it hears the output from now on."""
        attachment = Attachment(process, f"{self._boot}-{next(self._numbers)}")
        self._attachments[attachment.stream_id] = attachment
        for name, hearer in attachment.hearers.items():
            process.outputs[name].add(hearer)
        return attachment

    def detach(self, attachment: Attachment) -> None:
        """The client's main connection is gone. Streams that ended stay a while for one who comes late."""
        attachment.left = True
        process = attachment.process
        for name, hearer in attachment.hearers.items():
            if not process.outputs[name].ended.is_set():
                process.outputs[name].remove(hearer)
        asyncio.get_running_loop().call_later(
            LINGER_SECONDS, self._attachments.pop, attachment.stream_id, None
        )

    def attachment(self, stream_id: str) -> Attachment | None:
        """The attachment that a stream's connection belongs to."""
        return self._attachments.get(stream_id)

    async def end_input(self, process: Process) -> None:
        """End a process's standard input, for good."""
        process.end_input()
        process.record = ProcessRecord(
            process.id, process.record.pid, process.record.start_time, input_ended=True
        )
        self._depot.save_process(process.handle, process.record)
        await self.keeper.close_input(process.key)

    async def told(self, process: Process) -> None:
        """A client has been told the exit: nothing needs to be held any more.

        The record stays until the container goes, for a client that was killed before it
        could note the exit; unless configured, as in the original's usual deployment, to
        go with the first wait.
        """
        if process.waited:
            return
        process.waited = True
        process.close()
        await self.keeper.drop(process.key)
        if self._forget_when_waited:
            self.discard(process)
            return
        for name in ("stdin", *STREAMS):
            (process.directory / name).unlink(missing_ok=True)
        ended = [other for other in self.of(process.handle).values() if other.waited]
        for other in ended[: max(0, len(ended) - ENDED_KEPT)]:
            self.discard(other)

    async def end_all(self, handle: str) -> None:
        """The container's processes were killed: tell who waits, then forget them."""
        for process in list(self.of(handle).values()):
            if process.running:
                try:
                    await asyncio.wait_for(self._last_words(process), LAST_OUTPUT_SECONDS)
                except TimeoutError:
                    log.info("process.last-output-unread", handle=handle, process=process.id)
            self._remove(process)
            process.close()
            await self.keeper.drop(process.key)

    async def _last_words(self, process: Process) -> None:
        """Wait until the exit is known and every attached client has the output."""
        await process.exited.wait()
        for attachment in list(self._attachments.values()):
            if attachment.process is process and not attachment.left:
                await attachment.finished()

    def restore(self, handle: str) -> None:
        """Find a living container's processes again."""
        for directory, record in self._depot.processes(handle):
            if record is None:
                shutil.rmtree(directory, ignore_errors=True)
                continue
            self._restore(Process(handle, record, directory))

    def _restore(self, process: Process) -> None:
        pid = process.record.pid or read_pid(process.directory)
        status = read_exit(process.directory)
        if not pid:  # garden was killed while it was being started, and it was not started
            shutil.rmtree(process.directory, ignore_errors=True)
            return
        began = process.record.start_time
        process.record = ProcessRecord(
            process.id, pid, began or start_time(pid) or 0, process.record.input_ended
        )
        process.waited = not (process.directory / "stdout").exists()
        alive = _is_in_container(pid, process.handle) and start_time(pid) == process.record.start_time
        if status is not None or not alive:
            process.ended(status)
        self._add(process)
        process.open()

    def _keeper_found(self, held: set[str]) -> None:
        """A keeper is there: have it hold what it should, and nothing else."""
        self._resync = asyncio.get_running_loop().create_task(self._make_keeper_hold(held))

    async def _make_keeper_hold(self, held: set[str]) -> None:
        for key in held - self._by_key.keys():
            await self.keeper.drop(key)
        for process in list(self._by_key.values()):
            if not process.running or process.waited:
                continue
            if not process.exited.is_set():
                status = read_exit(process.directory)  # met while we were not connected
                if status is not None:
                    process.ended(status)
            if process.key not in held:
                with_input = not (process.record.input_ended or process.exited.is_set())
                await self.keeper.hold(process.key, process.directory, with_input=with_input)

    def _keeper_saw_exit(self, key: str, status: int) -> None:
        process = self._by_key.get(key)
        if process is not None:
            process.ended(status)

    def _add(self, process: Process) -> None:
        self._of.setdefault(process.handle, {})[process.id] = process
        self._by_key[process.key] = process

    def _remove(self, process: Process) -> None:
        self._of.get(process.handle, {}).pop(process.id, None)
        self._by_key.pop(process.key, None)
        if not self._of.get(process.handle):
            self._of.pop(process.handle, None)


def _shell_status(status: int | None) -> int | None:
    """A wait status as a shell tells it: 128 + n for signal n."""
    if status is None:
        return None
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def read_pid(directory: Path) -> int:
    """The pid that the runtime left; 0 if it did not."""
    return _read_number(directory / "pid") or 0


def read_exit(directory: Path) -> int | None:
    """The exit status that the keeper left; None if it did not."""
    return _read_number(directory / "exit")


def _read_number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _is_in_container(pid: int, handle: str) -> bool:
    """Whether the process is in the container's cgroups: pids come again, elsewhere."""
    try:
        groups = Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return False
    return cgroups.belongs(groups, handle)


def _open_writer(path: Path) -> int | None:
    """The writing end of a FIFO; None if no process reads it any more."""
    try:
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ENXIO, errno.ENOENT):
            raise
        return None
