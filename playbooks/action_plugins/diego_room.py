# ruff: noqa: INP001  Ansible loads a plugin as a file, from a directory that is no package
"""Ansible action: see that the other cells have room for what a window of changing ones holds.

diego.deploy.core.room decides. What cannot be known is a warning: a cell that is not there, or cells that could not be
asked, hold nothing up, since an upgrade may be what mends them, and a drain that finds no room ends at its deadline.
"""

from __future__ import annotations

import json
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from diego.deploy.core import room
from diego.deploy.core.update import BadUpdate, update_of

display = Display()

GROUP = "diego-cell"


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """Arguments: `states`, `complaint`, `wanted`, `changed`, `update`, `update_groups`.

    A line of JSON for each cell that answered; what was said of the others; the ids of all cells, and of those that change.
    """

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        _, arguments = self.validate_argument_spec(
            {
                "states": {"type": "list", "elements": "str", "required": True},
                "complaint": {"type": "str", "default": ""},
                "wanted": {"type": "list", "elements": "str", "required": True},
                "changed": {"type": "list", "elements": "str", "required": True},
                "update": {"type": "dict", "default": {}},
                "update_groups": {"type": "dict", "default": {}},
            }
        )
        result: dict[str, Any] = super().run(tmp, task_vars)
        try:
            update = update_of(GROUP, arguments["update"], arguments["update_groups"])
            cells = [room.cell_of(json.loads(line)) for line in arguments["states"] if line.startswith("{")]
        except (BadUpdate, ValueError, KeyError) as error:
            raise AnsibleActionFail(f"{type(error).__name__}: {error}") from error
        if absent := room.missing(cells, arguments["wanted"]):
            why = f" ({arguments['complaint'].strip()})" if arguments["complaint"].strip() else ""
            display.warning(
                f"whether there is room is not known: nothing was heard of {', '.join(absent)}{why}"
            )
            return {**result, "msg": "not known"}
        if faults := room.faults_of(cells, arguments["changed"], update):
            raise AnsibleActionFail(
                f"no room for what the cells hold: {'; '.join(faults)}. "
                "If it is meant, and some of it shall wait: -e instance_skip_room_check=true"
            )
        return {**result, "msg": "there is room"}
