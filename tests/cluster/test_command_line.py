"""What an operator sees of a deployed lab: status, explanations, cells, locks; and cfdot's scripts as they are."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from support.lab import CHECKOUT, Lab
from support.observe import Answering, Result, eventually, running

pytestmark = [pytest.mark.lab, pytest.mark.timeout(400)]

LRP = {
    "domain": "tests",
    "rootfs": "preloaded:cflinuxfs4",
    "instances": 1,
    "memory_mb": 32,
    "disk_mb": 32,
    "metric_tags": {"source_id": {"static": "tests"}},
    "action": {"run": {"path": "/bin/sleep", "args": ["3600"], "user": "vcap"}},
}


def cfdot(lab: Answering, *words: str) -> "subprocess.CompletedProcess[str]":
    """The original's operator tool, with the lab's environment."""
    return subprocess.run(
        [sys.executable, "-m", "diego.cli.cfdot", *words],
        env={**os.environ, **lab.env},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def documents(ran: Result) -> list[dict[str, Any]]:
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


@pytest.fixture
def guid(lab: Answering) -> Iterator[str]:
    """A process guid of the test's own; what is left of it is removed afterwards."""
    name = f"command-line-{time.time_ns()}"
    yield name
    with suppress(subprocess.TimeoutExpired):
        cfdot(lab, "delete-desired-lrp", name)
    eventually(lambda: not cfdot(lab, "actual-lrps", "-p", name).stdout, within=120, what=f"{name} is gone")


def desire(lab: Answering, guid: str, **changes: object) -> None:
    ran = cfdot(
        lab, "create-desired-lrp", json.dumps({**LRP, "process_guid": guid, "log_guid": guid, **changes})
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_the_status_shows_the_deployment_on_one_screen(lab: Answering) -> None:
    eventually(lambda: running(lab, "web", 3), within=120, what="three instances of web run")

    ran = lab.diego("status")

    assert ran.returncode == 0, ran.stderr
    first, second = ran.stdout.splitlines()[:2]
    assert first.startswith("Locks    auctioneer: ")
    assert ", bbs: " in first
    assert second.startswith("LRPs     ")
    web = next(line for line in ran.stdout.splitlines() if line.startswith("web "))
    assert web.split()[2] == "3/3"
    (told,) = documents(lab.diego("status", "--json"))
    assert told["missing_cells"] == []
    assert all(cell["state"] == "ready" and cell["available"] for cell in told["cells"])


def test_a_running_instance_is_explained_with_its_cell_and_its_auction(lab: Answering, guid: str) -> None:
    desire(lab, guid)
    eventually(lambda: running(lab, guid, 1), within=120, what=f"{guid} runs")

    (found,) = documents(lab.diego("explain", guid, "0", "--json"))
    told = lab.diego("explain", guid, "0")

    (row,) = found["actual_lrps"]
    assert f"{guid}/0 runs on {row['cell_id']}, for " in str(found["answer"])
    assert found["decisions"][0]["cell"] == row["cell_id"]
    containers = found["cells"][row["cell_id"]]["LRPs"]
    assert row["instance_guid"] in {container["instance_guid"] for container in containers}
    assert told.stdout.splitlines()[0].startswith(f"{guid}/0 runs on {row['cell_id']}, for ")
    assert f"  cell {row['cell_id']}: its container is there, RUNNING" in told.stdout.splitlines()


def test_an_instance_that_fits_nowhere_is_explained_and_counted(lab: Answering, guid: str) -> None:
    desire(lab, guid, memory_mb=1_000_000)

    def refused() -> str:
        first = (lab.diego("explain", guid).stdout.splitlines() or [""])[0]
        return first if "insufficient resources: memory" in first else ""

    answer = eventually(refused, within=120, what=f"{guid} is refused")
    (told,) = documents(lab.diego("status", "--json"))

    assert answer.startswith(f"{guid}/0 has no cell, for ")
    reasons = {each["placement_error"]: each["examples"] for each in told["unplaced"]}
    assert {"process_guid": guid, "index": 0} in reasons["insufficient resources: memory"]


def test_an_instance_that_wants_another_stack_is_told_which_cells_it_is_not_for(
    lab: Answering, guid: str
) -> None:
    desire(lab, guid, rootfs="preloaded:nothing")

    def refused() -> str:
        told = lab.diego("explain", guid).stdout
        return told if "not for it, rootfs: " in told else ""

    told = eventually(refused, within=120, what=f"{guid} is refused")

    assert "found no compatible cell for required rootfs" in told.splitlines()[0]


def test_who_does_not_exist_is_said(lab: Answering) -> None:
    ran = lab.diego("explain", "nobody-at-all")

    assert ran.returncode == 4
    assert ran.stderr.startswith("diego: there is no process and no task nobody-at-all (")
    assert len(ran.stderr.splitlines()) == 1


def test_scripts_for_cfdot_find_what_they_look_for(lab: Answering) -> None:
    cells = [str(cell["cell_id"]) for cell in documents(cfdot(lab, "cells"))]
    states = {str(state["cell_id"]): state for state in documents(cfdot(lab, "cell-states"))}

    assert set(states) == set(cells)
    assert documents(cfdot(lab, "cell-state", cells[0]))[0]["Zone"] == states[cells[0]]["Zone"]
    assert documents(cfdot(lab, "cell", cells[0]))[0]["zone"] == states[cells[0]]["Zone"]
    assert {lock["key"] for lock in documents(cfdot(lab, "locks"))} >= {"bbs", "auctioneer"}
    assert set(cells) <= {str(presence["key"]) for presence in documents(cfdot(lab, "presences"))}
    assert {lrp["process_guid"] for lrp in documents(cfdot(lab, "desired-lrps"))} >= {"web"}


def test_a_lock_is_claimed_and_released(lab: Answering) -> None:
    name = f"command-line-{time.time_ns()}"

    claimed = cfdot(lab, "claim-lock", "-k", name, "-o", "me", "-t", "30")
    taken = cfdot(lab, "claim-lock", "-k", name, "-o", "other", "-t", "30")
    released = cfdot(lab, "release-lock", "-k", name, "-o", "me")

    assert (claimed.returncode, taken.returncode, released.returncode) == (0, 4, 0)
    assert taken.stderr == "Error: rpc error: code = AlreadyExists desc = lock-collision\n"


def test_the_operators_shell_completes_commands(lab: Lab) -> None:
    script = f". .lab/{lab.name}/env && complete -p diego"

    ran = subprocess.run(["bash", "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stderr
    assert "_diego_completion" in ran.stdout
