"""Why something is where it is, or nowhere: the BBS's record, the auctioneer's decisions and the cells' answers joined.

The first line of an explanation is the answer in a sentence; the lines below are what it rests on.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from diego.cli.core.screen import restart
from diego.cli.core.words import age, counted

Json = Mapping[str, Any]

BEST_TOLD = 4
DECISIONS_TOLD = 2
NAMES_TOLD = 5
FORGETFUL = "the auctioneer remembers no decision about it: it keeps the newest 20,000, since its own start"
RANKS = ("ORDINARY", "SUSPECT", "EVACUATING")


@dataclass(frozen=True)
class Known:
    """What was found out.

    Attributes:
        bbs: the BBS's answer to `/v1/status/<guid>`.
        decisions: the auctioneer's, oldest first; a text where it did not answer.
        cells: by cell id the cell's state, or a text where it did not give one.
    """

    bbs: Json
    decisions: Sequence[Json] | str
    cells: Mapping[str, Json | str]

    @property
    def now(self) -> int:
        return int(self.bbs["at"])

    def decided(self, index: int | None) -> Sequence[Json]:
        """The decisions about an index, or about a task, newest first."""
        return self._decided.get(index, ())

    def rows(self, index: int) -> Sequence[Json]:
        """The BBS's records of an index."""
        return self._rows.get(index, ())

    def row(self, index: int, presence: str = "ORDINARY") -> Json | None:
        """The BBS's record of an index with this presence."""
        return next((row for row in self.rows(index) if row["presence"] == presence), None)

    @cached_property
    def _rows(self) -> dict[int, list[Json]]:
        return _grouped(self.bbs["actual_lrps"])

    @cached_property
    def _decided(self) -> dict[int | None, list[Json]]:
        return _grouped([] if isinstance(self.decisions, str) else list(reversed(self.decisions)))


def _grouped(entries: Sequence[Json]) -> dict[Any, list[Json]]:
    found: dict[Any, list[Json]] = {}
    for entry in entries:
        found.setdefault(entry["index"], []).append(entry)
    return found


@dataclass(frozen=True, slots=True)
class Explained:
    """The answer for one index, or for a task (`index` is None). `runs`: it is as it should be."""

    guid: str
    index: int | None
    answer: str
    runs: bool
    grounds: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        return {"guid": self.guid, "index": self.index, "answer": self.answer, "grounds": self.grounds}


def indices(bbs: Json) -> list[int]:
    """The indices of a process that are wanted or have a record."""
    wanted = bbs["desired_lrp"]["instances"] if bbs["desired_lrp"] else 0
    return sorted({*range(wanted), *(row["index"] for row in bbs["actual_lrps"])})


def explain_instance(known: Known, index: int) -> Explained:
    """Why an instance is there, or not."""
    guid = known.bbs["guid"]
    grounds = [
        *(_record(row, known.now) for row in known.rows(index)),
        *_containers(known, index),
        *_auctions(known, index),
    ]
    row = known.row(index)
    runs = row is not None and row["state"] == "RUNNING" and row["routable"]
    return Explained(guid, index, _sentence(known, index), runs, grounds)


def explain_task(known: Known) -> Explained:
    """Why a task runs where it runs, or does not."""
    task = known.bbs["task"]
    grounds = [*_task_containers(known, task), *_auctions(known, None)]
    runs = task["state"] == "Running"
    return Explained(known.bbs["guid"], None, _task_sentence(known, task), runs, grounds)


def summary(known: Known, found: Sequence[Explained]) -> str:
    """The answer when several are explained together."""
    wish = known.bbs["desired_lrp"]
    guid, running = known.bbs["guid"], sum(one.runs for one in found)
    if wish is None:
        return f"{guid} is not wanted any more; {counted(len(found), 'instance')} left"
    return f"{running} of {counted(wish['instances'], 'instance')} of {guid} run (`diego explain {guid} INDEX` tells more)"


def _sentence(known: Known, index: int) -> str:
    bbs, now = known.bbs, known.now
    name = f"{bbs['guid']}/{index}"
    wish = bbs["desired_lrp"]
    row = known.row(index)
    others = [other for presence in RANKS[1:] if (other := known.row(index, presence))]
    if wish is None or index >= wish["instances"]:
        return _unwanted(known, name, row, others)
    if row is None and not others:
        return f"{name} is wanted, and has no record yet: the next convergence makes one"
    if row is None:
        return f"{name} runs on {others[0]['cell_id']} as {others[0]['presence'].lower()}, and nothing replaces it yet"
    return _of_record(known, name, index, row, others, now)


def _of_record(known: Known, name: str, index: int, row: Json, others: Sequence[Json], now: int) -> str:
    since = age(row["since"], now)
    meanwhile = "".join(f"; meanwhile it runs on {other['cell_id']}, {_word(other)}" for other in others)
    match row["state"]:
        case "RUNNING":
            ready = "" if row["routable"] else ", but is not ready and gets no requests"
            return f"{name} runs on {row['cell_id']}, for {since}{ready}: {_why_there(known, index, row)}"
        case "CLAIMED":
            why = _why_there(known, index, row)
            return f"{name} starts on {row['cell_id']}, for {since}: {why}{meanwhile}"
        case "CRASHED":
            times = counted(row["crash_count"], "time")
            return f"{name} crashed {times}, last {since} ago: {row['crash_reason']}; {restart(row, now)}{meanwhile}"
        case _:
            return f"{name} has no cell, for {since}: {_why_nowhere(known, index, row)}{meanwhile}"


def _unwanted(known: Known, name: str, row: Json | None, others: Sequence[Json]) -> str:
    bbs = known.bbs
    wish = bbs["desired_lrp"]
    said = (
        f"{bbs['guid']} is not wanted any more"
        if wish is None
        else f"{counted(wish['instances'], 'instance')} of {bbs['guid']} wanted, and {name} is beyond that"
    )
    left = row or (others[0] if others else None)
    if left is None:
        return said
    where = f" on {left['cell_id']}" if left["cell_id"] else ""
    if bbs["domain_fresh"]:
        return f"{said}: what is left of it ({left['state']}{where}) is being stopped"
    return f"{said}, but its domain {left['domain']} is not fresh: what is left of it ({left['state']}{where}) stays"


def _why_there(known: Known, index: int | None, row: Json) -> str:
    """Why this cell: the auctioneer's decision that led there."""
    if isinstance(known.decisions, str):
        return f"why there is not known: {known.decisions}"
    for decision in known.decided(index):
        if decision["cell"] == row["cell_id"]:
            return _reason_for(decision)
    return FORGETFUL


def _reason_for(decision: Json) -> str:
    best, considered = decision["best"], decision["considered"]
    if considered == 1:
        return "the only cell that may run it"
    zones = decision["zones"]
    fewest = min(zones.values()) if zones else 0
    score = f"the best score ({decision['score']:.3f})"
    among = f"of {counted(considered, 'cell')} that may run it"
    if len(zones) > 1 and any(count > fewest for count in zones.values()):
        lowest = [zone for zone, count in sorted(zones.items()) if count == fewest]
        return f"{score} in {_zones(lowest)}, where fewest of its instances were, {among}"
    second = f", before {best[1]['cell']} ({best[1]['score']:.3f})" if len(best) > 1 else ""
    return f"{score} {among}{second}"


def _zones(names: Sequence[str]) -> str:
    return f"zone {names[0]}" if len(names) == 1 else f"zones {', '.join(names)}"


def _why_nowhere(known: Known, index: int, row: Json) -> str:
    decided = known.decided(index)
    if row["placement_error"]:
        last = decided[0] if decided else None
        tried = "" if last is None or not last["considered"] else f" on {_lacking(last)}"
        return f"{row['placement_error']}{tried}"
    if isinstance(known.decisions, str):
        return f"it waits for an auction, and {known.decisions}"
    if decided and decided[0]["at"] * 1e9 >= row["since"]:
        last = decided[0]
        if last["cell"]:
            return f"{last['cell']} was chosen {_ago(last, known.now)} ago and has not claimed it yet"
        return str(last["error"])
    return "it waits for its auction"


def _lacking(decision: Json) -> str:
    number = decision["considered"]
    return "the only cell that may run it" if number == 1 else f"each of the {number} cells that may run it"


def _task_sentence(known: Known, task: Json) -> str:
    name, now = f"task {task['task_guid']}", known.now
    match task["state"]:
        case "Pending":
            if task["rejection_reason"]:
                times = counted(task["rejection_count"], "time")
                return f"{name} has no cell: it was refused {times}, last: {task['rejection_reason']}"
            return f"{name} waits for its auction, for {age(task['created_at'], now)}"
        case "Running":
            why = _why_there(known, None, task)
            return f"{name} runs on {task['cell_id']}, for {age(task['updated_at'], now)}: {why}"
        case _ if task["failed"]:
            where = f" on {task['cell_id']}" if task["cell_id"] else ""
            ago = age(task["first_completed_at"], now)
            return f"{name} failed{where}, {ago} ago: {task['failure_reason']}"
        case _:
            ago = age(task["first_completed_at"], now)
            return f"{name} is completed, for {ago}, and waits for its result to be taken"


# ---- what it rests on


def _record(row: Json, now: int) -> str:
    parts = [f"{row['state']} for {age(row['since'], now)}"]
    if row["presence"] != "ORDINARY":
        parts.append(_word(row))
    if row["cell_id"]:
        parts.append(f"on {row['cell_id']} as {row['instance_guid']}")
    if row["crash_count"] and row["state"] != "CRASHED":
        parts.append(f"crashed {counted(row['crash_count'], 'time')}: {row['crash_reason']}")
    if row["placement_error"]:
        parts.append(f"placement error: {row['placement_error']}")
    return f"BBS: {', '.join(parts)}"


def _word(row: Json) -> str:
    return "leaving an evacuating cell" if row["presence"] == "EVACUATING" else "suspect, as its cell went"


def _containers(known: Known, index: int) -> list[str]:
    lines = []
    for row in known.rows(index):
        if row["cell_id"]:
            found = _on_cell(known, row["cell_id"], "LRPs", "instance_guid", row["instance_guid"])
            lines.append(f"cell {row['cell_id']}: {found}")
    return lines


def _task_containers(known: Known, task: Json) -> list[str]:
    if not task["cell_id"] or task["state"] != "Running":
        return []
    found = _on_cell(known, task["cell_id"], "Tasks", "TaskGuid", task["task_guid"])
    return [f"cell {task['cell_id']}: {found}"]


def _on_cell(known: Known, cell_id: str, kind: str, key: str, guid: str) -> str:
    state = known.cells.get(cell_id, "it was not asked")
    if isinstance(state, str):
        return state
    for container in state.get(kind) or ():
        if container.get(key) == guid:
            said = container.get("state") or "being made"
            return f"its container is there, {said}"
    leaving = ", and the cell is being emptied" if state.get("Evacuating") else ""
    return f"no container of it is there{leaving}"


def _auctions(known: Known, index: int | None) -> list[str]:
    if isinstance(known.decisions, str):
        return [f"auctioneer: {known.decisions}"]
    decided = known.decided(index)[:DECISIONS_TOLD]
    if not decided:
        return [f"auctioneer: {FORGETFUL.removeprefix('the auctioneer ')}"]
    return [line for decision in decided for line in _auction(decision, known.now)]


def _auction(decision: Json, now: int) -> list[str]:
    when = f"auction {_time(decision['at'])}, {_ago(decision, now)} ago"
    if decision["cell"]:
        lines = [f"{when}: {decision['cell']} of {counted(decision['considered'], 'cell')} that may run it"]
    else:
        lines = [f"{when}: {decision['error']}"]
    if len(decision["zones"]) > 1:
        counts = ", ".join(f"{zone} {count}" for zone, count in sorted(decision["zones"].items()))
        lines.append(f"  instances per zone before: {counts}")
    for looked in decision["looked_at"][:BEST_TOLD]:
        lines.append(f"  {_looked(looked)}")
    if not decision["looked_at"] and len(decision["best"]) > 1:
        best = ", ".join(f"{one['cell']} {one['score']:.3f}" for one in decision["best"][:BEST_TOLD])
        lines.append(f"  best of each zone: {best}")
    for excluded in decision["excluded"]:
        cells = counted(excluded["count"], "cell")
        lines.append(
            f"  not for it, {excluded['reason']}: {cells} ({_some(excluded['cells'], excluded['count'])})"
        )
    left_out = decision["left_out"]
    for cell, reason in list(left_out.items())[:NAMES_TOLD]:
        lines.append(f"  left out: {cell} {reason}")
    if len(left_out) > NAMES_TOLD:
        lines.append(f"  left out: {len(left_out) - NAMES_TOLD} more cells")
    return lines


def _looked(looked: Json) -> str:
    free = f"{looked['memory_mb']} MB, {looked['disk_mb']} MB of disk, {looked['containers']} containers free"
    neighbours = f", {counted(looked['neighbours'], 'neighbour')}" if looked["neighbours"] else ""
    if looked["score"] is None:
        return f"{looked['cell']} ({looked['zone']}): too little {', '.join(looked['lacks'])}: {free}"
    return f"{looked['cell']} ({looked['zone']}): score {looked['score']:.3f}{neighbours}; {free}"


def _some(names: Sequence[str], count: int) -> str:
    more = ", …" if count > NAMES_TOLD else ""
    return ", ".join(names[:NAMES_TOLD]) + more


def _time(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


def _ago(decision: Json, now: int) -> str:
    return age(int(decision["at"] * 1e9), max(now, int(decision["at"] * 1e9)))
