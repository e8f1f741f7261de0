"""A desired app runs: in containers, from its tarball, behind its route; and it is gone when it is removed."""

import json
from collections.abc import Iterator

import pytest

from support.observe import Answering, ask, eventually, instances, running

pytestmark = [pytest.mark.lab, pytest.mark.timeout(400)]

WEB = """\
desired_lrps:
  - process_guid: {guid}
    domain: tests
    rootfs: preloaded:cflinuxfs4
    instances: {instances}
    memory_mb: 64
    disk_mb: 128
    ports: [8080]
    routes:
      cf-router:
        - hostnames: ["{guid}.{domain}"]
          port: 8080
    log_guid: {guid}
    log_source: APP
    metric_tags: {{source_id: {{static: {guid}}}}}
    action:
      run:
        path: /usr/bin/python3
        args: ["-c", "{code}"]
        user: vcap
    check_definition:
      checks:
        - tcp_check: {{port: 8080}}
"""

SERVER = (
    "import http.server,os,json;"
    "H=type('H',(http.server.BaseHTTPRequestHandler,),{'do_GET':lambda s:(s.send_response(200),"
    "s.end_headers(),s.wfile.write(json.dumps(dict(os.environ)).encode())),'log_message':lambda *a:None});"
    "http.server.ThreadingHTTPServer(('',8080),H).serve_forever()"
)


def desire(lab: Answering, guid: str, instances: int) -> None:
    text = WEB.format(guid=guid, instances=instances, domain=lab.env["APPS_DOMAIN"], code=SERVER)
    asked = lab.diego("run", "-", stdin=text)
    assert asked.returncode == 0, asked.stdout + asked.stderr


@pytest.fixture
def guid(lab: Answering, request: pytest.FixtureRequest) -> Iterator[str]:
    """A process guid of the test's own; what is left of it is removed afterwards."""
    name = request.node.name.split("[")[0].removeprefix("test_").replace("_", "-")[:40]
    yield name
    lab.diego("delete-desired-lrp", name)
    eventually(lambda: not instances(lab, name), within=120, what=f"the instances of {name} are gone")


def test_the_sample_apps_three_instances_answer_from_inside_their_containers(lab: Answering) -> None:
    found = eventually(lambda: running(lab, "web", 3), within=120, what="three instances of web run")
    nonce = lab.nonce()

    def all_three() -> dict[int, dict[str, str]]:
        pages = {int(page["CF_INSTANCE_INDEX"]): page for page in (ask(lab).page for _ in range(12))}
        return pages if len(pages) == 3 else {}

    pages = eventually(all_three, within=120, what="each of the three instances answers")

    containers = lab.containers()
    for one in found:
        page = pages[one["index"]]
        assert page["CF_INSTANCE_GUID"] == one["instance_guid"]
        assert page["nonce"] == nonce
        assert one["instance_guid"] in containers


def test_an_app_answers_once_it_runs_and_its_route_is_gone_once_it_is_removed(
    lab: Answering, guid: str
) -> None:
    host = f"{guid}.{lab.env['APPS_DOMAIN']}"
    assert ask(lab, host=host).status == 404

    desire(lab, guid, 2)

    eventually(lambda: ask(lab, "/", host=host).status == 200, within=120, what="the app answers")
    environment = json.loads(ask(lab, "/", host=host).body)
    assert environment["INSTANCE_GUID"] == environment["CF_INSTANCE_GUID"]
    assert environment["CF_INSTANCE_PORTS"].startswith('[{"external":')

    assert lab.diego("delete-desired-lrp", guid).returncode == 0

    eventually(lambda: ask(lab, "/", host=host).status == 404, within=120, what="the route is gone")
    eventually(lambda: not instances(lab, guid), within=120, what="the records are gone")


def test_scaling_up_and_down_changes_the_number_of_instances(lab: Answering, guid: str) -> None:
    desire(lab, guid, 1)
    eventually(lambda: running(lab, guid, 1), within=120, what="one runs")

    assert lab.diego("update-desired-lrp", guid, json.dumps({"instances": 3})).returncode == 0
    eventually(lambda: running(lab, guid, 3), within=120, what="three run")

    assert lab.diego("update-desired-lrp", guid, json.dumps({"instances": 1})).returncode == 0
    left = eventually(lambda: running(lab, guid, 1), within=120, what="one runs")
    assert left[0]["index"] == 0


def test_a_task_runs_once_and_hands_back_its_result_file(lab: Answering) -> None:
    definition = {
        "rootfs": "preloaded:cflinuxfs4",
        "memory_mb": 64,
        "disk_mb": 64,
        "log_guid": "result-task",
        "result_file": "/tmp/result",
        "action": {
            "run": {"path": "/bin/sh", "args": ["-c", "echo -n $((6*7)) > /tmp/result"], "user": "vcap"}
        },
    }
    task = {"task_guid": "result-task", "domain": "tests", **definition}
    assert lab.diego("create-task", json.dumps(task)).returncode == 0

    def completed() -> dict[str, object]:
        shown = lab.diego("task", "result-task", "--json")
        found: dict[str, object] = json.loads(shown.stdout) if shown.returncode == 0 else {}
        return found if found.get("state") == "Completed" else {}

    done = eventually(completed, within=120, what="the task completes")
    assert not done.get("failed"), done
    assert done["result"] == "42"
    assert lab.diego("delete-task", "result-task").returncode == 0


def test_an_apps_output_is_read_by_the_command_line(lab: Answering) -> None:
    found = eventually(lambda: running(lab, "web", 3), within=120, what="three instances of web run")

    shown = lab.diego("logs", "web", "--index", "0")

    assert shown.returncode == 0, shown.stderr
    assert f"successfully created container for instance {found[0]['instance_guid']}" in shown.stdout
