"""Recorded auctions with the original, played again: the job's own command, a real BBS, locket and MariaDB.

Stand-ins are only the two cells, as in the recording. Which of two equal cells wins is left to chance there, so where
the cells differ in nothing but name and zone the work is compared without the cell's name.
"""

import base64
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from diego.locket.client import PRESENCE, LocketClient
from diego.wire.actual_lrp_requests_pb2 import ActualLRPsRequest
from diego.wire.task_requests_pb2 import TaskByGuidRequest
from support import auctioneer as real_auctioneer
from support import bbs as real_bbs
from support import golden
from support import locket as real_locket
from support.auctioneer import AuctioneerProcess
from support.bbs import BbsProcess
from support.cells import Exchange, StandInCell, hands_back, stand_in_cell
from support.mariadb import Database
from support.worker import free_port, until

pytestmark = [pytest.mark.database, pytest.mark.timeout(300)]

SCENARIOS = 37
REP_EXCHANGES = 94
STATE_TIMEOUT, TOO_SLOW = "5s", 10.0
SETTLED = 0.3
"""Seconds without a new exchange after which a scenario is over."""
PATIENCE = 30.0
SLOW_CELL = "one cell too slow to answer state"
HANDED_BACK = "insufficient resources: cell {cell} handed the work back"
"""What the original leaves empty, so that the BBS refuses it (contract/auction.md section 7; docs/differences.md)."""


@dataclass
class Stage:
    bbs: BbsProcess
    auctioneer: AuctioneerProcess
    locket: LocketClient
    cells: dict[str, StandInCell]


@pytest.fixture
def stage(tmp_path: Path, database: Database, pki: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        locket = stack.enter_context(real_locket.running(tmp_path / "locket", database, pki))
        port = free_port()
        bbs = stack.enter_context(
            real_bbs.running(
                tmp_path / "bbs",
                database,
                pki,
                locket.address,
                f"https://127.0.0.1:{port}",
                auctioneer_ca_cert=str(pki / "ca.crt"),
                auctioneer_client_cert=str(pki / "diego_auctioneer_client.crt"),
                auctioneer_client_key=str(pki / "diego_auctioneer_client.key"),
                auctioneer_require_tls=True,
            )
        )
        auctioneer = stack.enter_context(
            real_auctioneer.running(
                tmp_path / "auctioneer",
                pki,
                bbs=bbs.url,
                locket=locket.address,
                port=port,
                cell_state_timeout=STATE_TIMEOUT,
            )
        )
        client = LocketClient(
            locket.address,
            ca_file=pki / "ca.crt",
            cert_file=pki / "diego_locket_client.crt",
            key_file=pki / "diego_locket_client.key",
        )
        stack.callback(client.close)
        cells = {
            name: stack.enter_context(stand_in_cell(name, zone))
            for name, zone in (("cell-a", "z1"), ("cell-b", "z2"))
        }
        for cell in cells.values():
            client.lock(cell.cell_id, "owner", value=cell.presence().value(), kind=PRESENCE, ttl=3600)
        yield Stage(bbs, auctioneer, client, cells)


def set_up(stage: Stage, scenario: dict[str, Any]) -> None:
    """Let the cells answer as they did."""
    if scenario["name"].startswith("no cells at all"):
        for cell in stage.cells.values():
            stage.locket.release(cell.cell_id, "owner")
        # the BBS converges when it notices, and would auction what is desired meanwhile a second time
        gone = {cell.cell_id for cell in stage.cells.values()}
        until(
            lambda: (
                gone
                <= {name for line in stage.bbs.lines("bbs.cells-changed") for name in line["data"]["lost"]}
            )
        )
    for name, cell in stage.cells.items():
        cell.says()
        cell.state_delay = 0.0
        cell.work = StandInCell(name, cell.zone).work
        states = [
            exchange
            for exchange in scenario["rep_exchanges"]
            if (exchange["cell"], exchange["path"]) == (name, "/state")
        ]
        if states:
            cell.state = states[0]["response_status"], base64.b64decode(states[0]["response_b64"])
        if scenario["name"] == SLOW_CELL and name == "cell-a":
            cell.state_delay = TOO_SLOW
        for exchange in scenario["rep_exchanges"]:
            if exchange["path"] == "/work":
                cell.work = work_like(exchange)


def work_like(exchange: dict[str, Any]) -> Callable[[bytes], tuple[int, bytes]]:
    answer = exchange["response_json"]
    if exchange["response_status"] == 200 and any(answer.values()):
        return hands_back
    encoded = base64.b64decode(exchange["response_b64"])
    return lambda _body: (exchange["response_status"], encoded)


def set_off(stage: Stage, scenario: dict[str, Any]) -> list[str]:
    """Do what set the auction off; what differs in the auctioneer's answer."""
    asked = scenario.get("auctioneer_request")
    if asked is None:
        wanted = scenario["desired_through_bbs"]
        is_task = wanted["request_type"] == "DesireTaskRequest"
        told = wanted["request_json"] if is_task else {"desired_lrp": wanted["request_json"]}
        request = ParseDict(told, golden.message_class(wanted["request_type"])())
        path = "/v1/tasks/desire.r2" if is_task else "/v1/desired_lrp/desire.r2"
        status, _, _ = stage.bbs.call(path, request.SerializeToString())
        assert status == 200
        return []
    status, headers, body = stage.auctioneer.call(
        asked["path"],
        base64.b64decode(asked["request_b64"]),
        asked["method"],
        {"X-Vcap-Request-Id": f"trace-auction-{scenario['sequence']}"},
    )
    recorded = {name.lower(): value for name, value in asked["response_headers"] if name != "Date"}
    headers.pop("date", None)
    ours = {"status": status, "headers": headers, "body": body.decode()}
    theirs = {
        "status": asked["response_status"],
        "headers": recorded,
        "body": base64.b64decode(asked["response_b64"]).decode(),
    }
    return list(golden.differences(ours, theirs, "answer"))


def settle(stage: Stage, expected: int) -> list[Exchange]:
    """The cells' exchanges, when as many came as were recorded and no more come."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        count = sum(len(cell.asked) for cell in stage.cells.values())
        if count >= expected:
            time.sleep(SETTLED)
            if count == sum(len(cell.asked) for cell in stage.cells.values()):
                break
        time.sleep(0.02)
    return [exchange for cell in stage.cells.values() for exchange in cell.take()]


def as_told(cell: str, method: str, path: str, trace: str | None, work: Any) -> dict[str, Any]:
    return {"cell": cell, "method": method, "path": path, "trace": trace, "work": work}


def recorded_exchanges(scenario: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        as_told(
            exchange["cell"],
            exchange["method"],
            exchange["path"],
            next((value for name, value in exchange["headers"] if name == "X-Vcap-Request-Id"), None),
            exchange["request_json"],
        )
        for exchange in scenario["rep_exchanges"]
    ]


def our_exchanges(exchanges: list[Exchange]) -> list[dict[str, Any]]:
    return [
        as_told(
            exchange.cell,
            exchange.method,
            exchange.path,
            exchange.headers.get("x-vcap-request-id"),
            json.loads(exchange.body) if exchange.body else None,
        )
        for exchange in exchanges
    ]


def comparable(exchanges: list[dict[str, Any]], *, equal_cells: bool) -> dict[str, Any]:
    """States asked per cell; work by cell, or, of cells that are equal, how much each got and what it was together."""
    states = Counter(
        f"{each['cell']} {each['method']} {each['trace']}" for each in exchanges if each["path"] == "/state"
    )
    works = [each for each in exchanges if each["path"] == "/work"]
    assert all(each["work"].pop("cell_id") == each["cell"] for each in works)
    if not equal_cells:
        return {"states": dict(states), "work": golden.ordered(works)}
    return {
        "states": dict(states),
        "sizes": sorted(sum(len(each["work"][kind] or ()) for kind in ("LRPs", "Tasks")) for each in works),
        "items": golden.ordered(
            [item for each in works for kind in ("LRPs", "Tasks") for item in each["work"][kind] or ()]
        ),
        "nulls": sorted({kind for each in works for kind in ("LRPs", "Tasks") if each["work"][kind] is None}),
        "traces": sorted({str(each["trace"]) for each in works}),
    }


def cells_are_equal(scenario: dict[str, Any]) -> bool:
    states = {
        exchange["cell"]: {
            key: value
            for key, value in (exchange["response_json"] or {}).items()
            if key not in {"rep_url", "cell_id", "cell_index", "Zone"}
        }
        for exchange in scenario["rep_exchanges"]
        if exchange["path"] == "/state" and exchange["response_status"] == 200
    }
    odd = scenario["name"] in {SLOW_CELL, "state names another cell id"}
    return len(states) == 2 and len({json.dumps(state) for state in states.values()}) == 1 and not odd


def records_after(stage: Stage, scenario: dict[str, Any]) -> Any:
    """What the BBS has of it."""
    wanted = scenario["desired_through_bbs"]["request_json"]
    if "task_guid" in wanted:
        request = TaskByGuidRequest(task_guid=wanted["task_guid"]).SerializeToString()
        _, _, body = stage.bbs.call("/v1/tasks/get_by_task_guid.r3", request)
        return {"task": golden.told("TaskResponse", body)["task"]}
    asked = ActualLRPsRequest(process_guid=wanted["process_guid"]).SerializeToString()
    _, _, body = stage.bbs.call("/v1/actual_lrps/list", asked)
    return golden.told("ActualLRPsResponse", body)


def expected_after(scenario: dict[str, Any], exchanges: list[dict[str, Any]]) -> Any:
    """As recorded, but for the reason that ours gives where the original's was empty."""
    after = golden.comparable(scenario["bbs_after"])
    cell = next((each["cell"] for each in exchanges if each["path"] == "/work"), "")
    reason = HANDED_BACK.format(cell=cell)
    if scenario["name"] == "cells hand the work back":
        after["actual_lrps"][0]["placement_error"] = reason
        after["actual_lrps"][0]["modification_tag"]["index"] = 1
    if scenario["name"] == "cells hand the task back":
        after["task"]["rejection_count"], after["task"]["rejection_reason"] = 1, reason
    return after


def heard_of(stage: Stage, cell_id: str) -> bool:
    """Whether a cell that was silent tells its state again: rounds wait for it only half a second until then."""
    stage.auctioneer.call("/v1/lrps", b"[]")
    seen = json.loads(stage.auctioneer.call("/v1/cells", method="GET")[2])
    return cell_id in {cell["cell_id"] for cell in seen["cells"]}


def play(stage: Stage, scenario: dict[str, Any]) -> list[str]:
    """One scenario: what differs, and nothing is left of it for the next."""
    set_up(stage, scenario)
    different = set_off(stage, scenario)
    ours = our_exchanges(settle(stage, len(scenario["rep_exchanges"])))
    equal = cells_are_equal(scenario)
    expected = comparable(recorded_exchanges(scenario), equal_cells=equal)
    found = list(ours)
    different += golden.differences(comparable(ours, equal_cells=equal), expected, "cells")
    if "bbs_after" in scenario:
        wanted = expected_after(scenario, found)
        end = time.monotonic() + PATIENCE
        while (after := records_after(stage, scenario)) != wanted and time.monotonic() < end:
            time.sleep(0.05)
        different += golden.differences(after, wanted, "records")
    if scenario["name"] == SLOW_CELL:
        stage.cells["cell-a"].state_delay = 0.0
        until(lambda: heard_of(stage, "cell-a"))
        for cell in stage.cells.values():
            cell.take()
    return [f"{scenario['sequence']} {scenario['name']}: {line}" for line in different]


def test_auctions_go_as_recorded(stage: Stage) -> None:
    scenarios = golden.recording("auctioneer-rep")

    different = [line for scenario in scenarios for line in play(stage, scenario)]

    compared = sum(len(scenario["rep_exchanges"]) for scenario in scenarios)
    print(f"{len(scenarios)} scenarios, {compared} exchanges with cells")
    assert (len(scenarios), compared) == (SCENARIOS, REP_EXCHANGES)
    assert different == []
