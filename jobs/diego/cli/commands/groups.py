"""Groups of ActualLRPs, the original's older form: up to two records of one index together."""

import time

import click

from diego.cli.commands.options import cell_option, domain_option, json_option
from diego.cli.core import tables
from diego.cli.session import Session, pass_session
from diego.wire.actual_lrp_pb2 import ActualLRPGroup


@click.command("actual-lrp-groups")
@domain_option
@cell_option
@json_option
@pass_session
def groups(session: Session, domain: str, cell_id: str) -> None:
    """List the instances in cfdot's older form, the two records of an evacuation together.

    Example: diego actual-lrp-groups --json --cell-id diego-cell-0
    """
    _show(session, session.bbs.actual_lrp_groups(domain=domain, cell_id=cell_id))


@click.command("actual-lrp-groups-for-guid")
@click.argument("process_guid")
@click.option("-i", "--index", type=click.IntRange(min=0), default=None, help="Only this index.")
@json_option
@pass_session
def groups_for_guid(session: Session, process_guid: str, index: int | None) -> None:
    """List the instances of PROCESS_GUID in cfdot's older form.

    Example: diego actual-lrp-groups-for-guid web --index 0 --json
    """
    if index is None:
        _show(session, session.bbs.actual_lrp_groups_by_process_guid(process_guid))
    else:
        _show(session, [session.bbs.actual_lrp_group(process_guid, index)])


def _show(session: Session, found: list[ActualLRPGroup]) -> None:
    if session.output.json:
        session.output.lines(found)
        return
    lrps = [
        getattr(group, name) for group in found for name in ("instance", "evacuating") if group.HasField(name)
    ]
    rows = tables.actual_rows(lrps, time.time_ns())
    session.output.table(tables.ACTUAL_COLUMNS, rows, empty="There is no instance.")
