# ruff: noqa: INP001  Ansible loads a module as a file, from a directory that is no package
"""Ansible module: the steps of an instance's life while it is changed (contract/deployment.md section 3).

An instance is the jobs of one group on this host. Its mark, /var/vcap/instances/ID.json, says whether it was left in the
middle of a change, and which release it runs. It runs on the host under the system's Python: standard library only.
"""

from __future__ import annotations

import configparser
import json
import os
import subprocess
import time
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.diego_supervisor import (
    PROGRAMS,
    VCAP,
    JobError,
    Supervisor,
    get,
    last_words,
    read,
)

DOCUMENTATION = r"""
module: diego_instance
short_description: Carry out a step of an instance's change
description:
  - C(look) tells what is known of every instance of this host.
  - C(begin) marks the instance as being changed and runs the jobs' pre-stop scripts.
  - C(stop) stops the daemons, in the reverse order of the jobs, and runs the post-stop scripts.
  - C(start) runs the pre-start scripts, starts the daemons, waits until all are well, and runs the post-start scripts.
  - C(finish) takes the mark away.
  - C(post_deploy) runs the jobs' post-deploy scripts, when every instance of the deployment is done.
options:
  step: {description: What to do., type: str, required: true, choices: [look, begin, stop, start, finish, post_deploy]}
  instance: {description: The instance's id., type: str, default: ""}
  jobs: {description: Its jobs in the order of their start., type: list, elements: str, default: []}
  release: {description: The release that it gets., type: str, default: ""}
  drained: {description: Whether it was drained; if not the programs that hold running apps are left alone., type: bool, default: true}
  watch_low: {description: Seconds until the daemons are looked at first., type: float, default: 0}
  watch_step: {description: Seconds between two looks., type: float, default: 1}
  watch_further: {description: How many looks may follow the first., type: int, default: 0}
  script_deadline: {description: How long a script may take in seconds., type: float, default: 1800}
author: [The Diego project]
"""

INSTANCES = VCAP / "instances"
STOP_PATIENCE = 300.0
NICENESS = 10
STEPS = ["look", "begin", "stop", "start", "finish", "post_deploy"]
IN_PLACE = {"VM_NEXT_STATE": "keep", "INSTANCE_NEXT_STATE": "keep", "DEPLOYMENT_NEXT_STATE": "keep"}


class StepFailed(Exception):
    """A step of the instance's life failed; `step` has its name in the contract."""

    def __init__(self, step: str, message: str) -> None:
        super().__init__(message)
        self.step = step


class Instance:
    """One instance on this host."""

    def __init__(self, module: AnsibleModule, supervisor: Supervisor) -> None:
        self.params = module.params
        self.id: str = module.params["instance"]
        self.jobs: list[str] = module.params["jobs"]
        self.supervisor = supervisor
        self.mark = INSTANCES / f"{self.id}.json"

    def begin(self) -> dict[str, Any]:
        before = marks().get(self.id, {})
        first = before.get("release", "") if before.get("state") == "clean" else before.get("before", "")
        self._write_mark(state="dirty", before=first)
        self._run("pre-stop", IN_PLACE)
        return {"drains": [job for job in self.jobs if self._script(job, "drain").exists()]}

    def stop(self) -> dict[str, Any]:
        deadline = time.monotonic() + STOP_PATIENCE
        stopped = []
        for job in reversed(self.jobs):
            for program, outlives in programs_of(job):
                if outlives and not self.params["drained"]:
                    continue
                if self.supervisor.state(program) in {"MISSING", "STOPPED"}:
                    continue
                self.supervisor.stop(program, wait=False)
                while (state := self.supervisor.state(program)) not in {
                    "STOPPED",
                    "EXITED",
                    "FATAL",
                    "MISSING",
                }:
                    if time.monotonic() > deadline:
                        raise StepFailed("stop", f"{program} is {state} after {STOP_PATIENCE:g} s")
                    time.sleep(0.1)
                stopped.append(program)
        self._run("post-stop", {})
        return {"stopped": stopped}

    def start(self) -> dict[str, Any]:
        self._run("pre-start", {})
        edited = self.supervisor.reload()
        for job in self.jobs:
            for program, _ in programs_of(job):
                self.supervisor.bring_up(program, due=False, edited=program in edited)
        looks = self._watch()
        self._run("post-start", {})
        return {"looks": looks}

    def finish(self) -> dict[str, Any]:
        self._write_mark(state="clean")
        return {}

    def post_deploy(self) -> dict[str, Any]:
        self._run("post-deploy", {})
        return {}

    # scripts

    def _script(self, job: str, name: str) -> Path:
        return VCAP / "jobs" / job / "bin" / name

    def _run(self, name: str, environment: dict[str, str]) -> None:
        """Run the script of that name of all jobs, side by side; a job without one is done."""
        running: list[tuple[str, Path, subprocess.Popen[bytes]]] = []
        for job in self.jobs:
            script = self._script(job, name)
            if not script.exists():
                continue
            log = VCAP / "sys/log" / job / f"{name}.stderr.log"
            with log.with_name(f"{name}.stdout.log").open("ab") as out, log.open("ab") as errors:
                process = subprocess.Popen(
                    ["/usr/bin/nice", "-n", str(NICENESS), str(script)],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=errors,
                    env={**os.environ, **environment},
                    cwd="/",
                    start_new_session=True,
                )
            running.append((job, log, process))
        deadline = time.monotonic() + self.params["script_deadline"]
        faults = []
        for job, log, process in running:
            try:
                code = process.wait(timeout=max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()
                faults.append(
                    f"{name} of {job} has not ended after {self.params['script_deadline']:g} s\n{end_of(log)}"
                )
                continue
            if code:
                faults.append(f"{name} of {job} ended with {code}\n{end_of(log)}")
        if faults:
            raise StepFailed(name, "\n".join(faults))

    # daemons

    def _watch(self) -> int:
        """Look until every daemon runs; how many looks it took."""
        time.sleep(self.params["watch_low"])
        for look in range(self.params["watch_further"] + 1):
            if look:
                time.sleep(self.params["watch_step"])
            wrong = {job: list(self._wrong(job)) for job in self.jobs}
            if not any(wrong.values()):
                return look + 1
        faults = [fault for job in self.jobs for fault in wrong[job]]
        logs = [last_words(job, [name for name, _ in programs_of(job)]) for job in self.jobs if wrong[job]]
        raise StepFailed("start", "\n".join([f"not running: {'; '.join(faults)}", *logs]))

    def _wrong(self, job: str) -> Iterator[str]:
        url = json.loads(read(VCAP / "jobs" / job / "health.json") or "{}").get("url", "")
        for program, _ in programs_of(job):
            state = self.supervisor.state(program)
            if state != "RUNNING" and not (url and state == "STARTING"):
                yield f"{program} is {state}"
        if url and (answer := get(url)) != "200":
            yield f"{job}: {url}: {answer}"

    # the mark

    def _write_mark(self, **what: str) -> None:
        INSTANCES.mkdir(mode=0o755, exist_ok=True)
        new = self.mark.with_suffix(".new")
        about = {"instance": self.id, "release": self.params["release"], "at": int(time.time()), **what}
        with new.open("w") as file:
            json.dump(about, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        new.rename(self.mark)


def programs_of(job: str) -> list[tuple[str, bool]]:
    """The job's programs under supervisor; of each whether it outlives a deploy, as what holds running apps does."""
    parser = configparser.RawConfigParser()
    parser.read(PROGRAMS / f"{job}.conf")
    return [
        (section.removeprefix("program:"), not parser.has_option(section, "stopasgroup"))
        for section in parser.sections()
    ]


def marks() -> dict[str, dict[str, Any]]:
    """What this host knows of its instances. A mark that cannot be read is one of a cut change."""
    found = {}
    for path in sorted(INSTANCES.glob("*.json")):
        try:
            found[path.stem] = json.loads(path.read_text())
        except (OSError, ValueError):
            found[path.stem] = {"state": "dirty"}
    return found


def end_of(log: Path) -> str:
    lines = (read(log) or "").splitlines()[-50:]
    return "\n".join([f"{log}:", *lines])


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "step": {
                "type": "str",
                "required": True,
                "choices": STEPS,
            },
            "instance": {"type": "str", "default": ""},
            "jobs": {"type": "list", "elements": "str", "default": []},
            "release": {"type": "str", "default": ""},
            "drained": {"type": "bool", "default": True},
            "watch_low": {"type": "float", "default": 0.0},
            "watch_step": {"type": "float", "default": 1.0},
            "watch_further": {"type": "int", "default": 0},
            "script_deadline": {"type": "float", "default": 1800.0},
        },
        supports_check_mode=True,
    )
    step = module.params["step"]
    if step == "look":
        deployed = PROGRAMS.is_dir() and Supervisor().answers()
        module.exit_json(changed=False, marks=marks(), deployed=deployed)
    if module.check_mode:
        module.exit_json(changed=True, skipped=True)
    try:
        done = getattr(Instance(module, Supervisor()), step)()
    except StepFailed as failure:
        module.fail_json(msg=f"{module.params['instance']}: {failure}", step=failure.step)
    except (JobError, OSError, xmlrpc.client.Error) as error:
        module.fail_json(msg=f"{module.params['instance']}: {error}", step=step)
    module.exit_json(changed=True, **done)


if __name__ == "__main__":
    main()
