"""A lock holder as a process of its own, so that a test can stop or kill it.

`python -m support.lock_holder ADDRESS PKI KEY OWNER TTL` holds a lock and prints `acquired`, `passive`, `regained`
or `lost`, a line each, and `held` or `not held` whenever a line is sent to it.
"""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diego.locket.client import LocketClient, LockHolder
from support.stopped import wait_until_stopped

ANSWER_SECONDS = 60.0


class HolderProcess:
    """The other end: `told` is every change it has printed so far."""

    def __init__(self, address: str, pki: Path, key: str, owner: str, ttl: float) -> None:
        words = [sys.executable, "-m", "support.lock_holder", address, str(pki), key, owner, str(ttl)]
        tests = Path(__file__).parents[1]
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(tests)},
        )
        self.told: list[str] = []
        self._answers: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def held(self) -> bool:
        """Ask whether it counts on the lock at this moment."""
        assert self._process.stdin is not None
        self._process.stdin.write("?\n")
        self._process.stdin.flush()
        return self._answers.get(timeout=ANSWER_SECONDS) == "held"

    def wait_for(self, change: str, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while change not in self.told and time.monotonic() < deadline:
            time.sleep(0.02)
        return change in self.told

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)
        wait_until_stopped(self._process.pid)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(30)
        self._reader.join(30)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            word = line.strip()
            if word in {"held", "not held"}:
                self._answers.put(word)
            elif not word.startswith("{"):
                self.told.append(word)


@contextmanager
def holding(address: str, pki: Path, key: str, owner: str, ttl: float = 15.0) -> Iterator[HolderProcess]:
    process = HolderProcess(address, pki, key, owner, ttl)
    try:
        yield process
    finally:
        process.kill()


def say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


def main() -> None:
    address, pki, key, owner, ttl = sys.argv[1:6]
    client = LocketClient(
        address,
        ca_file=Path(pki) / "ca.crt",
        cert_file=Path(pki) / "diego_locket_client.crt",
        key_file=Path(pki) / "diego_locket_client.key",
    )
    holder = LockHolder(
        client,
        key,
        owner,
        ttl=float(ttl),
        acquired=lambda: say("acquired"),
        passive=lambda: say("passive"),
        regained=lambda: say("regained"),
        lost=lambda _why: say("lost"),
    )
    threading.Thread(target=holder.run, args=(threading.Event(),), daemon=True).start()
    for _ in sys.stdin:
        say("held" if holder.held else "not held")


if __name__ == "__main__":
    main()
