"""Run the experiments: `make chaos`, `make chaos EXPERIMENT=3 SEED=7`. Cut, it goes on where it was.

Every run leaves a directory .lab/chaos/SEED-NUMBER-ROUND with its history and the jobs' logs. The verdict is the
checker's, asked in a process of its own.
"""

import argparse
import contextlib
import json
import random
import shutil
import subprocess
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path

from chaos.experiments import EXPERIMENTS, Act, Experiment, Run
from chaos.history import History
from chaos.load import APPS, CHANGE_EVERY, SINGLE_APPS, TASK_EVERY, Load
from chaos.site import CELLS, Control, control
from diego.models import BbsError
from diego.runtime import logs
from support.worker import until

CHECKOUT = Path(__file__).resolve().parents[2]
PLACE = CHECKOUT / ".lab" / "chaos"
ROUNDS = 3
BEFORE_SECONDS = (5.0, 10.0)
AFTER_SECONDS = 20.0
QUIET_SECONDS = 90.0
SEED = 20260701


def run_once(experiment: Experiment, seed: int, directory: Path) -> list[str]:
    """One run; what the checker found wrong."""
    shutil.rmtree(directory, ignore_errors=True)
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
    told = subprocess.run(asked, capture_output=True, text=True, timeout=300, check=False)
    wrong: list[str] = json.loads(told.stdout) if told.stdout else [told.stderr[-2000:]]
    return wrong


def _under_load(experiment: Experiment, act: Act, seed: int, directory: Path, history: History) -> None:
    with control(directory, history, **experiment.config) as site:
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
        load.end()
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


def main() -> int:
    arguments = argparse.ArgumentParser(prog="chaos", description=__doc__)
    arguments.add_argument("--experiment", type=int, action="append", choices=sorted(EXPERIMENTS))
    arguments.add_argument("--seed", type=int, default=SEED)
    arguments.add_argument("--rounds", type=int, default=ROUNDS)
    arguments.add_argument("--anew", action="store_true", help="forget what an earlier run has done")
    words = arguments.parse_args()
    logs.set_level("fatal")  # the cells' words are in the history
    PLACE.mkdir(parents=True, exist_ok=True)
    state_path = PLACE / f"{words.seed}.json"
    state: dict[str, dict[str, object]] = {}
    if state_path.exists() and not words.anew:
        state = json.loads(state_path.read_text())
    for number in words.experiment or ():  # who names one wants it run
        state = {key: one for key, one in state.items() if not key.startswith(f"{number}-")}
    for round_ in range(1, words.rounds + 1):
        for number in words.experiment or sorted(EXPERIMENTS):
            key = f"{number}-{round_}"
            if key in state:
                continue
            experiment = EXPERIMENTS[number]
            began = time.monotonic()
            wrong = run_once(experiment, words.seed + round_, PLACE / f"{words.seed}-{key}")
            state[key] = {"wrong": wrong, "seconds": round(time.monotonic() - began)}
            state_path.write_text(json.dumps(state, indent=1))
            print(
                f"{number:3} round {round_}: {'good' if not wrong else 'WRONG'} {experiment.name}", flush=True
            )
            for one in wrong:
                print(f"      {one}", flush=True)
    return report(state, words.seed)


def report(state: dict[str, dict[str, object]], seed: int) -> int:
    """Print the table of verdicts; 1 when anything was wrong."""
    print(
        f"\nLoad of each run: {APPS} apps of 2-3 instances and {SINGLE_APPS} of one on {CELLS} imaginary cells, a task"
        f" each {TASK_EVERY:g} s, a scaling, a removal and a new app each {CHANGE_EVERY:g} s; seed {seed}."
    )
    failed = 0
    for number, experiment in sorted(EXPERIMENTS.items()):
        rounds = {key: one for key, one in state.items() if key.startswith(f"{number}-")}
        if not rounds:
            continue
        good = sum(not one["wrong"] for one in rounds.values())
        failed += len(rounds) - good
        seconds = " ".join(str(one["seconds"]) for one in rounds.values())
        print(f"{number:3}  {good}/{len(rounds)} good  {experiment.name}  ({seconds} s)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
