"""The commands, a module per noun. `GROUPS` is the order in which the help shows them."""

import click

from diego.cli.commands import (
    actual_lrps,
    cells,
    desired_lrps,
    domains,
    evacuation,
    events,
    locks,
    logs,
    run,
    shell,
    status,
    tasks,
)

GROUPS: tuple[tuple[str, tuple[click.Command, ...]], ...] = (
    (
        "Looking around",
        (status.status, cells.cells, cells.cell_states, evacuation.evacuation, domains.domains),
    ),
    ("Running something", (run.run, logs.logs, events.events)),
    (
        "LRPs",
        (
            desired_lrps.desired_lrps,
            desired_lrps.desired_lrp,
            desired_lrps.scheduling_infos,
            desired_lrps.create,
            desired_lrps.update,
            desired_lrps.delete,
            actual_lrps.actual_lrps,
            actual_lrps.retire,
            events.lrp_events,
        ),
    ),
    (
        "Tasks",
        (tasks.tasks, tasks.task, tasks.create, tasks.cancel, tasks.delete, events.task_events),
    ),
    (
        "Locks, presences, domains",
        (
            locks.locks,
            locks.presences,
            locks.claim_lock,
            locks.claim_presence,
            locks.release_lock,
            domains.set_domain,
        ),
    ),
    ("The command line itself", (shell.version, shell.completion)),
)
