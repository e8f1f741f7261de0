"""`diego-job NAME`: what supervisor runs for every job.

    diego-job bbs [--config FILE] [--check-config [FILE]]

`--check-config` reads the file, tells every fault of it, and ends: 0 when there is none, 1 otherwise.
"""

import argparse
import contextlib
import ctypes
import importlib
import re
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from diego.runtime import config as configuration
from diego.runtime import logs
from diego.runtime.job import Job
from diego.runtime.worker import JobApplication

OPEN_FILES = 100_000
PR_SET_NAME = 15


def main(words: Sequence[str] | None = None) -> int:
    """Run the job that the command line names."""
    words = sys.argv[1:] if words is None else words
    if not words or words[0].startswith("-"):
        sys.stderr.write("usage: diego-job NAME [--config FILE] [--check-config [FILE]]\n")
        return 0 if words[:1] in (["-h"], ["--help"]) else 2
    try:
        job = find(words[0])
    except LookupError as error:
        sys.stderr.write(f"diego-job: {error}\n")
        return 2
    return run(job, words[1:])


def find(name: str) -> Job[Any]:
    """The job of that name. Raises LookupError."""
    if not re.fullmatch(r"[a-z][a-z_]*", name):
        raise LookupError(f"no such job: {name!r}")
    module = f"diego.{name}.main"
    try:
        job = importlib.import_module(module).JOB
    except ModuleNotFoundError as error:
        if error.name not in {module, f"diego.{name}"}:
            raise
        raise LookupError(f"no such job: {name!r}") from error
    except AttributeError as error:
        raise LookupError(f"{module} holds no job") from error
    return cast(Job[Any], job)


def run(job: Job[Any], words: Sequence[str]) -> int:
    """Run `job` until it is told to stop; or only look at its configuration."""
    parser = argparse.ArgumentParser(prog=f"diego-job {job.name}")
    default = Path(f"/var/vcap/jobs/{job.name}/config/{job.name}.json")
    parser.add_argument("--config", type=Path, default=default, help="default: %(default)s")
    parser.add_argument("--check-config", type=Path, nargs="?", const=Path(), metavar="FILE")
    asked = parser.parse_args(words)
    path = asked.config if asked.check_config in {None, Path()} else asked.check_config
    try:
        config = configuration.load(job.config, path)
    except configuration.ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if asked.check_config is not None:
        return 0
    logs.configure(
        level=getattr(config, "log_level", "info"),
        time_format=getattr(config, "time_format", "unix-epoch"),
        longest_text=getattr(config, "max_data_string_length", 0),
    )
    _raise_file_limit()
    _name_process(f"diego-{job.name}")
    JobApplication(job, config).run()
    return 0


def _raise_file_limit() -> None:
    """A connection is a file: have as many as the host allows us, up to what any job needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # then the limit stays as it is
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _prctl(option: int, value: Any) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _name_process(name: str) -> None:
    """What `ps -o comm` shows."""
    _prctl(PR_SET_NAME, ctypes.c_char_p(name.encode()[:15]))


if __name__ == "__main__":
    sys.exit(main())
