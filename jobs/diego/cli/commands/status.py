"""The whole deployment on one screen."""

from functools import partial
from typing import Any

import click

from diego.cli.commands.json_option import json_option
from diego.cli.core import rooms, screen
from diego.cli.session import Session, pass_session

ASKED_ONE_BY_ONE = 24
"""With more cells the auctioneer is asked what it last saw, instead of each of them."""

CELL_SECONDS = 3.0


@click.command("status")
@json_option
@pass_session
def status(session: Session) -> None:
    """Show the whole deployment on one screen, and what is not as it should be.

    Locks and who holds them; what is wanted, runs, and has no place and why; tasks; domains; the cells with their
    free room. With more than 24 cells only the zones are shown, with the room that the auctioneer last saw.

    Example: diego status

    Example: diego status --json | jq .unplaced
    """
    told = session.ask_bbs("/v1/status")
    found, said = _rooms(session, told)
    if session.output.json:
        warnings = screen.warnings(told, found)
        session.output.line({**told, "cells": [room.document() for room in found], "warnings": warnings})
    else:
        _show(session, told, found, said)


def _show(session: Session, told: dict[str, Any], found: list[rooms.Room], said: str) -> None:
    output = session.output
    output.say(f"Locks    {screen.locks(told)}")
    output.say(f"LRPs     {screen.lrps(told)}")
    for line in screen.unplaced(told):
        output.say(f"         {line}")
    output.say(f"Tasks    {screen.tasks(told)}")
    output.say(f"Domains  {screen.domains(told)}")
    output.say("")
    output.table(rooms.ZONE_COLUMNS, rooms.zone_rows(found), empty="No cell is present.")
    if said:
        output.say(said)
    if 0 < len(found) <= ASKED_ONE_BY_ONE:
        output.say("")
        output.table(rooms.CELL_COLUMNS, [room.row() for room in found], empty="")
    output.say("")
    output.table(screen.APP_COLUMNS, screen.app_rows(told), empty="No LRP is desired.")
    if more := screen.more_apps(told):
        output.say(more)
    warnings = screen.warnings(told, found)
    if warnings:
        output.say("")
    for warning in warnings:
        output.warn(warning)


def _rooms(session: Session, told: dict[str, Any]) -> tuple[list[rooms.Room], str]:
    """What is free on each cell, and a sentence about who says so if it is not the cells themselves."""
    from diego.cli.asking import Asker, NotAnswered, side_by_side
    from diego.cli.core.words import natural

    cells = sorted(told["cells"], key=lambda cell: natural(cell["cell_id"]))
    if len(cells) > ASKED_ONE_BY_ONE:
        try:
            seen = session.asker.json(session.auctioneer_url, "/v1/cells")
        except NotAnswered as error:
            return [rooms.by_its_word(cell, None) for cell in cells], f"free room is not known: {error}"
        ago = max(0, round(told["at"] / 1e9 - seen["at"]))
        said = (
            f"as the auctioneer saw it {ago} s ago" if seen["at"] else "the auctioneer has not seen them yet"
        )
        return rooms.by_the_auctioneer(cells, seen), said
    asker = Asker(session.asker.tls, min(session.timeout, CELL_SECONDS))
    accept = frozenset({200, 503})
    answers = side_by_side(
        {cell["cell_id"]: partial(asker.json, cell["rep_url"], "/state", accept=accept) for cell in cells}
    )
    return [rooms.by_its_word(cell, answers.get(cell["cell_id"])) for cell in cells], ""
