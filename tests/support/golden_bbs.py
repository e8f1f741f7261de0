"""Plays recorded exchanges with the original's BBS to ours, and says what differs.

The BBS runs by the job's own command on a real MariaDB, with a real locket beside it; the auctioneer, the cells
and the listener for task callbacks are stand-ins, as they were in the recording.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diego.locket.client import PRESENCE, LocketClient
from diego.wire import domain_pb2, error_pb2, events_pb2
from support import bbs as real_bbs
from support import golden
from support import locket as real_locket
from support.bbs import Asked, BbsProcess, EventStream, StandIns
from support.mariadb import Database

RECORDED_PORTS = {"cell-a": 19800, "cell-b": 19801, "auctioneer": 19016, "callback": 19900}
PRESENCE_TTL = 3600.0
SETTLE_SECONDS = 40.0
"""How long an exchange's calls and events are waited for; what comes later is counted to a later exchange."""

SHORT_LIVED = ("upsert domain ttl 1", "list domains, three")
"""A domain is made with a second to live, and after the next exchange the recording's driver waited for its end."""

LIVES = 10
"""The seconds that it lives here: a busy machine may take longer than one until it is listed."""

DROPPED_CONNECTION = "Invalid field: update"
"""What ours answers where the original panicked and closed the connection (docs/differences.md)."""

ACCIDENTAL_EVENTS = frozenset({("bbs-tasks", 34)})
"""Events that the original emits although nothing changed: ours has none (docs/differences.md)."""

PARALLEL = frozenset({"actual_lrp_created", "actual_lrp_instance_created"})
"""Events that the original makes in parallel when one call makes several records, in any order."""


@dataclass
class Stage:
    """A BBS with everything around it."""

    bbs: BbsProcess
    standing: StandIns
    locket: LocketClient
    sequence: int = 0
    streams: dict[str, EventStream] = field(default_factory=dict)

    def register(self, cell_id: str, zone: str = "z1") -> None:
        value = self.standing.cell(cell_id, zone).value() if cell_id in self.standing.ports else "{}"
        if cell_id not in self.standing.ports:
            value = self.standing.cell("cell-a", zone).value().replace("cell-a", cell_id)
        self.locket.lock(cell_id, f"owner-{cell_id}", value=value, kind=PRESENCE, ttl=PRESENCE_TTL)

    def release(self, cell_id: str) -> None:
        self.locket.release(cell_id, f"owner-{cell_id}")

    def as_ours(self, recorded: bytes) -> bytes:
        """With the ports of our stand-ins, which have as many digits."""
        for name, port in RECORDED_PORTS.items():
            recorded = recorded.replace(b"127.0.0.1:%d" % port, b"127.0.0.1:%05d" % self.standing.ports[name])
        return recorded

    def as_recorded(self, ours: bytes) -> bytes:
        for name, port in RECORDED_PORTS.items():
            ours = ours.replace(b"127.0.0.1:%d" % self.standing.ports[name], b"127.0.0.1:%d" % port)
        return ours


@contextmanager
def on_stage(tmp_path: Path, database: Database, pki: Path, **config: Any) -> Iterator[Stage]:
    with ExitStack() as stack:
        standing = stack.enter_context(real_bbs.stand_ins(*RECORDED_PORTS))
        locket = stack.enter_context(real_locket.running(tmp_path / "locket", database, pki))
        client = LocketClient(
            locket.address,
            ca_file=pki / "ca.crt",
            cert_file=pki / "diego_locket_client.crt",
            key_file=pki / "diego_locket_client.key",
        )
        stack.callback(client.close)
        bbs = stack.enter_context(
            real_bbs.running(
                tmp_path / "bbs", database, pki, locket.address, standing.url("auctioneer"), **config
            )
        )
        stage = Stage(bbs, standing, client)
        stage.register("cell-a", "z1")
        stage.register("cell-b", "z2")
        yield stage
        for stream in stage.streams.values():
            stream.close()


@dataclass
class Tally:
    """What was compared, and what differed."""

    exchanges: int = 0
    calls: int = 0
    events: Counter[str] = field(default_factory=Counter)
    different: list[str] = field(default_factory=list)

    def note(self, exchange: dict[str, Any], lines: Iterator[str] | list[str]) -> None:
        name = f"{exchange['sequence']} {exchange['name']}"
        self.different += [f"{name}: {line}" for line in lines]


def play(stage: Stage, name: str, before: dict[int, Callable[[], None]] | None = None) -> Tally:
    """Play one recording, exchange by exchange."""
    tally = Tally()
    streams = [] if name == "bbs-domains-cells-ping" else golden.recording(f"{name}.events")
    for stream in streams:
        stream["events"] = [
            event for event in stream["events"] if (name, event["during_sequence"]) not in ACCIDENTAL_EVENTS
        ]
    for stream in streams:
        open_stream(stage, stream, tally)
    for exchange in golden.recording(name):
        stage.sequence = exchange["sequence"]
        stage.standing.statuses = {
            call["path"]: call["answered_status"]
            for call in exchange.get("outbound_requests") or ()
            if call["answered_status"] != 202
        }
        (before or {}).get(stage.sequence, lambda: None)()
        play_exchange(stage, exchange, tally)
        wanted = {
            stream["name"]: sum(event["during_sequence"] == stage.sequence for event in stream["events"])
            for stream in streams
        }
        settle(stage, exchange, wanted)
        compare_calls(stage, exchange, tally)
    for stream in streams:
        compare_events(stage, stream, tally)
    print(
        f"{name}: {tally.exchanges} exchanges, {tally.calls} outbound calls, "
        f"{tally.events.total()} events on {len(streams)} streams"
    )
    return tally


def open_stream(stage: Stage, recorded: dict[str, Any], tally: Tally) -> None:
    asked = events_pb2.EventsByCellId(**(recorded["request_json"] or {}))
    stream = EventStream(
        stage.bbs,
        recorded["method"],
        recorded["path"],
        asked.SerializeToString(),
        lambda: stage.sequence,
    )
    stage.streams[recorded["name"]] = stream
    theirs = {key.lower(): value for key, value in recorded["response_headers"] if key != "Date"}
    ours = {key.lower(): value for key, value in stream.answer.getheaders() if key != "Date"}
    tally.different += [
        f"stream {recorded['name']}: {line}"
        for line in golden.differences({"status": stream.answer.status, **ours}, {"status": 200, **theirs})
    ]


def play_exchange(stage: Stage, exchange: dict[str, Any], tally: Tally) -> None:
    tally.exchanges += 1
    body = stage.as_ours(golden.unpacked(exchange["request_b64"]))
    if exchange["name"] == SHORT_LIVED[0]:
        request = domain_pb2.UpsertDomainRequest.FromString(body)
        request.ttl = LIVES
        body = request.SerializeToString()
    status, headers, answer = stage.bbs.call(
        exchange["path"], body, exchange["method"], dict(exchange["headers"])
    )
    if exchange.get("connection_closed_without_response"):
        error = error_pb2.Error(type=error_pb2.Error.InvalidRequest, message=DROPPED_CONNECTION)
        assert golden.told("DesiredLRPLifecycleResponse", answer)["error"] == golden.told(
            "Error", error.SerializeToString()
        )
        return
    theirs = {key.lower(): value for key, value in exchange["response_headers"]}
    kinds = ("content-type", "allow")
    ours_seen: dict[str, Any] = {"status": status, **{kind: headers.get(kind) for kind in kinds}}
    seen: dict[str, Any] = {
        "status": exchange["response_status"],
        **{kind: theirs.get(kind) for kind in kinds},
    }
    if exchange["response_type"] and exchange["response_status"] == 200:
        ours_seen["answer"] = golden.told(exchange["response_type"], stage.as_recorded(answer))
        seen["answer"] = golden.told(exchange["response_type"], golden.unpacked(exchange["response_b64"]))
    else:
        ours_seen["text"], seen["text"] = answer.decode(), exchange.get("response_text", "")
    tally.note(exchange, golden.differences(ours_seen, seen))


def settle(stage: Stage, exchange: dict[str, Any], events: dict[str, int]) -> None:
    """Wait until the exchange's calls and events have come, and a moment for those that should not."""
    calls = len(exchange.get("outbound_requests") or ())
    end = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < end:
        came = all(
            sum(event[0] == stage.sequence for event in stage.streams[name].events) >= count
            for name, count in events.items()
        )
        if came and len(stage.standing.asked) >= calls:
            break
        time.sleep(0.01)
    time.sleep(0.05)
    if exchange["name"] == SHORT_LIVED[1]:
        time.sleep(LIVES + 0.6)


def compare_calls(stage: Stage, exchange: dict[str, Any], tally: Tally) -> None:
    ours = golden.ordered([our_call(stage, call) for call in stage.standing.take()])
    theirs = golden.ordered([recorded_call(call) for call in exchange.get("outbound_requests") or ()])
    tally.calls += len(theirs)
    tally.note(exchange, golden.differences(ours, theirs, "outbound"))


def our_call(stage: Stage, call: Asked) -> dict[str, Any]:
    to = "rep" if call.to.startswith("cell") else call.to
    return {
        "to": to,
        "method": call.method,
        "path": call.path,
        "request id": call.headers.get("x-vcap-request-id"),
        "body": _body(stage.as_recorded(call.body)),
    }


def recorded_call(call: dict[str, Any]) -> dict[str, Any]:
    headers = {key.lower(): value for key, value in call["headers"]}
    return {
        "to": call["to"],
        "method": call["method"],
        "path": call["path"],
        "request id": headers.get("x-vcap-request-id"),
        "body": _body(golden.unpacked(call["body_b64"])),
    }


def _body(encoded: bytes) -> Any:
    return golden.comparable(json.loads(encoded)) if encoded else None


def compare_events(stage: Stage, recorded: dict[str, Any], tally: Tally) -> None:
    """The events of one stream: for each exchange the same ones, and in the same order where order means something."""
    name = recorded["name"]
    came = list(stage.streams[name].events)
    if [number for _, number, _, _ in came] != list(range(len(came))):
        tally.different.append(f"stream {name}: ids do not count from 0")
    sequences = sorted(
        {event["during_sequence"] for event in recorded["events"]} | {event[0] for event in came}
    )
    for sequence in sequences:
        ours = [
            {
                "event": kind,
                **golden.told(golden.EVENTS[kind], stage.as_recorded(golden.unpacked(data.decode()))),
            }
            for during, _, kind, data in came
            if during == sequence
        ]
        theirs = [
            {
                "event": event["event"],
                **golden.told(golden.EVENTS[event["event"]], golden.unpacked(event["data_b64"])),
            }
            for event in recorded["events"]
            if event["during_sequence"] == sequence
        ]
        tally.events[name] += len(theirs)
        if [event["event"] for event in ours] == [event["event"] for event in theirs]:
            ours, theirs = _parallel_sorted(ours), _parallel_sorted(theirs)
        tally.different += [
            f"stream {name}, during {sequence}: {line}" for line in golden.differences(ours, theirs)
        ]


def _parallel_sorted(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With every row of events that were made in parallel in one order."""
    out: list[dict[str, Any]] = []
    row: list[dict[str, Any]] = []
    for event in events:
        if event["event"] in PARALLEL:
            row.append(event)
            continue
        out += golden.ordered(row)
        row = []
        out.append(event)
    return out + golden.ordered(row)


def verdict(tally: Tally) -> None:
    assert not tally.different, "\n".join(tally.different)
