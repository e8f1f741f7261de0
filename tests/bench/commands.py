"""How long the operator's quick commands take, each a process of its own, against a control plane that holds much.

Wall time is what an operator waits; on a machine that does other things besides, the CPU time of the command and of
the BBS tells more.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.usage import cpu_seconds

REPEATS = 9
CACHE = tempfile.TemporaryDirectory(prefix="diego-bench-compiled-")


@dataclass(frozen=True)
class Command:
    """What one command took: medians of its wall and CPU time, and the BBS's CPU time, in milliseconds."""

    name: str
    wall_ms: float
    cpu_ms: float
    bbs_cpu_ms: float
    bytes: int


def commands(
    bbs_url: str, auctioneer_url: str, certificates: Path, bbs_pid: int, guid: str, *, repeats: int = REPEATS
) -> list[Command]:
    """`status`, `explain` and `history` against a BBS, where `guid` is one of its LRPs.

    The certificates' directory is one that `support.pki` has written.

    Raises:
        RuntimeError: a command failed.
    """
    env = {
        "BBS_URL": bbs_url,
        "AUCTIONEER_URL": auctioneer_url,
        "CA_CERT_FILE": str(certificates / "ca.crt"),
        "CLIENT_CERT_FILE": str(certificates / "diego_bbs_client.crt"),
        "CLIENT_KEY_FILE": str(certificates / "diego_bbs_client.key"),
    }
    asked = (("status",), ("explain", guid, "0"), ("history", guid))
    return [_measured(words, env, bbs_pid, repeats) for words in asked]


def _measured(words: Sequence[str], env: Mapping[str, str], bbs_pid: int, repeats: int) -> Command:
    walls, cpus, length = [], [], 0
    _run(words, env)  # the first one compiles
    bbs_before = cpu_seconds(bbs_pid)
    for _ in range(repeats):
        before, began = _children(), time.monotonic()
        length = len(_run(words, env))
        walls.append(time.monotonic() - began)
        cpus.append(_children() - before)
    bbs = (cpu_seconds(bbs_pid) - bbs_before) / repeats
    return Command(
        words[0], statistics.median(walls) * 1000, statistics.median(cpus) * 1000, bbs * 1000, length
    )


def _run(words: Sequence[str], env: Mapping[str, str]) -> bytes:
    command = [sys.executable, "-m", "diego.cli.main", *words]
    # An operator's Python keeps what it has compiled, whatever the environment of a test says.
    whole = {**os.environ, **env, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": CACHE.name}
    ran = subprocess.run(command, env=whole, capture_output=True, check=False, timeout=60)
    if ran.returncode:
        raise RuntimeError(f"{' '.join(words)} failed: {ran.stderr.decode(errors='replace')[-500:]}")
    return ran.stdout


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
