"""What processes use, as /proc tells it."""

import os
from collections import defaultdict
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """/proc/PID/stat after the command's name: the parent is field 1, user and system time are 11 and 12."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def tree(pid: int) -> list[int]:
    """A process and all below it: a job has a worker."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                children[int(_stat(int(entry.name))[1])].append(int(entry.name))
            except OSError:
                continue  # it ended meanwhile
    found, left = [], [pid]
    while left:
        process = left.pop()
        found.append(process)
        left += children[process]
    return found


def below(pid: int, words: str) -> int:
    """The topmost process below `pid` whose command line has `words`. Raises LookupError."""
    for process in sorted(tree(pid)):
        try:
            line = Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if words in line and process != pid:
            return process
    raise LookupError(f"no process with {words!r} below {pid}")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process's tree."""
    total = 0
    for process in tree(pid):
        try:
            fields = _stat(process)
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def memory_mb(pid: int, field: str = "VmRSS") -> float:
    """Resident memory of a process's tree; pages that processes share count for each."""
    total = 0
    for process in tree(pid):
        try:
            lines = Path(f"/proc/{process}/status").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith(field + ":"))
    return round(total / 1024, 1)


def busy_seconds() -> float:
    """CPU time spent by everything on the machine, idle and waiting for disks left out."""
    fields = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return (sum(fields) - fields[3] - fields[4]) / TICKS


def threads(pid: int) -> int:
    """How many threads a process and all below it have."""
    total = 0
    for process in tree(pid):
        try:
            total += len(list(Path(f"/proc/{process}/task").iterdir()))
        except OSError:
            continue  # it ended meanwhile
    return total
