"""Figures outlive the run that measured them."""

from pathlib import Path

from bench.results import Results
from bench.step import STEPS
from bench.table import TARGETS, Measured


def test_what_was_measured_is_read_again(tmp_path: Path) -> None:
    results = Results(tmp_path / "bench.json")
    results.add("desire", [Measured("desire-1", 3.5, [3.0, 3.5, 4.0], "note", 0.1, at=7.0)], "", 8.0)

    again = Results.read(tmp_path / "bench.json")

    assert again.figures == {"desire-1": Measured("desire-1", 3.5, [3.0, 3.5, 4.0], "note", 0.1, at=7.0)}
    assert again.finished == ["desire"]


def test_nothing_is_read_from_what_is_no_file_of_results(tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text('{"figures": 3}')

    assert Results.read(tmp_path / "bench.json").figures == {}
    assert Results.read(tmp_path / "none.json").finished == []


def test_a_step_that_fails_says_so_in_each_of_its_rows_that_it_did_not_reach(tmp_path: Path) -> None:
    results = Results(tmp_path / "bench.json", {"desire-8": Measured("desire-8", 1.0)})

    results.add("desire", [Measured("desire-1", 3.5)], "cut after 150 s", 8.0)

    assert results.figures["desire-1"].value == 3.5
    assert results.figures["desire-8"] == Measured("desire-8", error="cut after 150 s", at=8.0)
    assert results.figures["desire-32"].error == "cut after 150 s"
    assert results.finished == []


def test_a_step_that_is_repeated_leaves_the_figures_of_others(tmp_path: Path) -> None:
    results = Results(tmp_path / "bench.json", {"claims-32": Measured("claims-32", 9.0)})

    results.add("desire", [], "cut", 8.0)

    assert results.figures["claims-32"].value == 9.0


def test_every_target_is_of_a_step_that_there_is() -> None:
    assert {target.step for target in TARGETS} <= set(STEPS)
