"""What happened to something, from the BBS's history."""

import time

import click

from diego.cli.commands.json_option import json_option
from diego.cli.commands.moments import Moment, gap, question
from diego.cli.core import histories
from diego.cli.session import Session, pass_session


@click.command("history")
@click.argument("guid")
@click.option("--since", type=Moment(), default=None, help="From when on: 10m (ago), 14:05, a date.")
@click.option(
    "-n", "--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="The last so many."
)
@json_option
@pass_session
def history(session: Session, guid: str, since: int | None, limit: int) -> None:
    """Tell what happened to GUID: a process, a task, or an instance.

    Example: diego history web --since 10m
    """
    path = question("/v1/history", {"guid": guid, "since": since, "limit": limit, "newest": "true"})
    answer = session.ask_bbs(path)
    entries = answer["entries"]
    output = session.output
    if output.json:
        output.lines(entries)
        return
    now = time.time_ns()
    output.table(histories.COLUMNS, histories.rows(entries, now), empty=f"Nothing is known of {guid}.")
    if len(entries) >= limit:
        output.say(f"these are the last {limit}; --limit shows more")
    elif not histories.from_its_beginning(entries) and (missing := gap(answer["begins"], since or 0, now)):
        output.say(missing)
