"""What the controller remembers of an upgrade, in a file beside the deployment's secrets.

It outlives a killed controller: an instance that stands in it as being changed was left in the middle, and is changed
again by the next run. The mark on the host says the same (`/var/vcap/instances/ID.json`); one of the two is enough.
"""

import fcntl
import json
import os
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any

FILE = "upgrade.json"
LOCK = ".upgrade.lock"
STOP = "upgrade.stop"
IN_FLIGHT, FINISHED, FAILED = "in flight", "finished", "failed"


class Busy(Exception):
    """Another upgrade of this deployment is running."""


class BadRecord(Exception):
    """The record is there and cannot be read."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One instance, as the last run that touched it left it."""

    host: str
    state: str
    release: str
    began: str
    ended: str = ""
    step: str = ""
    message: str = ""


@dataclass(slots=True)
class Record:
    """All instances that upgrades have touched."""

    directory: Path
    instances: dict[str, Entry] = field(default_factory=dict)

    @staticmethod
    def read(directory: Path) -> "Record":
        """Raises BadRecord."""
        path = directory / FILE
        try:
            found: dict[str, Any] = json.loads(path.read_text())
            return Record(directory, {name: Entry(**entry) for name, entry in found["instances"].items()})
        except FileNotFoundError:
            return Record(directory)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise BadRecord(f"{path} cannot be read ({error}): mend it, or take it away") from error

    def unfinished(self) -> dict[str, Entry]:
        """Those that a run began and did not bring to their end."""
        return {name: entry for name, entry in self.instances.items() if entry.state != FINISHED}

    def begin(self, name: str, host: str, release: str, now: datetime) -> None:
        self.instances[name] = Entry(host, IN_FLIGHT, release, now.isoformat(timespec="seconds"))
        self._write()

    def end(self, name: str, state: str, now: datetime, *, step: str = "", message: str = "") -> None:
        before = self.instances[name]
        ended = now.isoformat(timespec="seconds")
        self.instances[name] = Entry(before.host, state, before.release, before.began, ended, step, message)
        self._write()

    def stop_wanted(self) -> bool:
        """Whether an operator asked that no further instance begins."""
        return (self.directory / STOP).exists()

    def stop_obeyed(self) -> None:
        (self.directory / STOP).unlink(missing_ok=True)

    def _write(self) -> None:
        new = self.directory / f".{FILE}.new"
        entries = {name: asdict(entry) for name, entry in sorted(self.instances.items())}
        with new.open("w") as file:
            json.dump({"instances": entries}, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        new.rename(self.directory / FILE)


def alone(directory: Path) -> IO[str]:
    """Be the only upgrade of this deployment, until the file is closed or the process ends, however it ends.

    Raises:
        Busy: there is one already.
    """
    lock = (directory / LOCK).open("a+")
    try:
        # a lock of this process alone: workers that outlive a killed controller do not hold it
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        who = lock.read().strip()
        lock.close()
        raise Busy(f"another upgrade is at work on {directory}: process {who or 'unknown'}") from error
    lock.seek(0)
    lock.truncate()
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock
