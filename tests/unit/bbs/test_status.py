"""What the BBS tells of the whole deployment, and of one process or task."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any, cast

from diego.bbs import status as status_module
from diego.bbs.memory import Memory
from diego.bbs.outside import Cells
from diego.bbs.status import Status
from diego.locket.client import LocketClient, LocketError
from diego.models import ActualLRP, BbsError, CellPresence, Domain, ErrorType, TaskState
from diego.wire.locket_pb2 import Resource
from support.records import (
    MINUTE,
    NOW,
    SECOND,
    a_desired_lrp,
    a_task,
    claimed,
    crashed,
    evacuating,
    running,
    suspect,
    unclaimed,
)


class FakeCells:
    """The cells that are there; None: Locket does not say."""

    def __init__(self, *names: str, known: bool = True) -> None:
        self.names = names
        self.known = known

    def all(self) -> Sequence[CellPresence]:
        if not self.known:
            raise BbsError(ErrorType.UNKNOWN_ERROR, "gone")
        return [
            CellPresence(name, zone="z1", memory_mb=1, disk_mb=2, containers=3, rep_url=f"https://{name}")
            for name in self.names
        ]


class FakeLocket:
    def __init__(self, *, answers: bool = True) -> None:
        self.answers = answers

    def fetch_all(self, kind: object, *, timeout: float) -> list[Resource]:
        if not self.answers:
            raise LocketError("UNAVAILABLE", "no address answers")
        return [Resource(key="bbs", owner="diego-api-0")]


def remembered(*rows: ActualLRP, instances: int = 1) -> Memory:
    """A memory with one process, `process`, and these records."""
    memory = Memory()
    memory.put_desired("process", a_desired_lrp(instances=instances))
    for row in rows:
        memory.put_actual(row.identity, row)
    return memory


def status(memory: Memory, *cells: str, known: bool = True, locket: bool = True) -> Status:
    return Status(
        memory,
        cast(Cells, FakeCells(*cells, known=known)),
        cast(LocketClient, FakeLocket(answers=locket)),
        lambda: NOW,
        lambda: True,
    )


def whole(memory: Memory, *cells: str, **how: bool) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(asyncio.run(status(memory, *cells, **how)._shared()))
    return told


def one(memory: Memory, guid: str, *cells: str, **how: bool) -> dict[str, Any]:
    return asyncio.run(status(memory, *cells, **how).one(guid))


def test_instances_are_counted_by_their_state() -> None:
    memory = remembered(
        running(index=0),
        claimed(index=1),
        unclaimed(index=2),
        crashed(index=3),
        suspect(index=1, cell_id="gone"),
        evacuating(index=2, cell_id="cell"),
        instances=5,
    )

    told = whole(memory, "cell")

    assert told["lrps"] == {
        "processes": 1,
        "lacking_processes": 1,
        "instances": 5,
        "unclaimed": 1,
        "claimed": 1,
        "running": 1,
        "crashed": 1,
        "evacuating": 1,
        "suspect": 1,
    }
    assert told["apps"][0]["running"] == 3, "whatever record says so, the index runs"
    assert told["locks"] == [{"key": "bbs", "owner": "diego-api-0"}]


def test_cells_have_what_is_on_them_and_those_that_are_gone_are_told() -> None:
    memory = remembered(running(index=0, cell_id="here"), running(index=1, cell_id="gone"), instances=2)
    memory.put_task("t", a_task(guid="t", state=TaskState.RUNNING, cell_id="here"))

    told = whole(memory, "here", "empty")

    assert [(cell["cell_id"], cell["lrps"], cell["tasks"]) for cell in told["cells"]] == [
        ("here", 1, 1),
        ("empty", 0, 0),
    ]
    assert told["missing_cells"] == [{"cell_id": "gone", "lrps": 1, "tasks": 0}]


def test_no_cell_is_called_gone_while_locket_does_not_answer() -> None:
    told = whole(remembered(running()), known=False, locket=False)

    assert (told["cells"], told["missing_cells"]) == ([], [])
    assert told["locket_error"] == "no address answers"


def test_what_has_no_place_is_grouped_by_the_reason_and_the_oldest_tells_since_when() -> None:
    memory = remembered(
        unclaimed(index=0, placement_error="full", since=NOW - MINUTE),
        unclaimed(index=1, placement_error="full", since=NOW - 2 * MINUTE),
        unclaimed(index=2),
        instances=3,
    )

    full, untried = whole(memory)["unplaced"]

    assert (full["placement_error"], full["instances"], full["since"]) == ("full", 2, NOW - 2 * MINUTE)
    assert [example["index"] for example in full["examples"]] == [0, 1]
    assert (untried["placement_error"], untried["instances"]) == ("", 1)


def test_processes_that_lack_instances_come_first_and_not_all_are_named() -> None:
    memory = remembered(running())
    for number in range(30):
        memory.put_desired(f"whole-{number}", a_desired_lrp(f"whole-{number}", instances=0))
    memory.put_desired("zz", a_desired_lrp("zz"))
    row = unclaimed(process_guid="zz")
    memory.put_actual(row.identity, row)

    told = whole(memory)

    assert told["apps"][0]["process_guid"] == "zz"
    assert (len(told["apps"]), told["lrps"]["processes"]) == (20, 32)


def test_domains_are_fresh_or_not_also_those_that_nobody_set() -> None:
    memory = remembered()
    memory.put_domain("fresh", Domain.upserted("fresh", 0, now=NOW))
    memory.put_domain("stale", Domain.upserted("stale", 5, now=NOW - MINUTE))

    told = {
        domain["domain"]: (domain["fresh"], domain["desired_lrps"]) for domain in whole(memory)["domains"]
    }

    assert told == {"fresh": (True, 0), "stale": (False, 0), "domain": (False, 1)}


def test_an_instance_that_crashed_has_the_time_of_its_restart() -> None:
    memory = remembered(
        crashed(index=0, crash_count=3, since=NOW - 10 * SECOND),
        crashed(index=1, crash_count=3, since=NOW - MINUTE),
        crashed(index=2, crash_count=200),
        instances=3,
    )

    restarts = {row["index"]: row["restart_at"] for row in whole(memory)["crashed"]}

    assert restarts == {0: NOW + 20 * SECOND, 1: NOW, 2: None}


def test_one_process_is_told_with_its_records_and_where_its_cells_answer() -> None:
    memory = remembered(running(index=0, cell_id="cell"), running(index=1, cell_id="gone"), instances=2)

    told = one(memory, "process", "cell")

    assert told["desired_lrp"]["rootfs"] == "preloaded:cflinuxfs4"
    assert [row["index"] for row in told["actual_lrps"]] == [0, 1]
    assert told["cells"] == {"cell": "https://cell", "gone": None}
    assert told["cells_known"] is True
    assert one(memory, "process", known=False)["cells_known"] is False


def test_one_task_is_told() -> None:
    memory = Memory()
    memory.put_task("t", a_task(guid="t", rejection_count=1, rejection_reason="full"))

    told = one(memory, "t")["task"]

    assert (told["state"], told["rejection_count"], told["rejection_reason"]) == ("Pending", 1, "full")


def test_a_guid_that_nobody_has_is_looked_for_elsewhere() -> None:
    memory = remembered(running(instance_guid="instance-7"))

    assert one(memory, "instance-7")["instance_of"] == {"process_guid": "process", "index": 0}
    assert one(memory, "proc")["similar"] == ["process"]
    assert one(memory, "nobody")["similar"] == []


def test_walks_give_way_to_others_after_each_slice() -> None:
    slices = list(status_module.sliced([str(number) for number in range(2500)]))

    assert [len(each) for each in slices] == [1000, 1000, 500]
