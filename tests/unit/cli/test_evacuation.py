"""`diego evacuation CELL`: what is left on a cell, and what each instance waits for."""

import json
from typing import Any

import pytest

from diego.cli.core.evacuations import headline, left
from diego.wire import actual_lrp_requests_pb2, cells_pb2
from diego.wire.actual_lrp_pb2 import ActualLRP
from diego.wire.gojson import from_go
from support.scripted_server import ScriptedServer, Told

from .conftest import Diego

NOW = 1_000_000_000_000_000_000
MINUTE = 60_000_000_000


def row(
    presence: str = "ORDINARY", state: str = "RUNNING", instance: str = "there", **more: Any
) -> ActualLRP:
    lrp: ActualLRP = from_go(
        ActualLRP,
        {
            "process_guid": "web",
            "index": 0,
            "domain": "d",
            "instance_guid": instance,
            "cell_id": "cell-2" if instance == "there" else "cell-1" if instance else "",
            "state": state,
            "presence": presence,
            "since": NOW - MINUTE,
            **more,
        },
    )
    return lrp


EVACUATING = row("EVACUATING", instance="here")


def progress(**more: Any) -> dict[str, Any]:
    instance = {
        "instance_guid": "here",
        "process_guid": "web",
        "index": 0,
        "state": "running",
        "said": more.pop("said", ""),
    }
    instance["state"] = more.pop("state", "running")
    return {
        "cell_id": "cell-1",
        "evacuating": True,
        "phase": "evacuating",
        "began": 1.0,
        "seconds_left": 432.1,
        "lrps": [instance],
        "tasks": [],
        **more,
    }


@pytest.mark.parametrize(
    ("rows", "waits_for"),
    [
        ([EVACUATING, row(state="UNCLAIMED", instance="")], "a place for its replacement, for 1m"),
        (
            [
                EVACUATING,
                row(state="UNCLAIMED", instance="", placement_error="insufficient resources: memory"),
            ],
            "a place for its replacement, for 1m: insufficient resources: memory",
        ),
        ([EVACUATING, row(state="CLAIMED")], "its replacement to start on cell-2, for 1m"),
        ([EVACUATING, row()], "its end: its replacement runs on cell-2"),
        ([row()], "its end: its replacement runs on cell-2"),
        (
            [EVACUATING, row(state="CRASHED", instance="", crash_count=3, crash_reason="exit 1")],
            "its end: its replacement crashed 3 times: exit 1",
        ),
        ([EVACUATING], "its end: nobody wants it any more"),
        (
            [row(instance="here")],
            "its turn: the BBS keeps it until the other instances of its LRP run",
        ),
        ([], "its end: the BBS has no record of it"),
        ([row(index=1)], "its end: the BBS has no record of it"),
    ],
)
def test_what_a_running_instance_waits_for(rows: list[ActualLRP], waits_for: str) -> None:
    assert [one.waits_for for one in left(progress(), rows, NOW)] == [waits_for]


@pytest.mark.parametrize(
    ("more", "waits_for"),
    [
        ({"state": "created"}, "being given back: it did not run yet"),
        ({"state": "completed"}, "the BBS to be told of its end"),
        ({"said": "no answer"}, "an answer of the BBS: no answer"),
        ({"evacuating": False, "phase": ""}, ""),
    ],
)
def test_what_another_instance_waits_for(more: dict[str, Any], waits_for: str) -> None:
    assert [one.waits_for for one in left(progress(**more), [EVACUATING], NOW)] == [waits_for]


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({}, "cell-1 is being emptied, for 432 s more at most. Left: one container."),
        ({"lrps": []}, "cell-1 is being emptied, for 432 s more at most. Left: nothing."),
        ({"phase": "ending"}, "cell-1 ends: what is left is deleted. Left: one container."),
        (
            {"evacuating": False, "tasks": [{"task_guid": "t", "state": "running"}]},
            "cell-1 is not being emptied. It holds 2 containers.",
        ),
    ],
)
def test_how_it_stands_is_a_sentence(more: dict[str, Any], text: str) -> None:
    assert headline(progress(**more)) == text


# The command


@pytest.fixture
def evacuating(bbs: ScriptedServer, cell: ScriptedServer) -> ScriptedServer:
    presence = cells_pb2.CellPresence(cell_id="cell-1", zone="z1", rep_url=cell.url)
    bbs.tell("/v1/cells/list.r1", Told(cells_pb2.CellsResponse(cells=[presence]).SerializeToString()))
    answer = actual_lrp_requests_pb2.ActualLRPsResponse(actual_lrps=[EVACUATING, row(state="CLAIMED")])
    bbs.tell("/v1/actual_lrps/list", Told(answer.SerializeToString()))
    tasks = [{"task_guid": "job", "state": "running"}]
    cell.tell("/v1/evacuation", Told(json.dumps(progress(tasks=tasks)).encode()))
    return cell


def test_it_shows_what_is_left_and_why(diego: Diego, evacuating: ScriptedServer) -> None:
    ran = diego("evacuation", "cell-1")

    assert ran.status == 0
    lines = ran.out.splitlines()
    assert lines[0] == "cell-1 is being emptied, for 432 s more at most. Left: 2 containers."
    assert lines[1].split() == ["KIND", "GUID", "INDEX", "STATE", "WAITS", "FOR"]
    assert "its replacement to start on cell-2" in lines[2]
    assert lines[3].split() == ["task", "job", "running", "its", "own", "end"]
    assert evacuating.paths() == ["/v1/evacuation"]


def test_with_json_it_is_one_value(diego: Diego, evacuating: ScriptedServer) -> None:
    ran = diego("evacuation", "cell-1", "--json")

    found = json.loads(ran.out)
    assert found["seconds_left"] == 432.1
    assert found["lrps"][0]["instance_guid"] == "here"
    assert found["tasks"] == [{"task_guid": "job", "state": "running", "waits_for": "its own end"}]
    assert evacuating.paths() == ["/v1/evacuation"]


@pytest.mark.parametrize(
    ("answer", "status", "text"),
    [
        (Told(status=404), 4, "cell cell-1 is an original rep, which does not tell how far it is"),
        (Told(b"[]"), 5, "cell cell-1 answers 200 without its evacuation"),
        (Told(status=500), 5, "cell cell-1 answers 500 without its evacuation"),
    ],
)
def test_a_cell_that_does_not_tell_is_named(
    diego: Diego, evacuating: ScriptedServer, answer: Told, status: int, text: str
) -> None:
    evacuating.tell("/v1/evacuation", answer)

    ran = diego("evacuation", "cell-1")

    assert ran.status == status
    assert text in ran.err


def test_a_cell_that_is_not_there_is_named(diego: Diego, evacuating: ScriptedServer) -> None:
    ran = diego("evacuation", "cell-7")

    assert ran.status == 4
    assert "cell cell-7 is not present" in ran.err
    assert evacuating.paths() == []
