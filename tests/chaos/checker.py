"""What is wrong with a history. `python -m chaos.checker FILE` asks it of a recorded one.

The kinds of records, and their fields besides `at` and `kind`:

    container   what (began, ended), guid, index, instance, cell: the cells' own truth
    rows        rows: what a BBS told of all instances, each [guid, index, presence, state, instance, cell]
    answers     bbs: who answered as the active one
    task        what (desired, began, callback), guid: desired means acknowledged
    poll        app, ok: a request to a running app
    bound       what, seen, limit, unit: a number, most often seconds, that had to stay within its limit
    wrong       what: seen to be wrong at once, by an experiment itself
    log         job, message, data: an error line of a job's log
    end         wanted {guid: instances}, rows, stored (the database's rows), tasks [[guid, state, failed, reason]]
"""

import itertools
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos.history import Record, read

TOGETHER_SECONDS = 1.0
"""How long two instances of one index may run side by side with nothing to excuse it."""

SEEN_EVERY = 0.5
"""Seconds between two looks, by which what was seen may be late."""

ORDINARY = "ORDINARY"


@dataclass(frozen=True)
class Allowed:
    """What an experiment may cost."""

    failed_polls: int = 0


def check(history: Sequence[Record], allowed: Allowed = Allowed()) -> list[str]:
    """Everything that is wrong, each in a sentence that begins with the letter of its rule."""
    by_kind: dict[str, list[Record]] = defaultdict(list)
    for record in history:
        by_kind[record["kind"]].append(record)
    ends = by_kind["end"]
    if not ends:
        return ["(a) the history has no end"]
    end_at = ends[-1]["at"]
    containers = _intervals(
        [record for record in by_kind["container"] if record["at"] <= end_at], until=end_at
    )
    return [
        *_each_index_runs_once(ends[-1], containers),
        *_never_two(containers, by_kind["rows"]),
        *_tasks(by_kind["task"], ends[-1]),
        *_database(ends[-1], by_kind["answers"]),
        *_logs(by_kind["log"]),
        *_polls(by_kind["poll"], allowed),
        *_bounds(by_kind["bound"]),
        *(record["what"] for record in by_kind["wrong"]),
    ]


@dataclass(frozen=True)
class Interval:
    """When a container ran; `end` is None when it still did at the end."""

    guid: str
    index: int
    instance: str
    cell: str
    began: float
    end: float | None
    last: float


def _intervals(records: Sequence[Record], until: float) -> list[Interval]:
    open_: dict[str, Record] = {}
    found = []

    def close(began: Record, end: float | None) -> None:
        found.append(
            Interval(
                began["guid"],
                began["index"],
                began["instance"],
                began["cell"],
                began["at"],
                end,
                until if end is None else end,
            )
        )

    for record in records:
        if record["what"] == "began":
            open_[record["instance"]] = record
        elif record["instance"] in open_:
            close(open_.pop(record["instance"]), record["at"])
    for record in open_.values():
        close(record, None)
    return found


def _each_index_runs_once(end: Record, containers: Sequence[Interval]) -> list[str]:
    wanted = {(guid, index) for guid, count in end["wanted"].items() for index in range(count)}
    running = Counter((row[0], row[1]) for row in end["rows"] if row[2] == ORDINARY and row[3] == "RUNNING")
    wrong = [
        f"(a) {guid}/{index} is wanted and does not run" for guid, index in sorted(wanted - set(running))
    ]
    wrong += [f"(a) {guid}/{index} runs and is not wanted" for guid, index in sorted(set(running) - wanted)]
    others = [row for row in end["rows"] if row[2] != ORDINARY or row[3] != "RUNNING"]
    wrong += [f"(a) {row[0]}/{row[1]} is {row[2]} {row[3]} at the end" for row in others]
    if containers:
        alive = {interval.instance for interval in containers if interval.end is None}
        told = {row[4] for row in end["rows"] if row[4]}
        wrong += [
            f"(a) instance {instance} runs and no record tells of it" for instance in sorted(alive - told)
        ]
        wrong += [
            f"(a) instance {instance} is recorded and runs nowhere" for instance in sorted(told - alive)
        ]
    return wrong


def _never_two(containers: Sequence[Interval], looks: Sequence[Record]) -> list[str]:
    """No two of one index side by side, unless one of them was suspect or evacuating, or its record was gone."""
    by_index: dict[tuple[str, int], list[Interval]] = defaultdict(list)
    for interval in containers:
        by_index[interval.guid, interval.index].append(interval)
    wrong = []
    for (guid, index), intervals in by_index.items():
        intervals.sort(key=lambda one: one.began)
        for position, first in enumerate(intervals):
            for second in intervals[position + 1 :]:
                begin, end = second.began, min(first.last, second.last)
                if end - begin > TOGETHER_SECONDS + SEEN_EVERY and _both_ordinary(
                    first, second, looks, begin, end
                ):
                    wrong.append(
                        f"(b) {guid}/{index} ran twice for {end - begin:.1f} s: {first.cell}, {second.cell}"
                    )
    return wrong


def _both_ordinary(
    first: Interval, second: Interval, looks: Sequence[Record], begin: float, end: float
) -> bool:
    """Whether the records said so of both at once: a key has one ordinary record, so of each at its time."""
    ordinary = set()
    for look in looks:
        if begin <= look["at"] <= end:
            for row in look["rows"]:
                if row[4] in (first.instance, second.instance) and row[2] == ORDINARY:
                    ordinary.add(row[4])
    return len(ordinary) == 2


def _tasks(records: Sequence[Record], end: Record) -> list[str]:
    runs = Counter(record["guid"] for record in records if record["what"] == "began")
    calls = Counter(record["guid"] for record in records if record["what"] == "callback")
    states = {guid: (state, failed, reason) for guid, state, failed, reason in end["tasks"]}
    wrong = [f"(c) task {guid} ran {count} times" for guid, count in sorted(runs.items()) if count > 1]
    for guid in dict.fromkeys(record["guid"] for record in records if record["what"] == "desired"):
        state, failed, reason = states.get(guid, ("", False, ""))
        if not state and not calls[guid]:
            wrong.append(f"(c) task {guid} vanished without a callback")
        elif state and state not in ("Completed", "Resolving"):
            wrong.append(f"(c) task {guid} is {state} at the end")
        elif state and failed and not reason:
            wrong.append(f"(c) task {guid} failed without a reason")
        if not failed and not runs[guid] and state == "Completed":
            wrong.append(f"(c) task {guid} succeeded and never ran")
    return wrong


def _database(end: Record, answers: Sequence[Record]) -> list[str]:
    told, stored = {tuple(row) for row in end["rows"]}, {tuple(row) for row in end["stored"]}
    wrong = [f"(d) the BBS tells {row}, the database does not" for row in sorted(told - stored)]
    wrong += [f"(d) the database has {row}, the BBS does not" for row in sorted(stored - told)]
    for row in end["stored"]:
        held = row[3] in ("CLAIMED", "RUNNING")
        if held != bool(row[4]) or held != bool(row[5]):
            wrong.append(f"(d) {row[0]}/{row[1]} is {row[3]} of instance {row[4]!r}, cell {row[5]!r}")
    for before, after in itertools.pairwise(answers):
        if len(before["bbs"]) > 1 and len(after["bbs"]) > 1:
            wrong.append(f"(d) {after['bbs']} answered as active at {after['at']:.1f} s")
            break
    return wrong


def _logs(records: Sequence[Record]) -> list[str]:
    return [
        f"(e) {record['job']}: {record['message']} without context"
        for record in records
        if not record["data"]
    ]


def _polls(records: Sequence[Record], allowed: Allowed) -> list[str]:
    failed = Counter(record["app"] for record in records if not record["ok"])
    total = failed.total()
    if total <= allowed.failed_polls:
        return []
    return [
        f"(f) {total} of {len(records)} requests to apps failed, {allowed.failed_polls} may: {dict(failed)}"
    ]


def _bounds(records: Sequence[Record]) -> list[str]:
    over = [record for record in records if record["seen"] > record["limit"]]
    return [
        f"{record['what']}: {record['seen']:g} {record['unit']}, allowed {record['limit']:g}"
        for record in over
    ]


def main() -> int:
    """Print what is wrong with the history of a file, as JSON."""
    history = read(Path(sys.argv[1]))
    allowed = Allowed(**json.loads(sys.argv[2])) if len(sys.argv) > 2 else Allowed()
    wrong = check(history, allowed)
    print(json.dumps(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
