"""The checker finds what was planted into histories that are good otherwise, and nothing in those."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.checker import Allowed, check
from chaos.history import History, Record, read

APPS = st.dictionaries(st.sampled_from("abc"), st.integers(0, 3), max_size=3)


def a_row(guid: str, index: int, **changes: Any) -> list[Any]:
    row = {
        "guid": guid,
        "index": index,
        "presence": "ORDINARY",
        "state": "RUNNING",
        "instance": f"{guid}-{index}",
        "cell": "cell-0",
    }
    return list({**row, **changes}.values())


def began(guid: str, index: int, at: float, **changes: Any) -> Record:
    record = {"at": at, "kind": "container", "what": "began", "guid": guid, "index": index}
    return {**record, "instance": f"{guid}-{index}", "cell": "cell-0", **changes}


def ended(instance: str, at: float) -> Record:
    return {"at": at, "kind": "container", "what": "ended", "instance": instance}


def a_history(wanted: dict[str, int], tasks: int = 0) -> list[Record]:
    """Everything that is wanted begins, runs, and is told of; tasks run once and are told of once."""
    keys = [(guid, index) for guid, count in wanted.items() for index in range(count)]
    rows = [a_row(guid, index) for guid, index in keys]
    records: list[Record] = [began(guid, index, 1.0) for guid, index in keys]
    for number in range(tasks):
        records += [
            {"at": 2.0 + step, "kind": "task", "what": what, "guid": f"task-{number}"}
            for step, what in enumerate(("desired", "began", "callback"))
        ]
    records += [{"at": 5.0 + step / 2, "kind": "rows", "rows": rows} for step in range(10)]
    records += [{"at": 5.0 + step, "kind": "answers", "bbs": ["bbs-0"]} for step in range(5)]
    records += [{"at": 6.0, "kind": "poll", "app": "a", "ok": True}]
    return [
        *records,
        {"at": 20.0, "kind": "end", "wanted": wanted, "rows": rows, "stored": rows, "tasks": []},
    ]


@given(wanted=APPS, tasks=st.integers(0, 3))
def test_a_good_history_is_good(wanted: dict[str, int], tasks: int) -> None:
    assert check(a_history(wanted, tasks)) == []


@given(wanted=APPS.filter(lambda apps: any(apps.values())), data=st.data())
def test_a_lost_instance_is_found(wanted: dict[str, int], data: st.DataObject) -> None:
    history = a_history(wanted)
    lost = data.draw(st.sampled_from(history[-1]["rows"]))
    history[-1]["rows"].remove(lost)

    wrong = check(history)

    assert f"(a) {lost[0]}/{lost[1]} is wanted and does not run" in wrong
    assert f"(a) instance {lost[4]} runs and no record tells of it" in wrong


@given(wanted=APPS.filter(lambda apps: any(apps.values())), data=st.data(), seconds=st.floats(1.6, 9))
def test_two_ordinary_instances_at_once_are_found(
    wanted: dict[str, int], data: st.DataObject, seconds: float
) -> None:
    history = a_history(wanted)
    guid, index, *_ = data.draw(st.sampled_from(history[-1]["rows"]))
    twin = a_row(guid, index, instance="twin", cell="cell-1")
    history.insert(-1, began(guid, index, 6.0, instance="twin", cell="cell-1"))
    history.insert(-1, ended("twin", 6.0 + seconds))
    history.insert(-1, {"at": 6.5, "kind": "rows", "rows": [twin]})

    wrong = check(history)

    assert wrong == [f"(b) {guid}/{index} ran twice for {seconds:.1f} s: cell-0, cell-1"]


def test_a_suspect_and_its_replacement_may_run_at_once() -> None:
    history = a_history({"a": 1})
    history[:] = [record for record in history if record["kind"] != "rows"]
    suspect = a_row("a", 0, presence="SUSPECT", instance="old", cell="cell-1")
    history.insert(0, began("a", 0, 0.5, instance="old", cell="cell-1"))
    history.insert(-1, {"at": 3.0, "kind": "rows", "rows": [suspect, a_row("a", 0)]})
    history.insert(-1, ended("old", 9.0))

    assert check(history) == []


def test_a_short_overlap_is_no_violation() -> None:
    history = a_history({"a": 1})
    history.insert(-1, began("a", 0, 6.0, instance="twin", cell="cell-1"))
    history.insert(-1, ended("twin", 7.0))
    history.insert(-1, {"at": 6.5, "kind": "rows", "rows": [a_row("a", 0, instance="twin", cell="cell-1")]})

    assert check(history) == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (
            lambda h: h.append({"at": 9, "kind": "task", "what": "began", "guid": "task-0"}),
            "(c) task task-0 ran 2 times",
        ),
        (
            lambda h: [h.remove(r) for r in list(h) if r.get("what") == "callback"],
            "(c) task task-0 vanished without a callback",
        ),
        (
            lambda h: h[-1]["tasks"].append(["task-0", "Running", False, ""]),
            "(c) task task-0 is Running at the end",
        ),
        (
            lambda h: h[-1]["tasks"].append(["task-0", "Completed", True, ""]),
            "(c) task task-0 failed without a reason",
        ),
    ],
)
def test_a_task_that_went_wrong_is_found(change: Any, found: str) -> None:
    history = a_history({}, tasks=1)
    change(history)

    assert check(history) == [found]


def test_a_database_that_differs_from_the_bbs_is_found() -> None:
    history = a_history({"a": 1})
    history[-1]["stored"] = []

    assert check(history) == [
        "(d) the BBS tells ('a', 0, 'ORDINARY', 'RUNNING', 'a-0', 'cell-0'), the database does not"
    ]


def test_two_masters_in_two_looks_are_found() -> None:
    history = a_history({})
    both = [{"at": at, "kind": "answers", "bbs": ["bbs-0", "bbs-1"]} for at in (11.0, 11.5)]
    history[-1:-1] = both

    assert check(history) == ["(d) ['bbs-0', 'bbs-1'] answered as active at 11.5 s"]


def test_an_error_without_context_a_late_recovery_and_failed_requests_are_found() -> None:
    history = a_history({})
    history[-1:-1] = [
        {"at": 7.0, "kind": "log", "job": "bbs-0", "message": "bbs.oops", "data": {}},
        {"at": 7.0, "kind": "bound", "what": "first write", "seen": 25.0, "limit": 20.0, "unit": "s"},
        {"at": 7.0, "kind": "poll", "app": "a", "ok": False},
    ]

    assert check(history) == [
        "(e) bbs-0: bbs.oops without context",
        "(f) 1 of 2 requests to apps failed, 0 may: {'a': 1}",
        "first write: 25 s, allowed 20",
    ]
    assert len(check(history, Allowed(failed_polls=1))) == 2


def test_what_ends_after_the_end_ran_until_then() -> None:
    history = [*a_history({"a": 1}), ended("a-0", 21.0)]

    assert check(history) == []


def test_a_history_without_an_end_is_no_good_history() -> None:
    assert check([]) == ["(a) the history has no end"]


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    history = History(tmp_path / "some" / "history.jsonl")
    history.note("fault", what="kill")
    history.note("answers", bbs=["bbs-0"])
    history.close()

    records = read(history.path)

    assert [record["kind"] for record in records] == ["fault", "answers"]
    assert records[0]["at"] <= records[1]["at"]
    assert json.loads(history.path.read_text().splitlines()[0])["what"] == "kill"
