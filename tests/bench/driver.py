"""Runs the load against a stack, and accounts for what each process used meanwhile."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.load import Order, Result
from bench.stack import Stack
from bench.usage import busy_seconds, cpu_seconds

TESTS = Path(__file__).resolve().parents[1]
START_SECONDS = 60.0


@dataclass
class Used:
    """What was used while something was measured: CPU seconds by process, and the cores that everybody else took."""

    cpu: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    other_cores: float = 0.0


@contextmanager
def accounting(pids: dict[str, int]) -> Iterator[Used]:
    """Count CPU time for the length of a with-block; a process's is that of all below it."""
    used = Used()
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    mine, busy, began = os.times(), busy_seconds(), time.monotonic()
    yield used
    used.seconds = time.monotonic() - began
    total = busy_seconds() - busy
    used.cpu = {name: cpu_seconds(pid) - before[name] for name, pid in pids.items()}
    now = os.times()
    own = now.user + now.system - mine.user - mine.system
    used.other_cores = max(0.0, total - sum(used.cpu.values()) - own) / used.seconds


@dataclass(frozen=True)
class Run:
    """One run of the load, and what it cost."""

    result: Result
    used: Used

    def cpu_ms(self, name: str) -> float:
        """CPU time per round of one of the servers, or of the load."""
        seconds = self.result.cpu_s if name == "load" else self.used.cpu[name]
        return 1000 * seconds / max(1, self.result.done)


def run(stack: Stack, cycle: str, clients: int, count: int, **more: Any) -> Run:
    """One run; an error in it does not end it, and is told in its result.

    Raises:
        RuntimeError: the load failed as a whole.
    """
    certificates = stack.certificates
    order = Order(
        url=stack.bbs_url,
        ca=str(certificates / "ca.crt"),
        cert=str(certificates / "diego_bbs_client.crt"),
        key=str(certificates / "diego_bbs_client.key"),
        cycle=cycle,
        count=count,
        clients=clients,
        **more,
    )
    command = [sys.executable, "-m", "bench.load"]
    with subprocess.Popen(
        command, cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as load:
        assert load.stdin is not None
        assert load.stdout is not None
        load.stdin.write(json.dumps(asdict(order)) + "\n")
        load.stdin.flush()
        if load.stdout.readline() != "ready\n":
            raise RuntimeError(f"the load of {cycle} did not begin")
        with accounting({**stack.pids, "load": load.pid}) as used:
            load.stdin.write("go\n")
            load.stdin.flush()
            text = load.stdout.readline()
        if not text:
            raise RuntimeError(f"the load of {cycle} ended early")
    return Run(Result(**json.loads(text)), used)


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def describe(runs: Sequence[Run], servers: Sequence[str] = ("bbs", "mariadb", "load")) -> str:
    """What was behind a rate: latencies, CPU time per round, the load's share of a core, errors."""
    cpu = " / ".join(f"{median([run.cpu_ms(name) for run in runs]):.2f}" for name in servers)
    share = median([run.result.cpu_s / run.result.seconds for run in runs])
    errors = sum(run.result.errors for run in runs)
    text = (
        f"p50 {median([run.result.p50_ms for run in runs]):.1f} ms,"
        f" p99 {median([run.result.p99_ms for run in runs]):.1f} ms;"
        f" CPU ms per round, {' / '.join(servers)}: {cpu}; the load took {share:.2f} cores"
    )
    if errors:
        text += f"; {errors} ERRORS: {next(run.result.first_error for run in runs if run.result.errors)}"
    return text
