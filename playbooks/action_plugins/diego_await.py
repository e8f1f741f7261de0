# ruff: noqa: INP001  Ansible loads a plugin as a file, from a directory that is no package
"""Ansible action: wait until a task that runs on a host on its own (async, poll 0) has ended.

Ansible's own polling counts looks, not time, so that a host that is gone would be asked for days; here a connection that
breaks may be away for `patience` seconds, and longer means that the host cannot be reached.
"""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()

PAUSE = 1.0


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """Arguments: `jid`, the id of the running task, and `patience`."""

    _requires_connection = True
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        _, arguments = self.validate_argument_spec(
            {"jid": {"type": "str", "required": True}, "patience": {"type": "float", "default": 120}}
        )
        result: dict[str, Any] = super().run(tmp, task_vars)
        if self._task.check_mode:
            return {**result, "skipped": True, "msg": "nothing was started"}
        host = (task_vars or {}).get("inventory_hostname", "")
        heard = time.monotonic()
        while True:
            time.sleep(PAUSE)
            try:
                found: dict[str, Any] = self._status(arguments["jid"], task_vars)
            except AnsibleConnectionFailure as lost:
                if time.monotonic() - heard > arguments["patience"]:
                    raise
                display.warning(f"{host}: {lost}")
                self._connection.reset()
                continue
            heard = time.monotonic()
            if found.get("finished") or found.get("failed"):
                return {**result, **found}

    def _status(self, jid: str, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        directory = self.get_shell_option("async_dir", default="~/.ansible_async")
        arguments = {"jid": jid, "_async_dir": directory}
        status: dict[str, Any] = self._execute_module(
            module_name="ansible.builtin.async_status", module_args=arguments, task_vars=task_vars
        )
        return status
