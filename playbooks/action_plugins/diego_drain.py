# ruff: noqa: INP001  Ansible loads a plugin as a file, from a directory that is no package
"""Ansible action: run a job's drain script on a host until it says that it is done, telling how far it is.

The script is called again and again, each time for a moment (contract/deployment.md section 4): so a connection that
breaks in ten minutes of draining costs one look, and what the script says is seen while it happens.
"""

from __future__ import annotations

import re
import shlex
import time
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()

NUMBER = re.compile(r"-?\d+")
TIME = re.compile(r"^\S+Z ")
LOST_CONNECTION_PAUSE = 5.0


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """Arguments: `job`, `deadline` in seconds, `action` and `hash` as the protocol names them, `root` of the jobs."""

    _requires_connection = True
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        _, arguments = self.validate_argument_spec(
            {
                "job": {"type": "str", "required": True},
                "deadline": {"type": "float", "required": True},
                "action": {
                    "type": "str",
                    "choices": ["job_shutdown", "job_changed"],
                    "default": "job_shutdown",
                },
                "hash": {
                    "type": "str",
                    "choices": ["hash_new", "hash_changed", "hash_unchanged"],
                    "default": "hash_unchanged",
                },
                "root": {"type": "str", "default": "/var/vcap"},
            }
        )
        result: dict[str, Any] = super().run(tmp, task_vars)
        if self._task.check_mode:
            return {**result, "skipped": True, "msg": "a drain has no dry run"}
        self.root = arguments["root"]
        self.host = (task_vars or {}).get("inventory_hostname", "")
        self.said: list[str] = []
        begun = time.monotonic()
        action, how = arguments["action"], arguments["hash"]
        seconds, looks = self._call(arguments["job"], ["--no-wait", action, how], first=True), 1
        while seconds < 0:
            if time.monotonic() - begun > arguments["deadline"]:
                raise AnsibleActionFail(
                    f"not drained after {arguments['deadline']:g} s; the last word: {self._last()}"
                )
            time.sleep(-seconds)
            try:
                seconds = self._call(arguments["job"], ["job_check_status", "hash_unchanged"], first=False)
            except AnsibleConnectionFailure as lost:
                display.warning(f"{self.host}: {lost}")
                self._connection.reset()
                seconds = -LOST_CONNECTION_PAUSE
            looks += 1
        time.sleep(seconds)
        took = round(time.monotonic() - begun)
        return {**result, "changed": looks > 1, "seconds": took, "msg": self._last()}

    def _call(self, job: str, words: list[str], *, first: bool) -> float:
        """One call of the script: the number that it says. What it tells goes to the screen and the job's log."""
        script = shlex.join([f"{self.root}/jobs/{job}/bin/drain", *words])
        log = shlex.quote(f"{self.root}/sys/log/{job}/drain")
        command = (
            f"{script} 2> {log}.err; status=$?; cat {log}.err {'>' if first else '>>'} {log}.log; "
            f"cat {log}.err >&2; rm {log}.err; exit $status"
        )
        # with something to read it gets no terminal, which would mix its outputs
        done = self._low_level_execute_command(command, in_data=b"\n")
        for line in done["stderr"].splitlines():
            told = TIME.sub("", line.strip())
            if told and told != self._last():
                self.said.append(told)
                display.display(f"  {self.host}: {told}")
        answer = done["stdout"].strip()
        if done["rc"] != 0:
            raise AnsibleActionFail(f"the drain of {job} failed: {self._last() or done['stdout']}")
        if not NUMBER.fullmatch(answer):
            raise AnsibleActionFail(f"the drain of {job} says no number of seconds: {answer!r}")
        return float(answer)

    def _last(self) -> str:
        return self.said[-1] if self.said else ""
