"""Runs a step as a process of its own, and ends it with all that it started when its time is over."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from bench.table import Measured
from bench.usage import tree

TESTS = Path(__file__).resolve().parents[1]
LAST_WORDS = 300


def run_step(name: str, limit: float, scale: float) -> tuple[list[Measured], str]:
    """The figures that it gave, and why it failed; an empty text when it did not."""
    directory = Path(tempfile.mkdtemp(prefix=f"diego-bench-{name}-"))
    directory.chmod(0o1777)  # the database's user has its temporary files here too
    figures: list[Measured] = []
    cut = threading.Event()
    with (directory / "errors").open("w+") as errors:
        step = subprocess.Popen(
            [sys.executable, "-u", "-m", "bench.step", name, str(scale)],
            cwd=TESTS,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(directory)},
        )

        def end() -> None:
            cut.set()
            _kill(step.pid)

        def pass_on() -> None:
            assert step.stderr is not None
            for line in step.stderr:
                errors.write(line)
                sys.stderr.write(line)
                sys.stderr.flush()

        timer = threading.Timer(limit, end)
        timer.start()
        echo = threading.Thread(target=pass_on)
        echo.start()
        try:
            assert step.stdout is not None
            lines = (line for line in step.stdout if line.startswith("{"))
            figures.extend(Measured.read(json.loads(line)) for line in lines)
            status = step.wait()
        finally:
            timer.cancel()
            _kill(step.pid)
            echo.join(5)
        errors.seek(0)
        last = [line.strip() for line in errors.read().splitlines() if line.strip()]
    shutil.rmtree(directory, ignore_errors=True)
    if cut.is_set():
        return figures, f"cut after {limit:.0f} s"
    if status:
        return figures, reason(last) or f"status {status}"
    return figures, ""


def reason(lines: list[str]) -> str:
    """Why a step failed, from what it said: the last line that looks like an exception's, short enough for a table."""
    said = next((line for line in reversed(lines) if "Error: " in line), lines[-1] if lines else "")
    return said.replace("|", "/")[:LAST_WORDS]


def _kill(pid: int) -> None:
    """End a process with all below it, whatever sessions they are in."""
    for process in reversed(tree(pid)):
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue
