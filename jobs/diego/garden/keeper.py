"""The keeper: the parent of all container processes, and a holder of their pipes' ends.

It is a program of its own beside garden, so that garden can be replaced, or die, while
apps run on: whoever starts a process and waits for it must live as long as the process.
It decides nothing. It starts what garden tells it to start, writes each exit status to
a file, tells it to whoever is connected, and keeps FIFOs open so that what a process
wrote before its end is not gone.

A process's FIFOs `stdin`, `stdout` and `stderr` lie in a directory of garden's. The
process gets its output ends open for reading too: so it never meets a broken pipe,
even when keeper and garden are both away; it waits when a pipe is full. When the keeper
itself dies, garden still holds the ends, and has the next keeper hold them again; only
the status of a process that ends meanwhile is lost, and garden says so.

On a SOCK_SEQPACKET socket, one JSON object per packet:

    {"op":"start","key":K,"directory":D,"command":[...]}
        the command starts the process and ends, leaving its pid in D/pid (runc exec --detach)
        -> {"key":K,"pid":N} or {"key":K,"failed":STATUS}; later {"key":K,"exit":STATUS}, also in D/exit
    {"op":"hold","key":K,"directory":D,"input":BOOL}   hold the ends of a process that runs already
    {"op":"close-input","key":K}                       the process's standard input may end
    {"op":"drop","key":K}                              close what is held, forget
    {"op":"list"}     -> {"keys":[...],"last":BOOL}, as many packets as it takes

A keeper is never restarted by a deploy, so an old one serves a new garden: what it
understands may grow, and nothing may change its meaning.

Memory matters more than anything else here: the standard library's smallest modules only.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import fcntl
import json
import os
import resource
import selectors
import signal
import socket
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

PR_SET_CHILD_SUBREAPER = 36
F_SETPIPE_SZ = 1031
# An app that logs a lot may go on for a while when nobody reads, as during a restart of the rep.
PIPE_BYTES = 1 << 20
LARGEST_PACKET = 1 << 16
WAITING_PACKETS = 4096
KEYS_PER_PACKET = 100
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


def log(event: str, **data: Any) -> None:
    """One line of JSON, of the shape that the jobs' logs have."""
    line = {
        "timestamp": f"{time.time():.9f}",
        "level": "info",
        "source": "garden-keeper",
        "message": f"garden-keeper.{event}",
        "data": data,
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


class Held:
    """The ends of one process's FIFOs, and its pid when we are its parent."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.pid: int | None = None
        self._input: int | None = None
        self._outputs: list[int] = []

    def open(self, *, with_input: bool = True) -> None:
        """Open our ends. Nothing here can wait for another party."""
        for name in ("stdout", "stderr"):
            self._outputs.append(os.open(self.directory / name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        if with_input:
            self._input = _open_writer(self.directory / "stdin")

    def close_input(self) -> None:
        if self._input is not None:
            os.close(self._input)
            self._input = None

    def close(self) -> None:
        self.close_input()
        while self._outputs:
            os.close(self._outputs.pop())


def _open_writer(path: Path) -> int | None:
    """The writing end of a FIFO; None if no process reads it any more."""
    try:
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return None


def open_ends_of_process(directory: Path) -> list[int]:
    """Descriptors 0, 1 and 2 for a new process."""
    reader = os.open(directory / "stdin", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    os.set_blocking(reader, True)
    outputs = [os.open(directory / name, os.O_RDWR | os.O_CLOEXEC) for name in ("stdout", "stderr")]
    for output in outputs:
        try:
            fcntl.fcntl(output, F_SETPIPE_SZ, PIPE_BYTES)
        except OSError as error:
            log("pipe-stays-small", directory=str(directory), error=str(error))
    return [reader, *outputs]


class Client:
    """A connection of garden's. Nothing sent to it may stop the keeper, so what it does not take waits."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.waiting: deque[bytes] = deque()

    def send(self, message: dict[str, Any]) -> bool:
        """Send or queue; False when the client is gone or has not read for too long."""
        self.waiting.append(json.dumps(message).encode())
        return self.flush() and len(self.waiting) <= WAITING_PACKETS

    def flush(self) -> bool:
        while self.waiting:
            try:
                self.connection.send(self.waiting[0])
            except BlockingIOError:
                return True
            except OSError:
                return False
            self.waiting.popleft()
        return True


class Keeper:
    """The keeper's state: what it holds, what it is starting, who is connected."""

    def __init__(self, path: Path) -> None:
        self._held: dict[str, Held] = {}
        self._keys: dict[int, str] = {}  # pid of a process -> key
        self._starting: dict[int, str] = {}  # pid of a starting command -> key
        self._early: dict[int, int] = {}  # a process that ended before the command that started it
        self._clients: dict[int, Client] = {}
        self._selector = selectors.DefaultSelector()
        self._server = _listen(path)
        self._selector.register(self._server, selectors.EVENT_READ, self._accept)
        woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._woken = woken
        self._selector.register(woken, selectors.EVENT_READ, self._child_ended)

    def run(self) -> None:
        """Serve for ever."""
        while True:
            for key, events in self._selector.select():
                key.data(key.fileobj, events)

    def _accept(self, *_: Any) -> None:
        connection, _address = self._server.accept()
        client = Client(connection)
        self._clients[connection.fileno()] = client
        self._selector.register(connection, selectors.EVENT_READ, self._serve)

    def _serve(self, connection: socket.socket, events: int) -> None:
        client = self._clients[connection.fileno()]
        if events & selectors.EVENT_WRITE and not client.flush():
            self._forget(client)
            return
        if not events & selectors.EVENT_READ:
            self._watch(client)
            return
        try:
            packet = connection.recv(LARGEST_PACKET)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if not packet:
            self._forget(client)
            return
        answer: dict[str, Any] | list[dict[str, Any]] | None
        try:
            answer = self._obey(json.loads(packet))
        except (OSError, ValueError, KeyError) as error:
            log("request-failed", error=str(error), request=packet.decode(errors="replace")[:500])
            answer = {"error": str(error)}
        for message in answer if isinstance(answer, list) else [answer]:
            if message is not None:
                self._send(client, message)

    def _send(self, client: Client, message: dict[str, Any]) -> None:
        if client.send(message):
            self._watch(client)
        else:
            self._forget(client)

    def _watch(self, client: Client) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.waiting else 0)
        self._selector.modify(client.connection, events, self._serve)

    def _forget(self, client: Client) -> None:
        if self._clients.pop(client.connection.fileno(), None) is not None:
            self._selector.unregister(client.connection)
            client.connection.close()

    def _tell(self, message: dict[str, Any]) -> None:
        for client in list(self._clients.values()):
            self._send(client, message)

    def _obey(self, request: dict[str, Any]) -> dict[str, Any] | list[dict[str, Any]] | None:
        operation, key = request["op"], request.get("key", "")
        if operation == "list":
            return self._list()
        if operation == "start":
            return self._start(key, Path(request["directory"]), request["command"])
        if operation == "hold":
            self._hold(key, Path(request["directory"]), with_input=request["input"])
        elif operation == "close-input" and key in self._held:
            self._held[key].close_input()
        elif operation == "drop" and key in self._held:
            held = self._held.pop(key)
            held.close()
            if held.pid is not None:
                self._keys.pop(held.pid, None)
        return None

    def _list(self) -> list[dict[str, Any]]:
        keys = list(self._held)
        starts = range(0, len(keys), KEYS_PER_PACKET)
        pages = [{"keys": keys[start : start + KEYS_PER_PACKET], "last": False} for start in starts]
        return [*pages, {"keys": [], "last": True}]

    def _start(self, key: str, directory: Path, command: list[str]) -> dict[str, Any] | None:
        if key in self._held:
            self._held.pop(key).close()
        held = Held(directory)
        ends = []
        try:
            ends = open_ends_of_process(directory)
            held.open()
            pid = os.posix_spawn(
                command[0],
                command,
                ENVIRONMENT,
                file_actions=[(os.POSIX_SPAWN_DUP2, end, number) for number, end in enumerate(ends)],
                setsigdef=[signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ],
            )
        except OSError as error:
            held.close()
            log("start-failed", key=key, error=str(error))
            return {"key": key, "failed": 126, "text": str(error)}
        finally:
            for end in ends:
                os.close(end)
        self._held[key] = held
        self._starting[pid] = key
        return None

    def _hold(self, key: str, directory: Path, *, with_input: bool) -> None:
        if key in self._held:
            return
        held = Held(directory)
        held.open(with_input=with_input)
        self._held[key] = held

    def _child_ended(self, *_: Any) -> None:
        try:
            while os.read(self._woken, 4096):
                pass
        except BlockingIOError:
            pass
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._reaped(pid, os.waitstatus_to_exitcode(status))

    def _reaped(self, pid: int, code: int) -> None:
        status = code if code >= 0 else 128 - code
        if pid in self._starting:
            self._start_ended(self._starting.pop(pid), status)
        elif pid in self._keys:
            self._ended(self._keys.pop(pid), status)
        elif self._starting:
            self._early[pid] = status
        if not self._starting:
            self._early.clear()

    def _start_ended(self, key: str, status: int) -> None:
        held = self._held.get(key)
        if held is None:
            return
        if status != 0:
            self._held.pop(key).close()
            self._tell({"key": key, "failed": status})
            return
        try:
            pid = int((held.directory / "pid").read_text())
        except (OSError, ValueError) as error:
            log("pid-not-found", key=key, error=str(error))
            self._held.pop(key).close()
            self._tell({"key": key, "failed": 126, "text": str(error)})
            return
        held.pid = pid
        self._tell({"key": key, "pid": pid})
        if pid in self._early:
            self._ended(key, self._early.pop(pid))
        else:
            self._keys[pid] = key

    def _ended(self, key: str, status: int) -> None:
        held = self._held.get(key)
        if held is None:
            return
        held.pid = None
        new = held.directory / "exit.new"
        try:
            new.write_text(str(status))
            new.rename(held.directory / "exit")
        except OSError as error:
            log("exit-not-written", key=key, error=str(error))
        self._tell({"key": key, "exit": status})


def _listen(path: Path) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    before = os.umask(0o177)
    try:
        server.bind(str(path))
    finally:
        os.umask(before)
    server.listen(8)
    return server


def main() -> None:
    """Keep until killed. While an older keeper lives, its processes are its own: wait for its end."""
    parser = argparse.ArgumentParser(prog="diego.garden.keeper", description=__doc__.splitlines()[0])
    parser.add_argument("--socket", type=Path, required=True, help="where garden connects")
    arguments = parser.parse_args()
    lock = Path(f"{arguments.socket}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log("waiting-for-older-keeper", socket=str(arguments.socket))
            fcntl.flock(file, fcntl.LOCK_EX)
        if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            sys.exit("prctl: cannot become the parent of orphans")
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        log("started", socket=str(arguments.socket), pid=os.getpid())
        Keeper(arguments.socket).run()


if __name__ == "__main__":
    main()
