"""Wall clocks that can be turned while a process runs: `faketime` preloaded, its offset in a file. Steady clocks stay right."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

LIBRARY = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
FALSE_CLOCK = Path(__file__).with_name("false_clock")
SEEN_AFTER = 1
"""Seconds after which a process has noticed that its clock was turned."""


class Clock:
    """The wall clock of one host; right at first.

    Raises:
        RuntimeError: faketime is not installed.
    """

    def __init__(self, path: Path) -> None:
        if not LIBRARY.exists():
            raise RuntimeError(f"{LIBRARY} is missing: `scripts/prepare test` installs faketime")
        self._path = path
        self.turn(0)

    def turn(self, seconds: int) -> None:
        """Let it go wrong by so many seconds."""
        new = self._path.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self._path)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to have this clock."""
        return {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_CACHE_DURATION": str(SEEN_AFTER),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "PYTHONPATH": os.pathsep.join((str(FALSE_CLOCK), os.environ.get("PYTHONPATH", ""))),
        }

    @contextlib.contextmanager
    def worn(self) -> Iterator[None]:
        """Whoever is started meanwhile has this clock, for as long as it runs."""
        before = dict(os.environ)
        os.environ.update(self.environment)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)
