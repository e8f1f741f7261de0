"""A cell that is being emptied: what is left on it, and why."""

import json
import time
from contextlib import closing
from typing import Any

import click

from diego.cli.commands.options import json_option
from diego.cli.core import evacuations
from diego.cli.faults import Fault, Status
from diego.cli.session import Session, pass_session
from diego.runtime.http import ConnectionFailed
from diego.wire.cells_pb2 import CellPresence


@click.command("evacuation")
@click.argument("cell")
@json_option
@pass_session
def evacuation(session: Session, cell: str) -> None:
    """Show what is left on CELL, and what each instance waits for before the cell is empty.

    Example: diego evacuation diego-cell-0
    """
    progress = _progress(session, _presence(session, cell))
    guids = dict.fromkeys(one["process_guid"] for one in progress["lrps"])
    lrps = [lrp for guid in guids for lrp in session.bbs.actual_lrps(process_guid=guid)]
    left = evacuations.left(progress, lrps, time.time_ns())
    if session.output.json:
        session.output.line({**progress, **_documents(left)})
        return
    session.output.say(evacuations.headline(progress))
    if left:
        session.output.table(evacuations.COLUMNS, [one.row() for one in left], empty="")


def _documents(left: list[evacuations.Left]) -> dict[str, Any]:
    return {
        "lrps": [one.document() for one in left if one.index is not None],
        "tasks": [one.document() for one in left if one.index is None],
    }


def _presence(session: Session, cell: str) -> CellPresence:
    """Raises Fault when the cell is not there: one that has been emptied is gone, too."""
    for presence in session.bbs.cells():
        if presence.cell_id == cell:
            return presence
    raise Fault(
        f"cell {cell} is not present: it is empty and has ended, or it never was there",
        hint="`diego cells` lists those that are, `diego actual-lrps --cell-id` what the BBS knows of it",
        status=Status.REFUSED,
    )


def _progress(session: Session, cell: CellPresence) -> dict[str, Any]:
    """What the cell says. Raises Fault."""
    try:
        with closing(session.cell(cell.rep_url or cell.rep_address)) as http:
            answer = http.request("GET", "/v1/evacuation")
    except (ConnectionFailed, ValueError) as error:
        raise Fault(f"cell {cell.cell_id} cannot be reached: {error}") from error
    if answer.status == 404:
        raise Fault(
            f"cell {cell.cell_id} is an original rep, which does not tell how far it is",
            hint=f"`diego cell-states` and `diego actual-lrps --cell-id {cell.cell_id}` show what it holds",
            status=Status.REFUSED,
        )
    try:
        found = json.loads(answer.body) if answer.status == 200 else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Fault(f"cell {cell.cell_id} answers {answer.status} without its evacuation")
    return found
