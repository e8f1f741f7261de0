"""What the instances of a cell that is being emptied wait for: the cell's word joined with the BBS's records.

The rules that the BBS follows are contract/lifecycle.md section 6, those of the cell contract/rep.md section 5.3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diego.cli.core.words import Row, age, natural
from diego.wire.actual_lrp_pb2 import ActualLRP

COLUMNS = ("KIND", "GUID", "INDEX", "STATE", "WAITS FOR")


@dataclass(frozen=True, slots=True)
class Left:
    """One container that is still there. `index` is None of a task."""

    guid: str
    name: str
    index: int | None
    state: str
    waits_for: str

    def row(self) -> Row:
        kind = "task" if self.index is None else "instance"
        return [kind, self.name, "" if self.index is None else str(self.index), self.state, self.waits_for]

    def document(self) -> dict[str, Any]:
        if self.index is None:
            return {"task_guid": self.guid, "state": self.state, "waits_for": self.waits_for}
        return {
            "process_guid": self.name,
            "index": self.index,
            "instance_guid": self.guid,
            "state": self.state,
            "waits_for": self.waits_for,
        }


def headline(progress: Mapping[str, Any]) -> str:
    """How the evacuation stands, in a sentence."""
    cell = progress["cell_id"]
    left = len(progress["lrps"]) + len(progress["tasks"])
    holds = "nothing" if left == 0 else "one container" if left == 1 else f"{left} containers"
    if not progress["evacuating"]:
        return f"{cell} is not being emptied. It holds {holds}."
    if progress["phase"] == "evacuating":
        return f"{cell} is being emptied, for {progress['seconds_left']:.0f} s more at most. Left: {holds}."
    return f"{cell} ends: what is left is deleted. Left: {holds}."


def left(progress: Mapping[str, Any], lrps: Sequence[ActualLRP], now: int) -> list[Left]:
    """What is left, and what it waits for. `now` is in nanoseconds since the epoch."""
    evacuating = bool(progress["evacuating"])
    found = []
    for one in sorted(progress["lrps"], key=lambda one: (natural(one["process_guid"]), one["index"])):
        rows = [lrp for lrp in lrps if _is_of(lrp, one)]
        waits_for = _instance_waits_for(one, rows, now) if evacuating else ""
        found.append(Left(one["instance_guid"], one["process_guid"], one["index"], one["state"], waits_for))
    for one in sorted(progress["tasks"], key=lambda one: natural(one["task_guid"])):
        done = one["state"] == "completed"
        waits_for = "the BBS to take its result" if done else "its own end"
        guid = one["task_guid"]
        found.append(Left(guid, guid, None, one["state"], waits_for if evacuating else ""))
    return found


def _is_of(lrp: ActualLRP, one: Mapping[str, Any]) -> bool:
    key = lrp.actual_lrp_key
    return (key.process_guid, key.index) == (one["process_guid"], one["index"])


def _instance_waits_for(one: Mapping[str, Any], rows: Sequence[ActualLRP], now: int) -> str:
    said = one.get("said") or ""
    if said:
        return f"an answer of the BBS: {said}"
    if one["state"] == "completed":
        return "the BBS to be told of its end"
    if one["state"] != "running":
        return "being given back: it did not run yet"
    mine = next(
        (row for row in rows if row.actual_lrp_instance_key.instance_guid == one["instance_guid"]), None
    )
    ordinary = next((row for row in rows if row.presence == ActualLRP.ORDINARY), None)
    if mine is None and (ordinary is None or ordinary.state != "RUNNING"):
        return "its end: the BBS has no record of it"
    if mine is not None and mine.presence == ActualLRP.ORDINARY:
        return "its turn: the BBS keeps it until the other instances of its LRP run"
    if ordinary is None:
        return "its end: nobody wants it any more"
    return _replacement(ordinary, now)


def _replacement(row: ActualLRP, now: int) -> str:
    """How far the replacement is."""
    cell, since = row.actual_lrp_instance_key.cell_id, age(row.since, now)
    match row.state:
        case "UNCLAIMED" if row.placement_error:
            return f"a place for its replacement, for {since}: {row.placement_error}"
        case "UNCLAIMED":
            return f"a place for its replacement, for {since}"
        case "CLAIMED":
            return f"its replacement to start on {cell}, for {since}"
        case "CRASHED":
            return f"its end: its replacement crashed {row.crash_count} times: {row.crash_reason}"
        case _:
            return f"its end: its replacement runs on {cell}"
