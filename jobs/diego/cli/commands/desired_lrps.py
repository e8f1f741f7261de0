"""DesiredLRPs: what is wanted."""

import click

from diego.cli.commands.options import domain_option, json_option, spec
from diego.cli.core import tables
from diego.cli.session import Session, pass_session
from diego.wire.desired_lrp_pb2 import DesiredLRP, DesiredLRPUpdate

NONE = "No LRP is desired."


@click.command("desired-lrps")
@domain_option
@json_option
@pass_session
def desired_lrps(session: Session, domain: str) -> None:
    """List what is desired.

    Example: diego desired-lrps --domain cf-apps
    """
    found = session.bbs.desired_lrps(domain=domain)
    if session.output.json:
        session.output.lines(found)
    else:
        session.output.table(tables.DESIRED_COLUMNS, tables.desired_rows(found), empty=NONE)


@click.command("desired-lrp")
@click.argument("process_guid")
@json_option
@pass_session
def desired_lrp(session: Session, process_guid: str) -> None:
    """Show one DesiredLRP in full.

    Example: diego desired-lrp web
    """
    session.output.thing(session.bbs.desired_lrp(process_guid))


@click.command("desired-lrp-scheduling-infos")
@domain_option
@json_option
@pass_session
def scheduling_infos(session: Session, domain: str) -> None:
    """List what placing needs to know of them.

    Example: diego desired-lrp-scheduling-infos --json | jq .instances
    """
    found = session.bbs.desired_lrp_scheduling_infos(domain=domain)
    if session.output.json:
        session.output.lines(found)
    else:
        session.output.table(tables.DESIRED_COLUMNS, tables.scheduling_rows(found), empty=NONE)


@click.command("create-desired-lrp")
@click.argument("spec_text", metavar="SPEC")
@pass_session
def create(session: Session, spec_text: str) -> None:
    """Desire an LRP. SPEC is JSON, @FILE, or - for standard input.

    Example: diego create-desired-lrp @web.json
    """
    wanted = spec(DesiredLRP, spec_text)
    session.bbs.desire_lrp(wanted)
    session.output.say(f"{wanted.process_guid} is desired")


@click.command("update-desired-lrp")
@click.argument("process_guid")
@click.argument("spec_text", metavar="SPEC")
@pass_session
def update(session: Session, process_guid: str, spec_text: str) -> None:
    """Change the instances, routes, annotation or tags. SPEC is JSON, @FILE, or -.

    Example: diego update-desired-lrp web '{"instances": 3}'
    """
    session.bbs.update_desired_lrp(process_guid, spec(DesiredLRPUpdate, spec_text))
    session.output.say(f"{process_guid} is updated")


@click.command("delete-desired-lrp")
@click.argument("process_guid")
@pass_session
def delete(session: Session, process_guid: str) -> None:
    """Desire it no longer; its instances are stopped.

    Example: diego delete-desired-lrp web
    """
    session.bbs.remove_desired_lrp(process_guid)
    session.output.say(f"{process_guid} is no longer desired")
