"""The database's host: its clock may be turned, its disk may be small enough to be filled."""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from chaos.clocks import Clock
from support.mariadb import MariaDb

FILLER = "filler"
CHUNK = 1 << 16

ROOM_TO_ROLL_BACK = "--innodb-data-file-path=ibdata1:12M;ibdata2:64M:autoextend"
"""Without it a server whose disk is full ends itself sooner: it cannot take a transaction back."""


class HostedMariaDb(MariaDb):
    """A server with the environment of its host."""

    def __init__(self, directory: Path, environment: dict[str, str], options: Sequence[str] = ()) -> None:
        super().__init__(directory)
        self._host_environment = environment
        self._options = options

    def fill_the_disk(self) -> None:
        """Take all the room that is left."""
        with (self.directory / FILLER).open("ab", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(CHUNK))

    def free_the_disk(self) -> None:
        (self.directory / FILLER).unlink(missing_ok=True)

    @property
    def has_ended(self) -> bool:
        """Whether it ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def _command(self) -> list[str]:
        return [*super()._command(), *self._options]

    def _environment(self) -> dict[str, str]:
        return {**super()._environment(), **self._host_environment}


@contextmanager
def running(log: Path, *, clock: Clock | None = None, disk_mb: int = 0) -> Iterator[HostedMariaDb]:
    """A server for the length of a with-block; `disk_mb`: on a disk of its own, of that size."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="diego-mariadb-")))
        if disk_mb:
            stack.enter_context(_disk(directory, disk_mb))
        environment = {} if clock is None else clock.environment
        server = HostedMariaDb(
            directory,
            {key: environment[key] for key in environment if key != "PYTHONPATH"},
            (ROOM_TO_ROLL_BACK,) if disk_mb else (),
        )
        server.log = log  # beside the history, and not on the disk that may be full
        stack.callback(server.stop)
        server.initialise()
        server.start()
        yield server


@contextmanager
def _disk(directory: Path, size_mb: int) -> Iterator[None]:
    """A small ext4 on a loop device; what is reserved there for a file is the file's, as on a real disk."""
    image = directory.with_name(f"{directory.name}.disk")
    with image.open("wb") as file:
        file.truncate(size_mb << 20)
    try:
        _run("mkfs.ext4", "-q", "-m", "0", str(image))
        _run("mount", "-o", "loop", str(image), str(directory))
        try:
            yield
        finally:
            _run("umount", "--lazy", str(directory))
    finally:
        image.unlink()


def _run(*words: str) -> None:
    subprocess.run(words, check=True, timeout=60)
