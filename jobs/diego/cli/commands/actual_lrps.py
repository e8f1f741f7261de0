"""ActualLRPs: what runs."""

import time

import click

from diego.cli.commands.json_option import json_option
from diego.cli.commands.moments import Moment, gap, question
from diego.cli.commands.options import cell_option, domain_option
from diego.cli.core import histories, tables
from diego.cli.core.times import clock
from diego.cli.faults import Fault, Status
from diego.cli.session import Session, pass_session
from diego.wire.actual_lrp_pb2 import ActualLRP


@click.command("actual-lrps")
@click.argument("process_guid", required=False)
@domain_option
@cell_option
@click.option("-p", "--process-guid", "process_guid_option", default="", help="Only those of this process.")
@click.option("-i", "--index", type=click.IntRange(min=0), default=None, help="Only this index.")
@click.option("--at", type=Moment(), default=None, help="As they were then: 14:05, 10m (ago), a date.")
@json_option
@pass_session
def actual_lrps(
    session: Session,
    process_guid: str | None,
    domain: str,
    cell_id: str,
    process_guid_option: str,
    index: int | None,
    at: int | None,
) -> None:
    """List the instances, of all or of PROCESS_GUID; with --at as they were earlier.

    Example: diego actual-lrps web

    Example: diego actual-lrps --cell-id diego-cell-0 --at 14:05
    """
    guid = process_guid or process_guid_option
    if at is not None:
        asked = {"time": at, "process_guid": guid, "index": index, "domain": domain, "cell_id": cell_id}
        _show_past(session, question("/v1/actual_lrps_at", asked), at)
        return
    found = session.bbs.actual_lrps(domain=domain, cell_id=cell_id, process_guid=guid, index=index)
    if session.output.json:
        session.output.lines(found)
    else:
        rows = tables.actual_rows(found, time.time_ns())
        session.output.table(tables.ACTUAL_COLUMNS, rows, empty="There is no instance.")


def _show_past(session: Session, path: str, at: int) -> None:
    """The instances of an earlier moment. What the history does not go back to is said, not guessed."""
    answer = session.ask_bbs(path)
    output, now = session.output, time.time_ns()
    found = answer["actual_lrps"]
    if output.json:
        output.lines(found)
    else:
        empty = f"There was no instance at {clock(at, now)}."
        output.table(histories.PAST_COLUMNS, histories.past_rows(found, at), empty=empty)
    if not answer["complete"]:
        missing = gap(answer["begins"], at, now)
        click.echo(f"incomplete: {missing}", err=True)


@click.command("retire-actual-lrp")
@click.argument("process_guid")
@click.argument("index", type=click.IntRange(min=0))
@pass_session
def retire(session: Session, process_guid: str, index: int) -> None:
    """Stop one instance; another takes its place while it is desired.

    Example: diego retire-actual-lrp web 0
    """
    found = session.bbs.actual_lrps(process_guid=process_guid, index=index)
    ordinary = [lrp for lrp in found if lrp.presence == ActualLRP.ORDINARY]
    if not ordinary:
        raise Fault(
            f"there is no instance {index} of {process_guid}",
            hint=f"`diego actual-lrps {process_guid}` lists them",
            status=Status.REFUSED,
        )
    session.bbs.retire_actual_lrp(ordinary[0].actual_lrp_key)
    session.output.say(f"instance {index} of {process_guid} is retired")
