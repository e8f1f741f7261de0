"""Run the experiments: `make chaos`, `make chaos EXPERIMENT=3 SEED=7`. Cut, it goes on where it was.

Several run side by side, each a process in namespaces of its own: its processes end with it, and its ports are its
own, also those of a server that is down. One that must have the machine for itself gets it, at the end of a round.

Every run leaves a directory .lab/chaos/SEED-NUMBER-ROUND; what came of all of them is in .lab/chaos/SEED.json.
"""

import argparse
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from threading import Lock
from typing import Any
from zlib import crc32

from chaos.experiments import EXPERIMENTS, Experiment
from chaos.load import APPS, CHANGE_EVERY, SINGLE_APPS, TASK_EVERY
from chaos.site import CELLS
from support import ports

CHECKOUT = Path(__file__).resolve().parents[2]
PLACE = CHECKOUT / ".lab" / "chaos"
ROUNDS = 3
JOBS = 3
LONGEST_RUN = 1800.0
SEED = 20260701
ISOLATED = ("unshare", "--fork", "--pid", "--net", "--mount-proc", "--kill-child")
PRIVATE = 'mount -t tmpfs tmpfs /dev/shm && ip link set lo up && exec "$@"'
"""What a run has for itself beside its processes and ports: shared memory, which the false clocks name by process."""

OWN_PORTS = "10000-30000"
"""For servers: below those that the kernel gives to outgoing connections."""

Outcome = dict[str, Any]
RunApart = Callable[[int, int, Path, Path], Outcome]
"""How an experiment is run: its number, its seed, the directory for what it leaves, and one for what it does not."""


class Record:
    """What is done, by `NUMBER-ROUND`; on the disk at once, whole at every moment, and one process's at a time."""

    def __init__(self, place: Path, seed: int, *, anew: bool = False) -> None:
        place.mkdir(parents=True, exist_ok=True)
        self._path = place / f"{seed}.json"
        self._guard = Lock()
        self._held = (place / f"{seed}.lock").open("w")
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._held.close()
            sys.exit(f"experiments with the seed {seed} are running already")
        self.outcomes: dict[str, Outcome] = {}
        if self._path.exists() and not anew:
            self.outcomes = json.loads(self._path.read_text())

    def forget(self, number: int) -> None:
        self.outcomes = {key: one for key, one in self.outcomes.items() if not key.startswith(f"{number}-")}

    def close(self) -> None:
        self._held.close()

    def put(self, key: str, outcome: Outcome) -> None:
        with self._guard:
            self.outcomes[key] = outcome
            new = self._path.with_suffix(".new")
            new.write_text(json.dumps(self.outcomes, indent=1))
            new.replace(self._path)


class Rounds:
    """The rounds, one after the other, with a few runs of a round at a time."""

    def __init__(
        self, record: Record, place: Path, seed: int, jobs: int, run: RunApart | None = None
    ) -> None:
        self._record = record
        self._place = place
        self._seed = seed
        self._jobs = jobs
        self._run_apart = run or _isolated
        # as the record, one's own: another checkout may run the same seed at the same time
        self._scratch = Path(tempfile.gettempdir()) / f"diego-chaos-{crc32(bytes(place)):08x}-{seed}"

    def run(self, numbers: Sequence[int], rounds: int) -> None:
        shutil.rmtree(self._scratch, ignore_errors=True)  # of a run that was cut off
        self._scratch.mkdir(mode=0o755)
        try:
            for round_ in range(1, rounds + 1):
                self._round(numbers, round_)
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _round(self, numbers: Sequence[int], round_: int) -> None:
        todo = [
            EXPERIMENTS[number] for number in numbers if f"{number}-{round_}" not in self._record.outcomes
        ]
        with ThreadPoolExecutor(self._jobs) as pool:
            runs = [pool.submit(self._some, some, round_) for some in _queues(todo)]
            wait(runs)
        for run in runs:
            run.result()
        self._some([one for one in todo if one.exclusive], round_)

    def _some(self, experiments: Sequence[Experiment], round_: int) -> None:
        for one in experiments:
            self._one(one, round_)

    def _one(self, experiment: Experiment, round_: int) -> None:
        key = f"{experiment.number}-{round_}"
        directory = self._place / f"{self._seed}-{key}"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        scratch = self._scratch / key
        scratch.mkdir()
        scratch.chmod(0o1777)  # the database is another user
        _say(f"round {round_}  {experiment.number:2}  begins      {experiment.name}")
        began = time.monotonic()
        outcome = self._run_apart(experiment.number, self._seed + round_, directory, scratch)
        shutil.rmtree(scratch, ignore_errors=True)
        seconds = round(time.monotonic() - began)
        loads = [round(load, 1) for load in os.getloadavg()]
        self._record.put(key, {**outcome, "seconds": seconds, "loads": loads, "at_once": self._jobs})
        verdict = "WRONG" if outcome["wrong"] else "good "
        _say(f"round {round_}  {experiment.number:2}  {verdict} {seconds:3} s  {experiment.name}")
        for one in outcome["wrong"]:
            _say(f"      {one}")


def _queues(experiments: Sequence[Experiment]) -> list[list[Experiment]]:
    """What may run beside others; crowds one after the other, and what is long first, so that all end at one time."""
    beside = [one for one in experiments if not one.exclusive]
    queues = [[one] for one in beside if not one.crowd]
    if crowds := [one for one in beside if one.crowd]:
        queues.append(crowds)
    return sorted(queues, key=lambda queue: -sum(one.seconds for one in queue))


def _isolated(number: int, seed: int, directory: Path, scratch: Path) -> Outcome:
    """One run in namespaces of its own; its verdict, or why it has none."""
    asked = [sys.executable, "-m", "chaos.one", str(number), str(seed), str(directory)]
    with (directory / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            [*ISOLATED, "sh", "-c", PRIVATE, "run", *asked],
            stdout=output,
            stderr=output,
            env={**os.environ, "TMPDIR": str(scratch), ports.PORTS: OWN_PORTS},
            start_new_session=True,  # whoever cuts us off cuts only us: what was not done is not recorded
        )
        try:
            process.wait(LONGEST_RUN)
        except subprocess.TimeoutExpired:
            return {"wrong": [f"it did not end within {LONGEST_RUN:g} s"], "seen": []}
        finally:
            process.kill()
            process.wait()
    verdict = directory / "verdict.json"
    if not verdict.exists():
        return {"wrong": [f"it broke off: {(directory / 'output.txt').read_text()[-2000:]}"], "seen": []}
    outcome: Outcome = json.loads(verdict.read_text())
    return outcome


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def _cut_off(_number: int, _frame: object) -> None:
    """End at once; the runs end with the process namespace of scripts/chaos. The same words again do what is not done."""
    _say("cut off: the same command goes on from here")
    os._exit(130)


def report(outcomes: dict[str, Outcome], seed: int) -> int:
    """Print the table of verdicts with what was measured; 1 when anything was wrong."""
    print(
        f"\nLoad of each run: {APPS} apps of 2-3 instances and {SINGLE_APPS} of one on {CELLS} imaginary cells, a task"
        f" each {TASK_EVERY:g} s, a scaling, a removal and a new app each {CHANGE_EVERY:g} s; seed {seed}."
    )
    loads = [one["loads"][1] for one in outcomes.values()]
    if loads:
        print(
            f"Up to {max(one['at_once'] for one in outcomes.values())} runs at once on {os.cpu_count()} cores; load"
            f" average of 5 minutes {min(loads)} to {max(loads)}."
        )
    failed = 0
    for number, experiment in sorted(EXPERIMENTS.items()):
        rounds = [one for key, one in outcomes.items() if key.startswith(f"{number}-")]
        if not rounds:
            continue
        good = sum(not one["wrong"] for one in rounds)
        failed += len(rounds) - good
        seconds = " ".join(str(one["seconds"]) for one in rounds)
        print(f"{number:3}  {good}/{len(rounds)} good  {experiment.name}  ({seconds} s)")
        for line in _figures(rounds):
            print(f"       {line}")
    return 1 if failed else 0


def _figures(rounds: Sequence[Outcome]) -> list[str]:
    """The numbers that had a limit, over all rounds."""
    found: dict[tuple[str, float, str], list[float]] = {}
    for one in rounds:
        for what, number, limit, unit in one["seen"]:
            found.setdefault((what, limit, unit), []).append(number)
    return [
        f"{what}: {' '.join(f'{one:g}' for one in sorted(numbers))} {unit} (allowed {limit:g})"
        for (what, limit, unit), numbers in found.items()
    ]


def main() -> int:
    arguments = argparse.ArgumentParser(prog="chaos", description=__doc__)
    arguments.add_argument("--experiment", type=int, action="append", choices=sorted(EXPERIMENTS))
    arguments.add_argument("--seed", type=int, default=SEED)
    arguments.add_argument("--rounds", type=int, default=ROUNDS)
    arguments.add_argument("--jobs", type=int, default=JOBS, help="how many run side by side")
    arguments.add_argument("--anew", action="store_true", help="forget what an earlier run has done")
    words = arguments.parse_args()
    record = Record(PLACE, words.seed, anew=words.anew)
    for number in words.experiment or ():  # who names one wants it run
        record.forget(number)
    signal.signal(signal.SIGINT, _cut_off)
    signal.signal(signal.SIGTERM, _cut_off)
    Rounds(record, PLACE, words.seed, words.jobs).run(words.experiment or sorted(EXPERIMENTS), words.rounds)
    return report(record.outcomes, words.seed)


if __name__ == "__main__":
    sys.exit(main())
