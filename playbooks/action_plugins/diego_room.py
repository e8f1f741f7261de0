# ruff: noqa: INP001  Ansible loads a plugin as a file, from a directory that is no package
"""Ansible action: see that the other cells have room for what a window of changing ones holds.

diego.deploy.core.room decides. Cells that are silent are a warning, and their room counts as none. When the question as
a whole failed, nobody knows, and that stops the play as a lack of room does.
"""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from diego.deploy.core import room
from diego.deploy.core.update import BadUpdate, update_of

display = Display()

GROUP = "diego-cell"
SKIP = "-e instance_skip_room_check=true"


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """Arguments: `status`, `states`, `complaint`, `cells`, `update`, `update_groups`.

    How the question ended, absent when it could not be asked; a line of JSON for each cell that answered; what was said of
    the others; of all cells `id`, `zone` and whether it `changes`.
    """

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        _, arguments = self.validate_argument_spec(
            {
                "status": {"type": "int"},
                "states": {"type": "list", "elements": "str", "required": True},
                "complaint": {"type": "str", "default": ""},
                "cells": {"type": "list", "elements": "dict", "required": True},
                "update": {"type": "dict", "default": {}},
                "update_groups": {"type": "dict", "default": {}},
            }
        )
        result: dict[str, Any] = super().run(tmp, task_vars)
        deployed, complaint = arguments["cells"], arguments["complaint"].strip()
        try:
            update = update_of(GROUP, arguments["update"], arguments["update_groups"])
            heard = room.cells_heard(arguments["status"], arguments["states"], complaint)
        # Ansible tells a cause as well, and each of these is in the text
        except BadUpdate as error:
            raise AnsibleActionFail(str(error)) from None
        except room.NotKnown as error:
            raise AnsibleActionFail(
                f"whether the cells have room for each other is not known: {error}. See that the BBS and the cells "
                f"answer {room.QUESTION}, and repeat the upgrade. If it is to go on without knowing: {SKIP}"
            ) from None
        silent = ", ".join(room.silent(heard, [cell["id"] for cell in deployed]))
        if silent:
            why = f" ({complaint})" if complaint else ""
            display.warning(f"nothing was heard of {silent}{why}; their room counts as none")
        changed = {cell["id"]: str(cell["zone"]) for cell in deployed if cell["changes"]}
        if faults := room.faults_of(heard, changed, update):
            beside = f" Silent, and not counted: {silent}; put them right first." if silent else ""
            raise AnsibleActionFail(
                f"no room for what the cells hold: {'; '.join(faults)}.{beside} "
                f"If it is meant, and some of it shall wait: {SKIP}"
            )
        return {**result, "msg": "there is room"}
