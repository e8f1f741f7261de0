"""The Ansible module that carries out the steps of an instance's change (contract/deployment.md section 3)."""

import json
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from support.modules import FakeModule, FakeSupervisor, load_module
from support.worker import until


@dataclass
class Host:
    root: Path
    module: ModuleType
    supervisor: FakeSupervisor

    def job(self, name: str, *programs: str, keeps: str = "", url: str = "") -> None:
        """A job whose programs run; `keeps` is one more, that outlives deploys."""
        sections = [
            f"[program:{program}]\ncommand=/bin/{program}\nstopasgroup=true\n" for program in programs
        ]
        sections += [f"[program:{keeps}]\ncommand=/bin/{keeps}\n"] if keeps else []
        (self.root / f"supervisord.d/{name}.conf").write_text("\n".join(sections))
        home = self.root / "vcap/jobs" / name
        (home / "bin").mkdir(parents=True, exist_ok=True)
        (home / "health.json").write_text(json.dumps({"url": url, "timeout": 1}))
        (self.root / "vcap/sys/log" / name).mkdir(parents=True, exist_ok=True)
        for program in (*programs, *([keeps] if keeps else [])):
            self.supervisor.states[program] = "RUNNING"

    def script(self, job: str, name: str, text: str) -> None:
        path = self.root / "vcap/jobs" / job / "bin" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def log(self, job: str, name: str) -> str:
        return (self.root / "vcap/sys/log" / job / name).read_text()

    def do(self, step: str, *jobs: str, **params: Any) -> dict[str, Any]:
        asked = {
            "instance": "group-0",
            "jobs": list(jobs),
            "release": "2",
            "drained": True,
            "watch_low": 0.0,
            "watch_step": 0.01,
            "watch_further": 3,
            "script_deadline": 20.0,
            **params,
        }
        instance = self.module.Instance(FakeModule(asked, str(self.root)), self.supervisor)
        done: dict[str, Any] = getattr(instance, step)()
        return done

    def mark(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.root / "vcap/instances/group-0.json").read_text())
        return found


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    module = load_module("diego_instance", tmp_path, monkeypatch)
    return Host(tmp_path, module, FakeSupervisor(module, tmp_path / "supervisord.d"))


def test_the_mark_stands_from_the_begin_to_the_end(host: Host) -> None:
    host.job("one", "one")

    host.do("begin", "one")
    assert host.mark()["state"] == "dirty"
    host.do("stop", "one")
    host.do("start", "one")
    assert host.mark()["state"] == "dirty"
    host.do("finish", "one")

    assert (host.mark()["state"], host.mark()["release"]) == ("clean", "2")


def test_a_change_remembers_the_release_before_it_however_often_it_is_begun(host: Host) -> None:
    host.job("one", "one")
    host.do("finish", "one", release="1")

    host.do("begin", "one")
    host.do("begin", "one", release="3")

    assert host.mark()["before"] == "1"


def test_a_mark_that_cannot_be_read_is_one_of_a_cut_change(host: Host) -> None:
    (host.root / "vcap/instances").mkdir()
    (host.root / "vcap/instances/group-0.json").write_text("{")

    assert host.module.marks() == {"group-0": {"state": "dirty"}}


def test_daemons_stop_in_the_reverse_order_of_their_start(host: Host) -> None:
    host.job("garden", "garden")
    host.job("rep", "rep")

    host.do("stop", "garden", "rep")

    assert host.supervisor.asked == ["stop rep", "stop garden"]


def test_what_holds_running_apps_stops_only_after_a_drain(host: Host) -> None:
    host.job("garden", "garden", keeps="keeper")

    host.do("stop", "garden", drained=False)
    assert host.supervisor.states == {"garden": "STOPPED", "keeper": "RUNNING"}
    host.do("stop", "garden")

    assert host.supervisor.states == {"garden": "STOPPED", "keeper": "STOPPED"}


def test_a_daemon_that_ended_in_its_drain_is_no_fault(host: Host) -> None:
    host.job("rep", "rep")
    host.supervisor.states["rep"] = "STOPPED"

    assert host.do("stop", "rep") == {"stopped": []}


def test_a_program_whose_file_changed_takes_the_old_ones_place(host: Host) -> None:
    host.job("one", "one")
    host.supervisor.reload()
    host.do("stop", "one")
    host.job("one", "one", keeps="helper")
    host.supervisor.states = {"one": "STOPPED"}
    host.supervisor.asked.clear()

    host.do("start", "one")

    assert host.supervisor.asked == ["remove one", "add one", "add helper"]


def test_scripts_of_all_jobs_run_and_what_they_say_is_kept(host: Host) -> None:
    host.job("one", "one")
    host.job("two", "two")
    host.script("one", "pre-stop", 'echo "$VM_NEXT_STATE $INSTANCE_NEXT_STATE $DEPLOYMENT_NEXT_STATE"')
    host.script("two", "pre-stop", "echo aside >&2")

    host.do("begin", "one", "two")
    host.do("begin", "one", "two")

    assert host.log("one", "pre-stop.stdout.log") == "keep keep keep\n" * 2
    assert host.log("two", "pre-stop.stderr.log") == "aside\n" * 2


@pytest.mark.parametrize(
    ("step", "script"),
    [("begin", "pre-stop"), ("stop", "post-stop"), ("start", "pre-start"), ("start", "post-start")],
)
def test_a_script_that_fails_names_itself_and_the_end_of_its_log(host: Host, step: str, script: str) -> None:
    host.job("one", "one")
    host.script("one", script, "echo out of order >&2; exit 4")

    with pytest.raises(
        host.module.StepFailed, match=rf"(?s){script} of one ended with 4\n.*out of order"
    ) as failed:
        host.do(step, "one")

    assert failed.value.step == script


def test_after_a_failed_pre_start_no_daemon_is_started(host: Host) -> None:
    host.job("one", "one")
    host.do("stop", "one")
    host.supervisor.asked.clear()
    host.script("one", "pre-start", "exit 1")

    with pytest.raises(host.module.StepFailed):
        host.do("start", "one")

    assert host.supervisor.asked == []


def test_a_script_that_hangs_is_ended_with_its_children(host: Host) -> None:
    host.job("one", "one")
    host.script("one", "post-start", f"sleep 600 & echo $! > {host.root}/child; wait")

    with pytest.raises(host.module.StepFailed, match=r"post-start of one has not ended after 5(\.0)? s"):
        host.do("start", "one", script_deadline=5.0)

    child = (host.root / "child").read_text().strip()
    until(lambda: ended(child))


def ended(pid: str) -> bool:
    """Whether a process is gone, or dead and not yet waited for."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_drain_is_told_for_jobs_that_have_one(host: Host) -> None:
    host.job("one", "one")
    host.job("two", "two")
    host.script("two", "drain", "echo 0")

    assert host.do("begin", "one", "two") == {"drains": ["two"]}


def test_a_daemon_that_does_not_stay_up_is_named_after_the_last_look(host: Host) -> None:
    host.job("one", "one")
    host.job("two", "two")
    (host.root / "vcap/sys/log/two/two.log").write_text("Traceback\nno such thing\n")
    host.do("stop", "one", "two")
    host.supervisor.after_start = "BACKOFF"
    host.supervisor.states["one"] = "RUNNING"

    with pytest.raises(
        host.module.StepFailed, match=r"(?s)not running: two is BACKOFF\n.*no such thing"
    ) as failed:
        host.do("start", "one", "two")

    assert failed.value.step == "start"
    assert "one is" not in str(failed.value)


def test_an_instance_is_watched_until_it_answers(host: Host) -> None:
    host.job("one", "one", url="http://127.0.0.1:9/ping")

    with pytest.raises(host.module.StepFailed, match=r"one: http://127\.0\.0\.1:9/ping: "):
        host.do("start", "one", watch_further=1)


def test_the_first_good_look_ends_the_watch(host: Host) -> None:
    host.job("one", "one")

    assert host.do("start", "one", watch_further=50) == {"looks": 1}


def test_scripts_run_at_lower_priority(host: Host) -> None:
    host.job("one", "one")
    host.script("one", "pre-start", "nice")

    host.do("start", "one")

    assert int(host.log("one", "pre-start.stdout.log")) >= 10


def test_every_step_that_may_be_asked_for_is_there(host: Host) -> None:
    steps = [step for step in host.module.STEPS if step != "look"]

    assert "post_deploy" in steps
    assert [step for step in steps if not hasattr(host.module.Instance, step)] == []
    assert '"choices": STEPS' in Path(host.module.__file__ or "").read_text()
