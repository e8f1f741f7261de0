# ruff: noqa: INP001  Ansible loads a module as a file, from a directory that is no package
"""Ansible module: a job's directories, files and supervised programs, brought to what they should be.

One module instead of a task per step, because a task costs half a second per host, and because the decision whether
to restart needs to know of all of them. It runs on the host under the system's Python: standard library only.
"""

from __future__ import annotations

import grp
import hashlib
import json
import os
import pwd
import shlex
import shutil
import stat
import time
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.diego_supervisor import (
    PROGRAMS,
    STARTED,
    VCAP,
    JobError,
    Supervisor,
    get,
    last_words,
    read,
)

DOCUMENTATION = r"""
module: diego_job
short_description: Install and run a job under supervisor
description:
  - Writes the job's files when they differ, its own configuration only after the job itself has checked it.
  - Tells supervisor about the job's programs, and restarts those whose files changed since their last start.
  - Waits until the job is healthy.
  - In check mode it tells what it would change, in the fact C(diego_changes_NAME) too, after checking the configuration.
options:
  name: {description: The job., type: str, required: true}
  user: {description: The user that the job runs as., type: str, default: vcap}
  config: {description: The job's own configuration, written as JSON., type: dict}
  secrets: {description: Merged into the configuration and never shown., type: dict, default: {}}
  files: {description: Further files., type: list, elements: dict, default: []}
  programs: {description: What supervisor runs., type: list, elements: dict, default: []}
  health_url: {description: Answers 200 when the job is healthy., type: str, default: ""}
  health_timeout: {description: How long that may take in seconds., type: int, default: 60}
  release: {description: The directory of the release that the job runs., type: path, default: /var/vcap/packages/diego}
  start: {description: Whether to start what is not running or has changed; if not it is only installed., type: bool, default: true}
author: [The Diego project]
"""

PROGRAM_DEFAULTS = {
    "autostart": "true",
    "autorestart": "true",
    "startsecs": "1",
    "startretries": "1000000",  # a long outage of what a job needs must not make supervisor give up on it
    "stopsignal": "TERM",
    "stopwaitsecs": "15",
    "redirect_stderr": "true",
    "stdout_logfile_maxbytes": "20MB",
    "stdout_logfile_backups": "5",
}
KEPT_TOGETHER = {"stopasgroup": "true", "killasgroup": "true"}
"""A job's workers end with it; what must outlive a restart (containers' keepers) goes without."""


class Job:
    """One job on this host."""

    def __init__(self, module: AnsibleModule, supervisor: Supervisor) -> None:
        self.module = module
        self.supervisor = supervisor
        self.name: str = module.params["name"]
        self.user = pwd.getpwnam(module.params["user"])
        self.group = grp.getgrgid(self.user.pw_gid)
        self.home = VCAP / "jobs" / self.name
        self.config_directory = self.home / "config"
        self.applied = self.home / "applied.json"
        self.command = Path(module.params["release"]) / "bin/diego-job"
        self.changes: list[str] = []
        self.starts: bool = module.params["start"]
        self.config = merged(module.params["config"], module.params["secrets"])
        self.programs = self._programs()

    def ensure(self) -> None:
        self._ensure_directories()
        for file in self.module.params["files"]:
            owner = self.user.pw_name if file.get("owner") == "job" else "root"
            mode = int(file.get("mode") or "0640", 8)
            self._ensure_file(self.config_directory / file["path"], file["content"], mode, owner)
        if self.config is not None:
            self._ensure_config(json.dumps(self.config, indent=2, sort_keys=True) + "\n")
        self._ensure_file(PROGRAMS / f"{self.name}.conf", self._program_file(), 0o644, "root", "root")
        health = {key: self.module.params[f"health_{key}"] for key in ("url", "timeout")}
        self._ensure_file(self.home / "health.json", json.dumps(health) + "\n", 0o644, "root", "root")
        self._ensure_programs()
        if self.starts and not self.module.check_mode:
            self._await_health()

    # files

    def _ensure_directories(self) -> None:
        user, group = self.user.pw_name, self.group.gr_name
        wanted = (
            (self.home, "root", "root", 0o755),
            (self.config_directory, "root", group, 0o750),
            (self.config_directory / "certs", "root", group, 0o750),
            (VCAP / "sys/log" / self.name, user, group, 0o755),
            (VCAP / "sys/run" / self.name, user, group, 0o755),
            (VCAP / "data" / self.name, user, group, 0o755),
            (VCAP / "store" / self.name, user, group, 0o750),
        )
        for path, owner, directory_group, mode in wanted:
            if not path.is_dir():
                self._changed(f"directory {path}")
                if self.module.check_mode:
                    continue
                path.mkdir(parents=True)
            self._ensure_mode(path, mode, owner, directory_group)

    def _ensure_mode(self, path: Path, mode: int, owner: str, group: str) -> None:
        about = path.stat()
        ids = (pwd.getpwnam(owner).pw_uid, grp.getgrnam(group).gr_gid)
        if (stat.S_IMODE(about.st_mode), about.st_uid, about.st_gid) == (mode, *ids):
            return
        self._changed(f"mode or owner of {path}")
        if not self.module.check_mode:
            os.chown(path, *ids)
            path.chmod(mode)

    def _ensure_file(self, path: Path, content: str, mode: int, owner: str, group: str | None = None) -> None:
        if read(path) == content:
            self._ensure_mode(path, mode, owner, group or self.group.gr_name)
            return
        self._changed(f"file {path}")
        if self.module.check_mode:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.new")
        new.unlink(missing_ok=True)
        new.touch(mode=0o600)
        new.write_text(content)
        os.chown(new, pwd.getpwnam(owner).pw_uid, grp.getgrnam(group or self.group.gr_name).gr_gid)
        new.chmod(mode)
        new.rename(path)

    def _ensure_config(self, content: str) -> None:
        """Replace the job's configuration after the job has found it good; else the old one stays."""
        path = self.config_directory / f"{self.name}.json"
        if read(path) != content:
            self._check(content)
        self._ensure_file(path, content, 0o640, "root")

    def _check(self, content: str) -> None:
        if not self.command.exists():
            if self.module.check_mode:
                return  # the release that would check it is not installed yet
            raise JobError(f"{self.command} is not there: the role release installs it")
        place = Path(self.module.tmpdir) if self.module.check_mode else self.config_directory / ".new"
        place.mkdir(mode=0o750, exist_ok=True)
        candidate = place / f"{self.name}.json"
        candidate.touch(mode=0o600)
        candidate.write_text(content)
        command = [str(self.command), self.name, "--check-config", str(candidate)]
        try:
            if not self.module.check_mode:
                for path, mode in ((place, 0o750), (candidate, 0o640)):
                    os.chown(path, 0, self.group.gr_gid)
                    path.chmod(mode)
                command = [*become(self.user.pw_name), *command]
            code, said, complaint = self.module.run_command(command, cwd="/")
        finally:
            candidate.unlink()
            if not self.module.check_mode:
                shutil.rmtree(place)
        if code:
            raise JobError(f"the configuration of {self.name} is not good: {(complaint or said).strip()}")

    # programs

    def _programs(self) -> list[dict[str, Any]]:
        programs = [dict(program) for program in self.module.params["programs"]]
        if self.config is not None and self.name not in [program["name"] for program in programs]:
            programs.insert(0, {"name": self.name})
        for program in programs:
            if program["name"] == self.name and not program.get("command"):
                program["command"] = f"{self.command} {self.name}"
        return programs

    def _program_file(self) -> str:
        return "\n".join(self._section(program) for program in self.programs)

    def _section(self, program: dict[str, Any]) -> str:
        name, command = program["name"], program["command"]
        user = program.get("user") or self.user.pw_name
        outlives = program.get("restart") is False
        words: list[str] = []
        capabilities = program.get("capabilities") or []
        if capabilities:  # supervisor starts it as root, and it gives up all but these
            given = ",".join(f"+{capability}" for capability in capabilities)
            words += [*become(user), "--inh-caps", f"-all,{given}", "--ambient-caps", f"-all,{given}"]
            words += ["--bounding-set", f"-all,{given}"]
            user = "root"
        elif not outlives:
            words += ["/usr/bin/setpriv"]
        if not outlives:  # if supervisord is killed, nobody else would end its children
            words += ["--pdeathsig", "TERM"]
        environment = {"HOME": str(VCAP), "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
        environment.update(program.get("environment") or {})
        options = {
            **PROGRAM_DEFAULTS,
            **({} if outlives else KEPT_TOGETHER),
            "command": f"{shlex.join(words)} {command}" if words else command,
            "user": user,
            "directory": "/",
            "stdout_logfile": str(VCAP / "sys/log" / self.name / f"{name}.log"),
            "environment": ",".join(f'{key}="{value}"' for key, value in sorted(environment.items())),
            **(program.get("options") or {}),
        }
        if " ;" in str(options["command"]):
            raise JobError(f"program {name}: ' ;' begins a comment in a supervisor command")
        lines = [f"{key}={str(value).replace('%', '%%')}" for key, value in sorted(options.items())]
        return "\n".join([f"[program:{name}]", *lines, ""])

    def _digest(self, program: dict[str, Any]) -> str:
        """A hash of all that a running program has read: if it is another one now, a restart is due."""
        parts: list[Any] = [self._section(program), self.config]
        parts += [[file["path"], file["content"]] for file in self.module.params["files"]]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _ensure_programs(self) -> None:
        before: dict[str, str] = json.loads(read(self.applied) or "{}")
        applied: dict[str, str] = {}
        edited = set() if self.module.check_mode or not self.starts else self.supervisor.reload()
        for gone in set(before) - {program["name"] for program in self.programs}:
            self._changed(f"program {gone} removed")
            if not self.module.check_mode:
                self.supervisor.remove(gone)
        for program in self.programs:
            name, digest = program["name"], self._digest(program)
            due = before.get(name) != digest and program.get("restart") is not False
            if self.module.check_mode or not self.starts:
                if due or self.supervisor.state(name) not in STARTED:
                    self._changed(f"program {name}")
            elif what := self.supervisor.bring_up(name, due=due, edited=name in edited):
                self._changed(f"program {name} {what}")
            applied[name] = digest
        if applied != before and not self.module.check_mode:
            new = self.applied.with_suffix(".new")
            new.write_text(json.dumps(applied, indent=1))
            new.rename(self.applied)

    # health

    def _await_health(self) -> None:
        """Wait until every program runs and the job answers.

        Raises:
            JobError: with what is wrong and the last lines of the log.
        """
        url = self.module.params["health_url"]
        deadline = time.monotonic() + self.module.params["health_timeout"]
        while True:
            wrong = list(self._not_running(may_be_starting=bool(url)))
            if not wrong and url:
                answer = get(url)
                wrong = [] if answer == "200" else [f"{url}: {answer}"]
            if not wrong:
                return
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        waited = self.module.params["health_timeout"]
        words = last_words(self.name, [program["name"] for program in self.programs])
        raise JobError(f"{self.name} is not healthy after {waited} s: {'; '.join(wrong)}\n{words}")

    def _not_running(self, *, may_be_starting: bool) -> Iterator[str]:
        for program in self.programs:
            state = self.supervisor.state(program["name"])
            if state != "RUNNING" and not (may_be_starting and state == "STARTING"):
                yield f"program {program['name']} is {state}"

    def _changed(self, what: str) -> None:
        self.changes.append(what)


def merged(config: dict[str, Any] | None, secrets: dict[str, Any]) -> dict[str, Any] | None:
    """The configuration with the secrets put in, object by object."""
    if config is None:
        return None
    result = dict(config)
    for key, value in secrets.items():
        inner = result.get(key)
        result[key] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result


def become(user: str) -> list[str]:
    return ["/usr/bin/setpriv", "--reuid", user, "--regid", user, "--init-groups"]


def main() -> None:
    file = {
        "path": {"type": "str", "required": True},
        "content": {"type": "str", "required": True, "no_log": True},
        "mode": {"type": "str", "default": "0640"},
        "owner": {"type": "str", "default": "root", "choices": ["root", "job"]},
    }
    program = {
        "name": {"type": "str", "required": True},
        "command": {"type": "str"},
        "user": {"type": "str"},
        "restart": {"type": "bool", "default": True},
        "capabilities": {"type": "list", "elements": "str", "default": []},
        "environment": {"type": "dict", "default": {}},
        "options": {"type": "dict", "default": {}},
    }
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "user": {"type": "str", "default": "vcap"},
            "config": {"type": "dict"},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "files": {"type": "list", "elements": "dict", "default": [], "options": file},
            "programs": {"type": "list", "elements": "dict", "default": [], "options": program},
            "health_url": {"type": "str", "default": ""},
            "health_timeout": {"type": "int", "default": 60},
            "release": {"type": "path", "default": str(VCAP / "packages/diego")},
            "start": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    changes: list[str] = []
    try:
        job = Job(module, Supervisor())
        changes = job.changes
        job.ensure()
    except KeyError as error:
        module.fail_json(
            msg=f"{module.params['name']}: {error.args[0]}", changed=bool(changes), changes=changes
        )
    except (JobError, OSError, xmlrpc.client.Error) as error:
        module.fail_json(msg=f"{module.params['name']}: {error}", changed=bool(changes), changes=changes)
    found = {f"diego_changes_{module.params['name']}": changes} if module.check_mode else {}
    module.exit_json(changed=bool(changes), changes=changes, ansible_facts=found)


if __name__ == "__main__":
    main()
