"""A stop signal that has arrived.

SIGSTOP is sent in no time, but a process on a busy machine goes on until one of its threads has taken it: long enough to
answer one more request.
"""

import time
from collections.abc import Iterator
from pathlib import Path

SECONDS = 30.0


def wait_until_stopped(*pids: int) -> None:
    """Until every thread of these processes has stopped, or ended."""
    deadline = time.monotonic() + SECONDS
    while running := [pid for pid in pids if any(state not in "TtZX" for state in _states(pid))]:
        if time.monotonic() > deadline:
            raise AssertionError(f"not stopped: {running}")
        time.sleep(0.01)


def group(leader: int) -> list[int]:
    """The processes of a process group."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        fields = _stat(directory / "stat")
        if len(fields) > 2 and int(fields[2]) == leader:
            found.append(int(directory.name))
    return found


def _states(pid: int) -> Iterator[str]:
    for task in Path(f"/proc/{pid}/task").glob("*"):
        if fields := _stat(task / "stat"):
            yield fields[0]


def _stat(path: Path) -> list[str]:
    """What follows the name: state, parent, group; nothing of a process that has gone."""
    try:
        return path.read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
