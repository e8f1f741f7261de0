"""Rounds of experiments go on where they were cut off, and give the machine to one that needs it for itself."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.__main__ import Outcome, Record, Rounds, report
from chaos.experiments import EXPERIMENTS

SEED = 5
EXCLUSIVE = next(number for number, one in EXPERIMENTS.items() if one.exclusive)


class Runs:
    """Runs that take a moment; who was run beside whom."""

    def __init__(self) -> None:
        self.began: list[tuple[int, int]] = []
        self.beside: dict[int, set[int]] = {}
        self._now: set[int] = set()
        self._lock = threading.Lock()

    def __call__(self, number: int, seed: int, directory: Path, scratch: Path) -> Outcome:
        with self._lock:
            self.began.append((number, seed))
            self._now.add(number)
            for other in self._now:
                self.beside.setdefault(other, set()).update(self._now)
        time.sleep(0.05)
        with self._lock:
            self._now.discard(number)
        return {"wrong": [], "seen": [["first write", 1.5, 20.0, "s"]]}


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    made = Record(tmp_path, SEED)
    yield made
    made.close()


def test_each_experiment_is_run_in_each_round_with_the_rounds_seed(record: Record, tmp_path: Path) -> None:
    runs = Runs()

    Rounds(record, tmp_path, SEED, 2, runs).run([1, 2], 3)

    assert sorted(runs.began) == [(number, SEED + round_) for number in (1, 2) for round_ in (1, 2, 3)]
    assert set(record.outcomes) == {f"{number}-{round_}" for number in (1, 2) for round_ in (1, 2, 3)}


def test_what_was_done_before_a_cut_is_not_done_again(record: Record, tmp_path: Path) -> None:
    Rounds(record, tmp_path, SEED, 2, Runs()).run([1], 2)
    record.close()
    again, runs = Record(tmp_path, SEED), Runs()

    Rounds(again, tmp_path, SEED, 2, runs).run([1, 2], 2)

    assert {number for number, _ in runs.began} == {2}
    assert set(json.loads((tmp_path / f"{SEED}.json").read_text())) == {"1-1", "1-2", "2-1", "2-2"}
    again.close()


def test_who_names_an_experiment_has_it_run_anew(record: Record, tmp_path: Path) -> None:
    Rounds(record, tmp_path, SEED, 2, Runs()).run([1, 12], 1)

    record.forget(1)

    assert set(record.outcomes) == {"12-1"}


def test_two_do_not_write_the_same_record(record: Record, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="running already"):
        Record(tmp_path, SEED)


def test_an_exclusive_one_has_the_machine_for_itself(record: Record, tmp_path: Path) -> None:
    runs = Runs()

    Rounds(record, tmp_path, SEED, 3, runs).run([1, 2, EXCLUSIVE, 3], 2)

    assert runs.beside[EXCLUSIVE] == {EXCLUSIVE}
    assert len(runs.beside[1] | runs.beside[2] | runs.beside[3]) > 1


def test_one_that_went_wrong_in_any_round_makes_the_whole_wrong(
    record: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Rounds(record, tmp_path, SEED, 2, Runs()).run([1], 2)

    assert report(record.outcomes, SEED) == 0
    record.put("1-2", {**record.outcomes["1-2"], "wrong": ["(a) lost"]})
    assert report(record.outcomes, SEED) == 1
    assert "first write: 1.5 1.5 s (allowed 20)" in capsys.readouterr().out
