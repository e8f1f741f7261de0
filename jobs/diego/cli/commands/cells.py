"""Cells: who is present, and how much room each has."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import click

from diego.cli.commands.options import json_option
from diego.cli.core import tables
from diego.cli.core.words import natural
from diego.cli.faults import Fault, Status
from diego.cli.session import Session, pass_session
from diego.runtime.http import ConnectionFailed
from diego.wire.cells_pb2 import CellPresence

AT_ONCE = 16


@click.command("cells")
@json_option
@pass_session
def cells(session: Session) -> None:
    """List the cells that are present, and their whole room.

    Example: diego cells --json | jq -r .zone | sort | uniq -c
    """
    found = session.bbs.cells()
    if session.output.json:
        session.output.lines(found)
    else:
        session.output.table(tables.CELL_COLUMNS, tables.cell_rows(found), empty="No cell is present.")


@click.command("cell")
@click.argument("cell_id")
@json_option
@pass_session
def cell(session: Session, cell_id: str) -> None:
    """Show what one cell says of itself in its presence.

    Example: diego cell diego-cell-0
    """
    session.output.thing(_found(session, cell_id))


@click.command("cell-states")
@click.argument("cell_id", required=False)
@json_option
@pass_session
def cell_states(session: Session, cell_id: str | None) -> None:
    """Ask the cells, or CELL_ID alone, what is free and what they run.

    Example: diego cell-states

    Example: diego cell-states --json | jq '.LRPs | length'
    """
    _show_states(session, [_found(session, cell_id)] if cell_id else session.bbs.cells())


@click.command("cell-state")
@click.argument("cell_id")
@json_option
@pass_session
def cell_state(session: Session, cell_id: str) -> None:
    """Ask one cell what is free and what it runs.

    Example: diego cell-state diego-cell-0 --json | jq .AvailableResources
    """
    _show_states(session, [_found(session, cell_id)])


def _found(session: Session, cell_id: str) -> CellPresence:
    for presence in session.bbs.cells():
        if presence.cell_id == cell_id:
            return presence
    raise Fault(f"no cell {cell_id} is present", hint="`diego cells` lists them")


def _show_states(session: Session, found: list[CellPresence]) -> None:
    states, faults = ask_states(session, found)
    if session.output.json:
        session.output.lines(states)
    else:
        rows = [tables.state_row(state) for state in states]
        session.output.table(tables.STATE_COLUMNS, rows, empty="No cell is present.")
    if faults:
        raise Fault("; ".join(faults), status=Status.REFUSED)


def ask_states(session: Session, found: list[CellPresence]) -> tuple[list[dict[str, Any]], list[str]]:
    """The states of the cells that answer, and what is wrong with the others."""
    states, faults = [], []
    ordered = sorted(found, key=lambda cell: natural(cell.cell_id))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for cell, answer in zip(ordered, pool.map(lambda each: _state(session, each), ordered), strict=True):
            if isinstance(answer, str):
                faults.append(f"cell {cell.cell_id}: {answer}")
            else:
                states.append(answer)
    return states, faults


def _state(session: Session, cell: CellPresence) -> dict[str, Any] | str:
    """A cell's state, or why there is none. An unhealthy cell answers 503, and tells its state all the same."""
    try:
        with closing(session.cell(cell.rep_url or cell.rep_address)) as http:
            answer = http.request("GET", "/state")
    except (ConnectionFailed, ValueError) as error:
        return str(error)
    if answer.status not in {200, 503}:
        return f"answers {answer.status}"
    try:
        state = json.loads(answer.body)
    except ValueError:
        return "its state is no JSON"
    return state if isinstance(state, dict) else "its state is no object"
