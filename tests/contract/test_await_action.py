"""Waiting for what runs on a host on its own, across connections that break."""

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

SCRIPTS = {"good": "sleep 2; echo done", "failing": "sleep 1; echo out of order >&2; exit 3"}


@pytest.fixture(scope="module")
def awaited(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What became of each script, and of one whose host went away."""
    place = tmp_path_factory.mktemp("awaited")
    (place / "action_plugins").symlink_to(CHECKOUT / "playbooks/action_plugins")
    tasks: list[dict[str, Any]] = [
        {
            "ansible.builtin.shell": "{{ script }}",
            "async": 600,
            "poll": 0,
            "register": "begun",
            "vars": {"ansible_async_dir": str(place / "async")},
        },
        {
            "diego_await": {"jid": "{{ begun.ansible_job_id }}", "patience": 1},
            "register": "awaited",
            "ignore_errors": True,
            "ignore_unreachable": True,
            "vars": {
                "ansible_async_dir": str(place / "async"),
                "ansible_connection": "{{ 'ssh' if inventory_hostname == 'lost' else 'local' }}",
                "ansible_host": "127.0.0.1",
                "ansible_port": 1,
            },
        },
        {
            "ansible.builtin.copy": {
                "content": "{{ awaited | to_json }}",
                "dest": f"{place}/{{{{ inventory_hostname }}}}.json",
            }
        },
    ]
    hosts = {name: {"script": script} for name, script in (SCRIPTS | {"lost": "true"}).items()}
    (place / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    play = {"hosts": "all", "connection": "local", "gather_facts": False, "tasks": tasks}
    (place / "play.yml").write_text(yaml.safe_dump([play]))
    done = subprocess.run(
        [
            str(CHECKOUT / ".venv/bin/ansible-playbook"),
            *("--inventory", str(place / "hosts.yml"), str(place / "play.yml")),
        ],
        cwd=CHECKOUT,
        env={**os.environ, "ANSIBLE_PYTHON_INTERPRETER": sys.executable, "ANSIBLE_TIMEOUT": "3"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (place / "lost.json").exists(), done.stdout[-3000:] + done.stderr[-1000:]
    return {name: json.loads((place / f"{name}.json").read_text()) for name in hosts}


def test_what_the_task_says_when_it_has_ended_is_the_result(awaited: dict[str, Any]) -> None:
    assert awaited["good"]["finished"]
    assert awaited["good"]["stdout"] == "done"


def test_a_task_that_failed_is_a_failure(awaited: dict[str, Any]) -> None:
    assert awaited["failing"]["failed"]
    assert awaited["failing"]["rc"] == 3
    assert awaited["failing"]["stderr"] == "out of order"


def test_a_host_that_stays_away_longer_than_the_patience_cannot_be_reached(awaited: dict[str, Any]) -> None:
    assert awaited["lost"]["unreachable"]
