"""The recorded convergence of the original, played to ours.

Every run does some work again, until somebody acts on it: it stops an instance that nobody wants, tells a cell of
other routes, auctions what waits. How often depends on when the runs fall, in the recording as in ours. So what is
done again and again is compared by what it is, in every window that is long enough for two runs, and otherwise
must be known from the recording; everything else is compared one by one.
"""

import json
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from support import golden
from support.golden_bbs import (
    Stage,
    Tally,
    on_stage,
    open_stream,
    our_call,
    play_exchange,
    recorded_call,
    verdict,
)
from support.mariadb import Database

pytestmark = [pytest.mark.database, pytest.mark.timeout(240)]

NAME = "bbs-convergence"
WAITED = 4.5
WAITED_LONG = 9.0
LONG = frozenset({36, 43})
"""After these the recording's driver waited twice as long, by its dates."""

SETTLE = 0.2
EACH = 0.03
"""Seconds for an exchange itself. Each has its moment: what a stall took is not added to the recording's times."""

PATIENCE = 20.0
KICKED = re.compile('"path": "/v1/tasks"')
"""A task that waits is auctioned by every run; one may fall between its desire and its start, the next exchange."""

EXPIRED = re.compile('"task_removed"|"not started within time limit"')
CONFIG = {
    "converge_repeat_interval": "2s",
    "kick_task_duration": "2s",
    "expire_pending_task_duration": "12s",
    "expire_completed_task_duration": "6s",
}


def play(stage: Stage) -> Tally:
    tally = Tally()
    streams = golden.recording(f"{NAME}.events")
    exchanges = golden.recording(NAME)
    for stream in streams:
        open_stream(stage, stream, tally)
    before = {19: lambda: stage.register("cell-gone"), 21: lambda: stage.release("cell-gone")}
    calls: dict[int, list[str]] = {}
    theirs = {
        exchange["sequence"]: [_text(recorded_call(call)) for call in exchange.get("outbound_requests") or ()]
        for exchange in exchanges
    }
    wanted = awaited(stage, exchanges, theirs, streams)
    due = time.monotonic()
    for exchange in exchanges:
        stage.sequence = exchange["sequence"]
        before.get(stage.sequence, lambda: None)()
        play_exchange(stage, exchange, tally)
        due += pause_after(exchange) + EACH
        time.sleep(max(0.0, due - time.monotonic()))
        until_there(stage, wanted[stage.sequence])
        calls[stage.sequence] = [_text(our_call(stage, call)) for call in stage.standing.take()]
    waited = {exchange["sequence"] for exchange in exchanges if pause_after(exchange) > SETTLE}
    tally.calls = sum(map(len, theirs.values()))
    compare(calls, theirs, waited, tally, "outbound")
    for stream in streams:
        name = stream["name"]
        recorded: dict[int, list[str]] = {sequence: [] for sequence in theirs}
        for event in stream["events"]:
            recorded[event["during_sequence"]].append(
                _event(stage, event["event"], golden.unpacked(event["data_b64"]))
            )
        ours: dict[int, list[str]] = {sequence: [] for sequence in theirs}
        for sequence, _, kind, data in stage.streams[name].events:
            ours[sequence].append(_event(stage, kind, golden.unpacked(data.decode())))
        tally.events[name] = len(stream["events"])
        compare(ours, recorded, waited, tally, f"stream {name}")
    print(
        f"{NAME}: {tally.exchanges} exchanges, {tally.calls} outbound calls, "
        f"{tally.events.total()} events on {len(streams)} streams"
    )
    return tally


def awaited(
    stage: Stage,
    exchanges: list[dict[str, Any]],
    calls: dict[int, list[str]],
    streams: list[dict[str, Any]],
) -> dict[int, dict[str, Counter[str]]]:
    """What must have come before the next exchange, by its sequence and by where it comes; outbound calls under ""."""
    came: dict[str, dict[int, list[str]]] = {"": calls}
    for stream in streams:
        came[stream["name"]] = {sequence: [] for sequence in calls}
        for event in stream["events"]:
            text = _event(stage, event["event"], golden.unpacked(event["data_b64"]))
            came[stream["name"]][event["during_sequence"]].append(text)
    found: dict[int, dict[str, Counter[str]]] = {sequence: {} for sequence in calls}
    for where, by_sequence in came.items():
        repeated = repeated_of(by_sequence)
        for exchange in exchanges:
            sequence = exchange["sequence"]
            again = set(by_sequence[sequence]) & repeated if pause_after(exchange) > SETTLE else set()
            once = [
                entry
                for entry in by_sequence[sequence]
                if entry not in repeated and not EXPIRED.search(entry)
            ]
            found[sequence][where] = Counter([*once, *again])
    return found


def until_there(stage: Stage, wanted: dict[str, Counter[str]]) -> None:
    """Wait for what belongs to this exchange, as long as a stalled machine may need for it."""

    def missing(where: str, entries: Counter[str]) -> bool:
        if not where:
            came = [_text(our_call(stage, call)) for call in list(stage.standing.asked)]
        else:
            came = [
                _event(stage, kind, golden.unpacked(data.decode()))
                for sequence, _, kind, data in list(stage.streams[where].events)
                if sequence == stage.sequence
            ]
        return bool(entries - Counter(came))

    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and any(missing(where, entries) for where, entries in wanted.items()):
        time.sleep(0.02)


def repeated_of(theirs: dict[int, list[str]]) -> set[str]:
    """What the recording has more than twice: the work that is done again and again."""
    totals = Counter(entry for entries in theirs.values() for entry in entries)
    return {entry for entry, count in totals.items() if count > 2}


def pause_after(exchange: dict[str, Any]) -> float:
    if exchange["sequence"] in LONG:
        return WAITED_LONG
    return WAITED if "(waited)" in exchange["name"] or exchange.get("note") else SETTLE


def compare(
    ours: dict[int, list[str]], theirs: dict[int, list[str]], waited: set[int], tally: Tally, what: str
) -> None:
    repeated = repeated_of(theirs)
    known: set[str] = set()
    early_or_late: list[tuple[int, str, int]] = []
    once: Counter[str] = Counter()
    for sequence, recorded in theirs.items():
        before = once
        once = Counter(entry for entry in recorded if entry not in repeated)
        ours_once = Counter(entry for entry in ours[sequence] if entry not in repeated)
        early_or_late += [(sequence, entry, -1) for entry in (once - ours_once).elements()]
        early_or_late += [
            (sequence, entry, +1)
            for entry in (ours_once - once).elements()
            if not ((once[entry] or before[entry]) and KICKED.search(entry))
        ]
        again = {entry for entry in recorded if entry in repeated}
        ours_again = {entry for entry in ours[sequence] if entry in repeated}
        known |= again
        missing = again - ours_again if sequence in waited else set()
        unexpected = ours_again - (again if sequence in waited else known)
        if missing or unexpected:
            tally.different.append(f"{sequence} {what}: missing {missing}, unexpected {unexpected}")
    tally.different += [f"{sequence} {what}: {line}" for sequence, line in unmatched(early_or_late, waited)]


def unmatched(early_or_late: list[tuple[int, str, int]], waited: set[int]) -> list[tuple[int, str]]:
    """What is missing or too much, but for what expired before or after the recorded window, up to the next.

    A task that is old enough falls to the next run, and the recording's runs came at other moments.
    """
    left = list(early_or_late)
    for sequence, entry, sign in early_or_late:
        twin = next((one for one in left if one[1] == entry and one[2] == -sign), None)
        if twin is None or (sequence, entry, sign) not in left or not EXPIRED.search(entry):
            continue
        low, high = sorted((sequence, twin[0]))
        if sum(low < other < high for other in waited) == 0:
            left.remove(twin)
            left.remove((sequence, entry, sign))
    return [(sequence, f"{'missing' if sign < 0 else 'too much'}: {entry}") for sequence, entry, sign in left]


def _event(stage: Stage, kind: str, encoded: bytes) -> str:
    return _text({"event": kind, **golden.told(golden.EVENTS[kind], stage.as_recorded(encoded))})


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def test_convergence_does_as_recorded(tmp_path: Path, database: Database, pki: Path) -> None:
    with on_stage(tmp_path, database, pki, **CONFIG) as stage:
        tally = play(stage)

    verdict(tally)
    assert (tally.exchanges, tally.calls, tally.events.total()) == (47, 144, 434)
