"""What happened to an app is told afterwards, by the deployed BBS's history."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from support.observe import Answering, eventually, instances, running

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

APP = """\
desired_lrps:
  - process_guid: {guid}
    domain: tests
    rootfs: preloaded:cflinuxfs4
    instances: 1
    memory_mb: 32
    disk_mb: 64
    log_guid: {guid}
    metric_tags: {{source_id: {{static: {guid}}}}}
    action:
      run: {{path: /bin/sh, args: ["-c", "sleep 1000000"], user: vcap}}
"""


@pytest.fixture
def guid(lab: Answering) -> Iterator[str]:
    """A process guid of the test's own; what is left of it is removed afterwards."""
    name = f"told-{time.time_ns()}"
    yield name
    lab.diego("delete-desired-lrp", name)


def told(lab: Answering, guid: str) -> list[dict[str, Any]]:
    shown = lab.diego("history", guid, "--json")
    assert shown.returncode == 0, shown.stderr
    return [json.loads(line) for line in shown.stdout.splitlines()]


def test_the_life_of_an_app_is_told_from_its_wish_to_its_end(lab: Answering, guid: str) -> None:
    asked = lab.diego("run", "-", stdin=APP.format(guid=guid))
    assert asked.returncode == 0, asked.stdout + asked.stderr
    [one] = eventually(lambda: running(lab, guid, 1), within=120, what="the app runs")
    ran = time.time_ns()
    assert lab.diego("retire-actual-lrp", guid, "0").returncode == 0
    eventually(
        lambda: [each for each in running(lab, guid, 1) if each["instance_guid"] != one["instance_guid"]],
        within=120,
        what="another instance runs in its place",
    )
    assert lab.diego("delete-desired-lrp", guid).returncode == 0
    eventually(lambda: not instances(lab, guid), within=120, what="the instance is gone")

    entries = told(lab, guid)
    assert [entry["event"] for entry in entries[:2]] == ["desired_lrp_created", "actual_lrp_created"]
    states = [entry["after"]["state"] for entry in entries if entry["event"] == "actual_lrp_changed"]
    assert states.count("RUNNING") >= 2
    assert "desired_lrp_removed" in [entry["event"] for entry in entries]
    assert entries[-1]["event"] == "actual_lrp_removed"
    assert told(lab, one["instance_guid"])

    people = lab.diego("history", guid)
    assert "1 instance wanted" in people.stdout
    assert "no longer wanted" in people.stdout
    assert one["cell_id"] in people.stdout

    then = lab.diego("actual-lrps", guid, "--at", str_of(ran), "--json")
    assert then.returncode == 0, then.stderr
    was = [json.loads(line) for line in then.stdout.splitlines()]
    assert [(lrp["state"], lrp["instance_guid"]) for lrp in was] == [("RUNNING", one["instance_guid"])]


def str_of(nanoseconds: int) -> str:
    """A moment as RFC 3339."""
    seconds, rest = divmod(nanoseconds, 10**9)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest // 1000:06d}Z"
