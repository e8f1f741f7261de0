"""The commands, a module per noun. A module is loaded when one of its commands is asked for, or the help of all."""

from dataclasses import dataclass
from importlib import import_module

import click


@dataclass(frozen=True, slots=True)
class Entry:
    """A command: its name, and where it is defined."""

    name: str
    module: str
    attribute: str

    def load(self) -> click.Command:
        command = getattr(import_module(f"diego.cli.commands.{self.module}"), self.attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{self.module}.{self.attribute} is no command")
        return command


GROUPS: tuple[tuple[str, tuple[Entry, ...]], ...] = (
    (
        "Looking around",
        (
            Entry("status", "status", "status"),
            Entry("explain", "explain", "explain"),
            Entry("history", "history", "history"),
            Entry("cells", "cells", "cells"),
            Entry("cell", "cells", "cell"),
            Entry("cell-states", "cells", "cell_states"),
            Entry("cell-state", "cells", "cell_state"),
            Entry("evacuation", "evacuation", "evacuation"),
            Entry("domains", "domains", "domains"),
        ),
    ),
    (
        "Running something",
        (Entry("run", "run", "run"), Entry("logs", "logs", "logs"), Entry("events", "events", "events")),
    ),
    (
        "LRPs",
        (
            Entry("desired-lrps", "desired_lrps", "desired_lrps"),
            Entry("desired-lrp", "desired_lrps", "desired_lrp"),
            Entry("desired-lrp-scheduling-infos", "desired_lrps", "scheduling_infos"),
            Entry("create-desired-lrp", "desired_lrps", "create"),
            Entry("update-desired-lrp", "desired_lrps", "update"),
            Entry("delete-desired-lrp", "desired_lrps", "delete"),
            Entry("actual-lrps", "actual_lrps", "actual_lrps"),
            Entry("actual-lrp-groups", "groups", "groups"),
            Entry("actual-lrp-groups-for-guid", "groups", "groups_for_guid"),
            Entry("retire-actual-lrp", "actual_lrps", "retire"),
            Entry("lrp-events", "events", "lrp_events"),
        ),
    ),
    (
        "Tasks",
        (
            Entry("tasks", "tasks", "tasks"),
            Entry("task", "tasks", "task"),
            Entry("create-task", "tasks", "create"),
            Entry("cancel-task", "tasks", "cancel"),
            Entry("delete-task", "tasks", "delete"),
            Entry("task-events", "events", "task_events"),
        ),
    ),
    (
        "Locks, presences, domains",
        (
            Entry("locks", "locks", "locks"),
            Entry("presences", "locks", "presences"),
            Entry("claim-lock", "locks", "claim_lock"),
            Entry("claim-presence", "locks", "claim_presence"),
            Entry("release-lock", "locks", "release_lock"),
            Entry("release-presence", "locks", "release_presence"),
            Entry("set-domain", "domains", "set_domain"),
        ),
    ),
    (
        "The command line itself",
        (Entry("version", "shell", "version"), Entry("completion", "shell", "completion")),
    ),
)

ENTRIES = {entry.name: entry for _, entries in GROUPS for entry in entries}
