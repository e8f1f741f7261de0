"""A cell is emptied by the playbook, under load; a deploy puts it to work again."""

import os
import subprocess
import time
from contextlib import ExitStack

import pytest

from support.faults import Faults
from support.lab import CHECKOUT, Lab
from support.observe import eventually, instances, polling
from support.small import Desire, answers, cells_of, runs


def playbook(lab: Lab, name: str, *words: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    command = [
        CHECKOUT / ".venv/bin/ansible-playbook",
        "--inventory",
        lab.inventory,
        CHECKOUT / "playbooks" / name,
    ]
    return subprocess.run(
        [*map(str, command), *words],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        cwd=CHECKOUT,
        env={**os.environ, "NO_COLOR": "1"},
    )


@pytest.mark.timeout(1800)
def test_a_drained_cell_is_empty_and_costs_no_request(lab: Lab, faults: Faults, app: Desire) -> None:
    single = app(1)
    cell = runs(lab, single, 1)[0]
    host = faults.host_of(cell)
    name = f"{single}.{lab.env['APPS_DOMAIN']}"
    for router in lab.routers:
        answers(lab, name, router)

    with ExitStack() as stack:
        several = [stack.enter_context(polling(lab, router=router)) for router in lab.routers]
        alone = [stack.enter_context(polling(lab, host=name, router=router)) for router in lab.routers]
        time.sleep(1)
        drained = playbook(lab, "drain-cell.yml", "--extra-vars", "manifest=lab", "--limit", host)
        time.sleep(2)

    assert drained.returncode == 0, drained.stdout[-3000:] + drained.stderr[-1000:]
    for poll in several:
        assert poll.asked > 60
        assert poll.failed == []
    for poll in alone:  # what is promised of one instance: nothing but 404, for a second at most
        assert all(" 404 " in failed for failed in poll.failed), poll.failed
        assert len(poll.failed) <= 20
    assert lab.containers(host).splitlines()[1:] == []
    assert cell not in cells_of(lab)
    assert {one["cell_id"] for one in instances(lab, "web") + instances(lab, single)} == cells_of(lab).keys()
    assert faults.programs(host)["rep"] == "EXITED"

    again = lab.deploy("--limit", host, timeout=900)

    assert again.returncode == 0, again.stdout[-3000:] + again.stderr[-1000:]
    eventually(lambda: cell in cells_of(lab), within=60, what="the cell takes work again")
