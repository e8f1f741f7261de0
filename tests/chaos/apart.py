"""The imaginary cells as a process of their own, for what happens to their host: `python -m chaos.apart`.

The process reads one line of JSON with what `Cell` wants, then commands; what its cells note it writes as JSON lines, which
get the moment of the process that reads them.
"""

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chaos.cells import Cell
from chaos.clocks import Clock
from chaos.history import History
from diego.models import BbsError
from diego.runtime import logs
from support.worker import until

END_SECONDS = 15.0


class CellsApart:
    """The cells' process, seen from outside."""

    def __init__(self, process: subprocess.Popen[str], history: History) -> None:
        self._process = process
        self._history = history
        self._wall: list[float] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def crash(self, guid: str) -> None:
        """Let whatever instance of this app is running die, with its cell's word to the BBS."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"crash": guid}) + "\n")
        self._process.stdin.flush()

    def wall_clock(self) -> float:
        """What their host takes for the time."""
        assert self._process.stdin is not None
        self._wall.clear()
        self._process.stdin.write(json.dumps({"time": ""}) + "\n")
        self._process.stdin.flush()
        return float(until(lambda: self._wall, seconds=30)[0])

    def end(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(END_SECONDS)
        self._reader.join(END_SECONDS)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            record = json.loads(line)
            if record["kind"] == "time":
                self._wall.append(record["wall"])
                continue
            self._history.note(record.pop("kind"), **record)


@contextlib.contextmanager
def cells_apart(
    cells: list[dict[str, str]], log: Path, history: History, clock: Clock
) -> Iterator[CellsApart]:
    """Cells on a host whose clock may be turned."""
    with log.open("wb") as errors, clock.worn():
        process = subprocess.Popen(
            [sys.executable, "-m", "chaos.apart"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdin is not None
    process.stdin.write(json.dumps(cells) + "\n")
    process.stdin.flush()
    apart = CellsApart(process, history)
    try:
        yield apart
    finally:
        apart.end()


class _Told:
    """A history that is kept by whoever reads our output."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def note(self, kind: str, **fields: Any) -> float:
        with self._lock:
            print(json.dumps({"kind": kind, **fields}), flush=True)
        return 0.0


def main() -> int:
    """Run the cells until nobody says anything any more."""
    logs.set_level("fatal")
    told = _Told()
    cells = [
        Cell(one["cell_id"], one["zone"], told, one["bbs_url"], one["locket_address"], Path(one["pki"]))
        for one in json.loads(sys.stdin.readline())
    ]
    for cell in cells:
        cell.start()
    for line in sys.stdin:
        command = json.loads(line)
        if "time" in command:
            told.note("time", wall=time.time())
            continue
        guid = command["crash"]
        for cell in cells:
            try:
                cell.crash(guid)
            except BbsError as error:
                told.note("wrong", what=f"{cell.cell_id} could not tell of a crash: {error}")
    for cell in cells:
        with contextlib.suppress(OSError, RuntimeError):
            cell.power_off()
    return 0


if __name__ == "__main__":
    sys.exit(main())
