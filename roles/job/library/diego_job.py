# ruff: noqa: INP001  Ansible loads a module as a file, from a directory that is no package
"""Ansible module: a job's directories, files and supervised programs, brought to what they should be.

One module instead of a task per step, because a task costs half a second per host, and because the decision whether
to restart needs to know of all of them. It runs on the host under the system's Python: standard library only.
"""

from __future__ import annotations

import grp
import hashlib
import http.client
import json
import os
import pwd
import shlex
import shutil
import socket
import stat
import time
import urllib.parse
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: diego_job
short_description: Install and run a job under supervisor
description:
  - Writes the job's files when they differ, its own configuration only after the job itself has checked it.
  - Tells supervisor about the job's programs, and restarts those whose files changed since their last start.
  - Waits until the job is healthy.
options:
  name: {description: The job., type: str, required: true}
  user: {description: The user that the job runs as., type: str, default: vcap}
  config: {description: The job's own configuration, written as JSON., type: dict}
  secrets: {description: Merged into the configuration and never shown., type: dict, default: {}}
  files: {description: Further files., type: list, elements: dict, default: []}
  programs: {description: What supervisor runs., type: list, elements: dict, default: []}
  health_url: {description: Answers 200 when the job is healthy., type: str, default: ""}
  health_timeout: {description: How long that may take in seconds., type: int, default: 60}
author: [The Diego project]
"""

VCAP = Path("/var/vcap")
PROGRAMS = Path("/etc/supervisord.d")
SUPERVISOR_SOCKET = VCAP / "sys/run/supervisor/supervisor.sock"
JOB_COMMAND = VCAP / "packages/diego/bin/diego-job"
RPC_TIMEOUT = 60.0
HTTP_TIMEOUT = 2.0
LAST_LINES = 50

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

STARTED = ("RUNNING", "STARTING")
ALREADY_THERE, NOT_RUNNING, ALREADY_STARTED, NO_SUCH_PROCESS = 90, 70, 60, 10


class JobError(Exception):
    """The job cannot be brought to what it should be."""


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=RPC_TIMEOUT)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def make_connection(self, _host: Any) -> UnixConnection:
        return UnixConnection(self.path)


class Supervisor:
    """Supervisor's own interface, on its socket."""

    def __init__(self, path: Path = SUPERVISOR_SOCKET) -> None:
        self.path = path
        self.rpc: Any = xmlrpc.client.ServerProxy("http://localhost", UnixTransport(path)).supervisor

    def state(self, program: str) -> str:
        """The program's state in supervisor's words, MISSING if it is not known or nobody answers."""
        try:
            return str(self.rpc.getProcessInfo(program)["statename"])
        except (OSError, xmlrpc.client.Fault):
            return "MISSING"

    def reload(self) -> set[str]:
        """Read the files again; the programs that changed in them."""
        _, changed, _ = self.rpc.reloadConfig()[0]
        return set(changed)

    def remove(self, program: str) -> None:
        self._ignoring((NOT_RUNNING, NO_SUCH_PROCESS), self.rpc.stopProcessGroup, program)
        self._ignoring((NO_SUCH_PROCESS,), self.rpc.removeProcessGroup, program)

    def add(self, program: str) -> None:
        self._ignoring((ALREADY_THERE,), self.rpc.addProcessGroup, program)

    def stop(self, program: str) -> None:
        self._ignoring((NOT_RUNNING, NO_SUCH_PROCESS), self.rpc.stopProcess, program)

    def start(self, program: str) -> None:
        self._ignoring((ALREADY_STARTED,), self.rpc.startProcess, program, False)

    @staticmethod
    def _ignoring(codes: tuple[int, ...], call: Any, *words: Any) -> None:
        try:
            call(*words)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode not in codes:
                raise JobError(f"supervisor: {words[0]}: {fault.faultString}") from fault


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
        self.changes: list[str] = []
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
        self._ensure_programs()
        if not self.module.check_mode:
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
        if not JOB_COMMAND.exists():
            if self.module.check_mode:
                return  # the release that would check it is not installed yet
            raise JobError(f"{JOB_COMMAND} is not there: the role release installs it")
        place = Path(self.module.tmpdir) if self.module.check_mode else self.config_directory / ".new"
        place.mkdir(mode=0o750, exist_ok=True)
        candidate = place / f"{self.name}.json"
        candidate.touch(mode=0o600)
        candidate.write_text(content)
        command = [str(JOB_COMMAND), self.name, "--check-config", str(candidate)]
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
                program["command"] = f"{JOB_COMMAND} {self.name}"
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
        parts += [os.path.realpath(VCAP / "packages/diego")] if str(JOB_COMMAND) in program["command"] else []
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _ensure_programs(self) -> None:
        before: dict[str, str] = json.loads(read(self.applied) or "{}")
        applied: dict[str, str] = {}
        edited = set() if self.module.check_mode else self.supervisor.reload()
        for gone in set(before) - {program["name"] for program in self.programs}:
            self._changed(f"program {gone} removed")
            if not self.module.check_mode:
                self.supervisor.remove(gone)
        for program in self.programs:
            name, digest = program["name"], self._digest(program)
            due = before.get(name) != digest and program.get("restart") is not False
            if not self.module.check_mode:
                self._apply(name, due=due, edited=name in edited)
            elif due or self.supervisor.state(name) not in STARTED:
                self._changed(f"program {name}")
            applied[name] = digest
        if applied != before and not self.module.check_mode:
            new = self.applied.with_suffix(".new")
            new.write_text(json.dumps(applied, indent=1))
            new.rename(self.applied)

    def _apply(self, name: str, *, due: bool, edited: bool) -> None:
        state = self.supervisor.state(name)
        if state == "MISSING":
            self._changed(f"program {name} added")
            self.supervisor.add(name)
        elif due and edited:
            self._changed(f"program {name} replaced")
            self.supervisor.remove(name)
            self.supervisor.add(name)
        elif due:
            self._changed(f"program {name} restarted")
            self.supervisor.stop(name)
            self.supervisor.start(name)
        elif state not in STARTED:
            self._changed(f"program {name} started, it was {state}")
            self.supervisor.start(name)

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
        raise JobError(
            f"{self.name} is not healthy after {waited} s: {'; '.join(wrong)}\n{self._last_words()}"
        )

    def _not_running(self, *, may_be_starting: bool) -> Iterator[str]:
        for program in self.programs:
            state = self.supervisor.state(program["name"])
            if state != "RUNNING" and not (may_be_starting and state == "STARTING"):
                yield f"program {program['name']} is {state}"

    def _last_words(self) -> str:
        texts = []
        for program in self.programs:
            log = VCAP / "sys/log" / self.name / f"{program['name']}.log"
            lines = (read(log) or "").splitlines()[-LAST_LINES:]
            texts.append("\n".join([f"{log}:", *lines]))
        return "\n".join(texts)

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


def read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None


def get(url: str) -> str:
    """The status of a plain HTTP GET as text, or what went wrong."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=HTTP_TIMEOUT)
    try:
        connection.request("GET", parts.path or "/")
        return str(connection.getresponse().status)
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()


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
    module.exit_json(changed=bool(changes), changes=changes)


if __name__ == "__main__":
    main()
