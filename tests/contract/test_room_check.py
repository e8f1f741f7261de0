"""Before an upgrade touches a cell, the others are seen to have room for what it holds (the role instance, room.yml)."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.timeout(400)

CHECKOUT = Path(__file__).resolve().parents[2]


class Site:
    """Two cells in two zones, both about to change, and what the command line says of them."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.due = {"cell-a": ["rep: program rep"], "cell-b": ["rep: program rep"]}
        self.zones = {"cell-a": "z1", "cell-b": "z2"}

    def says(self, *states: dict[str, Any], complaint: str = "", code: int = 0) -> None:
        self.prints("".join(json.dumps(state) + "\n" for state in states), complaint=complaint, code=code)

    def prints(self, text: str, *, complaint: str = "", code: int = 0) -> None:
        (self.place / "states").write_text(text)
        command = self.place / "release/bin/diego"
        command.parent.mkdir(parents=True)
        command.write_text(
            f'#!/bin/sh\necho "$@ $BBS_URL $CLIENT_CERT_FILE" > {self.place}/asked\n'
            f"cat {self.place}/states\necho '{complaint}' >&2\nexit {code}\n"
        )
        command.chmod(0o755)

    def check(self, **variables: Any) -> tuple[int, str]:
        hosts = {
            host: {"instance_due": {"diego-cell": why}, "zone": self.zones[host]}
            for host, why in self.due.items()
        }
        everybody = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "bbs_url": "https://bbs:8889",
            "release_directory": str(self.place / "release"),
            **variables,
        }
        inventory = {"all": {"vars": everybody, "children": {"diego-cell": {"hosts": hosts}}}}
        (self.place / "hosts.yml").write_text(yaml.safe_dump(inventory))
        include = {"ansible.builtin.include_role": {"name": "instance", "tasks_from": "room"}}
        play = {"hosts": "diego-cell", "gather_facts": False, "any_errors_fatal": True, "tasks": [include]}
        (self.place / "play.yml").write_text(yaml.safe_dump([play]))
        done = subprocess.run(
            [
                str(CHECKOUT / ".venv/bin/ansible-playbook"),
                *("--inventory", str(self.place / "hosts.yml"), str(self.place / "play.yml")),
            ],
            cwd=CHECKOUT,
            env={**os.environ, "NO_COLOR": "1", "COLUMNS": "1000"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        return done.returncode, done.stdout


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def state(number: int, *, free: int) -> dict[str, Any]:
    """A cell of 1000 MB."""
    return {
        "cell_id": f"diego-cell-{number}",
        "Zone": f"z{number + 1}",
        "RootFSProviders": {"preloaded": {"set": {"cflinuxfs4": {}}}},
        "AvailableResources": {"MemoryMB": free, "DiskMB": 1000, "Containers": 250},
        "TotalResources": {"MemoryMB": 1000, "DiskMB": 1000, "Containers": 250},
        "Evacuating": False,
        "PlacementTags": [],
        "OptionalPlacementTags": [],
    }


def test_cells_with_room_for_each_other_may_change(site: Site) -> None:
    site.says(state(0, free=500), state(1, free=600))

    code, said = site.check()

    assert code == 0, said
    assert (site.place / "asked").read_text() == (
        "cell-states --json https://bbs:8889 /var/vcap/jobs/rep/config/certs/server.crt\n"
    )


def test_cells_without_room_are_refused_and_say_what_they_hold(site: Site) -> None:
    site.says(state(0, free=500), state(1, free=400))

    code, said = site.check()

    assert code == 2, said
    assert "zone z1: 500 MB of memory on diego-cell-0, 400 free on the other cells" in said
    assert "zone z2: 600 MB of memory on diego-cell-1, 500 free on the other cells" in said
    assert "-e instance_skip_room_check=true" in said


def test_what_is_meant_is_not_asked_about(site: Site) -> None:
    code, said = site.check(instance_skip_room_check=True)

    assert code == 0, said


def test_where_no_cell_changes_nothing_is_asked(site: Site) -> None:
    site.due = {"cell-a": [], "cell-b": []}

    code, said = site.check()

    assert code == 0, said


def test_a_cell_that_is_silent_is_told_and_the_others_are_still_looked_at(site: Site) -> None:
    site.due["cell-b"] = []
    site.says(state(0, free=1000), complaint="cell diego-cell-1: refused", code=4)

    code, said = site.check()

    assert code == 0, said
    assert "nothing was heard of diego-cell-1 (cell diego-cell-1: refused); their room counts as none" in (
        " ".join(said.split())
    )


def test_the_room_of_a_silent_cell_counts_as_none(site: Site) -> None:
    site.says(state(0, free=500), complaint="cell diego-cell-1: refused", code=4)

    code, said = site.check()

    assert code == 2, said
    assert "zone z1: 500 MB of memory on diego-cell-0, 0 free on the other cells" in said
    assert "Silent, and not counted: diego-cell-1" in said
    assert "-e instance_skip_room_check=true" in said


@pytest.mark.parametrize(
    ("printed", "complaint", "status", "told"),
    [
        ("", "diego: the BBS cannot be reached", 5, "ended with 5 (diego: the BBS cannot be reached)"),
        (
            "",
            "cell diego-cell-0: refused; cell diego-cell-1: refused",
            4,
            "heard of no cell (cell diego-cell-0",
        ),
        ("", "", 0, "heard of no cell"),
        ("Segmentation fault\n", "", 0, "cannot be read"),
    ],
    ids=["no BBS", "all silent", "none present", "unreadable"],
)
def test_a_question_that_fails_as_a_whole_stops_the_upgrade(
    site: Site, printed: str, complaint: str, status: int, told: str
) -> None:
    site.prints(printed, complaint=complaint, code=status)

    code, said = site.check()

    assert code == 2, said
    assert "whether the cells have room for each other is not known" in said
    assert told in said
    assert "See that the BBS and the cells answer `diego cell-states`" in said
    assert "-e instance_skip_room_check=true" in said


def test_a_release_without_the_command_stops_the_upgrade(site: Site) -> None:
    code, said = site.check()

    assert code == 2, said
    assert "whether the cells have room for each other is not known" in said
    assert "could not be run" in said
    assert f"{site.place}/release/bin/diego" in said
