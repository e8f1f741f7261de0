"""One run of one experiment, as a process of its own: `python -m chaos.one NUMBER SEED DIRECTORY`.

It leaves its history, the jobs' logs and `verdict.json` in the directory. The verdict is the checker's, asked in a
process of its own.
"""

import contextlib
import json
import random
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from chaos.experiments import EXPERIMENTS, Act, Experiment, Run
from chaos.history import History, read
from chaos.load import Load
from chaos.site import Control, control
from diego.models import BbsError
from diego.runtime import logs
from support.worker import until

BEFORE_SECONDS = (5.0, 10.0)
AFTER_SECONDS = 20.0
QUIET_SECONDS = 90.0
CHECK_SECONDS = 300.0


@dataclass
class Verdict:
    """What came of a run. `seen`: the numbers that had a limit, as [what, number, limit, unit]."""

    wrong: list[str]
    seen: list[list[Any]] = field(default_factory=list)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1))


def run_once(experiment: Experiment, seed: int, directory: Path) -> Verdict:
    """One run, and what the checker says of it."""
    history = History(directory / "history.jsonl")
    try:
        history.note("begin", experiment=experiment.number, name=experiment.name, seed=seed)
        if experiment.act is not None:
            _under_load(experiment, experiment.act, seed, directory, history)
        elif experiment.alone is not None:
            experiment.alone(directory, history)
            history.note("end", wanted={}, rows=[], stored=[], tasks=[])
    finally:
        history.close()
    asked = [sys.executable, "-m", "chaos.checker", str(history.path), json.dumps(asdict(experiment.allowed))]
    told = subprocess.run(asked, capture_output=True, text=True, timeout=CHECK_SECONDS, check=False)
    wrong: list[str] = json.loads(told.stdout) if told.stdout else [told.stderr[-2000:]]
    bounds = [record for record in read(history.path) if record["kind"] == "bound"]
    return Verdict(wrong, [[record[key] for key in ("what", "seen", "limit", "unit")] for record in bounds])


def _under_load(experiment: Experiment, act: Act, seed: int, directory: Path, history: History) -> None:
    with control(directory, history, experiment.site, **experiment.config) as site:
        load = Load(site, seed)
        load.begin()
        chance = random.Random(seed)
        try:
            time.sleep(chance.uniform(*BEFORE_SECONDS))
            act(Run(site, load, chance, seed))
            time.sleep(AFTER_SECONDS)
        except (AssertionError, BbsError, OSError, RuntimeError) as error:
            history.note("wrong", what=f"{type(error).__name__}: {error}")
            (directory / "failure.txt").write_text(traceback.format_exc())
        finally:
            load.end()  # whatever went wrong: its threads would keep the process until LONGEST_RUN
        load.wait_until_all_run(QUIET_SECONDS)
        _end(site, load, history)


def _end(site: Control, load: Load, history: History) -> None:
    """Note how it ended: what is wanted, what a BBS tells, what the database has."""

    def same() -> bool:
        try:
            return site.rows() == site.stored()
        except BbsError:
            return False

    with contextlib.suppress(AssertionError):  # then the checker says how they differ
        until(same, seconds=30)
    tasks = _settled_tasks(site)
    for asked in site.callbacks.take():
        history.note("task", what="callback", guid=asked.path.rsplit("/", 1)[-1])
    history.note("end", wanted=load.wanted, rows=site.rows(), stored=site.stored(), tasks=tasks)


def _settled_tasks(site: Control) -> list[list[object]]:
    """The tasks that are there once none is on its way any more, or after a while."""
    deadline = time.monotonic() + QUIET_SECONDS
    while True:
        tasks = site.tasks()
        if time.monotonic() > deadline or all(
            state in ("Completed", "Resolving") for _, state, _, _ in tasks
        ):
            return tasks
        time.sleep(0.5)


def main(words: Sequence[str]) -> int:
    """Run it; 1 when anything is wrong."""
    number, seed, directory = int(words[0]), int(words[1]), Path(words[2])
    logs.set_level("fatal")  # the cells' words are in the history
    verdict = run_once(EXPERIMENTS[number], seed, directory)
    verdict.write(directory / "verdict.json")
    return 1 if verdict.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
