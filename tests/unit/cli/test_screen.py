"""The screen of `diego status`: its lines, its tables, and what it warns of."""

from typing import Any

from diego.cli.core import rooms, screen

SECOND = 10**9
NOW = 1_700_000_000 * SECOND
CELL = {
    "cell_id": "cell-1",
    "zone": "z1",
    "rep_url": "https://cell-1:1801",
    "capacity": {"memory_mb": 4096, "disk_mb": 8192, "containers": 250},
    "lrps": 3,
    "tasks": 1,
}
STATE = {
    "AvailableResources": {"MemoryMB": 1024, "DiskMB": 2048, "Containers": 100},
    "TotalResources": {"MemoryMB": 4096, "DiskMB": 8192, "Containers": 250},
    "LRPs": [{}, {}],
    "Tasks": [],
}
LRPS = {
    "processes": 3,
    "lacking_processes": 1,
    "instances": 7,
    "running": 5,
    "claimed": 1,
    "unclaimed": 1,
    "crashed": 0,
    "evacuating": 2,
    "suspect": 0,
}


def told(**changes: Any) -> dict[str, Any]:
    return {
        "at": NOW,
        "locks": [{"key": "bbs", "owner": "diego-api-0"}, {"key": "auctioneer", "owner": "scheduler-0"}],
        "cells": [CELL],
        "missing_cells": [],
        "lrps": LRPS,
        "apps": [],
        "unplaced": [],
        "crashed": [],
        "suspects": [],
        "tasks": {"Pending": 2, "Running": 0, "Completed": 1, "Resolving": 0},
        "pending_tasks": [],
        "domains": [{"domain": "apps", "fresh": True, "desired_lrps": 3}],
        **changes,
    }


def test_the_numbers_are_told_in_words() -> None:
    assert screen.locks(told()) == "auctioneer: scheduler-0, bbs: diego-api-0"
    assert screen.lrps(told()) == (
        "7 instances of 3 processes wanted: 5 running, 1 starting, 1 without a place, 2 leaving"
    )
    assert screen.tasks(told()) == "2 Pending, 1 Completed"
    assert screen.tasks(told(tasks={"Pending": 0})) == "none"
    assert screen.domains(told(domains=[{"domain": "a", "fresh": False}])) == "a (not fresh)"


def test_what_has_no_place_is_told_by_the_reason() -> None:
    waiting = {
        "placement_error": "full",
        "instances": 4,
        "since": NOW - 120 * SECOND,
        "examples": [{"process_guid": "web", "index": 0}, {"process_guid": "web", "index": 1}],
    }

    assert screen.unplaced(told(unplaced=[waiting])) == [
        "4 without a place, for up to 2m: full (web/0, web/1, …)"
    ]


def test_apps_that_are_left_out_are_counted() -> None:
    app = {
        "process_guid": "web",
        "domain": "d",
        "instances": 3,
        "running": 2,
        "cells": {"cell-10": 1, "cell-2": 1},
        "hostnames": ["web.example"],
    }

    found = told(apps=[app])

    assert screen.app_rows(found) == [["web", "d", "2/3", "cell-2×1 cell-10×1", "web.example"]]
    assert screen.more_apps(found) == "and 2 more; not every instance runs of 1 processes in all"
    assert screen.more_apps(told(apps=[app] * 3)) == ""


def test_nothing_is_warned_of_when_all_is_well() -> None:
    assert screen.warnings(told(), [rooms.by_its_word(CELL, STATE)]) == []


def test_a_lock_that_nobody_holds_is_warned_of() -> None:
    assert screen.warnings(told(locks=[{"key": "bbs", "owner": "x"}]), []) == [
        "nobody holds the lock auctioneer: nothing new is placed (is one up? `diego locks`)"
    ]
    assert screen.warnings(told(locks=[], locket_error="gone"), []) == [
        "Locket does not answer the BBS: gone"
    ]


def test_cells_that_are_gone_silent_or_being_emptied_are_warned_of() -> None:
    found = [
        rooms.by_its_word(CELL, {**STATE, "Evacuating": True}),
        rooms.by_its_word({**CELL, "cell_id": "cell-2"}, ValueError("refused")),
    ]

    warnings = screen.warnings(told(missing_cells=[{"cell_id": "cell-3", "lrps": 2, "tasks": 1}]), found)

    assert warnings == [
        "cell cell-3 is gone, and had 2 instances and 1 task",
        "cell cell-1 is being emptied (`diego evacuation cell-1`)",
        "cell cell-2 is silent: refused",
    ]
    assert screen.warnings(told(cells=[]), []) == ["no cell is present: nothing can run"]


def test_instances_that_crash_or_are_suspect_are_warned_of() -> None:
    row = {"process_guid": "web", "index": 0, "cell_id": "cell-9", "crash_count": 3, "crash_reason": "exit 1"}
    crashed = [
        {**row, "restart_at": NOW + 90 * SECOND},
        {**row, "restart_at": NOW},
        {**row, "restart_at": None},
    ]

    assert screen.warnings(told(crashed=crashed, lrps={**LRPS, "crashed": 7}, suspects=[row]), []) == [
        "web/0 crashed 3 times: exit 1; it starts again in 1m",
        "web/0 crashed 3 times: exit 1; it starts again with the next convergence",
        "web/0 crashed 3 times: exit 1; it crashed too often to be started again before somebody changes it",
        "2 more instances crashed (`diego actual-lrps`)",
        "web/0 is suspect: its cell cell-9 went, and its replacement does not run yet",
    ]


def test_refused_tasks_and_domains_that_are_not_fresh_are_warned_of() -> None:
    tasks = [
        {"task_guid": "job", "rejection_count": 1, "rejection_reason": "full"},
        {"task_guid": "new", "rejection_count": 0, "rejection_reason": ""},
    ]
    domains = [
        {"domain": "apps", "fresh": False, "desired_lrps": 1},
        {"domain": "empty", "fresh": False, "desired_lrps": 0},
    ]

    assert screen.warnings(told(pending_tasks=tasks, domains=domains), []) == [
        "task job was refused 1 time: full",
        "domain apps is not fresh: what is no longer wanted in it goes on running",
    ]


def test_a_cells_room_is_what_it_says_and_unknown_where_it_is_silent() -> None:
    speaks, silent = rooms.by_its_word(CELL, STATE), rooms.by_its_word({**CELL, "cell_id": "cell-2"}, None)

    assert speaks.row() == ["cell-1", "z1", "1024/4096", "2048/8192", "100/250", "2", "0", "ready"]
    assert silent.row() == ["cell-2", "z1", "-/4096", "-/8192", "-/250", "3", "1", "silent"]
    assert rooms.zone_rows([speaks, silent]) == [["z1", "2", "1024/8192", "2048/16384", "100/500", "5", "1"]]
    assert rooms.zone_rows([silent]) == [["z1", "1", "-/4096", "-/8192", "-/250", "3", "1"]]
    assert silent.document()["available"] is None


def test_with_many_cells_the_auctioneer_tells_what_it_saw() -> None:
    cells = [CELL, {**CELL, "cell_id": "cell-2"}, {**CELL, "cell_id": "cell-3"}]
    seen = {
        "cells": [{"cell_id": "cell-1", "available": {"memory_mb": 1, "disk_mb": 2, "containers": 3}}],
        "left_out": {"cell-2": "is being emptied", "cell-3": "did not tell its state within 10 s"},
    }

    found = rooms.by_the_auctioneer(cells, seen)

    assert [(room.free, room.state) for room in found] == [
        ((1, 2, 3), "ready"),
        (None, "evacuating"),
        (None, "silent: did not tell its state within 10 s"),
    ]
