"""What happens, as it happens."""

import queue
import threading
from contextlib import ExitStack
from datetime import datetime

import click

from diego.bbs.client import Event, EventStream
from diego.cli.commands.options import cell_option, json_option
from diego.cli.core.stories import story
from diego.cli.output import Output
from diego.cli.session import Session, pass_session
from diego.models.errors import BbsError
from diego.wire.gojson import to_go

WAITING = 10_000
"""Events that may wait to be printed; then the stream is read no faster than it is printed."""


@click.command("events")
@cell_option
@json_option
@pass_session
def events(session: Session, cell_id: str) -> None:
    """Show the events of LRPs and of tasks as they come, until interrupted."""
    bbs = session.bbs
    with ExitStack() as open_streams:
        streams = [
            open_streams.enter_context(bbs.lrp_instance_events(cell_id)),
            open_streams.enter_context(bbs.task_events()),
        ]
        if not session.output.json:
            session.output.say("watching; ctrl-C ends it")
        _show_all(streams, session.output)


@click.command("lrp-events")
@cell_option
@click.option(
    "-x", "--exclude-actual-lrp-groups", is_flag=True, help="Accepted as in cfdot; groups are never shown."
)
@json_option
@pass_session
def lrp_events(session: Session, cell_id: str, exclude_actual_lrp_groups: bool) -> None:  # noqa: ARG001, FBT001 (click's form)
    """Show the events of LRPs as they come."""
    with session.bbs.lrp_instance_events(cell_id) as stream:
        _show_all([stream], session.output)


@click.command("task-events")
@json_option
@pass_session
def task_events(session: Session) -> None:
    """Show the events of tasks as they come."""
    with session.bbs.task_events() as stream:
        _show_all([stream], session.output)


def _show_all(streams: list[EventStream], output: Output) -> None:
    """Print what comes on any of the streams, until one of them fails."""
    waiting: queue.Queue[Event | BbsError] = queue.Queue(WAITING)
    for stream in streams:
        threading.Thread(target=_collect, args=(stream, waiting), name="events", daemon=True).start()
    while True:
        event = waiting.get()
        if isinstance(event, BbsError):
            raise event
        show(event, output)


def _collect(stream: EventStream, waiting: "queue.Queue[Event | BbsError]") -> None:
    try:
        for event in stream:
            waiting.put(event)
    except BbsError as error:
        waiting.put(error)


def show(event: Event, output: Output) -> None:
    """One event: an object with its type and data, or a line."""
    if output.json:
        output.line({"type": event.name, "data": to_go(event.message)})
    else:
        output.say(f"{datetime.now().astimezone():%H:%M:%S}  {event.name:<28}  {story(event.message)}")
