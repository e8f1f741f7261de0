"""The rep's own command over the real garden: work, reports to the BBS, and its life beside its containers.

Locket and the BBS are stand-ins (support.rep_peers); everything else is real. Followed here: contract/rep.md,
contract/executor.md, contract/auction.md section 4, ours.md section 3, golden/auctioneer-rep.json.
"""

import base64
import contextlib
import gzip
import hashlib
import json
import re
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from diego.wire.actions_pb2 import Action, DownloadAction, RunAction, SerialAction
from diego.wire.actual_lrp_pb2 import ActualLRP, ActualLRPInstanceKey, ActualLRPKey
from diego.wire.cached_dependency_pb2 import CachedDependency
from diego.wire.check_definition_pb2 import Check, CheckDefinition, HTTPCheck, TCPCheck
from diego.wire.desired_lrp_pb2 import DesiredLRP, ProtoRoutes
from diego.wire.error_pb2 import Error
from diego.wire.metric_tags_pb2 import MetricTagValue
from diego.wire.sidecar_pb2 import Sidecar
from diego.wire.task_pb2 import Task, TaskDefinition
from support.executor_bench import a_tar
from support.garden import directory
from support.rep import RepCell, a_cell
from support.worker import until

pytestmark = [pytest.mark.root, pytest.mark.timeout(400)]

CLAIM, START = "/v1/actual_lrps/claim", "/v1/actual_lrps/start.r1"
CRASH, REMOVE = "/v1/actual_lrps/crash", "/v1/actual_lrps/remove"
COMPLETE, REJECT = "/v1/tasks/complete", "/v1/tasks/reject"
GOLDEN = Path(__file__).parent / "data" / "golden-auctioneer-rep.json.gz"

WEB = (
    "use Socket; socket(my $s,PF_INET,SOCK_STREAM,0); setsockopt($s,SOL_SOCKET,SO_REUSEADDR,1);"
    "bind($s,sockaddr_in(8080,INADDR_ANY)); listen($s,64); $|=1; print qq(listening $$\\n);"
    "while(accept(my $c,$s)){ my $l=<$c>; my $code=$l=~m{/bad} ? 500 : 200;"
    "while(my $h=<$c>){last if $h=~/^\\r?\\n/} print $c qq(HTTP/1.0 $code X\\r\\n\\r\\npid $$ guid $ENV{CF_INSTANCE_GUID}\\n);"
    "close $c }"
)


@pytest.fixture(scope="module")
def cell() -> Iterator[RepCell]:
    with directory() as place, a_cell(place) as cell:
        yield cell


def shell(script: str, **more: Any) -> Action:
    return Action(run_action=RunAction(path="/bin/sh", args=["-c", script], user="vcap", **more))


def web() -> Action:
    return Action(run_action=RunAction(path="perl", args=["-e", WEB], user="vcap"))


def a_desired_lrp(guid: str, action: Action, **more: Any) -> DesiredLRP:
    return DesiredLRP(
        process_guid=guid,
        domain="d",
        root_fs="preloaded:cflinuxfs4",
        instances=1,
        action=action,
        memory_mb=64,
        disk_mb=64,
        log_guid=f"log-{guid}",
        log_source="APP",
        **more,
    )


def lrp_work(guid: str, **more: Any) -> dict[str, Any]:
    return {
        "instance_guid": "",
        "process_guid": guid,
        "index": 0,
        "domain": "d",
        "PlacementTags": None,
        "VolumeDrivers": [],
        "RootFs": "preloaded:cflinuxfs4",
        "MemoryMB": 64,
        "DiskMB": 64,
        "MaxPids": 0,
        "state": "",
        **more,
    }


def task_work(guid: str) -> dict[str, Any]:
    return {
        "TaskGuid": guid,
        "Domain": "d",
        "PlacementTags": None,
        "VolumeDrivers": [],
        "RootFs": "preloaded:cflinuxfs4",
        "MemoryMB": 64,
        "DiskMB": 64,
        "MaxPids": 0,
        "state": "Invalid",
        "failed": False,
    }


def perform(
    cell: RepCell, *lrps: dict[str, Any], tasks: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    work = {"LRPs": list(lrps) or None, "Tasks": tasks, "cell_id": "cell-a"}
    answer = cell.call("POST", "/work", json.dumps(work).encode())
    assert answer.status == 200
    found: dict[str, Any] = answer.json()
    return found


def state(cell: RepCell) -> dict[str, Any]:
    found: dict[str, Any] = cell.call("GET", "/state").json()
    return found


def place(cell: RepCell, lrp: DesiredLRP) -> str:
    """Desire and place an LRP; the guid of its instance."""
    cell.desire(lrp)
    assert perform(cell, lrp_work(lrp.process_guid)) == {"LRPs": [], "Tasks": []}
    claims = until(lambda: claims_of(cell, lrp.process_guid))
    return str(claims[0]["actual_lrp_instance_key"]["instance_guid"])


def claims_of(cell: RepCell, guid: str) -> list[dict[str, Any]]:
    return [call for call in cell.calls(CLAIM) if call["process_guid"] == guid]


def run(cell: RepCell, lrp: DesiredLRP) -> str:
    guid = place(cell, lrp)
    until(lambda: cell.seen()["rows"].get(guid) == "RUNNING", seconds=60)
    return guid


def stop(cell: RepCell, guid: str) -> None:
    assert cell.call("POST", f"/v1/lrps/any/instances/{guid}/stop").status == 202
    until(lambda: guid not in cell.seen()["rows"], seconds=60)
    until(lambda: gone(cell, guid), seconds=60)


def first(calls: list[dict[str, Any]], **wanted: Any) -> dict[str, Any]:
    """The first call with these members; empty when there is none yet."""
    return next((call for call in calls if wanted.items() <= call.items()), {})


def gone(cell: RepCell, guid: str) -> bool:
    return all(lrp["instance_guid"] != guid for lrp in state(cell)["LRPs"])


def calls_of(cell: RepCell, path: str, guid: str) -> list[dict[str, Any]]:
    """Calls that name an instance."""
    return [call for call in cell.calls(path) if call["actual_lrp_instance_key"]["instance_guid"] == guid]


def crash_reason(cell: RepCell, guid: str) -> str:
    calls = until(lambda: calls_of(cell, CRASH, guid), seconds=60)
    until(lambda: gone(cell, guid), seconds=60)
    return str(calls[0].get("error_message", ""))


def log_of(cell: RepCell, guid: str) -> list[str]:
    lines = cell.call("GET", f"/v1/logs/{guid}?tail=1000").body.decode().splitlines()
    return [line.split(" ", 1)[1] for line in lines]


def host_port(cell: RepCell, guid: str) -> int:
    return int(calls_of(cell, START, guid)[0]["actual_lrp_net_info"]["ports"][0]["host_port"])


def get(cell: RepCell, guid: str, path: str = "/") -> str:
    net = calls_of(cell, START, guid)[0]["actual_lrp_net_info"]
    answer = cell.connect(
        net["ports"][0]["host_port"], net["address"], f"GET {path} HTTP/1.0\r\n\r\n".encode()
    )
    return answer.decode().partition("\r\n\r\n")[2]


def answering(cell: RepCell, guid: str) -> str:
    """What the app says, as soon as it listens."""

    def tried() -> str:
        try:
            return get(cell, guid)
        except OSError:
            return ""

    return until(tried)


def run_task(cell: RepCell, guid: str, script: str, **more: Any) -> dict[str, Any]:
    """Run a task to its end; what the BBS was told."""
    definition = TaskDefinition(
        root_fs="preloaded:cflinuxfs4",
        action=shell(script),
        memory_mb=64,
        disk_mb=64,
        log_guid=f"log-{guid}",
        log_source="TASK",
        **more,
    )
    cell.add_task(Task(task_guid=guid, domain="d", state=Task.Pending, task_definition=definition))
    assert perform(cell, tasks=[task_work(guid)]) == {"LRPs": [], "Tasks": []}
    return until(lambda: first(cell.calls(COMPLETE), task_guid=guid), seconds=60)


def test_an_lrp_is_claimed_run_and_started_quickly(cell: RepCell) -> None:
    routes = ProtoRoutes(routes={"internal-router": b'[{"hostname":"in.example"}]'})
    lrp = a_desired_lrp(
        "quick",
        web(),
        ports=[8080],
        routes=routes,
        metric_tags={"index": MetricTagValue(dynamic=MetricTagValue.INDEX), "k": MetricTagValue(static="v")},
    )

    guid = run(cell, lrp)

    started = calls_of(cell, START, guid)[0]
    assert len(guid) == 28
    assert started["actual_lrp_key"] == {"process_guid": "quick", "domain": "d"}
    assert started["actual_lrp_instance_key"] == {"instance_guid": guid, "cell_id": "cell-a"}
    assert started["availability_zone"] == "z1"
    assert started["Routable"] is True
    assert started["metric_tags"] == {"index": "0", "k": "v"}
    assert started["actual_lrp_internal_routes"] == [{"hostname": "in.example"}]
    net = started["actual_lrp_net_info"]
    assert net["preferred_address"] == "HOST"
    assert net["instance_address"].startswith("10.255.7.")
    assert net["ports"][0]["container_port"] == 8080
    until(lambda: "APP/0] OUT listening" in " ".join(log_of(cell, guid)))
    assert get(cell, guid).endswith(f"guid {guid}\n")
    stop(cell, guid)
    assert calls_of(cell, CRASH, guid) == []
    assert len(calls_of(cell, REMOVE, guid)) == 1


def test_the_state_counts_what_is_reserved_and_frees_it_when_destroyed(cell: RepCell) -> None:
    before = state(cell)
    guid = run(cell, a_desired_lrp("counted", shell("exec sleep 1000")))

    during = state(cell)
    stop(cell, guid)
    after = state(cell)

    assert before["TotalResources"] == {"MemoryMB": 1024, "DiskMB": 2048, "Containers": 249}
    assert during["AvailableResources"] == {
        "MemoryMB": before["AvailableResources"]["MemoryMB"] - 64,
        "DiskMB": before["AvailableResources"]["DiskMB"] - 64,
        "Containers": before["AvailableResources"]["Containers"] - 1,
    }
    assert {key: during["LRPs"][0][key] for key in ("process_guid", "state", "MemoryMB", "RootFs")} == {
        "process_guid": "counted",
        "state": "RUNNING",
        "MemoryMB": 64,
        "RootFs": "preloaded:cflinuxfs4",
    }
    assert after["AvailableResources"] == before["AvailableResources"]


def test_a_crash_is_told_with_its_reason_and_its_last_words(cell: RepCell) -> None:
    guid = place(cell, a_desired_lrp("crashes", shell("echo dying >&2; exit 7", log_source="APP/PROC/WEB")))

    assert crash_reason(cell, guid) == "APP/PROC/WEB: Exited with status 7"
    assert "[APP/PROC/WEB/0] ERR dying" in log_of(cell, guid)
    assert "[APP/PROC/WEB/0] OUT Exit status 7" in log_of(cell, guid)
    assert f"[APP/0] OUT Cell cell-a successfully destroyed container for instance {guid}" in log_of(
        cell, guid
    )


def test_the_environment_is_in_the_contracts_order(cell: RepCell) -> None:
    from diego.wire.environment_variables_pb2 import EnvironmentVariable

    lrp = a_desired_lrp(
        "env",
        shell("env; exit 1", env=[EnvironmentVariable(name="OWN", value="process")]),
        environment_variables=[EnvironmentVariable(name="OWN", value="definition")],
        ports=[8080],
    )
    guid = place(cell, lrp)

    crash_reason(cell, guid)

    lines = [line.partition(" OUT ")[2] for line in log_of(cell, guid)]
    env = dict(line.split("=", 1) for line in lines if "=" in line)
    assert env["CF_INSTANCE_GUID"] == env["INSTANCE_GUID"] == guid
    assert env["CF_INSTANCE_INDEX"] == env["INSTANCE_INDEX"] == "0"
    assert env["OWN"] == "process"
    assert env["CF_INSTANCE_ADDR"] == f"{env['CF_INSTANCE_IP']}:{env['CF_INSTANCE_PORT']}"
    assert json.loads(env["CF_INSTANCE_PORTS"]) == [
        {"external": int(env["CF_INSTANCE_PORT"]), "internal": 8080}
    ]


@pytest.mark.parametrize("how", ["term", "worker", "master", "both"])
def test_an_app_does_not_notice_that_its_rep_is_replaced(cell: RepCell, how: str) -> None:
    guid = run(cell, a_desired_lrp(f"survives-{how}", web(), ports=[8080]))
    before = answering(cell, guid)
    owner = cell.seen()["presences"][-1]["owner"]

    if how == "term":
        cell.stop_rep()
    else:
        cell.kill_rep(master=how != "worker", workers=how != "master")
    during = get(cell, guid)
    if how == "worker":
        cell.wait_until_it_serves()
    else:
        cell.start_rep()
    starts = len(calls_of(cell, START, guid))
    until(lambda: len(calls_of(cell, START, guid)) > starts, seconds=60)
    after = get(cell, guid)

    assert before == during == after
    assert calls_of(cell, CRASH, guid) == []
    assert calls_of(cell, REMOVE, guid) == []
    told = [json.dumps(call, sort_keys=True) for call in calls_of(cell, START, guid)]
    assert len(set(told)) == 1
    assert cell.seen()["presences"][-1]["owner"] == owner
    assert state(cell)["LRPs"][0]["state"] == "RUNNING"
    stop(cell, guid)


def test_output_and_an_exit_met_while_the_rep_was_away_are_told(cell: RepCell) -> None:
    guid = run(cell, a_desired_lrp("away", shell("echo first; sleep 4; echo last; exit 9")))
    until(lambda: "[APP/0] OUT first" in log_of(cell, guid))

    cell.kill_rep()
    time.sleep(5)
    cell.start_rep()

    assert crash_reason(cell, guid) == "APP: Exited with status 9"
    assert [line for line in log_of(cell, guid) if line in {"[APP/0] OUT first", "[APP/0] OUT last"}] == [
        "[APP/0] OUT first",
        "[APP/0] OUT last",
    ]


def test_an_app_does_not_notice_that_garden_is_replaced_and_its_exit_is_still_seen(cell: RepCell) -> None:
    guid = run(cell, a_desired_lrp("garden-gone", shell("sleep 4; echo last; exit 5")))

    cell.garden.kill_garden()
    time.sleep(1)
    cell.garden.start_garden()

    assert crash_reason(cell, guid) == "APP: Exited with status 5"
    assert "[APP/0] OUT last" in log_of(cell, guid)


def test_a_stop_that_the_rep_was_killed_in_is_finished_by_the_next(cell: RepCell) -> None:
    script = "trap '' TERM; echo deaf; while :; do sleep 1; done"
    guid = run(cell, a_desired_lrp("stubborn", shell(script)))
    until(lambda: "[APP/0] OUT deaf" in log_of(cell, guid))
    assert cell.call("POST", f"/v1/lrps/x/instances/{guid}/stop").status == 202
    record = cell.directory / "store" / "containers" / f"{guid}.json"
    until(lambda: json.loads(record.read_bytes())["stop_wanted"])

    cell.kill_rep()
    cell.start_rep()

    until(lambda: guid not in cell.seen()["rows"], seconds=60)
    assert calls_of(cell, CRASH, guid) == []
    line = "[APP/0] OUT Exit status 137 (exceeded 10s graceful shutdown interval)"
    assert line in log_of(cell, guid)


def test_an_http_check_makes_the_instance_running_when_it_is_up(cell: RepCell) -> None:
    checks = CheckDefinition(checks=[Check(http_check=HTTPCheck(port=8080, path="/"))])
    guid = run(
        cell,
        a_desired_lrp("healthy", web(), ports=[8080], check_definition=checks, start_timeout_ms=60_000),
    )

    assert "[APP/0] OUT Starting health monitoring of container" in log_of(cell, guid)
    assert "[APP/0] OUT Container became healthy" in log_of(cell, guid)
    stop(cell, guid)


def test_an_instance_that_never_listens_is_told_in_the_contracts_words(cell: RepCell) -> None:
    checks = CheckDefinition(checks=[Check(tcp_check=TCPCheck(port=8080))], log_source="HEALTH")
    lrp = a_desired_lrp(
        "deaf", shell("exec sleep 1000"), ports=[8080], check_definition=checks, start_timeout_ms=1000
    )
    guid = place(cell, lrp)

    reason = crash_reason(cell, guid)

    after = re.match(r"Instance never healthy after (\d+(\.\d{1,3})?)s: ", reason)
    assert after, reason
    assert float(after[1]) >= 1
    assert "Timed out after 1s (" in reason
    assert (
        " attempts) waiting for startup check to succeed: failed to make TCP connection to 10.255.7."
        in reason
    )
    assert reason.endswith(":8080: connection refused")
    assert calls_of(cell, START, guid) == []


def test_an_unhealthy_instance_crashes(cell: RepCell) -> None:
    sickening = WEB.replace("my $code=", "exec qw(sleep 1000) if $l=~m{/sick}; my $code=")
    action = Action(run_action=RunAction(path="perl", args=["-e", sickening], user="vcap"))
    checks = CheckDefinition(checks=[Check(tcp_check=TCPCheck(port=8080, interval_ms=500))])
    guid = run(cell, a_desired_lrp("sickens", action, ports=[8080], check_definition=checks))

    with contextlib.suppress(OSError):  # it answers with the end of the connection, one way or the other
        get(cell, guid, "/sick")
    reason = crash_reason(cell, guid)

    prefix = "Instance became unhealthy: Liveness check unsuccessful: failed to make TCP connection to "
    assert reason.startswith(prefix)
    assert "[APP/0] ERR Container became unhealthy" in log_of(cell, guid)


def test_a_monitor_action_decides_too(cell: RepCell) -> None:
    lrp = a_desired_lrp("monitored", shell("touch /tmp/up; exec sleep 1000"), monitor=shell("ls /tmp/up"))
    guid = run(cell, lrp)

    assert "[APP/0] OUT Container became healthy" in log_of(cell, guid)
    stop(cell, guid)


def test_assets_arrive_by_download_and_by_mount(cell: RepCell) -> None:
    tar = a_tar({"app/code": b"from the droplet"}, "w:gz")
    (cell.files / "droplet.tgz").write_bytes(tar)
    (cell.files / "lifecycle.tgz").write_bytes(a_tar({"launcher": b"from the cache"}, "w:gz"))
    base = f"https://127.0.0.1:{cell.bbs}"
    download = DownloadAction(
        artifact="droplet",
        to="/home/vcap",
        user="vcap",
        checksum_algorithm="sha256",
        checksum_value=hashlib.sha256(tar).hexdigest(),
        **{"from": f"{base}/droplet.tgz"},
    )
    lrp = a_desired_lrp(
        "assets",
        shell("cat /home/vcap/app/code /lifecycle/launcher; echo; touch /lifecycle/x; exit 1"),
        setup=Action(serial_action=SerialAction(actions=[Action(download_action=download)])),
        cached_dependencies=[
            CachedDependency(
                name="lifecycle", to="/lifecycle", cache_key="lc", **{"from": f"{base}/lifecycle.tgz"}
            )
        ],
    )
    guid = place(cell, lrp)

    crash_reason(cell, guid)

    log = log_of(cell, guid)
    assert "[APP/0] OUT from the dropletfrom the cache" in log
    assert f"[APP/0] OUT Downloaded droplet ({len(tar)}B)" in log
    assert any("Read-only file system" in line for line in log)


def test_a_wrong_checksum_fails_the_setup(cell: RepCell) -> None:
    (cell.files / "other.tgz").write_bytes(a_tar({"x": b"y"}, "w:gz"))
    download = DownloadAction(
        artifact="droplet",
        to="/home/vcap",
        user="vcap",
        checksum_algorithm="sha256",
        checksum_value="0" * 64,
        **{"from": f"https://127.0.0.1:{cell.bbs}/other.tgz"},
    )
    guid = place(cell, a_desired_lrp("checksum", shell("exit 0"), setup=Action(download_action=download)))

    assert crash_reason(cell, guid) == "Downloading droplet failed"


def test_what_the_cell_does_not_do_yet_is_a_crash_reason(cell: RepCell) -> None:
    guid = place(cell, a_desired_lrp("sidecars", shell("exit 0"), sidecars=[Sidecar(action=shell("exit 0"))]))

    assert crash_reason(cell, guid) == "sidecars are not supported by this cell"


def test_a_task_returns_its_result_file(cell: RepCell) -> None:
    told = run_task(cell, "task-1", "echo -n done > /tmp/result", result_file="/tmp/result")

    assert told == {"task_guid": "task-1", "cell_id": "cell-a", "result": "done"}


def test_a_failed_task_tells_why(cell: RepCell) -> None:
    told = run_task(cell, "task-2", "exit 3")

    assert told["failed"] is True
    assert told["failure_reason"] == "TASK: Exited with status 3"


@pytest.mark.parametrize(
    ("guid", "script"), [("task-3", "exit 0"), ("task-4", "head -c 51201 /dev/zero > /tmp/result")]
)
def test_a_result_that_is_missing_or_too_large_fails_the_task(cell: RepCell, guid: str, script: str) -> None:
    told = run_task(cell, guid, script, result_file="/tmp/result")

    assert told["failed"] is True
    assert told["failure_reason"] == "failed to fetch result"
    assert "result" not in told


def test_a_result_of_exactly_the_limit_is_returned(cell: RepCell) -> None:
    script = (
        "head -c 51200 /dev/zero | while read -r -d x; do :; done; perl -e 'print q(a) x 51200' > /tmp/result"
    )

    assert run_task(cell, "task-5", script, result_file="/tmp/result")["result"] == "a" * 51200


def test_a_task_that_the_engine_refuses_is_rejected_so_that_it_is_tried_elsewhere(cell: RepCell) -> None:
    definition = TaskDefinition(
        root_fs="preloaded:cflinuxfs4", action=shell("exit 0"), memory_mb=64, disk_mb=64, privileged=True
    )
    cell.add_task(Task(task_guid="task-6", domain="d", state=Task.Pending, task_definition=definition))
    perform(cell, tasks=[task_work("task-6")])

    told = until(lambda: [call for call in cell.calls(REJECT) if call["task_guid"] == "task-6"], seconds=60)

    assert told[0]["rejection_reason"].startswith("failed to create container: ")


def test_a_cancelled_task_is_gone(cell: RepCell) -> None:
    definition = TaskDefinition(
        root_fs="preloaded:cflinuxfs4", action=shell("exec sleep 1000"), memory_mb=64, disk_mb=64
    )
    cell.add_task(Task(task_guid="task-7", domain="d", state=Task.Pending, task_definition=definition))
    perform(cell, tasks=[task_work("task-7")])
    until(lambda: any(task["TaskGuid"] == "task-7" for task in state(cell)["Tasks"]))

    assert cell.call("POST", "/v1/tasks/task-7/cancel").status == 202

    until(lambda: not any(task["TaskGuid"] == "task-7" for task in state(cell)["Tasks"]), seconds=60)
    assert cell.call("POST", "/v1/tasks/task-7/cancel").status == 202


def test_records_without_a_container_go(cell: RepCell) -> None:
    key = ActualLRPKey(process_guid="lost", index=2, domain="d")
    instance = ActualLRPInstanceKey(instance_guid="lost-instance", cell_id="cell-a")
    cell.add_row(ActualLRP(actual_lrp_key=key, actual_lrp_instance_key=instance, state="RUNNING"))
    cell.add_task(Task(task_guid="lost-task", domain="d", state=Task.Running, cell_id="cell-a"))

    until(lambda: calls_of(cell, REMOVE, "lost-instance"), seconds=60)
    told = until(lambda: first(cell.calls(COMPLETE), task_guid="lost-task"), seconds=60)

    assert told["failure_reason"] == told["result"] == "task container does not exist"
    assert told["failed"] is True


def test_an_instance_that_cannot_be_claimed_leaves_no_container(cell: RepCell) -> None:
    cell.refuse({CLAIM: Error.ActualLRPCannotBeClaimed})
    try:
        cell.desire(a_desired_lrp("taken", shell("exit 0")))
        perform(cell, lrp_work("taken"))
        until(lambda: claims_of(cell, "taken"))
        until(lambda: not any(lrp["process_guid"] == "taken" for lrp in state(cell)["LRPs"]))
    finally:
        cell.refuse({})


def test_an_instance_that_cannot_be_started_is_stopped(cell: RepCell) -> None:
    guid = run(cell, a_desired_lrp("unwanted", shell("exec sleep 1000")))
    cell.refuse({START: Error.ActualLRPCannotBeStarted})
    try:
        until(lambda: calls_of(cell, REMOVE, guid), seconds=60)
    finally:
        cell.refuse({})
    assert calls_of(cell, CRASH, guid) == []


def test_work_that_does_not_fit_is_handed_back(cell: RepCell) -> None:
    too_large = lrp_work("large", MemoryMB=5000)
    unknown_stack = lrp_work("stackless", RootFs="preloaded:windows")

    failed = perform(cell, unknown_stack, too_large)

    assert failed == {"LRPs": [too_large, unknown_stack], "Tasks": []}
    assert not {"large", "stackless"} & {lrp["process_guid"] for lrp in state(cell)["LRPs"]}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"not json", 400),
        (b"[]", 400),
        (b'{"LRPs": "x"}', 400),
        (b'{"LRPs": [{"index": "one"}]}', 400),
        (b'{"LRPs": null, "Tasks": null, "cell_id": "another"}', 500),
        (b"{}", 200),
    ],
)
def test_work_that_cannot_be_read_or_is_not_ours_changes_nothing(
    cell: RepCell, body: bytes, status: int
) -> None:
    assert cell.call("POST", "/work", body).status == status


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/lrps/p/instances/unknown/stop", b"", 500),
        ("PUT", "/v1/lrps/p/instances/unknown", b"{}", 500),
        ("PUT", "/v2/lrps/p/instances/unknown", b"nonsense", 400),
        ("PUT", "/v2/lrps/p/instances/unknown", b'{"internal_routes": [1]}', 400),
        ("POST", "/v1/tasks/unknown/cancel", b"", 202),
        ("POST", "/sim/reset", b"", 500),
        ("GET", "/ping", b"", 404),
        ("GET", "/work", b"", 405),
        ("GET", "/nothing", b"", 404),
        ("GET", "/v1/logs/unknown", b"", 404),
        ("GET", "/v1/logs/..%2Frep", b"", 404),
    ],
)
def test_statuses_of_the_api(cell: RepCell, method: str, path: str, body: bytes, status: int) -> None:
    assert cell.call(method, path, body).status == status


def test_the_admin_listener_answers_ping_and_nothing_else(cell: RepCell) -> None:
    assert cell.call("GET", "/ping", port=cell.admin).status == 200
    assert cell.call("GET", "/state", port=cell.admin).status == 404


def test_a_caller_without_a_certificate_is_turned_away(cell: RepCell) -> None:
    def knock() -> str:
        import socket

        context = ssl.create_default_context(cafile=str(cell.pki / "service_cf_internal_ca.crt"))
        with (
            socket.create_connection(("127.0.0.1", cell.api), 5) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
        ):
            secured.sendall(b"GET /state HTTP/1.1\r\nHost: x\r\n\r\n")
            return secured.recv(100).decode()

    with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
        cell.inside(knock)


def test_routes_and_tags_of_an_instance_can_be_replaced(cell: RepCell) -> None:
    guid = run(cell, a_desired_lrp("updated", shell("exec sleep 1000")))
    body = {"internal_routes": [{"hostname": "new.example"}], "metric_tags": {"k": "new"}}

    answer = cell.call("PUT", f"/v2/lrps/updated/instances/{guid}", json.dumps(body).encode())

    assert answer.status == 202
    last = until(lambda: first(calls_of(cell, START, guid), metric_tags={"k": "new"}))
    assert last["actual_lrp_internal_routes"] == [{"hostname": "new.example"}]
    stop(cell, guid)


def test_a_reader_who_follows_hears_an_instance_until_it_is_gone(cell: RepCell) -> None:
    guid = run(cell, a_desired_lrp("followed", shell("echo one; sleep 2; echo two; exit 1")))

    heard = cell.call("GET", f"/v1/logs/{guid}?tail=5&follow=1", timeout=60).body.decode()

    assert "OUT two" in heard
    assert "OUT Exit status 1" in heard
    assert f"successfully destroyed container for instance {guid}" in heard


def test_the_presence_says_who_and_what_the_cell_is(cell: RepCell) -> None:
    presence = cell.seen()["presences"][-1]
    value = json.loads(presence["value"])

    assert (presence["key"], presence["ttl"]) == ("cell-a", 15)
    assert value["cell_id"] == "cell-a"
    assert value["zone"] == "z1"
    assert value["capacity"] == {"memory_mb": 1024, "disk_mb": 2048, "containers": 249}
    assert value["rep_url"] == f"https://cell-a.cell.service.cf.internal:{cell.api}"
    assert value["rep_address"].startswith("http://")
    assert value["rootfs_provider_list"] == [
        {"name": "preloaded", "properties": ["cflinuxfs4"]},
        {"name": "preloaded+layer", "properties": ["cflinuxfs4"]},
        {"name": "docker"},
    ]


def test_containers_are_measured(cell: RepCell) -> None:
    guid = run(cell, a_desired_lrp("measured", shell("exec sleep 1000"), metrics_guid="metrics"))

    def measured() -> dict[str, Any]:
        found = cell.call("GET", "/container_metrics").json()
        assert found["cell_id"] == "cell-a"
        return first(found["lrps"], instance_guid=guid)

    one = until(measured)
    assert (one["process_guid"], one["index"], one["metric_guid"]) == ("measured", 0, "metrics")
    assert one["memory_quota_bytes"] == 64 << 20
    assert 0 < one["memory_usage_bytes"] < 64 << 20
    stop(cell, guid)


def test_what_the_auctioneer_was_recorded_asking_is_answered_in_its_form(cell: RepCell) -> None:
    """Every recorded request to a cell, at this one: states have the recorded keys, work is refused whole or taken."""
    states = works = 0
    for scenario in json.loads(gzip.decompress(GOLDEN.read_bytes())):
        for exchange in scenario["rep_exchanges"]:
            body = base64.b64decode(exchange["request_b64"])
            if exchange["path"] == "/state":
                answer = cell.call("GET", "/state")
                assert answer.status == 200
                assert answer.body.endswith(b"}\n")
                if exchange["response_status"] == 200:
                    assert answer.json().keys() == exchange["response_json"].keys()
                states += 1
            else:
                recorded = json.loads(body)
                answer = cell.call("POST", "/work", body)
                if recorded["cell_id"] != "cell-a":
                    assert (answer.status, answer.body) == (500, b"")
                else:
                    assert answer.status == 200
                    for lrp in answer.json()["LRPs"]:
                        assert lrp in recorded["LRPs"]
                    for task in answer.json()["Tasks"]:
                        assert task in recorded["Tasks"]
                works += 1
    print(f"replayed {states} states and {works} works")
    assert (states, works) == (72, 22)


def test_nothing_is_left_behind(cell: RepCell) -> None:
    """The last test of this cell: everything that ran is gone from the engine and from the store."""
    until(lambda: not state(cell)["LRPs"] and not state(cell)["Tasks"], seconds=90)

    until(lambda: not list((cell.directory / "store" / "containers").iterdir()), seconds=60)
    until(
        lambda: (
            not [
                handle
                for handle in cell.garden.run(cell.garden.client.containers())
                if not handle.startswith("check-")
            ]
        ),
        seconds=10,
    )
