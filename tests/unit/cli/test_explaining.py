"""Explanations: the sentence that answers, for each way an instance or a task can be."""

from typing import Any

import pytest

from diego.cli.core.explaining import Known, explain_instance, explain_task, indices, summary

SECOND = 10**9
NOW = 1_700_000_000 * SECOND
WISH = {"process_guid": "web", "domain": "apps", "instances": 2}


def a_row(**changes: Any) -> dict[str, Any]:
    return {
        "process_guid": "web",
        "index": 0,
        "domain": "apps",
        "instance_guid": "i",
        "cell_id": "cell-1",
        "state": "RUNNING",
        "presence": "ORDINARY",
        "since": NOW - 180 * SECOND,
        "routable": True,
        "crash_count": 0,
        "crash_reason": "",
        "placement_error": "",
        **changes,
    }


def a_task(**changes: Any) -> dict[str, Any]:
    return {
        "task_guid": "job",
        "state": "Pending",
        "cell_id": "",
        "created_at": NOW - 60 * SECOND,
        "updated_at": NOW - 30 * SECOND,
        "first_completed_at": 0,
        "failed": False,
        "failure_reason": "",
        "rejection_count": 0,
        "rejection_reason": "",
        **changes,
    }


def a_decision(**changes: Any) -> dict[str, Any]:
    return {
        "guid": "web",
        "index": 0,
        "at": NOW / SECOND - 180,
        "cell": "cell-1",
        "score": 0.125,
        "best": [{"cell": "cell-1", "score": 0.125}, {"cell": "cell-2", "score": 0.25}],
        "zones": {"z1": 0, "z2": 0},
        "considered": 2,
        "looked_at": [],
        "excluded": [],
        "left_out": {},
        "error": "",
        **changes,
    }


def known(
    *rows: dict[str, Any],
    wish: dict[str, Any] | None = WISH,
    task: dict[str, Any] | None = None,
    decisions: Any = (),
    fresh: bool = True,
    cells: Any = None,
) -> Known:
    bbs = {
        "guid": "web" if task is None else "job",
        "at": NOW,
        "desired_lrp": wish,
        "actual_lrps": list(rows),
        "task": task,
        "domain_fresh": fresh,
    }
    return Known(bbs, decisions, cells or {})


WAITING = {"state": "UNCLAIMED", "cell_id": "", "instance_guid": ""}
LARGE = "insufficient resources: memory"


@pytest.mark.parametrize(
    ("found", "answer"),
    [
        (
            known(a_row(), decisions=[a_decision()]),
            "web/0 runs on cell-1, for 3m: the best score (0.125) of 2 cells that may run it, before cell-2 (0.250)",
        ),
        (
            known(a_row(), decisions=[a_decision(considered=1, best=[], zones={"z1": 0})]),
            "web/0 runs on cell-1, for 3m: the only cell that may run it",
        ),
        (
            known(a_row(), decisions=[a_decision(zones={"z1": 0, "z2": 3})]),
            (
                "web/0 runs on cell-1, for 3m: the best score (0.125) in zone z1, where fewest of its instances were,"
                " of 2 cells that may run it"
            ),
        ),
        (
            known(a_row(routable=False), decisions=[a_decision(considered=1, best=[])]),
            "web/0 runs on cell-1, for 3m, but is not ready and gets no requests: the only cell that may run it",
        ),
        (
            known(a_row(), decisions="the auctioneer cannot be asked: refused"),
            "web/0 runs on cell-1, for 3m: why there is not known: the auctioneer cannot be asked: refused",
        ),
        (
            known(a_row(), decisions=[a_decision(cell="cell-9")]),
            (
                "web/0 runs on cell-1, for 3m: the auctioneer remembers no decision about it: it keeps the newest"
                " 20,000, since its own start"
            ),
        ),
        (
            known(a_row(state="CLAIMED"), decisions=[a_decision(considered=1, best=[])]),
            "web/0 starts on cell-1, for 3m: the only cell that may run it",
        ),
        (
            known(a_row(**WAITING, placement_error=LARGE), decisions=[a_decision(cell="", error=LARGE)]),
            f"web/0 has no cell, for 3m: {LARGE} on each of the 2 cells that may run it",
        ),
        (
            known(a_row(**WAITING, placement_error="no"), decisions=[a_decision(cell="", considered=0)]),
            "web/0 has no cell, for 3m: no",
        ),
        (
            known(a_row(**WAITING), decisions=[a_decision(at=NOW / SECOND - 2)]),
            "web/0 has no cell, for 3m: cell-1 was chosen 2s ago and has not claimed it yet",
        ),
        (known(a_row(**WAITING)), "web/0 has no cell, for 3m: it waits for its auction"),
        (
            known(
                a_row(
                    **{**WAITING, "state": "CRASHED"},
                    crash_count=4,
                    crash_reason="exit 1",
                    restart_at=NOW + 60 * SECOND,
                )
            ),
            "web/0 crashed 4 times, last 3m ago: exit 1; it starts again in 1m",
        ),
        (
            known(
                a_row(
                    **{**WAITING, "state": "CRASHED"}, crash_count=200, crash_reason="exit 1", restart_at=None
                )
            ),
            (
                "web/0 crashed 200 times, last 3m ago: exit 1; it crashed too often to be started again before somebody"
                " changes it"
            ),
        ),
        (known(), "web/0 is wanted, and has no record yet: the next convergence makes one"),
        (
            known(a_row(**WAITING), a_row(presence="EVACUATING", cell_id="cell-2")),
            (
                "web/0 has no cell, for 3m: it waits for its auction; meanwhile it runs on cell-2, leaving an evacuating"
                " cell"
            ),
        ),
        (
            known(a_row(presence="SUSPECT", cell_id="cell-2")),
            "web/0 runs on cell-2 as suspect, and nothing replaces it yet",
        ),
        (
            known(a_row(), wish=None),
            "web is not wanted any more: what is left of it (RUNNING on cell-1) is being stopped",
        ),
        (
            known(a_row(), wish=None, fresh=False),
            (
                "web is not wanted any more, but its domain apps is not fresh: what is left of it (RUNNING on cell-1)"
                " stays"
            ),
        ),
        (
            known(wish={**WISH, "instances": 0}),
            "0 instances of web wanted, and web/0 is beyond that",
        ),
    ],
)
def test_an_instance_is_explained_in_a_sentence(found: Known, answer: str) -> None:
    assert explain_instance(found, 0).answer == answer


@pytest.mark.parametrize(
    ("task", "answer"),
    [
        (a_task(), "task job waits for its auction, for 1m"),
        (
            a_task(rejection_count=2, rejection_reason="full"),
            "task job has no cell: it was refused 2 times, last: full",
        ),
        (
            a_task(state="Running", cell_id="cell-1"),
            (
                "task job runs on cell-1, for 30s: the best score (0.125) of 2 cells that may run it, before cell-2"
                " (0.250)"
            ),
        ),
        (
            a_task(
                state="Completed", cell_id="cell-1", failed=True, failure_reason="no", first_completed_at=NOW
            ),
            "task job failed on cell-1, 0s ago: no",
        ),
        (
            a_task(state="Completed", first_completed_at=NOW),
            "task job is completed, for 0s, and waits for its result to be taken",
        ),
    ],
)
def test_a_task_is_explained_in_a_sentence(task: dict[str, Any], answer: str) -> None:
    found = known(wish=None, task=task, decisions=[a_decision(index=None, zones={})])

    assert explain_task(found).answer == answer


def test_what_it_rests_on_is_told_below() -> None:
    looked = {"zone": "z1", "neighbours": 1, "memory_mb": 64, "disk_mb": 32, "containers": 3}
    decision = a_decision(
        zones={"z1": 1, "z2": 0},
        looked_at=[
            {**looked, "cell": "cell-1", "score": 0.125, "lacks": []},
            {**looked, "cell": "cell-2", "score": None, "lacks": ["disk", "memory"]},
        ],
        excluded=[{"reason": "rootfs", "count": 7, "cells": [f"cell-{n}" for n in range(3, 10)]}],
        left_out={"cell-0": "is being emptied"},
    )
    cells = {"cell-1": {"LRPs": [{"instance_guid": "i", "state": "RUNNING"}]}}

    grounds = explain_instance(known(a_row(), decisions=[decision], cells=cells), 0).grounds

    assert grounds[:2] == [
        "BBS: RUNNING for 3m, on cell-1 as i",
        "cell cell-1: its container is there, RUNNING",
    ]
    assert grounds[3:] == [
        "  instances per zone before: z1 1, z2 0",
        "  cell-1 (z1): score 0.125, 1 neighbour; 64 MB, 32 MB of disk, 3 containers free",
        "  cell-2 (z1): too little disk, memory: 64 MB, 32 MB of disk, 3 containers free",
        "  not for it, rootfs: 7 cells (cell-3, cell-4, cell-5, cell-6, cell-7, …)",
        "  left out: cell-0 is being emptied",
    ]


@pytest.mark.parametrize(
    ("state", "line"),
    [
        ({"LRPs": []}, "cell cell-1: no container of it is there"),
        (
            {"LRPs": None, "Evacuating": True},
            "cell cell-1: no container of it is there, and the cell is being emptied",
        ),
        ("it is not present", "cell cell-1: it is not present"),
    ],
)
def test_a_cell_that_does_not_have_the_container_is_told(state: Any, line: str) -> None:
    assert line in explain_instance(known(a_row(), cells={"cell-1": state}), 0).grounds


def test_every_index_that_is_wanted_or_there_is_explained() -> None:
    found = known(a_row(index=5))

    assert indices(found.bbs) == [0, 1, 5]
    explained = [explain_instance(found, index) for index in indices(found.bbs)]
    assert summary(found, explained) == "1 of 2 instances of web run (`diego explain web INDEX` tells more)"
