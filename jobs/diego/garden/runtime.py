"""The OCI runtime, runc: a container made and removed, and the command that starts a process in it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from diego.garden.errors import ExecutableNotFound, GardenError

SECONDS = 120.0
NOT_FOUND = ("executable file not found in $PATH", "no such file or directory")


@dataclass(frozen=True, slots=True)
class Runtime:
    """runc with its state directory.

    A container gets no session keyring of its own: root of all containers may have only
    200 of them on the whole machine. The seccomp profile refuses the calls to use one.
    """

    program: str
    root: Path

    def run(self, handle: str, bundle: Path) -> int:
        """Create and start the container of the bundle; its init's pid.

        Raises:
            GardenError: with the runtime's own text.
        """
        pid_file, log = bundle / "pid", bundle / "runtime.log"
        options = ["--bundle", str(bundle), "--detach", "--no-new-keyring", "--pid-file", str(pid_file)]
        if self._call(log, "run", *options, handle):
            raise GardenError(f"runc run: {failure(log)}")
        return int(pid_file.read_text())

    def delete(self, handle: str, bundle: Path) -> None:
        """Forget the container with its cgroups, killing what still lives. Unknown is fine.

        Raises:
            GardenError: with the runtime's own text.
        """
        if not (self.root / handle).exists():
            return
        log = bundle / "runtime.log"
        if self._call(log, "delete", handle) and self._call(log, "delete", "--force", handle):
            raise GardenError(f"runc delete: {failure(log)}")

    def exec_command(self, handle: str, directory: Path) -> list[str]:
        """The command that starts the process described in `directory`/config.json, and then ends."""
        return [
            *self._program(directory / "runtime.log"),
            "exec",
            "--detach",
            "--pid-file",
            str(directory / "pid"),
            "--process",
            str(directory / "config.json"),
            handle,
        ]

    def run_command(self, name: str, bundle: Path, directory: Path) -> list[str]:
        """The command that starts the process of the bundle, and then ends; its pid and log in `directory`."""
        return [
            *self._program(directory / "runtime.log"),
            "run",
            "--detach",
            "--no-new-keyring",
            "--pid-file",
            str(directory / "pid"),
            "--bundle",
            str(bundle),
            name,
        ]

    def _call(self, log: Path, *words: str) -> int:
        log.unlink(missing_ok=True)
        done = subprocess.run(
            [*self._program(log), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=SECONDS,
        )
        return done.returncode

    def _program(self, log: Path) -> list[str]:
        return [self.program, "--root", str(self.root), "--log", str(log), "--log-format", "json"]


def failure(log: Path) -> str:
    """The last error in a log of the runtime's."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    for line in reversed(lines):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("level") in ("error", "fatal"):
            return str(entry.get("msg", "")).strip()
    return "failed without a word"


def start_error(text: str) -> GardenError:
    """The error that a failed exec is to the client (contract/garden.md section 5.1)."""
    is_missing = any(phrase in text for phrase in NOT_FOUND) and "exec: " in text
    return ExecutableNotFound(text) if is_missing else GardenError(text)
