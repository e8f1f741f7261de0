"""What happened to something, as a person would tell it. Works on the BBS's JSON, so that nothing need be loaded."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from diego.cli.core.times import clock, lasted
from diego.cli.core.words import Row, age, counted

Json = Mapping[str, Any]

COLUMNS = ("TIME", "AFTER", "INDEX", "WHAT HAPPENED", "CELL", "WHY")
PAST_COLUMNS = ("PROCESS", "INDEX", "STATE", "FOR", "CELL", "INSTANCE", "NOTE")

_CHANGES = {
    ("UNCLAIMED", "CLAIMED"): "claimed by a cell",
    ("UNCLAIMED", "RUNNING"): "runs",
    ("CLAIMED", "RUNNING"): "runs",
    ("CLAIMED", "UNCLAIMED"): "given back, waits for a cell",
    ("RUNNING", "UNCLAIMED"): "given back, waits for a cell",
    ("RUNNING", "CLAIMED"): "claimed anew by its cell",
    ("CRASHED", "UNCLAIMED"): "has waited after its crash, waits for a cell",
}
_MOVES = {
    ("ORDINARY", "SUSPECT"): "in doubt: its cell is not heard of",
    ("SUSPECT", "ORDINARY"): "out of doubt: its cell is back",
    ("ORDINARY", "EVACUATING"): "runs on while its cell is emptied",
    ("EVACUATING", "ORDINARY"): "counts again, its cell is no longer emptied",
    ("SUSPECT", "EVACUATING"): "runs on while its cell is emptied",
}
_COMES = {
    "UNCLAIMED": "waits for a cell",
    "CLAIMED": "claimed by a cell",
    "RUNNING": "runs",
    "CRASHED": "has crashed",
}
_GOES = {
    "ORDINARY": "gone",
    "EVACUATING": "gone from the cell that is emptied",
    "SUSPECT": "gone from the cell that was not heard of",
}
_TASKS = {"Running": "runs", "Resolving": "its result is fetched", "Pending": "waits for a cell"}


class Told(NamedTuple):
    """One thing that happened: what, on which cell, and why."""

    what: str
    cell: str = ""
    why: str = ""


def rows(entries: Iterable[Json], now: int) -> list[Row]:
    """A line for each entry; `AFTER` is counted from what happened to the same instance before."""
    last: dict[object, int] = {}
    lines = []
    for entry in entries:
        at, index = entry["at"], entry.get("index")
        what, cell, why = told(entry)
        before, last[index] = last.get(index), at
        after = "" if before is None else lasted(at - before)
        lines.append([clock(at, now), after, "" if index is None else str(index), what, cell, why])
    return lines


def from_its_beginning(entries: Sequence[Json]) -> bool:
    """Whether the first entry is how it began to be wanted."""
    return bool(entries) and entries[0]["event"] in {"desired_lrp_created", "task_created"}


def told(entry: Json) -> Told:
    """An entry in words."""
    kind = str(entry.get("event", ""))
    if kind.startswith("actual_lrp_"):
        return _actual(entry)
    if kind.startswith("desired_lrp_"):
        return _desired(entry)
    if kind.startswith("task_"):
        return _task(entry)
    if kind == "bbs_took_over":
        return Told("a BBS took over", why=f"epoch {entry.get('epoch')}")
    return Told(kind)


def _actual(entry: Json) -> Told:
    before, after = entry.get("before"), entry.get("after")
    asked = _asked(entry)
    if "crash" in entry:
        crash = entry["crash"]
        again = after is not None and after["state"] == "UNCLAIMED"
        then = (
            ", starts again at once"
            if again
            else ", waits before it starts again"
            if after
            else ", and is gone"
        )
        what = f"crashed, {counted(crash['crash_count'], 'time', 'times')} now{then}"
        return Told(what, crash["cell_id"], crash["crash_reason"])
    if before is None and after is not None:
        return Told(_come(after), after["cell_id"], after.get("placement_error") or asked)
    if after is None and before is not None:
        return Told(_GOES.get(before["presence"], "gone"), before["cell_id"], asked)
    if before is None or after is None:
        return Told("")
    if before["presence"] != after["presence"]:
        move = (before["presence"], after["presence"])
        what = _MOVES.get(move, f"{move[0].lower()}, now {move[1].lower()}")
        return Told(what, after["cell_id"] or before["cell_id"], asked)
    states = (before["state"], after["state"])
    cell = after["cell_id"] or before["cell_id"]
    if states in _CHANGES:
        return Told(_CHANGES[states], cell, after.get("placement_error") or asked)
    if states == ("UNCLAIMED", "UNCLAIMED"):
        return Told("no cell took it", "", after.get("placement_error") or asked)
    if states == ("RUNNING", "RUNNING"):
        return Told(_still(before, after), cell, asked)
    return Told(f"{states[0]}, now {states[1]}", cell, asked)


def _come(after: Json) -> str:
    if after["presence"] == "EVACUATING":
        return "runs on while its cell is emptied"
    return _COMES.get(after["state"], str(after["state"]))


def _still(before: Json, after: Json) -> str:
    was, is_now = before["OptionalRoutable"]["routable"], after["OptionalRoutable"]["routable"]
    if was != is_now:
        return "is ready for requests" if is_now else "is not ready for requests"
    return "runs with other addresses, routes or tags"


def _desired(entry: Json) -> Told:
    before, after = entry.get("before"), entry.get("after")
    asked = _asked(entry)
    if after is None:
        return Told("no longer wanted", why=asked)
    wanted = counted(after["instances"], "instance")
    if before is None:
        return Told(f"{wanted} wanted", why=asked)
    if before["instances"] != after["instances"]:
        return Told(f"{wanted} wanted instead of {before['instances']}", why=asked)
    return Told("wanted with other routes, tags or annotation", why=asked)


def _task(entry: Json) -> Told:
    before, after = entry.get("before"), entry.get("after")
    if after is None:
        return Told("forgotten", (before or {}).get("cell_id", ""))
    if before is None:
        return Told("wanted, waits for a cell")
    if after["state"] == "Completed" and before["state"] != "Completed":
        if after["failed"]:
            return Told("failed", after["cell_id"], after["failure_reason"])
        return Told("completed", after["cell_id"])
    if after["rejection_count"] != before["rejection_count"]:
        times = counted(after["rejection_count"], "time")
        return Told(f"refused, {times} now", "", after["rejection_reason"])
    return Told(_TASKS.get(after["state"], str(after["state"])), after["cell_id"])


def _asked(entry: Json) -> str:
    return f"request {entry['trace_id']}" if entry.get("trace_id") else ""


def past_rows(lrps: Iterable[Json], at: int) -> list[Row]:
    """The instances of an earlier moment; their ages are those of then."""
    return [
        [
            lrp["process_guid"],
            str(lrp["index"]),
            lrp["state"] + ("" if lrp["presence"] == "ORDINARY" else f" {lrp['presence'].lower()}"),
            age(lrp["since"], at),
            lrp["cell_id"],
            lrp["instance_guid"],
            _note(lrp),
        ]
        for lrp in lrps
    ]


def _note(lrp: Json) -> str:
    if lrp["state"] != "RUNNING" and lrp.get("placement_error"):
        return str(lrp["placement_error"])
    if lrp["crash_count"]:
        return f"crashed {counted(lrp['crash_count'], 'time')}: {lrp.get('crash_reason', '')}"
    if lrp["state"] == "RUNNING" and not lrp["OptionalRoutable"]["routable"]:
        return "not ready"
    return ""
