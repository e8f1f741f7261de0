"""What the deployment makes of a drain script's answers (contract/deployment.md section 4)."""

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

COUNT = 'n=$(cat "$0.calls" 2>/dev/null | wc -l); echo "$*" >> "$0.calls"\n'
SCRIPTS = {
    "static": 'echo "2026-01-01T00:00:00Z nothing to do" >&2; echo 1',
    "dynamic": '[ "$n" -lt 2 ] && { echo "2026-01-01T00:00:00Z left: $n" >&2; echo -1; } || echo 0',
    "endless": "echo still here >&2; echo -1",
    "failing": "echo out of order >&2; exit 3",
    "late-failing": '[ "$n" -lt 1 ] && echo -1 || { echo stuck >&2; exit 1; }',
    "text": "echo done",
    "two-numbers": "echo 1 2",
    "silent": "true",
}


@pytest.fixture(scope="module")
def drained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    """Every script, run by the action on a host of its own: their places, the results by host, and the screen."""
    place = tmp_path_factory.mktemp("drains")
    for name, text in SCRIPTS.items():
        for directory in ("jobs/x/bin", "sys/log/x"):
            (place / name / directory).mkdir(parents=True)
        script = place / name / "jobs/x/bin/drain"
        script.write_text(f"#!/bin/sh\n{COUNT}{text}\n")
        script.chmod(0o755)
    (place / "action_plugins").symlink_to(CHECKOUT / "playbooks/action_plugins")
    root = f"{place}/{{{{ inventory_hostname }}}}"
    tasks: list[dict[str, Any]] = [
        {
            "diego_drain": {
                "job": "x",
                "deadline": "{{ 3 if inventory_hostname == 'endless' else 200 }}",
                "root": root,
            },
            "register": "drained",
            "ignore_errors": True,
        },
        {"ansible.builtin.copy": {"content": "{{ drained | to_json }}", "dest": f"{root}/result.json"}},
    ]
    play = {"hosts": "all", "connection": "local", "gather_facts": False, "tasks": tasks}
    (place / "play.yml").write_text(yaml.safe_dump([play]))
    done = subprocess.run(
        [
            str(CHECKOUT / ".venv/bin/ansible-playbook"),
            *("--inventory", ",".join(SCRIPTS) + ","),
            str(place / "play.yml"),
        ],
        cwd=CHECKOUT,
        env={**os.environ, "ANSIBLE_PYTHON_INTERPRETER": sys.executable},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    results = {name: json.loads((place / name / "result.json").read_text()) for name in SCRIPTS}
    return place, results, done.stdout + done.stderr


Drained = tuple[Path, dict[str, Any], str]


def calls(place: Path, name: str) -> list[str]:
    return (place / name / "jobs/x/bin/drain.calls").read_text().splitlines()


def test_a_number_of_seconds_is_slept_and_ends_it(drained: Drained) -> None:
    place, results, _ = drained

    assert calls(place, "static") == ["--no-wait job_shutdown hash_unchanged"]
    assert results["static"]["seconds"] >= 1
    assert results["static"]["changed"] is False


def test_a_negative_number_has_it_called_again(drained: Drained) -> None:
    place, results, _ = drained

    again = "job_check_status hash_unchanged"
    assert calls(place, "dynamic") == ["--no-wait job_shutdown hash_unchanged", again, again]
    assert results["dynamic"]["changed"] is True
    assert results["dynamic"]["msg"] == "left: 1"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("endless", "not drained after 3 s; the last word: still here"),
        ("failing", "the drain of x failed: out of order"),
        ("late-failing", "the drain of x failed: stuck"),
        ("text", "the drain of x says no number of seconds: 'done'"),
        ("two-numbers", "the drain of x says no number of seconds: '1 2'"),
        ("silent", "the drain of x says no number of seconds: ''"),
    ],
)
def test_anything_else_fails_the_host(drained: Drained, name: str, why: str) -> None:
    _, results, _ = drained

    assert results[name]["failed"] is True
    assert why in results[name]["msg"]


def test_what_the_script_says_is_shown_and_kept_in_the_jobs_log(drained: Drained) -> None:
    place, _, screen = drained

    shown = [line for line in screen.splitlines() if line.startswith("  dynamic: ")]
    assert shown == ["  dynamic: left: 0", "  dynamic: left: 1"]
    assert (place / "dynamic/sys/log/x/drain.log").read_text() == (
        "2026-01-01T00:00:00Z left: 0\n2026-01-01T00:00:00Z left: 1\n"
    )
    assert screen.count("  endless: still here\n") == 1
