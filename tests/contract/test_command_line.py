"""`cfdot` and `diego` against a real BBS, Locket and auctioneer: what each command asks, prints, and ends with.

What cfdot prints is compared to the letter, keys in the order of the original's structs.
"""

import itertools
import json
import re
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from diego.bbs.client import BbsClient
from diego.cli import cfdot as cfdot_command_line
from diego.cli import main as diego_command_line
from diego.models.errors import BbsError
from diego.wire.actual_lrp_pb2 import ActualLRPInstanceKey, ActualLRPKey, ActualLRPNetInfo, PortMapping
from diego.wire.actual_lrp_requests_pb2 import StartActualLRPRequest
from support import control_plane
from support.cells import a_state
from support.control_plane import ControlPlane, Ran
from support.mariadb import MariaDb
from support.records import a_desired_message
from support.worker import until

pytestmark = [pytest.mark.database, pytest.mark.timeout(240)]

SPEC = {
    "process_guid": "web",
    "domain": "apps",
    "rootfs": "preloaded:cflinuxfs4",
    "instances": 1,
    "memory_mb": 128,
    "disk_mb": 256,
    "ports": [8080],
    "log_guid": "web",
    "routes": {"cf-router": [{"hostnames": ["web.example"], "port": 8080}]},
    "metric_tags": {"source_id": {"static": "web"}},
    "action": {"run": {"path": "/bin/true", "args": ["a<b", "&"], "user": "vcap"}},
}
TASK = {
    "task_guid": "job",
    "domain": "apps",
    "rootfs": "preloaded:cflinuxfs4",
    "memory_mb": 64,
    "disk_mb": 64,
    "log_guid": "job",
    "action": {"run": {"path": "/bin/true", "user": "vcap"}},
}
TAG = re.compile(r'"epoch":"[0-9a-f-]{36}"')
LARGE = {"memory_mb": 9999}


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory, mariadb: MariaDb, pki: Path) -> Iterator[ControlPlane]:
    database = mariadb.create_database()
    with control_plane.running(tmp_path_factory.mktemp("plane"), database, pki) as plane:
        yield plane
    mariadb.drop_database(database)


@pytest.fixture(autouse=True)
def clean(plane: ControlPlane) -> Iterator[None]:
    """Cells with room and nothing on them; afterwards nothing wanted is left."""
    for cell in (plane.a, plane.b):
        cell.state_delay = 0.0
        cell.says()
        cell.take()
    yield
    bbs = plane.bbs_client
    for lrp in bbs.desired_lrps():
        bbs.remove_desired_lrp(lrp.process_guid)
    for row in bbs.actual_lrps():
        key = row.actual_lrp_key
        bbs.remove_actual_lrp(key.process_guid, key.index, row.actual_lrp_instance_key)
    for task in bbs.tasks():
        finish(bbs, task.task_guid)


def finish(bbs: BbsClient, guid: str) -> None:
    with suppress(BbsError):  # it is completed already
        bbs.cancel_task(guid)
    bbs.resolving_task(guid)
    bbs.delete_task(guid)


def cfdot(plane: ControlPlane, *words: str) -> Ran:
    return plane.run(cfdot_command_line.main, *words)


def diego(plane: ControlPlane, *words: str) -> Ran:
    return plane.run(diego_command_line.main, *words)


def created(plane: ControlPlane, guid: str = "web", **changes: object) -> None:
    ran = cfdot(plane, "create-desired-lrp", json.dumps({**SPEC, "process_guid": guid, **changes}))
    assert (ran.status, ran.out, ran.err) == (0, "", "")


def started(plane: ControlPlane, guid: str, cell_id: str, index: int = 0) -> None:
    """What the rep of a cell tells of an instance that runs."""
    key = ActualLRPKey(process_guid=guid, index=index, domain="apps")
    instance = ActualLRPInstanceKey(instance_guid=f"{guid}-{index}", cell_id=cell_id)
    plane.bbs_client.claim_actual_lrp(guid, index, instance)
    net = ActualLRPNetInfo(
        address="10.0.0.1",
        instance_address="10.255.0.2",
        ports=[PortMapping(container_port=8080, host_port=61000)],
    )
    plane.bbs_client.start_actual_lrp(
        StartActualLRPRequest(actual_lrp_key=key, actual_lrp_instance_key=instance, actual_lrp_net_info=net)
    )


def given(plane: ControlPlane, guid: str) -> str:
    """The cell that was given work of this guid."""

    def where() -> str:
        for cell in (plane.a, plane.b):
            for item in cell.given():
                if guid in {item.get("process_guid"), item.get("TaskGuid")}:
                    return cell.cell_id
        return ""

    return until(where, seconds=30)


# ---- cfdot: LRPs


def test_a_desired_lrp_is_printed_as_go_prints_the_originals_struct(plane: ControlPlane) -> None:
    created(plane)

    ran = cfdot(plane, "desired-lrp", "web")

    assert ran.status == 0
    assert TAG.sub('"epoch":"E"', ran.out) == (
        '{"process_guid":"web","domain":"apps","rootfs":"preloaded:cflinuxfs4","instances":1,"env":null,'
        '"action":{"run":{"path":"/bin/true","args":["a\\u003cb","\\u0026"],"user":"vcap",'
        '"suppress_log_output":false,"volume_mounted_files":null}},"start_timeout_ms":0,"disk_mb":256,"memory_mb":128,'
        '"cpu_weight":0,"privileged":false,"ports":[8080],'
        '"routes":{"cf-router":[{"hostnames":["web.example"],"port":8080}]},"log_source":"","log_guid":"web",'
        '"metrics_guid":"web","annotation":"","modification_tag":{"epoch":"E","index":0},"max_pids":0,'
        '"metric_tags":{"source_id":{"static":"web"}},"volume_mounted_files":null,"update_strategy":0}\n'
    )
    assert cfdot(plane, "desired-lrps", "-d", "apps").out == ran.out
    assert cfdot(plane, "desired-lrps", "--domain", "other").out == ""


def test_scheduling_infos_have_their_parts_inlined(plane: ControlPlane) -> None:
    created(plane)

    ran = cfdot(plane, "desired-lrp-scheduling-infos", "--domain=apps")

    assert TAG.sub('"epoch":"E"', ran.out) == (
        '{"process_guid":"web","domain":"apps","log_guid":"web","annotation":"","instances":1,"memory_mb":128,'
        '"disk_mb":256,"rootfs":"preloaded:cflinuxfs4","max_pids":0,'
        '"routes":{"cf-router":[{"hostnames":["web.example"],"port":8080}]},"epoch":"E","index":0,'
        '"volume_placement":{"driver_names":null}}\n'
    )


def test_an_lrp_is_created_from_a_file_updated_and_deleted_in_silence(
    plane: ControlPlane, tmp_path: Path
) -> None:
    file = tmp_path / "spec.json"
    file.write_text(json.dumps({**SPEC, "no_such_key": 1}))

    assert cfdot(plane, "create-desired-lrp", f"@{file}") == Ran(0, "", "")
    assert cfdot(plane, "update-desired-lrp", "web", '{"instances":2,"annotation":"x"}') == Ran(0, "", "")
    changed = json.loads(cfdot(plane, "desired-lrp", "web").out)
    assert (changed["instances"], changed["annotation"]) == (2, "x")
    assert cfdot(plane, "delete-desired-lrp", "web") == Ran(0, "", "")

    gone = cfdot(plane, "desired-lrp", "web")
    assert (gone.status, gone.out) == (4, "")
    assert gone.err == (
        "Error: BBS error\nType 13: ResourceNotFound\nMessage: the requested resource could not be found\n"
    )


def test_actual_lrps_are_filtered_and_printed_in_the_order_of_the_struct(plane: ControlPlane) -> None:
    created(plane, instances=2)
    started(plane, "web", "cell-a")

    ran = cfdot(plane, "actual-lrps", "-p", "web", "-i", "0", "-c", "cell-a", "-d", "apps")

    assert list(json.loads(ran.out)) == [
        *("process_guid", "index", "domain", "instance_guid", "cell_id", "address", "ports"),
        *("instance_address", "preferred_address", "crash_count", "state", "since", "modification_tag"),
        *("presence", "OptionalRoutable", "availability_zone"),
    ]
    assert json.loads(ran.out)["OptionalRoutable"] == {"routable": True}
    assert cfdot(plane, "actual-lrps", "--index=1", "--cell-id", "cell-a").out == ""
    assert len(cfdot(plane, "actual-lrps").out.splitlines()) == 2


def test_groups_are_printed_for_all_for_a_guid_and_for_an_index(plane: ControlPlane) -> None:
    created(plane, instances=2)

    every = cfdot(plane, "actual-lrp-groups", "--domain", "apps").out.splitlines()

    assert [json.loads(line)["instance"]["index"] for line in every] == [0, 1]
    assert cfdot(plane, "actual-lrp-groups-for-guid", "web").out.splitlines() == every
    assert cfdot(plane, "actual-lrp-groups-for-guid", "web", "-i", "1").out.splitlines() == every[1:]
    assert cfdot(plane, "actual-lrp-groups-for-guid", "web", "-i", "x").status == 3
    assert cfdot(plane, "actual-lrp-groups-for-guid", "web", "-i", "7").status == 4


def test_an_instance_is_retired_by_guid_and_index(plane: ControlPlane) -> None:
    created(plane)
    before = json.loads(cfdot(plane, "actual-lrps").out)

    assert cfdot(plane, "retire-actual-lrp", "web", "0") == Ran(0, "", "")

    assert before["state"] == "UNCLAIMED"
    assert cfdot(plane, "actual-lrps").out == ""
    assert cfdot(plane, "retire-actual-lrp", "web", "x").status == 3
    assert cfdot(plane, "retire-actual-lrp", "nobody", "0").status == 4


@pytest.mark.parametrize(
    ("flags", "name"), [(("-x",), "actual_lrp_instance_created"), ((), "actual_lrp_created")]
)
def test_lrp_events_are_followed(
    plane: ControlPlane, flags: tuple[str, ...], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, object]] = []

    def line(value: dict[str, object]) -> None:
        seen.append(value)
        if len(seen) == 2:
            raise SystemExit(0)

    monkeypatch.setattr(cfdot_command_line, "line", line)
    listening = threading.Thread(target=cfdot, args=(plane, "lrp-events", *flags))

    listening.start()
    numbers = itertools.count()
    until(lambda: another(plane, next(numbers)) and len(seen) >= 2, seconds=60, pause=0.2)
    listening.join(60)

    assert {"desired_lrp_created", name} & {str(event["type"]) for event in seen}
    assert list(seen[0]) == ["type", "data"]


def another(plane: ControlPlane, number: int) -> bool:
    """Make something happen: a listener hears only what happens after it came.

    Not by a command: it would have the environment and the outputs of this process, as the one that listens.
    """
    plane.bbs_client.desire_lrp(a_desired_message(f"web-{number}", domain="apps", instances=1))
    return True


# ---- cfdot: tasks


def test_a_task_is_created_shown_cancelled_and_deleted(plane: ControlPlane) -> None:
    assert cfdot(plane, "create-task", json.dumps(TASK)) == Ran(0, "", "")

    (line,) = cfdot(plane, "tasks", "-d", "apps").out.splitlines()
    assert list(json.loads(line)) == [
        *("rootfs", "action", "disk_mb", "memory_mb", "cpu_weight", "privileged", "log_source", "log_guid"),
        *("metrics_guid", "result_file", "max_pids", "image_username", "image_password"),
        *("volume_mounted_files", "task_guid", "domain"),
        *("created_at", "updated_at", "first_completed_at", "state", "cell_id", "result", "failed"),
        *("failure_reason", "rejection_count", "rejection_reason"),
    ]
    assert json.loads(line)["state"] in {"Pending", "Running"}
    assert cfdot(plane, "task", "job").out == line + "\n"
    assert cfdot(plane, "tasks", "-c", "nowhere").out == ""
    refused = cfdot(plane, "delete-task", "job")
    assert refused.status == 4
    assert refused.err.startswith("Error: BBS error\nType 9: InvalidStateTransition\nMessage: ")

    assert cfdot(plane, "cancel-task", "job") == Ran(0, "", "")
    assert cfdot(plane, "delete-task", "job") == Ran(0, "", "")
    assert cfdot(plane, "tasks").out == ""


# ---- cfdot: domains, cells, Locket


def test_domains_are_set_and_listed(plane: ControlPlane) -> None:
    assert cfdot(plane, "set-domain", "mine", "--ttl", "60") == Ran(0, "", "")

    assert '"mine"' in cfdot(plane, "domains").out.splitlines()
    for words, text in (
        (("mine", "-t", "x"), "ttl is non-numeric"),
        (("mine", "-t", "-1"), "ttl is negative"),
        (("",), "No domain given"),
    ):
        ran = cfdot(plane, "set-domain", *words)
        assert (ran.status, ran.err.splitlines()[0]) == (3, f"Error: {text}")


def test_cells_and_their_states(plane: ControlPlane) -> None:
    found = sorted(cfdot(plane, "cells").out.splitlines())

    assert found[0] == (
        '{"cell_id":"cell-a","rep_address":"' + plane.a.url + '","zone":"z1",'
        '"capacity":{"memory_mb":1024,"disk_mb":2048,"containers":10},'
        '"rootfs_provider_list":[{"name":"preloaded","properties":["cflinuxfs4"]}],'
        '"rep_url":"' + plane.a.url + '","annotations":{}}'
    )
    assert cfdot(plane, "cell", "cell-a").out == found[0] + "\n"
    assert json.loads(cfdot(plane, "cell-state", "cell-b").out) == a_state("cell-b", Zone="z2")
    assert len(cfdot(plane, "cell-states").out.splitlines()) == 2
    assert cfdot(plane, "cell", "nowhere") == Ran(5, "", "Error: Cell not found\n")


def test_a_cell_whose_state_cannot_be_had_is_status_4_after_the_others(plane: ControlPlane) -> None:
    plane.a.state = 500, b""

    ran = cfdot(plane, "cell-states")

    assert (ran.status, len(ran.out.splitlines())) == (4, 1)
    assert ran.err.startswith("Error: Rep error: Failed to get cell state for cell cell-a: ")


def test_locks_and_presences_are_claimed_listed_and_released(plane: ControlPlane) -> None:
    for what in ("lock", "presence"):
        words = ("-k", "mine", "-o", "me", "-v", "x", "-t", "30")
        assert cfdot(plane, f"claim-{what}", *words) == Ran(0, "", "")
        listed = cfdot(plane, "locks" if what == "lock" else "presences").out.splitlines()
        code = 1 if what == "lock" else 2
        assert f'{{"key":"mine","owner":"me","value":"x","type":"{what}","type_code":{code}}}' in listed
        taken = cfdot(plane, f"claim-{what}", "-k", "mine", "-o", "other", "-t", "30")
        assert (taken.status, taken.err) == (
            4,
            "Error: rpc error: code = AlreadyExists desc = lock-collision\n",
        )
        assert cfdot(plane, f"release-{what}", "-k", "mine", "-o", "me") == Ran(0, "", "")
        assert cfdot(plane, f"claim-{what}", "-k", "mine", "-o", "me").status == 3
    assert [json.loads(line)["key"] for line in cfdot(plane, "locks").out.splitlines()] == [
        "auctioneer",
        "bbs",
    ]


def test_flags_stand_in_for_variables_and_faults_name_them(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = dict(plane.env)
    flags = (
        *("--bbsURL", env["BBS_URL"], "--caCertFile", env["CA_CERT_FILE"]),
        *("--clientCertFile", env["CLIENT_CERT_FILE"], "--clientKeyFile", env["CLIENT_KEY_FILE"]),
    )
    for name in env:
        monkeypatch.delenv(name, raising=False)
    bare = ControlPlane(**{**plane.__dict__, "env": {}})

    assert cfdot(bare, "cells", *flags).status == 0
    assert cfdot(bare, "cells", *flags[:2], "--skipCertVerify", *flags[4:]).status == 0
    for words, text in (
        (
            (),
            "BBS URL not set. Please specify one with the '--bbsURL' flag or the 'BBS_URL' environment variable.",
        ),
        (flags[:2], "--caCertFile must be specified if using HTTPS and --skipCertVerify is not set"),
        (flags[:4], "--clientCertFile and --clientKeyFile must both be specified for TLS connections."),
        (
            (*flags[:2], "--caCertFile", "/nowhere", *flags[4:]),
            "CA cert file '/nowhere' doesn't exist or is not readable: No such file or directory",
        ),
    ):
        ran = cfdot(bare, "cells", *words)
        assert (ran.status, ran.err.splitlines()[0]) == (3, f"Error: {text}")
    assert cfdot(bare, "locks").err.startswith("Error: Locket API Location not set. ")
    assert cfdot(bare, "cells", "surplus").status == 3
    assert cfdot(bare, "no-such-command").status == 3


# ---- diego: status and explain


def test_the_status_has_locks_cells_lrps_tasks_and_warnings_on_one_screen(plane: ControlPlane) -> None:
    plane.bbs_client.upsert_domain("apps", 0)
    created(plane)
    created(plane, "large", **LARGE)
    started(plane, "web", given(plane, "web"))
    until(lambda: "insufficient" in cfdot(plane, "actual-lrps", "-p", "large").out, seconds=30)

    ran = diego(plane, "status")

    assert ran.status == 0, ran.err
    lines = [line.rstrip() for line in ran.out.splitlines()]
    assert lines[0] == "Locks    auctioneer: auctioneer-0, bbs: bbs-0"
    assert lines[1] == "LRPs     2 instances of 2 processes wanted: 1 running, 1 without a place"
    assert re.fullmatch(
        r"         1 without a place, for up to \d+s: insufficient resources: memory \(large/0\)", lines[2]
    )
    assert lines[3] == "Tasks    none"
    assert "apps" in lines[4]
    assert re.split(r"  +", lines[6]) == [
        "ZONE",
        "CELLS",
        "FREE MB",
        "FREE DISK MB",
        "FREE CONTAINERS",
        "LRPS",
        "TASKS",
    ]
    assert [line.split() for line in lines[7:9]] == [
        ["z1", "1", "1024/1024", "2048/2048", "10/10", "0", "0"],
        ["z2", "1", "1024/1024", "2048/2048", "10/10", "0", "0"],
    ]
    apps = next(number for number, line in enumerate(lines) if line.startswith("PROCESS"))
    assert lines[apps + 1].split()[:3] == ["large", "apps", "0/1"]
    assert lines[apps + 2].split()[:3] == ["web", "apps", "1/1"]


def test_the_status_warns_of_what_is_not_as_it_should_be(plane: ControlPlane) -> None:
    created(plane, "stale", domain="stale")
    created(plane, "lost")
    until(lambda: given(plane, "lost"), seconds=30)
    plane.bbs_client.claim_actual_lrp("lost", 0, ActualLRPInstanceKey(instance_guid="i", cell_id="cell-x"))
    plane.a.says(Evacuating=True)
    plane.b.state = 500, b""

    warnings = json.loads(diego(plane, "status", "--json").out)["warnings"]

    assert "cell cell-x is gone, and had 1 instance" in warnings
    assert "cell cell-a is being emptied (`diego evacuation cell-a`)" in warnings
    assert any(warning.startswith("cell cell-b is silent: ") for warning in warnings)
    assert "domain stale is not fresh: what is no longer wanted in it goes on running" in warnings


def test_with_many_cells_the_zones_are_shown_as_the_auctioneer_saw_them(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diego.cli.commands.status.ASKED_ONE_BY_ONE", 1)
    created(plane)
    given(plane, "web")

    ran = diego(plane, "status")

    assert ran.status == 0, ran.err
    assert re.search(r"^as the auctioneer saw it \d+ s ago$", ran.out, re.MULTILINE)
    assert re.search(r"^z2 +1 +1024/1024 ", ran.out, re.MULTILINE)
    assert not re.search(r"^CELL ", ran.out, re.MULTILINE)


def test_an_instance_that_runs_is_explained_by_the_decision_that_placed_it(plane: ControlPlane) -> None:
    plane.b.says(AvailableResources={"MemoryMB": 512, "DiskMB": 1024, "Containers": 5})
    created(plane)
    assert given(plane, "web") == "cell-a"
    waiting = diego(plane, "explain", "web", "0").out
    started(plane, "web", "cell-a")
    running = [{"instance_guid": "web-0", "process_guid": "web", "index": 0, "state": "RUNNING"}]
    plane.a.says(LRPs=running)

    ran = diego(plane, "explain", "web", "0")

    first, *grounds = ran.out.splitlines()
    assert "cell-a was chosen" in waiting.splitlines()[0]
    assert re.fullmatch(
        r"web/0 runs on cell-a, for \d+s: the best score \(0\.\d{3}\) of 2 cells that may run it,"
        r" before cell-b \(0\.\d{3}\)",
        first,
    )
    assert re.fullmatch(r"  BBS: RUNNING for \d+s, on cell-a as web-0", grounds[0])
    assert grounds[1] == "  cell cell-a: its container is there, RUNNING"
    assert any(line.startswith("    cell-b (z2): score ") for line in grounds)


def test_an_instance_without_a_place_is_explained_cell_by_cell(plane: ControlPlane) -> None:
    plane.b.state = 200, json.dumps(a_state("cell-b", RootFSProviders={})).encode()
    created(plane, "large", **LARGE)
    until(lambda: "insufficient" in cfdot(plane, "actual-lrps", "-p", "large").out, seconds=30)

    first, *grounds = diego(plane, "explain", "large").out.splitlines()

    assert re.fullmatch(
        r"large/0 has no cell, for \d+s: insufficient resources: memory on the only cell that may run it",
        first,
    )
    assert "    cell-a (z1): too little memory: 1024 MB, 2048 MB of disk, 10 containers free" in grounds
    assert "    not for it, rootfs: 1 cell (cell-b)" in grounds


def test_a_cell_that_does_not_tell_its_state_is_named(plane: ControlPlane) -> None:
    plane.b.state_delay = 2 * control_plane.STATE_TIMEOUT
    created(plane, "large", **LARGE)
    until(lambda: "insufficient" in cfdot(plane, "actual-lrps", "-p", "large").out, seconds=30)

    ran = diego(plane, "explain", "large")

    assert "    left out: cell-b did not tell its state within 5 s" in ran.out.splitlines()


def test_a_task_is_explained_too(plane: ControlPlane) -> None:
    cfdot(plane, "create-task", json.dumps({**TASK, **LARGE}))
    until(lambda: "insufficient" in cfdot(plane, "task", "job").out, seconds=30)

    first, *_ = diego(plane, "explain", "job").out.splitlines()

    assert first == "task job has no cell: it was refused 1 time, last: insufficient resources: memory"


def test_whoever_names_nothing_is_told_what_it_may_be(plane: ControlPlane) -> None:
    created(plane, "web-1")
    started(plane, "web-1", "cell-a")

    part, instance, nothing = (diego(plane, "explain", guid) for guid in ("web", "web-1-0", "nobody"))

    assert (part.status, instance.status, nothing.status) == (4, 4, 4)
    assert part.err == "diego: there is no process and no task web (is it one of these: web-1?)\n"
    assert "it is an instance: `diego explain web-1 0`" in instance.err
    assert nothing.err.endswith("(`diego desired-lrps` and `diego tasks` list the guids)\n")


def test_explanations_are_there_for_programs(plane: ControlPlane) -> None:
    created(plane, instances=2)
    given(plane, "web")

    found = [json.loads(line) for line in diego(plane, "explain", "web", "--json").out.splitlines()]

    assert [one["index"] for one in found] == [0, 1]
    assert list(found[0]) == [
        *("guid", "index", "answer", "grounds", "desired_lrp", "actual_lrps", "task", "decisions", "cells"),
    ]


def test_without_the_auctioneer_the_rest_is_explained(plane: ControlPlane) -> None:
    created(plane)
    without = ControlPlane(
        **{**plane.__dict__, "env": {**plane.env, "AUCTIONEER_URL": "https://127.0.0.1:1"}}
    )

    ran = diego(without, "explain", "web")

    assert ran.status == 0
    assert "the auctioneer cannot be asked: https://127.0.0.1:1: " in ran.out


def test_diegos_own_clients_do_as_well(plane: ControlPlane) -> None:
    """The commands that `diego` shares with cfdot, each once, in their form for programs."""
    created(plane)
    for words in (
        *(("cells",), ("cell", "cell-a"), ("cell-states",), ("cell-state", "cell-a"), ("domains",)),
        *(("desired-lrps",), ("desired-lrp", "web"), ("desired-lrp-scheduling-infos",), ("actual-lrps",)),
        *(("actual-lrp-groups",), ("actual-lrp-groups-for-guid", "web"), ("locks",), ("presences",)),
    ):
        ran = diego(plane, *words, "--json")
        assert (ran.status, ran.err) == (0, ""), words
        theirs = cfdot(plane, *words).out.splitlines()
        assert sorted(ran.out.splitlines()) == sorted(map(unescaped, theirs)), words


def unescaped(line: str) -> str:
    return line.replace("\\u003c", "<").replace("\\u003e", ">").replace("\\u0026", "&")


def test_whoever_waits_shares_one_status(plane: ControlPlane) -> None:
    with closing(plane.bbs.connection()) as first, closing(plane.bbs.connection()) as second:
        for connection in (first, second):
            connection.request("GET", "/v1/status")

        answers = [connection.getresponse() for connection in (first, second)]

        assert [answer.status for answer in answers] == [200, 200]
        assert all(json.loads(answer.read())["locks"] for answer in answers)
