"""Tasks: what runs once."""

import time

import click

from diego.cli.commands.options import cell_option, domain_option, json_option, spec
from diego.cli.core import tables
from diego.cli.session import Session, pass_session
from diego.wire.task_pb2 import Task


@click.command("tasks")
@domain_option
@cell_option
@json_option
@pass_session
def tasks(session: Session, domain: str, cell_id: str) -> None:
    """List the tasks.

    Example: diego tasks --domain cf-tasks
    """
    found = session.bbs.tasks(domain=domain, cell_id=cell_id)
    if session.output.json:
        session.output.lines(found)
    else:
        rows = tables.task_rows(found, time.time_ns())
        session.output.table(tables.TASK_COLUMNS, rows, empty="There is no task.")


@click.command("task")
@click.argument("task_guid")
@json_option
@pass_session
def task(session: Session, task_guid: str) -> None:
    """Show one task in full, its result included.

    Example: diego task backup --json | jq -r .result
    """
    session.output.thing(session.bbs.task(task_guid))


@click.command("create-task")
@click.argument("spec_text", metavar="SPEC")
@pass_session
def create(session: Session, spec_text: str) -> None:
    """Desire a task. SPEC is JSON, @FILE, or - for standard input.

    Example: diego create-task @task.json
    """
    wanted = spec(Task, spec_text)
    session.bbs.desire_task(wanted.task_guid, wanted.domain, wanted.task_definition)
    session.output.say(f"task {wanted.task_guid} is desired")


@click.command("cancel-task")
@click.argument("task_guid")
@pass_session
def cancel(session: Session, task_guid: str) -> None:
    """End a task as failed.

    Example: diego cancel-task backup
    """
    session.bbs.cancel_task(task_guid)
    session.output.say(f"task {task_guid} is cancelled")


@click.command("delete-task")
@click.argument("task_guid")
@pass_session
def delete(session: Session, task_guid: str) -> None:
    """Forget a task that is completed.

    Example: diego delete-task backup
    """
    session.bbs.resolving_task(task_guid)
    session.bbs.delete_task(task_guid)
    session.output.say(f"task {task_guid} is deleted")
