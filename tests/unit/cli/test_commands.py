"""The commands: what they ask, what they print, and with which status they end."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from diego.cli.commands import ENTRIES
from diego.wire import (
    actual_lrp_pb2,
    actual_lrp_requests_pb2,
    cells_pb2,
    desired_lrp_pb2,
    desired_lrp_requests_pb2,
    domain_pb2,
    error_pb2,
    task_pb2,
    task_requests_pb2,
)
from diego.wire.gojson import from_go
from support.scripted_server import ScriptedServer, Told

from .conftest import Diego

DESIRED_OK = Told(desired_lrp_requests_pb2.DesiredLRPLifecycleResponse().SerializeToString())
TASK_OK = Told(task_requests_pb2.TaskLifecycleResponse().SerializeToString())
RESOURCE_EXISTS = error_pb2.Error(
    type=error_pb2.Error.ResourceExists, message="the requested resource already exists"
)
RESOURCE_NOT_FOUND = error_pb2.Error(
    type=error_pb2.Error.ResourceNotFound, message="the requested resource could not be found"
)


def instances(*lrps: dict[str, object]) -> Told:
    answer = actual_lrp_requests_pb2.ActualLRPsResponse(
        actual_lrps=[from_go(actual_lrp_pb2.ActualLRP, lrp) for lrp in lrps]
    )
    return Told(answer.SerializeToString())


def domains(*names: str) -> Told:
    return Told(domain_pb2.DomainsResponse(domains=names).SerializeToString())


def cells(url: str) -> Told:
    presence = cells_pb2.CellPresence(cell_id="cell-1", zone="z1", rep_url=url)
    return Told(cells_pb2.CellsResponse(cells=[presence]).SerializeToString())


# Statuses and faults


def test_what_the_bbs_refuses_is_one_line_and_status_4(diego: Diego, bbs: ScriptedServer) -> None:
    answer = desired_lrp_requests_pb2.DesiredLRPResponse(error=RESOURCE_NOT_FOUND)
    bbs.tell("/v1/desired_lrps/get_by_process_guid.r3", Told(answer.SerializeToString()))

    ran = diego("desired-lrp", "web")

    assert ran.status == 4
    assert ran.out == ""
    assert ran.err == (
        "diego: the BBS refused: RESOURCE_NOT_FOUND: the requested resource could not be found"
        " (`diego status` shows what there is)\n"
    )


def test_bad_arguments_are_status_3(diego: Diego, bbs: ScriptedServer) -> None:
    assert diego("actual-lrps", "--index", "x").status == 3
    assert diego("no-such-command").status == 3
    assert diego("create-task", "{").status == 3
    assert bbs.asked == []


def test_a_key_that_a_record_does_not_have_is_named(diego: Diego, bbs: ScriptedServer) -> None:
    ran = diego("create-desired-lrp", '{"process_guid": "web", "root_fs": "x"}')

    assert ran.status == 3
    assert ran.err == "diego: SPEC: root_fs: unknown key, the key is 'rootfs'\n"
    assert bbs.asked == []


def test_a_bbs_that_is_no_bbs_is_status_5(diego: Diego) -> None:
    ran = diego("cells")

    assert ran.status == 5
    assert ran.err == "diego: endpoint not found (is this the address of a BBS?)\n"


@pytest.mark.parametrize(
    "variable", ["BBS_URL", "CA_CERT_FILE", "CLIENT_CERT_FILE", "CLIENT_KEY_FILE", "LOCKET_API_LOCATION"]
)
def test_a_variable_that_is_not_set_is_named(
    diego: Diego, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv(variable, raising=False)

    ran = diego("locks" if variable == "LOCKET_API_LOCATION" else "cells")

    assert ran.status == 3
    assert ran.err.startswith(f"diego: {variable} is not set (or give --")


def test_a_certificate_that_is_not_there_is_named(diego: Diego, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CA_CERT_FILE", "/nowhere/ca.crt")

    ran = diego("cells")

    assert (ran.status, ran.err) == (3, "diego: there is no file /nowhere/ca.crt\n")


def test_without_words_the_help_is_shown(diego: Diego) -> None:
    ran = diego()

    assert ran.status == 0
    assert "Looking around" in ran.out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_get_their_completion(diego: Diego, shell: str) -> None:
    ran = diego("completion", shell)

    assert ran.status == 0
    assert "_DIEGO_COMPLETE" in ran.out


# Lists


@pytest.mark.parametrize("words", [("--json", "cells"), ("cells", "--json")])
def test_json_is_one_object_per_line_with_the_keys_of_cfdot(
    diego: Diego, bbs: ScriptedServer, words: tuple[str, str]
) -> None:
    bbs.tell("/v1/cells/list.r1", cells("https://cell-1:1801"))

    ran = diego(*words)

    (line,) = ran.out.splitlines()
    assert json.loads(line) == {
        "cell_id": "cell-1",
        "rep_address": "",
        "zone": "z1",
        "rep_url": "https://cell-1:1801",
        "annotations": {},
    }


def test_a_table_is_never_cut_off_when_it_is_no_terminal(diego: Diego, bbs: ScriptedServer) -> None:
    bbs.tell("/v1/cells/list.r1", cells("https://" + "x" * 300))

    ran = diego("cells")

    assert ran.out.splitlines()[0].split()[:2] == ["CELL", "ZONE"]
    assert "x" * 300 in ran.out.splitlines()[1]


def test_an_empty_list_says_so_to_people_and_nothing_to_programs(diego: Diego, bbs: ScriptedServer) -> None:
    bbs.tell("/v1/domains/list", domains())

    assert diego("domains").out.strip() == "No domain is fresh."
    assert diego("domains", "--json").out == ""


def test_domains_are_texts_for_programs(diego: Diego, bbs: ScriptedServer) -> None:
    bbs.tell("/v1/domains/list", domains("b", "a"))

    assert diego("domains", "--json").out == '"a"\n"b"\n'


def test_the_filters_of_instances_are_sent(diego: Diego, bbs: ScriptedServer) -> None:
    bbs.tell("/v1/actual_lrps/list", instances())

    diego("actual-lrps", "-d", "d", "-c", "c", "-p", "web", "-i", "0")
    diego("actual-lrps", "web")

    decode = actual_lrp_requests_pb2.ActualLRPsRequest.FromString
    first, second = (decode(each.body) for each in bbs.asked)
    assert (first.domain, first.cell_id, first.process_guid, first.index) == ("d", "c", "web", 0)
    assert first.HasField("index")
    assert second.process_guid == "web"


def test_a_cells_state_is_asked_of_the_cell(diego: Diego, bbs: ScriptedServer, cell: ScriptedServer) -> None:
    bbs.tell("/v1/cells/list.r1", cells(cell.url))
    cell.tell("/state", Told(b'{"cell_id":"cell-1","LRPs":[]}\n', 503, "text/plain"))

    assert json.loads(diego("cell-states", "--json").out) == {"cell_id": "cell-1", "LRPs": []}


def test_a_cell_that_does_not_answer_is_named_after_those_that_do(diego: Diego, bbs: ScriptedServer) -> None:
    bbs.tell("/v1/cells/list.r1", cells("https://localhost:1"))

    ran = diego("cell-states")

    assert ran.status == 4
    assert ran.err.startswith("diego: cell cell-1: ")


# Changes


def test_a_specification_comes_as_json_from_a_file_or_from_standard_input(
    diego: Diego, bbs: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bbs.tell("/v1/tasks/desire.r2", TASK_OK)
    text = '{"task_guid": "t", "domain": "d", "rootfs": "preloaded:x"}'
    (tmp_path / "task.json").write_text(text)
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))

    for spec in (text, f"@{tmp_path}/task.json", "-"):
        assert diego("create-task", spec).status == 0

    sent = [task_requests_pb2.DesireTaskRequest.FromString(each.body) for each in bbs.asked]
    assert len(sent) == 3
    assert all(each.task_definition.root_fs == "preloaded:x" for each in sent)


def test_an_update_sends_only_what_is_given(diego: Diego, bbs: ScriptedServer) -> None:
    bbs.tell("/v1/desired_lrp/update", DESIRED_OK)

    assert diego("update-desired-lrp", "web", '{"instances": 3}').status == 0

    request = desired_lrp_requests_pb2.UpdateDesiredLRPRequest.FromString(bbs.asked[0].body)
    assert request.update == desired_lrp_pb2.DesiredLRPUpdate(instances=3)


def test_retiring_names_the_key_that_the_instance_has(diego: Diego, bbs: ScriptedServer) -> None:
    bbs.tell("/v1/actual_lrps/list", instances({"process_guid": "web", "index": 1, "domain": "d"}))
    answer = actual_lrp_requests_pb2.ActualLRPLifecycleResponse()
    bbs.tell("/v1/actual_lrps/retire", Told(answer.SerializeToString()))

    assert diego("retire-actual-lrp", "web", "1").status == 0

    request = actual_lrp_requests_pb2.RetireActualLRPRequest.FromString(bbs.asked[1].body)
    assert request.actual_lrp_key.domain == "d"


def test_a_task_is_deleted_by_way_of_resolving(diego: Diego, bbs: ScriptedServer) -> None:
    bbs.tell("/v1/tasks/resolving", TASK_OK)
    bbs.tell("/v1/tasks/delete", TASK_OK)

    assert diego("delete-task", "t").status == 0

    assert bbs.paths() == ["/v1/tasks/resolving", "/v1/tasks/delete"]


# Running a file

APP = """
desired_lrps:
  - process_guid: web
    domain: d
    instances: 1
    rootfs: preloaded:x
    memory_mb: {memory}
    routes: {{cf-router: [{{hostnames: ["web.${{APPS_DOMAIN}}"], port: 8080}}]}}
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    path = tmp_path / "app.yml"
    path.write_text(APP.format(memory=64))
    return path


def an_app(**changes: object) -> desired_lrp_pb2.DesiredLRP:
    value = {
        "process_guid": "web",
        "domain": "d",
        "instances": 1,
        "rootfs": "preloaded:x",
        "memory_mb": 64,
        "routes": {"cf-router": [{"hostnames": ["web.apps.test"], "port": 8080}]},
    }
    return from_go(desired_lrp_pb2.DesiredLRP, value | changes)


def exists(bbs: ScriptedServer, lrp: desired_lrp_pb2.DesiredLRP) -> None:
    refusal = desired_lrp_requests_pb2.DesiredLRPLifecycleResponse(error=RESOURCE_EXISTS)
    bbs.tell("/v1/desired_lrp/desire.r2", Told(refusal.SerializeToString()), DESIRED_OK)
    found = desired_lrp_requests_pb2.DesiredLRPResponse(desired_lrp=lrp)
    bbs.tell("/v1/desired_lrps/get_by_process_guid.r3", Told(found.SerializeToString()))
    bbs.tell("/v1/desired_lrp/update", DESIRED_OK)
    bbs.tell("/v1/desired_lrp/remove", DESIRED_OK)


RUNNING = {"process_guid": "web", "index": 0, "state": "RUNNING"}


def test_an_app_is_desired_waited_for_and_its_url_is_told(
    diego: Diego, bbs: ScriptedServer, app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROUTER_ADDRESS", "10.0.0.5:8080")
    bbs.tell("/v1/domains/list", domains())
    bbs.tell("/v1/domains/upsert", Told(domain_pb2.UpsertDomainResponse().SerializeToString()))
    bbs.tell("/v1/desired_lrp/desire.r2", DESIRED_OK)
    bbs.tell(
        "/v1/actual_lrps/list", instances(), instances({**RUNNING, "state": "CLAIMED"}), instances(RUNNING)
    )

    ran = diego("run", str(app))

    assert (ran.status, ran.out) == (0, "web: created, 1 running  http://web.apps.test:8080\n")
    assert ran.err == "web: 0 of 1 running\n"
    upsert = domain_pb2.UpsertDomainRequest.FromString(bbs.asked[1].body)
    assert (upsert.domain, upsert.ttl) == ("d", 0)
    desired = desired_lrp_requests_pb2.DesireLRPRequest.FromString(bbs.asked[2].body).desired_lrp
    assert desired == an_app()


def test_running_it_again_changes_nothing(diego: Diego, bbs: ScriptedServer, app: Path) -> None:
    bbs.tell("/v1/domains/list", domains("d"))
    exists(bbs, an_app(modification_tag={"epoch": "e"}))
    bbs.tell("/v1/actual_lrps/list", instances(RUNNING))

    ran = diego("run", str(app))

    assert (ran.status, ran.out) == (0, "web: unchanged, 1 running  http://web.apps.test\n")
    assert "/v1/desired_lrp/update" not in bbs.paths()
    assert "/v1/domains/upsert" not in bbs.paths()


def test_what_changed_is_updated(diego: Diego, bbs: ScriptedServer, app: Path) -> None:
    bbs.tell("/v1/domains/list", domains("d"))
    exists(bbs, an_app(instances=3))
    bbs.tell("/v1/actual_lrps/list", instances(RUNNING))

    ran = diego("run", str(app), "--json")

    assert json.loads(ran.out) == {
        "process_guid": "web",
        "done": "updated",
        "instances": 1,
        "urls": ["http://web.apps.test"],
    }
    body = next(each.body for each in bbs.asked if each.path == "/v1/desired_lrp/update")
    update = desired_lrp_requests_pb2.UpdateDesiredLRPRequest.FromString(body).update
    assert update == desired_lrp_pb2.DesiredLRPUpdate(instances=1)


def test_what_cannot_be_changed_in_place_is_named(diego: Diego, bbs: ScriptedServer, app: Path) -> None:
    bbs.tell("/v1/domains/list", domains("d"))
    exists(bbs, an_app(memory_mb=128))

    ran = diego("run", str(app))

    assert ran.status == 4
    assert f"{app}: desired_lrps[0] (web) exists, and cannot be changed in place in memory_mb" in ran.err
    assert "/v1/desired_lrp/update" not in bbs.paths()


def test_it_is_replaced_when_that_is_asked_for(diego: Diego, bbs: ScriptedServer, app: Path) -> None:
    bbs.tell("/v1/domains/list", domains("d"))
    exists(bbs, an_app(memory_mb=128))
    bbs.tell("/v1/actual_lrps/list", instances(RUNNING), instances(), instances(RUNNING))

    ran = diego("run", str(app), "--replace")

    assert ran.out.startswith("web: replaced, 1 running")
    assert bbs.paths()[3:] == [
        "/v1/desired_lrp/remove",
        "/v1/actual_lrps/list",
        "/v1/actual_lrps/list",
        "/v1/desired_lrp/desire.r2",
        "/v1/actual_lrps/list",
    ]


def test_what_the_bbs_finds_wrong_is_told_with_the_entrys_place(
    diego: Diego, bbs: ScriptedServer, app: Path
) -> None:
    bbs.tell("/v1/domains/list", domains("d"))
    refusal = desired_lrp_requests_pb2.DesiredLRPLifecycleResponse(
        error=error_pb2.Error(type=error_pb2.Error.InvalidRequest, message="invalid action type")
    )
    bbs.tell("/v1/desired_lrp/desire.r2", Told(refusal.SerializeToString()))

    ran = diego("run", str(app))

    assert ran.status == 4
    assert ran.err == f"diego: {app}: desired_lrps[0] (web): invalid action type\n"


def test_an_app_that_keeps_crashing_ends_the_waiting(diego: Diego, bbs: ScriptedServer, app: Path) -> None:
    bbs.tell("/v1/domains/list", domains("d"))
    bbs.tell("/v1/desired_lrp/desire.r2", DESIRED_OK)
    crashed = {**RUNNING, "state": "CRASHED", "crash_count": 3, "crash_reason": "exited with status 1"}
    bbs.tell("/v1/actual_lrps/list", instances(crashed))

    ran = diego("run", str(app))

    assert ran.status == 5
    assert "web: instance 0 crashed 3 times: exited with status 1 (`diego logs web`" in ran.err


def test_the_waiting_has_an_end(diego: Diego, bbs: ScriptedServer, app: Path) -> None:
    bbs.tell("/v1/domains/list", domains("d"))
    bbs.tell("/v1/desired_lrp/desire.r2", DESIRED_OK)
    full = {**RUNNING, "state": "UNCLAIMED", "placement_error": "insufficient resources: memory"}
    bbs.tell("/v1/actual_lrps/list", instances(full))

    ran = diego("run", str(app), "--timeout", "0.05")

    assert ran.status == 5
    assert "waited in vain: web: 0 of 1 running: instance 0 is not placed, insufficient resources" in ran.err


def test_nothing_is_waited_for_when_that_is_asked_for(diego: Diego, bbs: ScriptedServer, app: Path) -> None:
    bbs.tell("/v1/domains/list", domains("d"))
    bbs.tell("/v1/desired_lrp/desire.r2", DESIRED_OK)

    ran = diego("run", str(app), "--no-wait")

    assert (ran.status, ran.out) == (0, "web: created, not waited for  http://web.apps.test\n")


def test_a_file_with_faults_asks_nothing_of_the_bbs(
    diego: Diego, bbs: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("desired_lrps: [{process_guid: web, memory: 5}]"))

    ran = diego("run", "-")

    assert ran.status == 3
    assert ran.err == "diego: standard input: desired_lrps[0].memory: unknown key\n"
    assert bbs.asked == []


TASK_FILE = "tasks: [{task_guid: t, domain: d, rootfs: 'preloaded:x', result_file: /r}]"


def task(state: int, **fields: object) -> Told:
    found = task_pb2.Task(task_guid="t", state=state, **fields)  # type: ignore[arg-type]  # an enum's number
    return Told(task_requests_pb2.TaskResponse(task=found).SerializeToString())


def test_a_task_is_run_and_its_result_is_told(diego: Diego, bbs: ScriptedServer, tmp_path: Path) -> None:
    (tmp_path / "task.yml").write_text(TASK_FILE)
    bbs.tell("/v1/domains/list", domains("d"))
    bbs.tell("/v1/tasks/desire.r2", TASK_OK)
    bbs.tell("/v1/tasks/get_by_task_guid.r3", task(1), task(2), task(3, result="42"))

    ran = diego("run", str(tmp_path / "task.yml"))

    assert (ran.status, ran.out) == (0, "task t: completed\n42\n")
    assert ran.err == "task t: Pending\ntask t: Running\n"


def test_a_task_that_is_completed_is_run_again(diego: Diego, bbs: ScriptedServer, tmp_path: Path) -> None:
    (tmp_path / "task.yml").write_text(TASK_FILE)
    refusal = task_requests_pb2.TaskLifecycleResponse(error=RESOURCE_EXISTS)
    bbs.tell("/v1/domains/list", domains("d"))
    bbs.tell("/v1/tasks/desire.r2", Told(refusal.SerializeToString()), TASK_OK)
    bbs.tell("/v1/tasks/get_by_task_guid.r3", task(3, result="old"), task(3, result="new"))
    bbs.tell("/v1/tasks/resolving", TASK_OK)
    bbs.tell("/v1/tasks/delete", TASK_OK)

    ran = diego("run", str(tmp_path / "task.yml"), "--json")

    assert json.loads(ran.out)["result"] == "new"
    assert bbs.paths().count("/v1/tasks/desire.r2") == 2


def test_a_task_that_failed_is_status_5(diego: Diego, bbs: ScriptedServer, tmp_path: Path) -> None:
    (tmp_path / "task.yml").write_text(TASK_FILE)
    bbs.tell("/v1/domains/list", domains("d"))
    bbs.tell("/v1/tasks/desire.r2", TASK_OK)
    bbs.tell("/v1/tasks/get_by_task_guid.r3", task(3, failed=True, failure_reason="exited with status 1"))

    ran = diego("run", str(tmp_path / "task.yml"))

    assert ran.status == 5
    assert "task t failed: exited with status 1 (`diego logs t` shows what it said)" in ran.err


# Logs


def test_the_logs_of_a_process_are_those_of_its_instances_in_order(
    diego: Diego, bbs: ScriptedServer, cell: ScriptedServer
) -> None:
    bbs.tell("/v1/cells/list.r1", cells(cell.url))
    on_cell = {"process_guid": "web", "state": "RUNNING", "cell_id": "cell-1"}
    bbs.tell(
        "/v1/actual_lrps/list",
        instances(
            {**on_cell, "index": 0, "instance_guid": "i0"}, {**on_cell, "index": 1, "instance_guid": "i1"}
        ),
    )
    cell.tell("/v1/logs/i0?tail=5", Told(b"1 [A/0] OUT a\n3 [A/0] OUT c\n", content_type="text/plain"))
    cell.tell("/v1/logs/i1?tail=5", Told(b"2 [A/1] OUT b\n", content_type="text/plain"))

    ran = diego("logs", "web", "--tail", "5")

    assert (ran.status, ran.out) == (0, "1 [A/0] OUT a\n2 [A/1] OUT b\n3 [A/0] OUT c\n")


def test_logs_are_followed_until_they_end(diego: Diego, bbs: ScriptedServer, cell: ScriptedServer) -> None:
    bbs.tell("/v1/cells/list.r1", cells(cell.url))
    running = {"process_guid": "web", "index": 0, "instance_guid": "i", "cell_id": "cell-1"}
    bbs.tell("/v1/actual_lrps/list", instances(running))
    cell.tell("/v1/logs/i?follow=1", Told(content_type="text/plain", pieces=[b"one\nt", b"wo\n"]))

    assert diego("logs", "web", "--follow").out == "one\ntwo\n"


def test_a_guid_that_is_no_process_is_looked_for_on_the_cells(
    diego: Diego, bbs: ScriptedServer, cell: ScriptedServer
) -> None:
    bbs.tell("/v1/cells/list.r1", cells(cell.url))
    bbs.tell("/v1/actual_lrps/list", instances())
    bbs.tell("/v1/tasks/get_by_task_guid.r3", task(3))
    cell.tell("/v1/logs/t", Told(b"said\n", content_type="text/plain"))

    assert diego("logs", "t").out == "said\n"


def test_a_log_that_nobody_has_is_status_4(diego: Diego, bbs: ScriptedServer, cell: ScriptedServer) -> None:
    bbs.tell("/v1/cells/list.r1", cells(cell.url))
    bbs.tell("/v1/actual_lrps/list", instances())
    missing = task_requests_pb2.TaskResponse(error=RESOURCE_NOT_FOUND)
    bbs.tell("/v1/tasks/get_by_task_guid.r3", Told(missing.SerializeToString()))

    ran = diego("logs", "nothing")

    assert ran.status == 4
    assert "no cell has a log of nothing" in ran.err


# What is wrong with what was typed


def test_a_manifest_that_is_not_there_is_named(diego: Diego, bbs: ScriptedServer) -> None:
    ran = diego("run", "/nowhere/web.yml")

    assert ran.status == 3
    assert ran.err == "diego: there is no file /nowhere/web.yml (manifests/workloads has some to try)\n"
    assert bbs.asked == []


def test_a_command_that_is_nearly_one_is_suggested(diego: Diego) -> None:
    ran = diego("actual-lrp")

    assert ran.status == 3
    assert ran.err == "diego: there is no command actual-lrp; is it actual-lrps? (`diego --help`)\n"


def test_every_command_has_help_with_an_example(diego: Diego) -> None:
    for name in ENTRIES:
        ran = diego(name, "--help")

        assert ran.status == 0
        assert f"Example: diego {name}" in ran.out, name


# Questions that the BBS answers in JSON


def test_an_original_bbs_does_not_know_the_status_and_that_is_said(diego: Diego) -> None:
    ran = diego("status")

    assert ran.status == 4
    assert ran.err.startswith(
        "diego: this BBS does not know that question: it is an original one, or an older "
    )


def test_a_bbs_that_is_not_there_is_told_by_its_address(
    diego: Diego, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BBS_URL", "https://127.0.0.1:1")

    ran = diego("status")

    assert ran.status == 5
    assert ran.err.startswith("diego: the BBS cannot be reached: https://127.0.0.1:1: ")


def test_an_answer_that_is_no_json_is_told(diego: Diego, bbs: ScriptedServer) -> None:
    bbs.tell("/v1/status", Told(b"what?", content_type="text/plain"))

    ran = diego("status")

    assert ran.status == 5
    assert "does not answer with JSON to /v1/status" in ran.err


def test_quick_questions_load_none_of_the_heavy_clients() -> None:
    """What `diego status`, `explain` and `history` load decides whether they answer within a fifth of a second."""
    heavy = (
        "google.protobuf",
        "grpc",
        "urllib3",
        "rich",
        "cryptography",
        "flask",
        "diego.runtime",
        "diego.wire",
    )
    script = (
        "import sys; import diego.cli.main, diego.cli.asking;"
        "from diego.cli.commands import ENTRIES;"
        "[ENTRIES[name].load() for name in ('status', 'explain', 'history')];"
        f"print([name for name in {heavy} if name in sys.modules])"
    )

    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"


def test_of_very_many_instances_those_that_do_not_run_are_told_first(
    diego: Diego, bbs: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUCTIONEER_URL", "https://127.0.0.1:1")
    row = {"presence": "ORDINARY", "since": 1, "routable": True, "crash_count": 0, "placement_error": ""}
    rows = [
        {**row, "index": index, "state": "RUNNING" if index < 59 else "UNCLAIMED", "cell_id": ""}
        for index in range(60)
    ]
    told = {
        "guid": "web",
        "at": 60 * 10**9,
        "desired_lrp": {"instances": 60},
        "actual_lrps": rows,
        "task": None,
        "domain_fresh": True,
        "cells": {},
    }
    bbs.tell("/v1/status/web", Told(json.dumps(told).encode(), content_type="application/json"))

    ran = diego("explain", "web")
    whole = diego("explain", "web", "--json")

    lines = ran.out.splitlines()
    assert lines[0] == "59 of 60 instances of web run (`diego explain web INDEX` tells more)"
    assert lines[1].startswith("web/59 has no cell, for 59s: ")
    assert lines[-1] == "and 10 more; --json tells of all"
    assert [json.loads(line)["index"] for line in whole.out.splitlines()] == list(range(60))
