"""Cells: who is present, and how much room each has."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import click

from diego.cli.commands.options import json_option
from diego.cli.core import tables
from diego.cli.faults import Fault
from diego.cli.session import Session, pass_session
from diego.runtime.http import ConnectionFailed
from diego.wire.cells_pb2 import CellPresence

AT_ONCE = 16


@click.command("cells")
@json_option
@pass_session
def cells(session: Session) -> None:
    """List the cells that are present, and their whole room."""
    found = session.bbs.cells()
    if session.output.json:
        session.output.lines(found)
    else:
        session.output.table(tables.CELL_COLUMNS, tables.cell_rows(found), empty="No cell is present.")


@click.command("cell-states")
@click.argument("cell_id", required=False)
@json_option
@pass_session
def cell_states(session: Session, cell_id: str | None) -> None:
    """Ask the cells, or CELL_ID alone, what is free and what they run."""
    found = [cell for cell in session.bbs.cells() if cell_id in {None, cell.cell_id}]
    if cell_id and not found:
        raise Fault(f"no cell {cell_id} is present", hint="`diego cells` lists them")
    states, faults = ask_states(session, found)
    if session.output.json:
        session.output.lines(states)
    else:
        rows = [tables.state_row(state) for state in states]
        session.output.table(tables.STATE_COLUMNS, rows, empty="No cell is present.")
    if faults:
        raise Fault("; ".join(faults))


def ask_states(session: Session, found: list[CellPresence]) -> tuple[list[dict[str, Any]], list[str]]:
    """The states of the cells that answer, and what is wrong with the others."""
    states, faults = [], []
    ordered = sorted(found, key=lambda cell: tables.natural(cell.cell_id))
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
