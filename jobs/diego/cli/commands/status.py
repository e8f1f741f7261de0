"""The whole deployment on one screen."""

import time
from collections import Counter

import click

from diego.cli.commands.cells import ask_states
from diego.cli.core import tables
from diego.cli.faults import fault_of_locket
from diego.cli.session import Session, pass_session
from diego.locket.client import LOCK, LocketError
from diego.wire.actual_lrp_pb2 import ActualLRP
from diego.wire.task_pb2 import Task


@click.command("status")
@pass_session
def status(session: Session) -> None:
    """Show the cells, what is desired and what runs, the tasks, and who has the locks."""
    output = session.output
    cells = session.bbs.cells()
    states, faults = ask_states(session, cells)
    output.table(
        tables.STATE_COLUMNS, [tables.state_row(state) for state in states], empty="No cell is present."
    )
    output.say("")
    lrps = session.bbs.actual_lrps()
    rows = tables.app_rows(session.bbs.desired_lrp_scheduling_infos(), lrps)
    output.table(tables.APP_COLUMNS, rows, empty="No LRP is desired.")
    output.say("")
    unwell = [lrp for lrp in lrps if lrp.state != "RUNNING" or lrp.presence != ActualLRP.ORDINARY]
    if unwell:
        output.table(tables.ACTUAL_COLUMNS, tables.actual_rows(unwell, time.time_ns()), empty="")
        output.say("")
    tasks = Counter(Task.State.Name(task.state) for task in session.bbs.tasks())
    output.say("Tasks: " + (", ".join(f"{count} {name}" for name, count in sorted(tasks.items())) or "none"))
    output.say(f"Locks: {_holders(session)}")
    for fault in faults:
        output.fault(fault)


def _holders(session: Session) -> str:
    """Who has which lock; that Locket does not answer is told in its place."""
    try:
        locks = session.locket.fetch_all(LOCK)
    except LocketError as error:
        return str(fault_of_locket(error))
    return (
        ", ".join(f"{lock.key} has {lock.owner}" for lock in sorted(locks, key=lambda lock: lock.key))
        or "none"
    )
