"""What happens, as it happens; and before it, if asked for, what has happened."""

import base64
import queue
import threading
import time
from contextlib import ExitStack

import click

from diego.bbs.client import EVENT_MESSAGES, Event, EventStream
from diego.cli.commands.json_option import json_option
from diego.cli.commands.moments import Moment, gap
from diego.cli.commands.options import cell_option
from diego.cli.core.replays import Replayed, concerns
from diego.cli.core.stories import story
from diego.cli.core.times import clock
from diego.cli.output import Output
from diego.cli.session import Session, pass_session
from diego.models.errors import BbsError
from diego.wire.gojson import to_go

WAITING = 10_000
"""Events that may wait to be printed; then the stream is read no faster than it is printed."""
PAGE = 1000


@click.command("events")
@cell_option
@click.option(
    "--since", type=Moment(), default=None, help="Begin with what happened since: 10m (ago), 14:05."
)
@json_option
@pass_session
def events(session: Session, cell_id: str, since: int | None) -> None:
    """Show the events of LRPs and of tasks as they come, until interrupted.

    Those of the past have their time with --json too, and are told without addresses and definitions.

    Example: diego events --since 10m
    """
    bbs = session.bbs
    with ExitStack() as open_streams:
        coming = _collected(
            open_streams.enter_context(bbs.lrp_instance_events(cell_id, on_reconnect=_tell_of_gap)),
            open_streams.enter_context(bbs.task_events(on_reconnect=_tell_of_gap)),
        )
        replayed = Replayed()
        if since is not None:
            _replay(session, since, cell_id, replayed)
        if not session.output.json:
            session.output.say("watching; ctrl-C ends it")
        _show_all(coming, session.output, replayed)


@click.command("lrp-events")
@cell_option
@click.option(
    "-x", "--exclude-actual-lrp-groups", is_flag=True, help="Accepted as in cfdot; groups are never shown."
)
@json_option
@pass_session
def lrp_events(session: Session, cell_id: str, exclude_actual_lrp_groups: bool) -> None:  # noqa: ARG001, FBT001 (click's form)
    """Show the events of LRPs as they come.

    Example: diego lrp-events --json | jq -r .type
    """
    with session.bbs.lrp_instance_events(cell_id, on_reconnect=_tell_of_gap) as stream:
        _show_all(_collected(stream), session.output, Replayed())


@click.command("task-events")
@json_option
@pass_session
def task_events(session: Session) -> None:
    """Show the events of tasks as they come.

    Example: diego task-events
    """
    with session.bbs.task_events(on_reconnect=_tell_of_gap) as stream:
        _show_all(_collected(stream), session.output, Replayed())


def _replay(session: Session, since: int, cell_id: str, replayed: Replayed) -> None:
    """Show what listeners were told since then. The streams are open already, so that nothing is missed."""
    after: int | None = 0
    while after is not None:
        page = session.bbs.history(since=since, after=after, limit=PAGE, events=True)
        if not after and (missing := gap(page["begins"], since, time.time_ns())):
            click.echo(missing, err=True)
        for entry in page["entries"]:
            for event in map(_event, entry["events"]):
                replayed.add(event.message)
                if not cell_id or concerns(event.message, cell_id):
                    show(event, session.output, entry["at"])
        after = page["next"]


def _event(told: dict[str, str]) -> Event:
    name = told["type"]
    return Event(name, EVENT_MESSAGES[name].FromString(base64.b64decode(told["data"])))


def _tell_of_gap() -> None:
    """A stream broke off and stands again: the BBS keeps nothing for who is away."""
    click.echo("A stream of events broke off: what happened meanwhile is missing here.", err=True)


def _collected(*streams: EventStream) -> "queue.Queue[Event | BbsError]":
    """What comes on any of the streams, from now on: the BBS lets go of who does not read."""
    waiting: queue.Queue[Event | BbsError] = queue.Queue(WAITING)
    for stream in streams:
        threading.Thread(target=_collect, args=(stream, waiting), name="events", daemon=True).start()
    return waiting


def _show_all(coming: "queue.Queue[Event | BbsError]", output: Output, replayed: Replayed) -> None:
    """Print what comes and was not shown yet, until a stream fails."""
    while True:
        event = coming.get()
        if isinstance(event, BbsError):
            raise event
        if not replayed.again(event.message):
            show(event, output)


def _collect(stream: EventStream, waiting: "queue.Queue[Event | BbsError]") -> None:
    try:
        for event in stream:
            waiting.put(event)
    except BbsError as error:
        waiting.put(error)


def show(event: Event, output: Output, at: int | None = None) -> None:
    """One event: an object with its type and data, or a line. `at` is when it was, None for just now."""
    if output.json:
        when = {} if at is None else {"at": at}
        output.line({"type": event.name, **when, "data": to_go(event.message)})
    else:
        now = time.time_ns()
        output.say(f"{clock(now if at is None else at, now)}  {event.name:<28}  {story(event.message)}")
