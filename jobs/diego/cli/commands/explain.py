"""Why something is where it is, or nowhere."""

from functools import partial
from typing import Any
from urllib.parse import quote

import click

from diego.cli.commands.json_option import json_option
from diego.cli.core import explaining
from diego.cli.core.explaining import Explained, Known
from diego.cli.faults import Fault, Status
from diego.cli.session import Session, pass_session

SHOWN = 50
"""Instances that are told of one by one; programs are told of all."""

CELL_SECONDS = 3.0


@click.command("explain")
@click.argument("guid")
@click.argument("index", type=click.IntRange(min=0), required=False)
@json_option
@pass_session
def explain(session: Session, guid: str, index: int | None) -> None:
    """Say why an instance or a task is where it is, or why it is nowhere.

    GUID is that of a process or of a task; without INDEX every instance of the process is explained. What the BBS
    has on record is joined with the auctioneer's last decisions and with the answer of the cell.

    Example: diego explain web 0

    Example: diego explain web --json | jq -r .answer
    """
    known = ask(session, guid)
    found = _explained(known, index)
    if session.output.json:
        for one in found:
            session.output.line({**one.document(), **_evidence(known, one.index)})
        return
    if len(found) > 1:
        session.output.heading(explaining.summary(known, found))
    shown = found if len(found) <= SHOWN else sorted(found, key=lambda one: one.runs)[:SHOWN]
    for one in shown:
        if len(found) > 1:
            session.output.say(one.answer)
        else:
            session.output.heading(one.answer)
        if len(found) == 1 or not one.runs:
            for line in one.grounds:
                session.output.say(f"  {line}")
    if len(shown) < len(found):
        session.output.say(f"and {len(found) - len(shown)} more; --json tells of all")


def ask(session: Session, guid: str) -> Known:
    """What the BBS and the auctioneer say, asked side by side, and then the cells that the records name.

    Raises:
        Fault: nobody knows the guid; the BBS cannot be reached.
    """
    from diego.cli.asking import Asker, NotAnswered, side_by_side

    asker, path = session.asker, quote(guid, safe="")
    answers = side_by_side(
        {
            "bbs": partial(_fault_kept, session, f"/v1/status/{path}"),
            "auctioneer": partial(asker.json, session.auctioneer_url, f"/v1/explanations/{path}"),
        }
    )
    bbs, decisions = answers["bbs"], answers["auctioneer"]
    if isinstance(bbs, Fault):
        raise bbs
    if isinstance(decisions, Exception):
        decisions = f"the auctioneer cannot be asked: {decisions}"
    if not bbs["actual_lrps"] and bbs["desired_lrp"] is None and bbs["task"] is None:
        raise _unknown(bbs)
    quick = Asker(asker.tls, min(session.timeout, CELL_SECONDS))
    accept = frozenset({200, 503})
    asked = side_by_side(
        {cell: partial(quick.json, url, "/state", accept=accept) for cell, url in bbs["cells"].items() if url}
    )
    gone = "it is not present" if bbs.get("cells_known") else "Locket does not say whether it is present"
    cells = {
        cell: f"it does not answer: {answer}" if isinstance(answer, NotAnswered | ValueError) else answer
        for cell, answer in ((cell, asked.get(cell, gone)) for cell in bbs["cells"])
    }
    return Known(bbs, decisions, cells)


def _fault_kept(session: Session, path: str) -> Any:
    try:
        return session.ask_bbs(path)
    except Fault as fault:
        return fault


def _explained(known: Known, index: int | None) -> list[Explained]:
    bbs = known.bbs
    found: list[Explained] = []
    if bbs["desired_lrp"] or bbs["actual_lrps"]:
        indices = explaining.indices(bbs) if index is None else [index]
        found += [explaining.explain_instance(known, one) for one in indices]
    if bbs["task"] and index is None:
        found.append(explaining.explain_task(known))
    if not found:
        wish = bbs["desired_lrp"]
        what = "is a task and has no index" if bbs["task"] else f"has {wish['instances']} instances"
        raise Fault(f"{bbs['guid']} {what}", status=Status.REFUSED)
    return found


def _evidence(known: Known, index: int | None) -> dict[str, Any]:
    """What was found out about one of them, for programs."""
    bbs = known.bbs
    rows = [] if index is None else list(known.rows(index))
    named = {row["cell_id"] for row in rows} if index is not None else {bbs["task"]["cell_id"]}
    return {
        "desired_lrp": bbs["desired_lrp"] if index is not None else None,
        "actual_lrps": rows,
        "task": bbs["task"] if index is None else None,
        "decisions": list(known.decided(index)),
        "cells": {cell: answer for cell, answer in known.cells.items() if cell in named},
    }


def _unknown(bbs: dict[str, Any]) -> Fault:
    """Nobody has this guid: what else it may be."""
    guid = bbs["guid"]
    instance = bbs.get("instance_of")
    if instance:
        hint = f"it is an instance: `diego explain {instance['process_guid']} {instance['index']}`"
    elif bbs.get("similar"):
        hint = f"is it one of these: {', '.join(bbs['similar'])}?"
    else:
        hint = "`diego desired-lrps` and `diego tasks` list the guids"
    return Fault(f"there is no process and no task {guid}", hint=hint, status=Status.REFUSED)
