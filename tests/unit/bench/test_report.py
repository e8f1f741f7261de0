"""The page that the bench writes."""

from pathlib import Path

from bench import report
from bench.results import Results
from bench.runner import reason
from bench.table import Measured


def a_run() -> Results:
    return Results(
        Path("unused"),
        {
            "desire-8": Measured(
                "desire-8", 2500.0, [2400.0, 2500.0, 2600.0], "p50 3 ms | p99 9 ms", 0.0, at=1.0e9
            ),
            "get-50k": Measured("get-50k", 10.0, at=1.0e9),
            "auction-8200": Measured(
                "auction-8200", 0.15, note="large, 8200 on 100|5.6|memory 96|memory 96|0|yes"
            ),
            "tasks-32": Measured("tasks-32", error="cut after 120 s"),
        },
        lab={"killed_to_answering_s": {"median": 0.5, "most": 0.7, "runs": 4}},
    )


def test_the_page_has_the_table_what_is_behind_it_the_auctions_and_the_lab() -> None:
    page = report.document(a_run())

    assert "Measured on 2001-09-09: " in page
    assert "| desire an LRP, 8 clients " in page
    assert "failed: cut after 120 s" in page
    assert "2,400 2,500 2,600" in page
    assert "| large, 8200 on 100 | 5.6         | 0.15    | memory 96" in page
    assert "0.50 s (most 0.70 of 4)" in page


def test_bars_met_missed_and_without_a_figure_are_told_apart() -> None:
    said = report.verdict(a_run())

    assert said.startswith("2 of ")
    assert "Not met: get-50k." in said
    assert "tasks-32" in said.partition("Without a figure: ")[2]


def test_a_page_of_nothing_is_a_page() -> None:
    page = report.document(Results(Path("unused")))

    assert "Measured on never" in page
    assert "Not measured." in page
    assert "## A lab" not in page


def test_every_line_of_a_table_has_as_many_columns() -> None:
    lines = [line for line in report.document(a_run()).splitlines() if line.startswith("| ")]

    assert {line.count("|") for line in lines if "scripts/bench --only desire" in line} == {9}


def test_the_reason_of_a_failure_is_its_last_exception_and_no_more() -> None:
    lines = [
        "  at work",
        "Traceback (most recent call last):",
        "ValueError: a | b",
        "Exception ignored in: x",
    ]

    assert reason(lines) == "ValueError: a / b"
    assert reason(["killed"]) == "killed"
    assert reason([]) == ""
    assert len(reason(["SomeError: " + "x" * 1000])) == 300
