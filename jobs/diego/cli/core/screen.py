"""What `diego status` tells of the BBS's numbers: what is wanted and runs, and what is not as it should be."""

from collections.abc import Mapping, Sequence
from typing import Any

from diego.cli.core.rooms import READY, Room
from diego.cli.core.words import Row, age, counted, length, natural

Json = Mapping[str, Any]

EXPECTED_LOCKS = {
    "bbs": "no BBS is active",
    "auctioneer": "nothing new is placed",
}
"""Locks that somebody must hold, and what it means when nobody does."""

APP_COLUMNS = ("PROCESS", "DOMAIN", "RUNNING", "ON CELLS", "ROUTES")
TOLD = 5
"""Things of a kind that are told one by one."""


def locks(told: Json) -> str:
    """Who has which lock."""
    found = sorted(told["locks"], key=lambda lock: natural(lock["key"]))
    return ", ".join(f"{lock['key']}: {lock['owner']}" for lock in found) or "nobody has one"


def lrps(told: Json) -> str:
    """How many instances are wanted, and how they are."""
    numbers = told["lrps"]
    states = [
        f"{numbers[key]} {word}"
        for key, word in (
            ("running", "running"),
            ("claimed", "starting"),
            ("unclaimed", "without a place"),
            ("crashed", "crashed"),
            ("evacuating", "leaving"),
            ("suspect", "suspect"),
        )
        if numbers[key] or key == "running"
    ]
    wanted = counted(numbers["instances"], "instance")
    return f"{wanted} of {counted(numbers['processes'], 'process', 'processes')} wanted: {', '.join(states)}"


def tasks(told: Json) -> str:
    """How many tasks are in which state."""
    found = [f"{number} {state}" for state, number in told["tasks"].items() if number]
    return ", ".join(found) or "none"


def domains(told: Json) -> str:
    """Which domains are fresh."""
    found = [each["domain"] if each["fresh"] else f"{each['domain']} (not fresh)" for each in told["domains"]]
    return ", ".join(found) or "none"


def app_rows(told: Json) -> list[Row]:
    """What is wanted: first that of which not every instance runs."""
    return [
        [
            app["process_guid"],
            app["domain"],
            f"{app['running']}/{app['instances']}",
            " ".join(
                f"{cell}×{count}"
                for cell, count in sorted(app["cells"].items(), key=lambda one: natural(one[0]))
            ),
            " ".join(app["hostnames"]),
        ]
        for app in told["apps"]
    ]


def more_apps(told: Json) -> str:
    """What the table of apps leaves out."""
    numbers = told["lrps"]
    left = numbers["processes"] - len(told["apps"])
    if left <= 0:
        return ""
    lacking = numbers["lacking_processes"]
    running = (
        f"not every instance runs of {lacking} processes in all" if lacking else "all their instances run"
    )
    return f"and {left} more; {running}"


def unplaced(told: Json) -> list[str]:
    """Why instances have no cell, a line per reason."""
    lines = []
    for each in told["unplaced"]:
        examples = ", ".join(f"{one['process_guid']}/{one['index']}" for one in each["examples"])
        more = ", …" if each["instances"] > len(each["examples"]) else ""
        reason = each["placement_error"] or "not tried yet"
        since = age(each["since"], told["at"])
        lines.append(f"{each['instances']} without a place, for up to {since}: {reason} ({examples}{more})")
    return lines


def warnings(told: Json, rooms: Sequence[Room]) -> list[str]:
    """What is not as it should be, and what to look at."""
    return [*_locket(told), *_cells(told, rooms), *_lrps(told), *_tasks(told), *_domains(told)]


def _locket(told: Json) -> list[str]:
    if told.get("locket_error"):
        return [f"Locket does not answer the BBS: {told['locket_error']}"]
    held = {lock["key"] for lock in told["locks"]}
    return [
        f"nobody holds the lock {key}: {means} (is one up? `diego locks`)"
        for key, means in EXPECTED_LOCKS.items()
        if key not in held
    ]


def _cells(told: Json, rooms: Sequence[Room]) -> list[str]:
    lines = []
    for cell in told["missing_cells"][:TOLD]:
        had = " and ".join(
            counted(cell[key], word) for key, word in (("lrps", "instance"), ("tasks", "task")) if cell[key]
        )
        lines.append(f"cell {cell['cell_id']} is gone, and had {had}")
    for room in [room for room in rooms if room.state != READY][:TOLD]:
        if room.state == "evacuating":
            lines.append(f"cell {room.cell_id} is being emptied (`diego evacuation {room.cell_id}`)")
        else:
            lines.append(f"cell {room.cell_id} is {room.state}")
    if not told["cells"] and not told.get("locket_error"):
        lines.append("no cell is present: nothing can run")
    return lines


def _lrps(told: Json) -> list[str]:
    lines = []
    for row in told["crashed"][:TOLD]:
        name = f"{row['process_guid']}/{row['index']}"
        again = restart(row, told["at"])
        lines.append(f"{name} crashed {counted(row['crash_count'], 'time')}: {row['crash_reason']}; {again}")
    more = told["lrps"]["crashed"] - TOLD
    if more > 0:
        lines.append(f"{counted(more, 'more instance')} crashed (`diego actual-lrps`)")
    for row in told["suspects"][:TOLD]:
        name = f"{row['process_guid']}/{row['index']}"
        lines.append(
            f"{name} is suspect: its cell {row['cell_id']} went, and its replacement does not run yet"
        )
    return lines


def _tasks(told: Json) -> list[str]:
    return [
        f"task {task['task_guid']} was refused {counted(task['rejection_count'], 'time')}: {task['rejection_reason']}"
        for task in told["pending_tasks"]
        if task["rejection_count"]
    ][:TOLD]


def _domains(told: Json) -> list[str]:
    return [
        f"domain {each['domain']} is not fresh: what is no longer wanted in it goes on running"
        for each in told["domains"]
        if each["desired_lrps"] and not each["fresh"]
    ][:TOLD]


def restart(row: Json, now: int) -> str:
    """When an instance that crashed starts again."""
    at = row.get("restart_at")
    if at is None:
        return "it crashed too often to be started again before somebody changes it"
    if at <= now:
        return "it starts again with the next convergence"
    return f"it starts again in {length(at - now)}"
