"""The Ansible module that brings a job to what it should be."""

import getpass
import grp
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from support.modules import FakeModule, FakeSupervisor, load_module

USER = getpass.getuser()


@dataclass
class Host:
    """A host with places of its own, on which the job `echo` is brought to what it should be."""

    root: Path
    module: ModuleType
    supervisor: FakeSupervisor
    complaint: str = ""
    commands: list[list[str]] = field(default_factory=list)

    def ensure(self, *, check: bool = False, **params: Any) -> list[str]:
        asked = {
            "name": "echo",
            "user": USER,
            "config": {"listen_address": "127.0.0.1:1", "limits": {"most": 3}},
            "secrets": {},
            "files": [],
            "programs": [],
            "health_url": "",
            "health_timeout": 0,
            "release": str(self.release("diego-1")),
            "start": True,
            **params,
        }
        (self.root / "tmp").mkdir(exist_ok=True)
        module = FakeModule(asked, str(self.root / "tmp"), check_mode=check, complaint=self.complaint)
        job = self.module.Job(module, self.supervisor)
        job.ensure()
        self.commands += module.commands
        found: list[str] = job.changes
        return found

    def release(self, name: str) -> Path:
        directory = self.root / "vcap/packages" / name
        (directory / "bin").mkdir(parents=True, exist_ok=True)
        (directory / "bin/diego-job").touch()
        return directory

    @property
    def config(self) -> Path:
        return self.root / "vcap/jobs/echo/config/echo.json"

    def files(self) -> dict[str, tuple[str, int]]:
        return {
            str(path.relative_to(self.root)): (path.read_text(), path.stat().st_mode)
            for path in self.root.rglob("*")
            if path.is_file()
        }


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    module = load_module("diego_job", tmp_path, monkeypatch)
    # the owner of files is the test's own user: it may not be root
    owner, group = USER, grp.getgrgid(os.getgid()).gr_name
    names = {"root": owner}
    passwd = module.pwd.getpwnam
    monkeypatch.setattr(module.pwd, "getpwnam", lambda name: passwd(names.get(name, name)))
    groups = module.grp.getgrnam
    monkeypatch.setattr(module.grp, "getgrnam", lambda name: groups(group if name == "root" else name))
    if os.getuid() != 0:
        monkeypatch.setattr(module.os, "chown", lambda *_: None)
    return Host(tmp_path, module, FakeSupervisor(module, tmp_path / "supervisord.d"))


def test_a_first_run_writes_everything_and_starts_the_job(host: Host) -> None:
    changes = host.ensure(files=[{"path": "certs/ca.crt", "content": "CA", "mode": "0644"}])

    assert json.loads(host.config.read_text())["limits"] == {"most": 3}
    assert host.config.stat().st_mode & 0o777 == 0o640
    assert (host.config.parent / "certs/ca.crt").read_text() == "CA"
    assert host.supervisor.states == {"echo": "RUNNING"}
    assert "program echo added" in changes
    command = (host.root / "supervisord.d/echo.conf").read_text()
    assert (
        f"command=/usr/bin/setpriv --pdeathsig TERM {host.root}/vcap/packages/diego-1/bin/diego-job echo"
        in command
    )


def test_a_second_run_changes_nothing(host: Host) -> None:
    host.ensure()
    before = host.files()
    host.supervisor.asked.clear()

    assert host.ensure() == []
    assert host.files() == before
    assert host.supervisor.asked == []


def test_check_mode_says_what_would_change_and_changes_nothing(host: Host) -> None:
    host.ensure()
    before = host.files()
    host.supervisor.asked.clear()

    changes = host.ensure(check=True, config={"listen_address": "127.0.0.1:2"})

    assert f"file {host.config}" in changes
    assert "program echo" in changes
    assert host.files() == before
    assert host.supervisor.asked == []


def test_check_mode_has_the_job_look_at_the_new_configuration_with_the_new_release(host: Host) -> None:
    host.ensure()
    newer = host.release("diego-2")
    host.complaint = "limits.most: not a number"

    with pytest.raises(host.module.JobError, match=r"limits\.most: not a number"):
        host.ensure(check=True, config={"limits": {"most": "many"}}, release=str(newer))

    host.complaint = ""
    host.ensure(check=True, config={"limits": {"most": 4}}, release=str(newer))
    assert host.commands[-1][-4:-1] == [f"{newer}/bin/diego-job", "echo", "--check-config"]


def test_a_run_in_check_mode_before_the_first_release_changes_nothing(host: Host) -> None:
    before = host.files()

    changes = host.ensure(check=True, release=str(host.root / "nowhere"))

    assert "program echo" in changes
    assert set(host.files()) - set(before) == {"vcap/packages/diego-1/bin/diego-job"}


@pytest.mark.parametrize("drift", ["content", "mode", "removed"])
def test_what_was_changed_by_hand_is_put_right(host: Host, drift: str) -> None:
    host.ensure()
    right = host.config.read_text()
    if drift == "content":
        host.config.write_text(right.replace("3", "30"))
    elif drift == "mode":
        host.config.chmod(0o666)
    else:
        host.config.unlink()

    changes = host.ensure()

    assert len(changes) == 1
    assert str(host.config) in changes[0]
    assert host.config.read_text() == right
    assert host.config.stat().st_mode & 0o777 == 0o640


def test_a_stopped_job_is_started(host: Host) -> None:
    host.ensure()
    host.supervisor.states["echo"] = "STOPPED"

    assert host.ensure() == ["program echo started, it was STOPPED"]


def test_a_configuration_that_the_job_refuses_leaves_the_old_one_in_place_and_the_job_alone(
    host: Host,
) -> None:
    host.ensure()
    before = host.files()
    host.supervisor.asked.clear()
    host.complaint = "listen_address: not an address"

    with pytest.raises(host.module.JobError, match="the configuration of echo is not good: listen_address"):
        host.ensure(config={"listen_address": "nowhere"})

    assert host.files() == before
    assert host.supervisor.asked == []


def test_secrets_are_put_in_object_by_object(host: Host) -> None:
    host.ensure(secrets={"limits": {"least": 1}, "password": "hidden"})

    written = json.loads(host.config.read_text())
    assert written["limits"] == {"most": 3, "least": 1}
    assert written["password"] == "hidden"


def test_a_changed_file_restarts_the_job(host: Host) -> None:
    host.ensure(files=[{"path": "certs/ca.crt", "content": "old"}])

    changes = host.ensure(files=[{"path": "certs/ca.crt", "content": "new"}])

    assert changes[-1] == "program echo restarted"


def test_another_release_takes_the_programs_place(host: Host) -> None:
    host.ensure()
    host.supervisor.asked.clear()

    changes = host.ensure(release=str(host.release("diego-2")))

    assert "program echo replaced" in changes
    assert host.supervisor.asked == ["remove echo", "add echo"]


def test_what_outlives_a_deploy_is_never_restarted(host: Host) -> None:
    keeper = {"name": "keeper", "command": "/bin/keeper", "restart": False}
    host.ensure(programs=[keeper])
    host.supervisor.asked.clear()

    host.ensure(
        programs=[keeper | {"command": "/bin/keeper --new"}], config={"listen_address": "127.0.0.1:2"}
    )

    assert not [asked for asked in host.supervisor.asked if asked.endswith("keeper")]


def test_a_program_that_is_no_more_is_taken_out(host: Host) -> None:
    host.ensure(programs=[{"name": "helper", "command": "/bin/helper"}])

    changes = host.ensure()

    assert "program helper removed" in changes
    assert "helper" not in host.supervisor.states


def test_what_is_installed_alone_starts_later_and_as_its_file_says(host: Host) -> None:
    host.ensure()
    host.supervisor.states["echo"] = "STOPPED"
    host.supervisor.asked.clear()

    host.ensure(start=False, release=str(host.release("diego-2")))
    assert host.supervisor.asked == []
    # the upgrade was cut here: an ordinary deploy brings the job up with its new file
    host.ensure(release=str(host.release("diego-2")))

    assert host.supervisor.asked == ["remove echo", "add echo"]


def test_a_job_that_does_not_come_up_is_told_with_its_last_lines(host: Host) -> None:
    host.supervisor.after_start = "BACKOFF"
    log = host.root / "vcap/sys/log/echo/echo.log"
    log.parent.mkdir(parents=True)
    log.write_text("\n".join(f"line {number}" for number in range(80)))

    with pytest.raises(host.module.JobError) as failed:
        host.ensure()

    assert "echo is not healthy after 0 s: program echo is BACKOFF" in str(failed.value)
    assert "line 79" in str(failed.value)
    assert "line 29" not in str(failed.value)
