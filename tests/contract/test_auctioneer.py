"""The auctioneer as a process: lock and listener, cells that are slow, gone or lying, and its own death.

The BBS is a scripted one, so that it can fail on demand; tests/contract/test_auctioneer_golden.py has the real one.
"""

import contextlib
import json
import os
import random
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from diego.runtime import tls
from diego.wire.actual_lrp_requests_pb2 import FailActualLRPRequest
from diego.wire.cells_pb2 import CellPresence, CellsResponse
from diego.wire.task_requests_pb2 import RejectTaskRequest
from support import locket as real_locket
from support.auctioneer import AuctioneerProcess
from support.cells import StandInCell, hands_back, stand_in_cell
from support.locket import LocketProcess
from support.mariadb import MariaDb
from support.scripted_server import ScriptedServer, Told, serving
from support.worker import until

pytestmark = [pytest.mark.database, pytest.mark.timeout(300)]

LRP = {
    "process_guid": "web",
    "domain": "apps",
    "indices": [0],
    "RootFs": "preloaded:cflinuxfs4",
    "MemoryMB": 64,
}
TASK = {"TaskGuid": "job", "Domain": "apps", "RootFs": "preloaded:cflinuxfs4", "MemoryMB": 64}
CELLS, FAIL, REJECT = "/v1/cells/list.r1", "/v1/actual_lrps/fail", "/v1/tasks/reject"
TOO_LONG = 60.0
STATE_TIMEOUT = 6.0
"""Seconds, of tests about silent cells; elsewhere a cell may take as long as a busy machine needs."""


@pytest.fixture(scope="module")
def locket(tmp_path_factory: pytest.TempPathFactory, mariadb: MariaDb, pki: Path) -> Iterator[LocketProcess]:
    database = mariadb.create_database()
    with real_locket.running(tmp_path_factory.mktemp("locket"), database, pki) as process:
        yield process
    mariadb.drop_database(database)


@pytest.fixture
def bbs(pki: Path) -> Iterator[ScriptedServer]:
    with serving(pki) as server:
        for path in (FAIL, REJECT):
            server.tell(path, Told())
        yield server


@dataclass
class Bench:
    """An auctioneer with two cells of two zones."""

    auctioneer: AuctioneerProcess
    bbs: ScriptedServer
    a: StandInCell
    b: StandInCell

    def ask(self, *lrps: dict[str, Any], request_id: str = "") -> None:
        """Ask for auctions of instances."""
        headers = {"X-Vcap-Request-Id": request_id} if request_id else {}
        assert self.auctioneer.call("/v1/lrps", list(lrps), headers=headers)[0] == 202

    def given(self) -> list[str]:
        """Process and task guids of the work handed out so far."""
        return sorted(
            item.get("process_guid") or item["TaskGuid"] for item in (*self.a.given(), *self.b.given())
        )

    def reported(self, path: str) -> list[bytes]:
        return [asked.body for asked in self.bbs.asked if asked.path == path]


def lrp(guid: str) -> dict[str, Any]:
    return {**LRP, "process_guid": guid}


def list_cells(bbs: ScriptedServer, *cells: StandInCell) -> None:
    presences = [CellPresence(cell_id=c.cell_id, rep_address=c.url, rep_url=c.url) for c in cells]
    bbs.tell(CELLS, Told(CellsResponse(cells=presences).SerializeToString()))


Start = Callable[..., AuctioneerProcess]


@pytest.fixture
def start(tmp_path: Path, pki: Path, bbs: ScriptedServer, locket: LocketProcess) -> Iterator[Start]:
    """Starts auctioneers, and ends them after the test."""
    with contextlib.ExitStack() as stack:

        def begin(name: str, *, wait: bool = True, **config: Any) -> AuctioneerProcess:
            process = AuctioneerProcess(tmp_path / name, pki, bbs=bbs.url, locket=locket.address, **config)
            stack.callback(process.stop)
            process.start(wait=wait)
            return process

        yield begin


@pytest.fixture
def bench(start: Start, bbs: ScriptedServer) -> Iterator[Bench]:
    with stand_in_cell("cell-a", "z1") as a, stand_in_cell("cell-b", "z2") as b:
        list_cells(bbs, a, b)
        yield Bench(start("auctioneer"), bbs, a, b)


@pytest.fixture
def impatient(start: Start, bbs: ScriptedServer) -> Iterator[Bench]:
    """A bench whose auctioneer does not wait long for a cell's state."""
    with stand_in_cell("cell-a", "z1") as a, stand_in_cell("cell-b", "z2") as b:
        list_cells(bbs, a, b)
        yield Bench(start("auctioneer", cell_state_timeout=f"{STATE_TIMEOUT:g}s"), bbs, a, b)


# ---- lock and listener


def test_only_the_holder_of_the_lock_accepts_and_its_end_lets_the_next_in(
    start: Start, locket: LocketProcess
) -> None:
    first = start("first")
    second = start("second", wait=False)
    until(lambda: second.lines("serving"), seconds=60)
    time.sleep(1.5)

    assert not second.active
    expired = locket.metric("locks_expired")
    first.stop()
    until(lambda: second.active, seconds=60)
    assert locket.metric("locks_expired") == expired  # it was given up, not waited for


def test_after_a_kill_the_next_takes_over_when_the_lock_has_expired(start: Start) -> None:
    first = start("first")
    second = start("second", wait=False)

    first.kill()

    until(lambda: second.active, seconds=90)


def test_without_locket_the_port_closes_and_opens_again_when_locket_is_back(
    start: Start, locket: LocketProcess
) -> None:
    auctioneer = start("only")
    workers = auctioneer.workers

    locket.pause()
    try:
        until(lambda: not auctioneer.active, seconds=60)
    finally:
        locket.resume()

    until(lambda: auctioneer.active, seconds=60)
    assert auctioneer.workers == workers


def test_a_killed_worker_is_back_at_once_since_the_lock_is_still_its_own(bench: Bench) -> None:
    os.kill(bench.auctioneer.workers[0], signal.SIGKILL)

    until(lambda: bench.auctioneer.active and bench.auctioneer.workers, seconds=60)
    until(lambda: _accepted(bench), seconds=60)
    until(lambda: bench.given() == ["web"])


def _accepted(bench: Bench) -> bool:
    with contextlib.suppress(OSError):
        return bench.auctioneer.call("/v1/lrps", [LRP])[0] == 202
    return False


def test_a_caller_without_a_certificate_is_turned_away(bench: Bench, pki: Path) -> None:
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    with (
        socket.create_connection(("127.0.0.1", bench.auctioneer.port), 60) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
        pytest.raises(ssl.SSLError, match="certificate required"),
    ):
        connection.recv(1000)


# ---- cells


def test_a_silent_cell_delays_one_round_and_not_the_next(impatient: Bench) -> None:
    bench = impatient
    bench.a.state_delay = TOO_LONG

    bench.ask(lrp("one"))
    until(lambda: bench.given() == ["one"])
    began = time.monotonic()
    bench.ask(lrp("two"))
    until(lambda: len(bench.given()) == 2)

    assert time.monotonic() - began < STATE_TIMEOUT - 0.5
    assert not bench.a.given()


def test_a_cell_that_was_silent_counts_again_as_soon_as_it_answers(impatient: Bench) -> None:
    bench = impatient
    bench.a.state_delay = TOO_LONG
    bench.ask(lrp("one"))
    until(lambda: bench.given() == ["one"])
    bench.a.state_delay = 0.0

    until(lambda: "cell-a" in heard_of(bench), seconds=60)
    bench.ask({**lrp("two"), "indices": [0, 1]})
    until(lambda: len(bench.given()) == 3)

    assert [item["process_guid"] for item in bench.a.given()] == ["two"]


def heard_of(bench: Bench) -> list[str]:
    """The cells that told their state in the last round. Each look begins another, without work: only states are asked."""
    bench.ask()
    seen = json.loads(bench.auctioneer.call("/v1/cells", method="GET")[2])
    return [cell["cell_id"] for cell in seen["cells"]]


def test_a_cell_slower_than_the_patience_with_silent_ones_is_found_again(impatient: Bench) -> None:
    bench = impatient
    bench.a.state_delay = TOO_LONG
    bench.ask(lrp("one"))
    until(lambda: bench.given() == ["one"])

    bench.a.state_delay = 0.7
    for number in range(20):
        bench.ask(lrp(f"more-{number}"))
        time.sleep(0.5)
        if bench.a.given():
            break

    assert bench.a.given()


def test_a_cell_that_refuses_connections_is_left_out(bench: Bench, pki: Path) -> None:
    with stand_in_cell("gone", "z3") as gone:
        list_cells(bench.bbs, bench.a, gone)

    bench.ask(LRP)

    until(lambda: bench.a.given())


def _has(cell: StandInCell, count: int) -> bool:
    return len(cell.given()) == count


UNUSABLE = (
    (503, b"{}"),
    (200, b"not json"),
    (200, b""),
    (200, b'{"cell_id":"another"}'),
    (200, b'{"LRPs":3}'),
)


def test_a_cell_without_a_usable_state_gets_nothing(bench: Bench) -> None:
    for number, state in enumerate(UNUSABLE, start=1):
        bench.a.state = state
        bench.ask({**lrp(f"web-{number}"), "indices": [0, 1, 2]})
        until(partial(_has, bench.b, 3 * number))

    assert not bench.a.given()
    assert bench.auctioneer.metric("auctioneer_failed_cell_state_requests_total") == len(UNUSABLE)


def test_what_is_asked_for_until_the_states_are_there_joins_the_round(bench: Bench) -> None:
    bench.a.state_delay = 4.0  # the second request comes meanwhile, however busy the machine is
    bench.ask(lrp("one"), request_id="first")
    until(lambda: bench.a.asked)
    bench.ask(lrp("two"), lrp("one"), request_id="second")

    until(lambda: len(bench.given()) == 2)
    works = [each for each in (*bench.a.asked, *bench.b.asked) if each.path == "/work"]
    assert {each.headers["x-vcap-request-id"] for each in works} == {"first"}
    assert bench.given() == ["one", "two"]


def test_over_tls_cells_are_asked_by_their_url_and_plain_ones_left_out(
    start: Start, bbs: ScriptedServer, pki: Path
) -> None:
    context = tls.server_context(
        pki / "diego_rep_agent_v2.crt", pki / "diego_rep_agent_v2.key", pki / "ca.crt"
    )
    with stand_in_cell("plain", "z1") as plain, stand_in_cell("secured", "z2", context) as secured:
        list_cells(bbs, plain, secured)
        auctioneer = start("auctioneer", rep_require_tls=True)

        assert auctioneer.call("/v1/lrps", [{**LRP, "indices": [0, 1]}])[0] == 202

        until(lambda: len(secured.given()) == 2)
        assert not plain.asked


# ---- what became of the work


def test_work_of_unknown_fate_is_reported_to_nobody(bench: Bench) -> None:
    bench.a.work = bench.b.work = lambda _body: (500, b"")

    bench.ask(LRP)
    until(lambda: bench.auctioneer.lines("work-of-unknown-fate"))
    until(lambda: bench.auctioneer.lines("round-done"))

    assert not bench.reported(FAIL)


def test_work_that_a_cell_hands_back_is_reported_with_a_reason(bench: Bench) -> None:
    bench.a.work = bench.b.work = hands_back

    bench.ask(LRP)
    bench.auctioneer.call("/v1/tasks", [TASK])

    until(lambda: bench.reported(FAIL) and bench.reported(REJECT))
    failed = FailActualLRPRequest.FromString(bench.reported(FAIL)[0])
    rejected = RejectTaskRequest.FromString(bench.reported(REJECT)[0])
    assert failed.error_message.startswith("insufficient resources: cell cell-")
    assert (rejected.task_guid, rejected.rejection_reason[:30]) == ("job", "insufficient resources: cell c")
    chosen, handed_back = json.loads(bench.auctioneer.call("/v1/explanations/web", method="GET")[2])
    assert (chosen["cell"][:5], handed_back["cell"]) == ("cell-", "")
    assert handed_back["error"] == failed.error_message


def test_cells_that_take_no_part_are_named_with_the_reason(bench: Bench) -> None:
    bench.a.says(Evacuating=True)
    bench.b.state = 503, b"{}"

    bench.ask(LRP)

    until(lambda: bench.reported(FAIL))
    _, _, told = bench.auctioneer.call("/v1/explanations/web", method="GET")
    _, _, seen = bench.auctioneer.call("/v1/cells", method="GET")
    left_out = {"cell-a": "is being emptied", "cell-b": "did not tell its state: status 503"}
    assert json.loads(told)[0]["left_out"] == left_out
    assert (json.loads(seen)["cells"], json.loads(seen)["left_out"]) == ([], left_out)


def test_what_the_cells_last_said_of_their_room_can_be_asked(bench: Bench) -> None:
    bench.ask(LRP)
    until(bench.given)

    _, _, seen = bench.auctioneer.call("/v1/cells", method="GET")

    room = {"memory_mb": 1024, "disk_mb": 2048, "containers": 10}
    assert json.loads(seen)["cells"] == [
        {"cell_id": name, "zone": zone, "available": room, "total": room, "starting": 0}
        for name, zone in (("cell-a", "z1"), ("cell-b", "z2"))
    ]


def test_refusals_are_reported_side_by_side_and_the_next_round_does_not_wait(bench: Bench) -> None:
    bench.ask(*[{**lrp(f"large-{number}"), "MemoryMB": 9999} for number in range(100)])
    bench.ask(LRP)

    until(lambda: bench.given() == ["web"])
    until(lambda: len(bench.reported(FAIL)) == 100)
    assert bench.auctioneer.metric("auctioneer_lrp_auctions_failed_total") == 100


def test_when_the_cells_cannot_be_listed_the_batch_is_kept(bench: Bench) -> None:
    good = bench.bbs.script[CELLS][0]
    bench.bbs.tell(CELLS, *[Told(b"", 500, "text/plain")] * 4, good)

    bench.ask(LRP)

    until(lambda: bench.given() == ["web"], seconds=60)


def test_every_decision_can_be_asked_about(bench: Bench) -> None:
    bench.ask(LRP, {**lrp("large"), "MemoryMB": 9999})
    until(lambda: bench.given() and bench.reported(FAIL))

    _, _, placed = bench.auctioneer.call("/v1/explanations/web", method="GET")
    _, _, refused = bench.auctioneer.call("/v1/explanations/large", method="GET")
    _, _, unknown = bench.auctioneer.call("/v1/explanations/nobody", method="GET")

    found = json.loads(placed)[0]
    assert (found["cell"], found["considered"], found["zones"]) == ("cell-a", 2, {"z1": 0, "z2": 0})
    assert [(cell["cell"], cell["lacks"]) for cell in found["looked_at"]] == [("cell-a", []), ("cell-b", [])]
    assert json.loads(refused)[0]["error"] == "insufficient resources: memory"
    assert json.loads(unknown) == []


# ---- bad input


def test_no_input_makes_it_fail(bench: Bench) -> None:
    chance = random.Random(7)
    workers = bench.auctioneer.workers
    good = json.dumps([LRP, TASK]).encode()
    statuses = set()
    for _ in range(300):
        body = bytearray(good)
        for _ in range(chance.randrange(1, 6)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        statuses.add(bench.auctioneer.call(chance.choice(("/v1/lrps", "/v1/tasks")), bytes(body))[0])

    assert statuses == {202, 400}
    assert bench.auctioneer.workers == workers
