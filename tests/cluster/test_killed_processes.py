"""Any process of the platform may be killed: the app answers on, keeps its processes, and all is whole again.

A poller asks the sample app twenty times a second all the while. What is killed: each job's gunicorn master,
its worker, and both at once; and the programs that are no jobs of ours.
"""

import json
import time

import pytest

from support.observe import Answering, Process, ask, eventually, polling, processes, running

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

JOBS = ["rep", "garden", "bbs", "locket", "auctioneer", "route_emitter", "gorouter"]
PROGRAMS = {"garden_keeper": "diego.garden.keeper", "mariadb": "mariadbd", "nats": "nats-server"}


def app_processes(lab: Answering) -> set[tuple[str, str, str]]:
    """Each instance of the sample app with the pid and the start time that its process tells."""
    pages = [ask(lab).page for _ in range(12)]
    return {(page["CF_INSTANCE_GUID"], str(page["pid"]), str(page["started"])) for page in pages}


def three_answer(lab: Answering) -> set[tuple[str, str, str]]:
    """The processes of all three instances, as they answer: a few requests need not come to each of them."""

    def all_three() -> set[tuple[str, str, str]]:
        found = app_processes(lab)
        return found if len(found) == 3 else set()

    return eventually(all_three, within=120, what="each instance answers")


def three_run(lab: Answering) -> set[tuple[str, str, str]]:
    eventually(lambda: running(lab, "web", 3), within=120, what="three instances of web run")
    return three_answer(lab)


def whole(lab: Answering) -> bool:
    """Whether every program runs and the control plane takes work: a task goes all the way through."""
    programs = lab.run("/var/vcap/packages/diego/bin/supervisorctl -c /etc/supervisord.conf status")
    if any("RUNNING" not in line for line in programs.stdout.splitlines()):
        return False
    guid = f"whole-{time.time_ns()}"
    task = {
        "task_guid": guid,
        "domain": "tests",
        "rootfs": "preloaded:cflinuxfs4",
        "memory_mb": 32,
        "disk_mb": 32,
        "log_guid": guid,
        "action": {"run": {"path": "/bin/true", "user": "vcap"}},
    }
    if lab.diego("create-task", json.dumps(task)).returncode != 0:
        return False

    def ended() -> bool:
        shown = lab.diego("task", guid, "--json")
        return shown.returncode == 0 and json.loads(shown.stdout).get("state") == "Completed"

    eventually(ended, within=120, what="the task completes")
    return lab.diego("delete-task", guid).returncode == 0


def master_and_workers(found: list[Process]) -> tuple[Process, list[Process]]:
    pids = {one.pid for one in found}
    master = next(one for one in found if one.parent not in pids)
    return master, [one for one in found if one.parent == master.pid]


def victims_of(lab: Answering, job: str, which: str) -> list[Process]:
    master, workers = master_and_workers(processes(lab, f"diego-job {job}"))
    assert workers, f"{job} has no worker"
    return {"master": [master], "worker": workers, "both": [master, *workers]}[which]


def survive(lab: Answering, job: str, victims: list[Process]) -> None:
    before = three_run(lab)

    with polling(lab) as poll:
        time.sleep(1)
        killed = lab.run("kill -9 " + " ".join(str(victim.pid) for victim in victims))
        assert killed.returncode == 0, killed.stderr
        time.sleep(5)
        eventually(lambda: whole(lab), within=120, what=f"all is whole after the kill of {job}", every=1.0)
        time.sleep(2)

    assert poll.asked > 100
    assert poll.failed == []
    alive = {one.pid for one in processes(lab, "")} & {victim.pid for victim in victims}
    assert not alive
    assert len(running(lab, "web", 3)) == 3
    assert three_answer(lab) == before


@pytest.mark.parametrize("which", ["master", "worker", "both"])
@pytest.mark.parametrize("job", JOBS)
def test_a_killed_job_costs_no_request_and_no_app_process(lab: Answering, job: str, which: str) -> None:
    survive(lab, job, victims_of(lab, job, which))


@pytest.mark.parametrize("program", list(PROGRAMS))
def test_a_killed_program_costs_no_request_and_no_app_process(lab: Answering, program: str) -> None:
    victims = processes(lab, PROGRAMS[program])
    assert victims, f"{program} does not run"

    survive(lab, program, victims)


def test_a_killed_app_process_is_replaced_and_answers_again(lab: Answering) -> None:
    before = {guid for guid, _, _ in three_run(lab)}

    def first() -> dict[str, str]:
        page = ask(lab).page
        return page if page["CF_INSTANCE_INDEX"] == "0" else {}

    page = eventually(first, within=120, what="the first instance answers")
    victims = [one for one in processes(lab, "web.py") if guid_of(lab, one) == page["CF_INSTANCE_GUID"]]
    assert victims, "the app's process is not to be found on its cell"

    killed = lab.run("kill -9 " + " ".join(str(one.pid) for one in victims))
    assert killed.returncode == 0, killed.stderr

    def replaced() -> set[str]:
        guids = {guid for guid, _, _ in app_processes(lab)}
        return guids if len(guids) == 3 and page["CF_INSTANCE_GUID"] not in guids else set()

    after = eventually(replaced, within=120, what="another instance answers in its place")
    assert len(after & before) == 2


def guid_of(lab: Answering, process: Process) -> str:
    """The instance guid in a process's environment, as the host's root sees it."""
    shown = lab.run(f"tr '\\0' '\\n' < /proc/{process.pid}/environ")
    return dict(line.partition("=")[::2] for line in shown.stdout.splitlines()).get("CF_INSTANCE_GUID", "")
