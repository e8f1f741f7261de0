"""A second deploy changes nothing; what somebody changed by hand it puts back, and says so."""

import re

import pytest
from testinfra.host import Host

from support.lab import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

CONFIG = "/var/vcap/jobs/auctioneer/config/auctioneer.json"
CERTIFICATE = "/var/vcap/jobs/file_server/config/certs/server.crt"


def changed(output: str) -> int:
    """How many tasks changed something, over all hosts of the recap."""
    counts = re.findall(r"changed=(\d+)", output)
    assert counts, output[-2000:]
    return sum(map(int, counts))


def changed_tasks(output: str) -> set[str]:
    """The names of the tasks that changed something."""
    names: set[str] = set()
    task = ""
    for line in output.splitlines():
        if heading := re.match(r"(?:TASK|RUNNING HANDLER) \[(.*)\]", line):
            task = heading[1]
        elif line.startswith("changed:"):
            names.add(task)
    return names


def test_a_second_run_changes_nothing(lab: Lab) -> None:
    again = lab.deploy()

    assert again.returncode == 0, again.stdout[-3000:] + again.stderr[-2000:]
    assert changed_tasks(again.stdout) == set()
    assert changed(again.stdout) == 0


def test_five_drifts_are_mended_and_each_is_reported(lab: Lab, host: Host) -> None:
    config, certificate = host.file(CONFIG).content, host.file(CERTIFICATE).content
    key = "/var/vcap/jobs/bbs/config/certs/server.key"
    mode = host.file(key).mode
    drifts = {
        "a config line": f"sed -i 's/0.25/0.75/' {CONFIG}",
        "a file mode": f"chmod 0644 {key}",
        "a stopped job": "supervisorctl stop route_emitter",
        "a missing package": "DEBIAN_FRONTEND=noninteractive dpkg --remove --force-depends lua-cjson",
        "a certificate": f"cp /var/vcap/jobs/bbs/config/certs/server.crt {CERTIFICATE}",
    }
    for drift, command in drifts.items():
        done = host.run(command)
        assert done.rc == 0, f"{drift}: {done.stderr}"
    assert host.file(CONFIG).content != config, "the drift changed no config line"

    mended = lab.deploy()

    assert mended.returncode == 0, mended.stdout[-3000:] + mended.stderr[-2000:]
    assert len(changed_tasks(mended.stdout)) >= 1
    assert changed(mended.stdout) >= len(drifts), changed_tasks(mended.stdout)
    assert host.file(CONFIG).content == config
    assert host.file(CERTIFICATE).content == certificate
    assert host.file(key).mode == mode
    assert "RUNNING" in host.check_output("supervisorctl status route_emitter")
    assert host.package("lua-cjson").is_installed
    assert changed(lab.deploy().stdout) == 0


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--extra-vars", '{"rep_memory_mb": "plenty"}'), "rep_memory_mb"),
        (
            ("--extra-vars", '{"auctioneer_starting_container_weight": "heavy"}'),
            "auctioneer_starting_container_weight",
        ),
    ],
)
def test_a_broken_value_is_refused_by_name_before_anything_changes(
    lab: Lab, words: tuple[str, str], named: str
) -> None:
    refused = lab.deploy(*words)

    assert refused.returncode != 0
    assert named in refused.stdout + refused.stderr
    assert changed(refused.stdout) == 0
