"""What stops an upgrade of a real lab, what it says, and that the next run goes on (contract/deployment.md section 5).

Each test has the auctioneers change, by another log level, and puts something in their way on one of two hosts.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.lab import CHECKOUT, Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1200)]

PATIENCE = 900.0
POST_START = "/var/vcap/jobs/auctioneer/bin/post-start"


class Site:
    """The lab, and upgrades of its control hosts alone."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.first, self.second = lab.groups["scheduler"]

    def start(self, level: str, **more: object) -> subprocess.Popen[str]:
        variables = {"auctioneer_log_level": level, **more}
        return subprocess.Popen(
            [
                str(CHECKOUT / ".venv/bin/ansible-playbook"),
                *("--inventory", str(self.lab.inventory), "playbooks/upgrade.yml", "--limit", "scheduler"),
                *("--extra-vars", json.dumps(variables)),
            ],
            cwd=CHECKOUT,
            env={**os.environ, "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def upgrade(self, level: str, **more: object) -> tuple[int, str]:
        process = self.start(level, **more)
        said, _ = process.communicate(timeout=PATIENCE)
        return process.returncode, said

    def state(self, name: str) -> str:
        found: str = json.loads((self.lab.directory / "upgrade.json").read_text())["instances"][name]["state"]
        return found

    def mark(self, name: str, host: str) -> str:
        text = self.lab.run(f"cat /var/vcap/instances/{name}.json", host=host).stdout
        found: str = json.loads(text)["state"]
        return found

    def auctioneer(self, host: str) -> str:
        """Its process: another one after a restart."""
        return self.lab.run("supervisorctl pid auctioneer", host=host).stdout.strip()

    def level(self, host: str) -> str:
        text = self.lab.run("cat /var/vcap/jobs/auctioneer/config/auctioneer.json", host=host).stdout
        found: str = json.loads(text)["log_level"]
        return found

    @contextlib.contextmanager
    def post_start(self, host: str, script: str) -> Iterator[None]:
        """A post-start script of the auctioneer on that host."""
        made = f"mkdir -p {Path(POST_START).parent} && printf '%s\\n' '#!/bin/sh' '{script}' > {POST_START}"
        assert self.lab.run(f"{made} && chmod 755 {POST_START}", host=host).returncode == 0
        try:
            yield
        finally:
            self.lab.run(f"rm {POST_START}", host=host)


@pytest.fixture
def site(lab: Lab) -> Iterator[Site]:
    made = Site(lab)
    yield made
    code, said = made.upgrade("info")
    assert code == 0, said[-3000:]


def begun(said: str) -> list[str]:
    return re.findall(r"^(\S+) begins", said, re.MULTILINE)


def until(fact: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not fact():
        assert process.poll() is None, process.communicate()[0][-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_canary_whose_post_start_fails_is_the_only_one_touched_and_the_next_run_goes_on(site: Site) -> None:
    untouched = site.auctioneer(site.second)

    with site.post_start(site.first, "echo out of order >&2; exit 1"):
        code, said = site.upgrade("debug")

    assert code == 2, said[-3000:]
    assert begun(said) == ["scheduler-0"]
    for line in (
        "scheduler-0 failed",
        "group    scheduler",
        f"host     {site.first}",
        "step     post-start",
        "post-start of auctioneer ended with 1",
        "/var/vcap/sys/log/auctioneer/post-start.stderr.log:",
        "out of order",
        "not begun: scheduler-1",
        "not begun: router, diego-cell",
    ):
        assert line in said, said[-3000:]
    assert site.mark("scheduler-0", site.first) == "dirty"
    assert site.auctioneer(site.second) == untouched

    code, said = site.upgrade("debug")

    assert code == 0, said[-3000:]
    assert begun(said) == ["scheduler-0", "scheduler-1"]
    assert [site.level(host) for host in (site.first, site.second)] == ["debug", "debug"]


def test_a_daemon_that_crash_loops_is_named_with_the_end_of_its_log(site: Site) -> None:
    # somebody else has the port that it listens on
    squatter = 'import socket,time; s=socket.create_server(("127.0.0.1", 17099)); time.sleep(3600)'
    site.lab.run(f"nohup python3 -c '{squatter}' > /dev/null 2>&1 & echo $! > /tmp/squatter", host=site.first)
    try:
        code, said = site.upgrade(
            "debug",
            auctioneer_debug_address="127.0.0.1:17099",
            update={"canary_watch_time": "1000-12000", "update_watch_time": "1000-12000"},
        )
    finally:
        site.lab.run("kill $(cat /tmp/squatter)", host=site.first)

    assert code == 2, said[-3000:]
    assert begun(said) == ["scheduler-0"]
    assert "step     start" in said
    assert "not running: auctioneer" in said
    assert "/var/vcap/sys/log/auctioneer/auctioneer.log:" in said


def test_a_post_start_that_hangs_ends_at_its_deadline(site: Site) -> None:
    with site.post_start(site.first, "sleep 600"):
        code, said = site.upgrade("debug", instance_script_deadline=5)

    assert code == 2, said[-3000:]
    assert "post-start of auctioneer has not ended after 5 s" in said
    assert site.lab.run("pgrep -f 'sleep 600'", host=site.first).returncode != 0


def test_a_host_that_cannot_be_reached_stops_it_before_anything_is_touched(site: Site) -> None:
    before = [site.auctioneer(host) for host in (site.first, site.second)]

    site.lab.lab("cut", site.second)
    try:
        code, said = site.upgrade("debug")
    finally:
        site.lab.lab("heal")

    assert code != 0
    assert begun(said) == []
    assert site.second in said
    assert [site.auctioneer(host) for host in (site.first, site.second)] == before


def test_a_host_that_is_lost_meanwhile_stops_it_and_the_next_run_leaves_the_finished_alone(
    site: Site,
) -> None:
    with site.post_start(site.second, "sleep 20"):
        process = site.start("debug", instance_lost_patience=5)
        until(lambda: in_flight(site, "scheduler-1"), process)
        site.lab.lab("cut", site.second)
        try:
            said, _ = process.communicate(timeout=PATIENCE)
        finally:
            site.lab.lab("heal")

    assert process.returncode == 2, said[-3000:]
    assert "scheduler-1 failed" in said
    assert "the host cannot be reached" in said
    assert "finished: scheduler-0" in said
    finished = site.auctioneer(site.first)

    code, said = site.upgrade("debug")

    assert code == 0, said[-3000:]
    assert begun(said) == ["scheduler-1"]
    assert site.auctioneer(site.first) == finished


def test_a_killed_controller_leaves_what_the_next_run_goes_on_from(site: Site) -> None:
    with site.post_start(site.second, "sleep 15"):
        process = site.start("debug")
        until(lambda: in_flight(site, "scheduler-1"), process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    finished = site.auctioneer(site.first)
    assert site.state("scheduler-1") == "in flight"

    code, said = site.upgrade("debug")

    assert code == 0, said[-3000:]
    assert begun(said) == ["scheduler-1"]
    assert site.auctioneer(site.first) == finished
    assert site.mark("scheduler-1", site.second) == "clean"


def in_flight(site: Site, name: str) -> bool:
    with contextlib.suppress(KeyError):
        return site.state(name) == "in flight"
    return False
