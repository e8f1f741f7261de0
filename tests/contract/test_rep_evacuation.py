"""The rep empties its cell: the real rep and garden, a real BBS, Locket and MariaDB (contract/rep.md section 6).

The test plays the auctioneer, and the other cell to which the instances go.
"""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from diego.rep.core.evacuation import Phase
from diego.rep.evacuation import EvacuationFile
from diego.rep.operations import ROUTES_GO_FIRST
from diego.wire.actions_pb2 import Action, RunAction
from diego.wire.desired_lrp_pb2 import DesiredLRP, ProtoRoutes
from diego.wire.metric_tags_pb2 import MetricTagValue
from diego.wire.task_pb2 import Task, TaskDefinition
from support.garden import directory
from support.joined_cell import OTHER_CELL, JoinedCell, a_joined_cell
from support.mariadb import MariaDb
from support.worker import until

pytestmark = [pytest.mark.root, pytest.mark.database, pytest.mark.timeout(400)]

WEB = (
    "use Socket; socket(my $s,PF_INET,SOCK_STREAM,0); setsockopt($s,SOL_SOCKET,SO_REUSEADDR,1);"
    "bind($s,sockaddr_in(8080,INADDR_ANY)); listen($s,64);"
    "while(accept(my $c,$s)){ while(my $h=<$c>){last if $h=~/^\\r?\\n/} print $c qq(HTTP/1.0 200 X\\r\\n\\r\\nhello);"
    "close $c }"
)
QUICK = {"evacuation_polling_interval": "1s", "evacuation_timeout": "120s"}


@pytest.fixture(scope="module")
def cells(mariadb: MariaDb) -> Iterator[JoinedCell]:
    database = mariadb.create_database()
    with directory() as place, a_joined_cell(place, database, **QUICK) as cell:
        yield cell
    mariadb.drop_database(database)


@pytest.fixture
def cell(cells: JoinedCell) -> JoinedCell:
    """The cell with a rep that takes work: after the test before it may have ended."""
    assert cells.master is not None
    if cells.master.poll() is not None:
        cells.config.update(QUICK)
        cells.start_rep()
    return cells


def shell(script: str) -> Action:
    return Action(run_action=RunAction(path="/bin/sh", args=["-c", script], user="vcap"))


def desire(cell: JoinedCell, guid: str, action: Action, **more: Any) -> None:
    cell.client.desire_lrp(
        DesiredLRP(
            process_guid=guid,
            domain="d",
            root_fs="preloaded:cflinuxfs4",
            instances=1,
            action=action,
            memory_mb=64,
            disk_mb=64,
            log_guid=f"log-{guid}",
            log_source="APP",
            metric_tags={"source_id": MetricTagValue(static=guid)},
            **more,
        )
    )


def lrp_work(guid: str) -> dict[str, Any]:
    return {
        "process_guid": guid,
        "index": 0,
        "domain": "d",
        "RootFs": "preloaded:cflinuxfs4",
        "MemoryMB": 64,
        "DiskMB": 64,
    }


def place(cell: JoinedCell, guid: str) -> str:
    """Have an LRP's index 0 placed on the cell; its instance, once it runs."""
    answer = cell.call("POST", "/work", json.dumps({"LRPs": [lrp_work(guid)], "cell_id": "cell-a"}).encode())
    assert answer.json()["LRPs"] == []
    until(lambda: cell.rows(guid).get("ORDINARY") == ("RUNNING", "cell-a"), seconds=60)
    [lrp] = cell.client.actual_lrps(process_guid=guid)
    return lrp.actual_lrp_instance_key.instance_guid


def run(cell: JoinedCell, guid: str, action: Action | None = None, **more: Any) -> str:
    desire(cell, guid, action or shell("exec sleep 1000"), **more)
    return place(cell, guid)


def run_task(cell: JoinedCell, guid: str, script: str) -> None:
    definition = TaskDefinition(
        root_fs="preloaded:cflinuxfs4", action=shell(script), memory_mb=64, disk_mb=64
    )
    cell.client.desire_task(guid, "d", definition)
    work = {"TaskGuid": guid, "Domain": "d", "RootFs": "preloaded:cflinuxfs4", "MemoryMB": 64, "DiskMB": 64}
    assert cell.call("POST", "/work", json.dumps({"Tasks": [work]}).encode()).json()["Tasks"] == []
    until(lambda: cell.client.task(guid).state == Task.Running, seconds=60)


def evacuate(cell: JoinedCell) -> None:
    answer = cell.call("POST", "/evacuate", port=cell.admin)
    assert answer.status == 202
    assert answer.json() == {"ping_path": "/ping"}
    assert answer.headers["Content-Type"] == "application/json"


def ended(cell: JoinedCell, seconds: float = 90.0) -> int:
    """The status with which the rep ended."""
    assert cell.master is not None
    return cell.master.wait(seconds)


def moment_of(cell: JoinedCell, message: str, **data: str) -> float:
    """When the rep wrote a line of its own log, in seconds since the epoch."""
    lines = [json.loads(line) for line in cell.log().splitlines() if line.startswith("{")]
    return next(
        float(line["timestamp"])
        for line in lines
        if line["message"].endswith(message) and data.items() <= line["data"].items()
    )


def moment_of_app(cell: JoinedCell, guid: str, text: str) -> float:
    """When a line came into the log of an app, in seconds since the epoch."""
    line = next(line for line in log_of(cell, guid).splitlines() if text in line)
    return datetime.fromisoformat(line.split(" ", 1)[0]).timestamp()


def log_of(cell: JoinedCell, guid: str) -> str:
    return "".join(path.read_text() for path in (cell.directory / "app_logs").glob(f"*{guid}*"))


def remembered(cell: JoinedCell) -> Any:
    found = EvacuationFile(cell.directory / "store").load()
    assert found is not None
    return found


def forget(cell: JoinedCell, guid: str) -> None:
    """Leave nothing of an LRP, for the next test."""
    cell.client.remove_desired_lrp(guid)
    for lrp in cell.client.actual_lrps(process_guid=guid):
        if lrp.actual_lrp_instance_key.cell_id == OTHER_CELL:
            cell.client.remove_actual_lrp(guid, 0, lrp.actual_lrp_instance_key)
    until(lambda: cell.client.actual_lrps(process_guid=guid) == [], seconds=60)


class Visitor:
    """Asks an app again and again; what went wrong is in `failures`, with the time when it was over."""

    def __init__(self, cell: JoinedCell, port: int, address: str) -> None:
        self.failures: list[tuple[float, str]] = []
        self.visits = 0
        self._over = threading.Event()
        self._cell, self._port, self._address = cell, port, address
        self._thread = threading.Thread(target=self._visit)
        self._thread.start()

    def _visit(self) -> None:
        while not self._over.wait(0.05):
            try:
                answer = self._cell.connect(self._port, self._address, b"GET / HTTP/1.0\r\n\r\n")
                self.visits += 1
                if not answer.endswith(b"hello"):
                    self.failures.append((time.time(), repr(answer)))
            except OSError as error:
                self.failures.append((time.time(), str(error)))

    def leave(self) -> None:
        self._over.set()
        self._thread.join()


@contextlib.contextmanager
def visiting(cell: JoinedCell, guid: str) -> Iterator[Visitor]:
    [lrp] = cell.client.actual_lrps(process_guid=guid)
    net = lrp.actual_lrp_net_info
    visitor = Visitor(cell, net.ports[0].host_port, net.address)
    try:
        yield visitor
    finally:
        visitor.leave()


def test_an_app_answers_until_its_replacement_runs_and_its_routes_are_gone(cell: JoinedCell) -> None:
    routes = ProtoRoutes(routes={"cf-router": b'[{"hostnames":["web"],"port":8080}]'})
    web = Action(run_action=RunAction(path="perl", args=["-e", WEB], user="vcap"))
    guid = run(cell, "web", web, ports=[8080], routes=routes)
    run_task(cell, "task", "until ls /tmp/over; do sleep 0.2; done")
    [before] = cell.client.actual_lrps(process_guid="web")

    with visiting(cell, "web") as visitor:
        until(lambda: visitor.visits > 3)
        visitor.failures.clear()
        evacuate(cell)
        until(lambda: cell.rows("web").get("EVACUATING") == ("RUNNING", "cell-a"), seconds=60)
        evacuating = cell.client.actual_lrps(process_guid="web")
        state = cell.call("GET", "/state").json()
        work = {"LRPs": [lrp_work("web")], "Tasks": [], "cell_id": "cell-a"}
        refused = cell.call("POST", "/work", json.dumps(work).encode()).json()
        until(lambda: "evacuating" in cell.presence(), seconds=60)
        time.sleep(1.5)
        cell.run_elsewhere("web")
        until(lambda: set(cell.rows("web")) == {"ORDINARY"}, seconds=60)
        until(lambda: not cell.call("GET", "/v1/evacuation").json()["lrps"], seconds=60)
    progress = cell.call("GET", "/v1/evacuation").json()
    cell.garden.run(cell.garden.sh("task", "touch /tmp/over"))

    replaced = moment_of(cell, "instance.evacuated", guid=guid)
    stopped = moment_of_app(cell, guid, f"Cell cell-a stopping instance {guid}")
    assert stopped - replaced >= ROUTES_GO_FIRST
    assert [failure for failure in visitor.failures if failure[0] < stopped] == []
    assert [task["task_guid"] for task in progress["tasks"]] == ["task"]
    [kept] = [lrp for lrp in evacuating if lrp.presence == lrp.EVACUATING]
    assert kept.actual_lrp_net_info == before.actual_lrp_net_info
    assert {lrp.state for lrp in evacuating if lrp is not kept} == {"UNCLAIMED"}
    assert state["Evacuating"] is True
    assert (refused["cell_id"], refused["LRPs"][0]["process_guid"]) == ("cell-a", "web")
    assert cell.rows("web") == {"ORDINARY": ("RUNNING", OTHER_CELL)}

    assert ended(cell) == 0
    assert cell.client.task("task").state == Task.Completed
    assert cell.client.task("task").failed is False
    assert cell.presence() == ""
    assert remembered(cell).phase is Phase.OVER
    log = log_of(cell, guid)
    assert log.count(f"Cell cell-a requesting replacement for instance {guid}") == 1
    assert "reached evacuation timeout" not in log
    assert cell.containers() == []
    forget(cell, "web")


def test_a_rep_that_ended_by_itself_takes_work_when_it_is_started_again(cell: JoinedCell) -> None:
    evacuate(cell)
    assert ended(cell) == 0

    cell.start_rep()

    assert cell.call("GET", "/state").json()["Evacuating"] is False
    guid = run(cell, "again")
    assert "evacuating" not in cell.presence()
    assert cell.call("POST", f"/v1/lrps/again/instances/{guid}/stop").status == 202
    forget(cell, "again")


@pytest.mark.parametrize("master", [True, False])
def test_a_rep_killed_in_the_middle_goes_on(cell: JoinedCell, master: bool) -> None:
    name = f"killed-{master}".lower()
    guid = run(cell, name)
    evacuate(cell)
    until(lambda: "EVACUATING" in cell.rows(name), seconds=60)
    began = remembered(cell).began

    cell.kill_rep(master=master)
    if master:
        assert cell.rows(name)["EVACUATING"] == ("RUNNING", "cell-a")
        cell.start_rep()

    state = until(lambda: _state(cell), seconds=60)
    assert state["Evacuating"] is True
    assert [lrp["instance_guid"] for lrp in state["LRPs"]] == [guid]
    assert remembered(cell).began == began
    cell.run_elsewhere(name)
    assert ended(cell) == 0
    assert cell.rows(name) == {"ORDINARY": ("RUNNING", OTHER_CELL)}
    forget(cell, name)


def _state(cell: JoinedCell) -> dict[str, Any]:
    try:
        found: dict[str, Any] = cell.call("GET", "/state").json()
    except OSError:
        return {}
    return found


def test_a_rep_that_was_told_to_stop_in_the_middle_goes_on_when_it_is_started_again(cell: JoinedCell) -> None:
    run(cell, "stopped")
    evacuate(cell)
    until(lambda: "EVACUATING" in cell.rows("stopped"), seconds=60)

    cell.stop_rep()
    assert cell.master is not None
    status = cell.master.returncode
    cell.start_rep()

    assert status == 128 + 15
    assert cell.call("GET", "/state").json()["Evacuating"] is True
    cell.run_elsewhere("stopped")
    assert ended(cell) == 0
    forget(cell, "stopped")


def test_when_the_time_is_up_the_rest_ends_and_no_record_stays(cell: JoinedCell) -> None:
    cell.stop_rep()
    cell.config["evacuation_timeout"] = "5s"
    cell.start_rep()
    guid = run(cell, "stuck", shell("trap '' TERM; while :; do sleep 1; done"))
    run_task(cell, "endless", "exec sleep 1000")

    begun = time.monotonic()
    evacuate(cell)
    until(lambda: "EVACUATING" in cell.rows("stuck"), seconds=60)

    assert ended(cell) == 0
    assert time.monotonic() - begun >= 5
    log = log_of(cell, guid)
    assert f"Cell cell-a reached evacuation timeout for instance {guid}" in log
    assert "Exit status 137 (exceeded 10s graceful shutdown interval)" in log
    assert cell.rows("stuck") == {"ORDINARY": ("UNCLAIMED", "")}
    assert cell.client.task("endless").failure_reason != ""
    assert cell.containers() == []
    assert cell.presence() == ""
    forget(cell, "stuck")


def test_an_lrp_that_is_recreated_ends_first(cell: JoinedCell) -> None:
    run(cell, "recreated", update_strategy=DesiredLRP.RECREATE)

    evacuate(cell)

    assert ended(cell) == 0
    assert cell.rows("recreated") == {"ORDINARY": ("UNCLAIMED", "")}
    forget(cell, "recreated")


def test_an_evacuation_outlives_the_absence_of_the_bbs(cell: JoinedCell) -> None:
    guid = run(cell, "unheard")
    for doorway in cell.doorways:
        doorway.refuse = True
        doorway.drop_all()

    evacuate(cell)
    time.sleep(3)
    progress = cell.call("GET", "/v1/evacuation").json()
    for doorway in cell.doorways:
        doorway.refuse = False

    assert [lrp["instance_guid"] for lrp in progress["lrps"]] == [guid]
    until(lambda: "EVACUATING" in cell.rows("unheard"), seconds=90)
    cell.run_elsewhere("unheard")
    assert ended(cell) == 0
    forget(cell, "unheard")


def test_the_drain_script_returns_0_when_the_cell_is_empty_and_at_once_when_nobody_is_there(
    cell: JoinedCell,
) -> None:
    run(cell, "drained")
    drains: list[Any] = []
    draining = threading.Thread(target=lambda: drains.append(cell.drain("job_shutdown", "hash_unchanged")))

    draining.start()
    until(lambda: "EVACUATING" in cell.rows("drained"), seconds=60)
    again = cell.drain("job_check_status", "hash_unchanged")
    cell.run_elsewhere("drained")
    draining.join()
    absent = cell.drain("job_shutdown", "hash_unchanged")

    assert (again.returncode, again.stdout) == (0, "-5\n")
    assert "cell-a: evacuating: 1 instance and 0 tasks left, at most" in again.stderr
    assert (drains[0].returncode, drains[0].stdout) == (0, "0\n")
    assert (absent.returncode, absent.stdout) == (0, "0\n")
    # it has looked once
    [said] = absent.stderr.splitlines()
    assert said.endswith("the rep does not run: nothing was moved")
    assert ended(cell) == 0
    forget(cell, "drained")


def test_routes_of_one_listener_are_not_on_the_other(cell: JoinedCell) -> None:
    assert cell.call("POST", "/evacuate").status == 404
    assert cell.call("GET", "/v1/evacuation", port=cell.admin).status == 404
    assert cell.call("GET", "/v1/evacuation").json()["evacuating"] is False
    assert Path(cell.directory / "store" / "evacuation.json").exists() is False
