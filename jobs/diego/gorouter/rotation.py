"""Keeps nginx's access log within its bound."""

import os
import signal
from pathlib import Path


class AccessLog:
    """A log that another process writes. `rotate` moves it aside when it is too long and has nginx open a new one."""

    def __init__(self, path: Path, max_bytes: int, backups: int, pid_file: Path) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._backups = backups
        self._pid_file = pid_file

    def rotate(self) -> bool:
        """Whether it was moved. Raises OSError when it has to be and cannot."""
        if not self._path.exists() or self._path.stat().st_size < self._max_bytes:
            return False
        for number in range(self._backups - 1, 0, -1):
            older = self._named(number)
            if older.exists():
                older.replace(self._named(number + 1))
        self._path.replace(self._named(1))
        os.kill(int(self._pid_file.read_text()), signal.SIGUSR1)
        return True

    def _named(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
