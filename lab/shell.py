"""Running the machine's commands, and telling what goes on."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lab.identity import LabError

LAST_LINES = 25
BEGAN = time.monotonic()
_talking = threading.Lock()


def tell(line: str) -> None:
    """One line of progress, with the seconds since the start."""
    with _talking:
        print(f"[{time.monotonic() - BEGAN:6.1f} s] {line}", flush=True)


def run(*words: object, stdin: str | None = None, timeout: float = 120) -> str:
    """Run a command that must succeed; its output.

    Raises:
        LabError: it failed, with its words and what it said.

    """
    command = [str(word) for word in words]
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LabError(f"{' '.join(command)}: {error}") from error
    if done.returncode:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done.stdout


def succeeds(*words: object, stdin: str | None = None) -> bool:
    """Whether a command succeeded that may fail."""
    try:
        run(*words, stdin=stdin)
    except LabError:
        return False
    return True


def run_logged(what: str, words: Sequence[object], log: Path, *, timeout: float = 1800) -> None:
    """Run a long command into a log file; its last lines are in the error if it fails."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        try:
            code = subprocess.run(
                [str(word) for word in words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=timeout,
                check=False,
            ).returncode
        except (OSError, subprocess.TimeoutExpired) as error:
            raise LabError(f"{what}: {error} (log: {log})") from error
    if code:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-LAST_LINES:])
        raise LabError(f"{what} failed (exit code {code}, log: {log}):\n{last}")


def side_by_side(*chains: Callable[[], None]) -> None:
    """Run functions at the same time, wait for all, and raise the first one's error."""
    errors: list[BaseException] = []

    def guarded(chain: Callable[[], None]) -> None:
        try:
            chain()
        except BaseException as error:  # noqa: BLE001  raised again below, in the caller's thread
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(chain,)) for chain in chains]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors[1:]:
        print(error, file=sys.stderr)
    if errors:
        raise errors[0]
