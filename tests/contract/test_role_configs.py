"""What each role writes as its job's configuration is what the job reads: same keys, same kinds of values."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from diego.runtime.config import parse

pytestmark = pytest.mark.timeout(400)

CHECKOUT = Path(__file__).resolve().parents[2]
ROLES = sorted(
    path.parent.parent.name
    for path in CHECKOUT.glob("roles/*/vars/main.yml")
    if f"{path.parent.parent.name}_config" in yaml.safe_load(path.read_text())
)


def playbook(target: Path) -> list[dict[str, Any]]:
    """A play that writes every role's dict, with its secrets, to a file of its own on the controller."""
    tasks: list[dict[str, Any]] = []
    for role in ROLES:
        # the role's defaults and vars as the role itself has them, and nothing of what it does
        tasks.append({"ansible.builtin.include_vars": str(CHECKOUT / f"roles/{role}/defaults/main.yml")})
        tasks.append({"ansible.builtin.include_vars": str(CHECKOUT / f"roles/{role}/vars/main.yml")})
        merged = f"{role}_config | combine({role}_secrets | default({{}}), recursive=true) | to_json"
        copy = {"content": "{{ " + merged + " }}", "dest": f"{target}/{role}.json", "mode": "0600"}
        tasks.append({"ansible.builtin.copy": copy})
    return [
        {
            "hosts": "all",
            "connection": "local",
            "gather_facts": False,
            "vars_files": [str(CHECKOUT / "manifests/lab.yml")],
            "tasks": tasks,
        }
    ]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Each role's configuration as text, rendered with the default lab's inventory."""
    place = tmp_path_factory.mktemp("roles")
    play = place / "render.yml"
    play.write_text(yaml.safe_dump(playbook(place)))
    (place / "group_vars").symlink_to(CHECKOUT / "playbooks/group_vars")
    done = subprocess.run(
        [
            str(CHECKOUT / ".venv/bin/ansible-playbook"),
            *("--inventory", str(CHECKOUT / "inventory/lab/single.ini")),
            *("--extra-vars", json.dumps({"deployment_directory": str(place), "address": "10.97.0.10"})),
            str(play),
        ],
        cwd=CHECKOUT,
        env={**os.environ, "ANSIBLE_PYTHON_INTERPRETER": sys.executable},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    return {role: (place / f"{role}.json").read_text() for role in ROLES}


def test_every_job_has_a_role_that_configures_it() -> None:
    jobs = {path.parent.name for path in CHECKOUT.glob("jobs/diego/*/main.py")} - {"cli", "runtime"}

    assert set(ROLES) == jobs


@pytest.mark.parametrize("role", ROLES)
def test_the_job_reads_what_its_role_writes(role: str, rendered: dict[str, str]) -> None:
    job = importlib.import_module(f"diego.{role}.main").JOB

    parse(job.config, rendered[role], f"{role}.json")


@pytest.mark.parametrize("role", ROLES)
def test_values_keep_their_kind_on_the_way_through_the_role(role: str, rendered: dict[str, str]) -> None:
    texts = [value for value in json.loads(rendered[role]).values() if isinstance(value, str)]

    assert not [text for text in texts if text in {"True", "False", "None", ""} or "{{" in text]
