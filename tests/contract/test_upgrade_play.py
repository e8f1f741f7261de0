"""The window of an upgrade, carried out by a real ansible-playbook (contract/deployment.md sections 1, 2, 5 and 6).

Hosts are names with a local connection. What an instance's change is, is a script of the test: it says in one file when
it began and ended, waits where the test holds it, and fails where the test wants it to.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.timeout(600)

CHECKOUT = Path(__file__).resolve().parents[2]
PATIENCE = 240.0

CHANGE = """\
exec >> {place}/events 2>&1
echo "begin {{{{ inventory_hostname }}}}"
while [ -e {place}/hold-{{{{ inventory_hostname }}}} ]; do sleep 0.05; done
if [ -e {place}/fail-{{{{ inventory_hostname }}}} ]; then echo "fail {{{{ inventory_hostname }}}}"; exit 3; fi
echo "half {{{{ inventory_hostname }}}}"
"""
END = """\
touch {place}/done-{{{{ inventory_hostname }}}}
echo "end {{{{ inventory_hostname }}}}" >> {place}/events
"""


class Site:
    """An inventory and a playbook of one or two groups, and what their instances did."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.groups: dict[str, dict[str, dict[str, Any]]] = {}
        self.variables: dict[str, Any] = {}
        self.processes: list[subprocess.Popen[str]] = []

    def group(self, name: str, *zones: str, **of_all: Any) -> None:
        self.groups[name] = {f"{name}{index}": {"zone": zone, **of_all} for index, zone in enumerate(zones)}

    def start(self, *words: str) -> subprocess.Popen[str]:
        place = self.place
        plugins = place / "strategy_plugins"
        if not plugins.exists():
            plugins.symlink_to(CHECKOUT / "playbooks/strategy_plugins")
        due = "{{{{ {{instance_group: [] if ('{place}/done-' ~ inventory_hostname) is exists else ['is new']}} }}}}"
        everybody = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "deployment_directory": str(place),
            "instance_due": due.format(place=place),
            "instance_groups": list(self.groups),
            **self.variables,
        }
        children = {
            name: {"hosts": {host: values or {} for host, values in hosts.items()}}
            for name, hosts in self.groups.items()
        }
        (place / "hosts.yml").write_text(yaml.safe_dump({"all": {"vars": everybody, "children": children}}))
        tasks: list[dict[str, Any]] = [
            {
                "name": "Change it",
                "ansible.builtin.shell": CHANGE.format(place=place),
                "vars": {"instance_step": "stop"},
            },
            {"name": "Say so", "ansible.builtin.shell": END.format(place=place)},
        ]
        plays = [
            {
                "hosts": name,
                "strategy": "diego_window",
                "gather_facts": False,
                "vars": {"instance_group": name},
                "tasks": tasks,
            }
            for name in self.groups
        ]
        (place / "play.yml").write_text(yaml.safe_dump(plays, sort_keys=False))
        process = subprocess.Popen(
            [
                str(CHECKOUT / ".venv/bin/ansible-playbook"),
                *("--inventory", str(place / "hosts.yml"), str(place / "play.yml"), *words),
            ],
            cwd=CHECKOUT,
            env={**os.environ, "ANSIBLE_TIMEOUT": "3"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.processes.append(process)
        return process

    def run(self, *words: str) -> tuple[int, str]:
        process = self.start(*words)
        said, _ = process.communicate(timeout=PATIENCE)
        return process.returncode, said

    def events(self) -> list[str]:
        path = self.place / "events"
        return path.read_text().splitlines() if path.exists() else []

    def of(self, word: str) -> list[str]:
        return [event.split()[1] for event in self.events() if event.split()[0] == word]

    def record(self) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = json.loads((self.place / "upgrade.json").read_text())["instances"]
        return found

    def mark(self, kind: str, host: str) -> Path:
        path = self.place / f"{kind}-{host}"
        path.touch()
        return path


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    for hold in tmp_path.glob("hold-*"):
        hold.unlink()
    for process in made.processes:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def until(fact: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not fact():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"it did not happen; the play said:\n{process.communicate()[0][-3000:]}")
        time.sleep(0.05)


def most_at_once(events: list[str]) -> int:
    at_work: set[str] = set()
    most = 0
    for word, host in (event.split() for event in events):
        if word == "begin":
            at_work.add(host)
        elif word in {"end", "fail"}:
            at_work.discard(host)
        most = max(most, len(at_work))
    return most


def test_canaries_are_alone_and_a_slow_instance_holds_back_nobody(site: Site) -> None:
    site.group("cell", *["z1"] * 5)
    site.variables["update"] = {"canaries": 1, "max_in_flight": 2}
    slow = site.mark("hold", "cell1")

    process = site.start()
    until(lambda: set(site.of("end")) == {"cell0", "cell2", "cell3", "cell4"}, process)
    assert site.of("end")[0] == "cell0"
    assert site.events().index("end cell0") < site.events().index("begin cell1")
    assert "half cell1" not in site.events()
    slow.unlink()
    said = process.communicate(timeout=PATIENCE)[0]

    assert process.returncode == 0, said
    assert sorted(site.of("begin")) == ["cell0", "cell1", "cell2", "cell3", "cell4"]
    assert most_at_once(site.events()) == 2
    assert {entry["state"] for entry in site.record().values()} == {"finished"}


def test_a_zone_begins_when_the_one_before_is_done_and_what_needs_no_change_is_left_alone(site: Site) -> None:
    site.group("cell", "z2", "z1", "z2", "z1")
    site.variables["update"] = {"canaries": 0, "max_in_flight": 3}
    site.mark("done", "cell3")

    code, said = site.run()

    assert code == 0, said
    assert sorted(site.of("begin")[:2]) == ["cell0", "cell2"]
    assert site.of("begin")[2:] == ["cell1"]
    assert site.events().index("begin cell1") > max(
        site.events().index("end cell0"), site.events().index("end cell2")
    )
    assert "cell, zone z2, 2 at once: cell-0 (cell0), cell-2 (cell2)" in said


def test_after_a_failure_those_at_work_end_nobody_begins_no_later_group_runs_and_the_next_run_goes_on(
    site: Site,
) -> None:
    site.group("cell", *["z1"] * 4)
    site.group("other", "z1")
    site.variables["update"] = {"canaries": 0, "max_in_flight": 2}
    failing = site.mark("fail", "cell0")
    slow = site.mark("hold", "cell1")

    process = site.start()
    until(lambda: "fail cell0" in site.events(), process)
    until(lambda: site.record()["cell-0"]["state"] == "failed", process)
    slow.unlink()
    said = process.communicate(timeout=PATIENCE)[0]

    assert process.returncode == 2, said
    assert site.of("end") == ["cell1"]
    assert sorted(site.of("begin")) == ["cell0", "cell1"]
    for line in (
        "cell-0 failed",
        "  group    cell",
        "  zone     z1",
        "  host     cell0",
        "  step     stop",
        "finished: cell-1 (cell1)",
        "not begun: cell-2 (cell2), cell-3 (cell3) of this group",
        "not begun: other",
        "to go on, when it is mended: ansible-playbook",
    ):
        assert line in said
    assert site.record()["cell-0"]["step"] == "stop"

    failing.unlink()
    before = len(site.events())
    code, said = site.run()

    assert code == 0, said
    assert sorted(event for event in site.events()[before:] if event.startswith("begin")) == [
        "begin cell0",
        "begin cell2",
        "begin cell3",
        "begin other0",
    ]


def test_a_failed_canary_is_the_only_one_that_was_touched(site: Site) -> None:
    site.group("cell", "z1", "z1", "z2")
    site.mark("fail", "cell0")
    more = ("--extra-vars", '{"why": "it\'s new"}')

    code, said = site.run(*more)

    assert code == 2, said
    assert site.of("begin") == ["cell0"]
    told = next(line for line in said.splitlines() if line.startswith("to go on"))
    assert tuple(shlex.split(told.partition("mended: ")[2])[-2:]) == more


def test_an_unreachable_host_stops_it_too(site: Site) -> None:
    site.group("cell", "z1", "z1", "z1")
    site.group("other", "z1")
    site.groups["cell"]["cell1"] |= {
        "ansible_connection": "ssh",
        "ansible_host": "127.0.0.1",
        "ansible_port": 1,
    }

    code, said = site.run()

    assert code == 2, said
    assert site.of("begin") == ["cell0"]
    assert "cell-1 failed" in said
    assert "the host cannot be reached: " in said
    assert "not begun: cell-2 (cell2) of this group" in said
    assert site.record()["cell-1"]["state"] == "failed"


def test_a_killed_controller_leaves_a_record_from_which_the_next_run_goes_on(site: Site) -> None:
    site.group("cell", *["z1"] * 3)
    site.variables["update"] = {"canaries": 1, "max_in_flight": 1}
    hold = site.mark("hold", "cell1")

    process = site.start()
    until(lambda: "begin cell1" in site.events(), process)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=PATIENCE)
    # the host's own mark is there though the controller never heard of it, as after a cut just before the end
    site.mark("done", "cell1")
    hold.unlink()
    assert {name: entry["state"] for name, entry in site.record().items()} == {
        "cell-0": "finished",
        "cell-1": "in flight",
    }

    before = len(site.events())
    code, said = site.run()

    assert code == 0, said
    assert [event for event in site.events()[before:] if event.startswith("begin")] == [
        "begin cell1",
        "begin cell2",
    ]
    assert {entry["state"] for entry in site.record().values()} == {"finished"}


def test_there_is_one_upgrade_at_a_time(site: Site) -> None:
    site.group("cell", "z1")
    hold = site.mark("hold", "cell0")

    first = site.start()
    until(lambda: "begin cell0" in site.events(), first)
    code, said = site.run()
    hold.unlink()
    first.communicate(timeout=PATIENCE)

    assert first.returncode == 0
    assert code != 0
    assert f"another upgrade is at work on {site.place}: process {first.pid}" in " ".join(said.split())
    assert site.of("begin") == ["cell0"]


def test_a_wish_to_stop_is_obeyed_before_the_next_instance(site: Site) -> None:
    site.group("cell", "z1", "z1", "z1")
    hold = site.mark("hold", "cell0")

    process = site.start()
    until(lambda: "begin cell0" in site.events(), process)
    (site.place / "upgrade.stop").touch()
    hold.unlink()
    said = process.communicate(timeout=PATIENCE)[0]

    assert process.returncode == 2, said
    assert site.of("end") == ["cell0"]
    assert "a stop was asked for: no further instance begins" in said
    assert not (site.place / "upgrade.stop").exists()
    assert site.run()[0] == 0
    assert sorted(site.of("end")) == ["cell0", "cell1", "cell2"]


def test_check_mode_tells_the_order_and_the_reasons_and_touches_nothing(site: Site) -> None:
    site.group("cell", "z1", "z1", "z2")
    site.mark("done", "cell1")

    code, said = site.run("--check")

    assert code == 0, said
    assert "cell, zone z1, 1 at once: canaries cell-0 (cell0)" in said
    assert "cell, zone z2, 1 at once: cell-2 (cell2)" in said
    assert "cell-0 changes: is new" in said
    assert site.events() == []
    assert not (site.place / "upgrade.json").exists()


@pytest.mark.parametrize(
    ("update", "fault"),
    [
        (
            {"max_in_flight": "10.5%"},
            "max_in_flight: '10.5%' is neither a whole number nor a whole percentage",
        ),
        ({"max_in_flight": 2}, "cell: max_in_flight 2 of 2 instances leaves none at work"),
    ],
)
def test_what_cannot_be_followed_touches_nothing(site: Site, update: dict[str, Any], fault: str) -> None:
    site.group("cell", "z1", "z1")
    site.variables["update"] = update

    code, said = site.run()

    assert code != 0
    assert fault in " ".join(said.split())
    assert site.events() == []
