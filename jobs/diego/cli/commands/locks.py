"""Locks and presences, as Locket has them."""

import click

from diego.cli.commands.options import json_option
from diego.cli.core import tables
from diego.cli.session import Session, pass_session
from diego.locket.client import LOCK, PRESENCE

key_option = click.option("-k", "--key", required=True, help="Its name.")
owner_option = click.option("-o", "--owner", required=True, help="Who has it.")
value_option = click.option("-v", "--value", default="", help="What is kept with it.")
ttl_option = click.option(
    "-t", "--ttl", type=click.IntRange(min=1), default=15, show_default=True, help="Seconds it lives."
)


@click.command("locks")
@json_option
@pass_session
def locks(session: Session) -> None:
    """List the locks, and who has them.

    Example: diego locks --json | jq -r '.key + " " + .owner'
    """
    found = session.locket.fetch_all(LOCK)
    if session.output.json:
        session.output.lines(found)
    else:
        session.output.table(tables.RESOURCE_COLUMNS, tables.resource_rows(found), empty="There is no lock.")


@click.command("presences")
@json_option
@pass_session
def presences(session: Session) -> None:
    """List the presences, and what each says of itself.

    Example: diego presences --json | jq -r .key
    """
    found = session.locket.fetch_all(PRESENCE)
    if session.output.json:
        session.output.lines(found)
    else:
        rows = tables.resource_rows(found)
        session.output.table(tables.RESOURCE_COLUMNS, rows, empty="Nobody is present.")


@click.command("claim-lock")
@key_option
@owner_option
@value_option
@ttl_option
@pass_session
def claim_lock(session: Session, key: str, owner: str, value: str, ttl: int) -> None:
    """Take a lock once, for its seconds; nobody renews it.

    Example: diego claim-lock --key maintenance --owner me --ttl 60
    """
    session.locket.lock(key, owner, value=value, kind=LOCK, ttl=ttl)
    session.output.say(f"{owner} has the lock {key} for {ttl} s")


@click.command("claim-presence")
@key_option
@owner_option
@value_option
@ttl_option
@pass_session
def claim_presence(session: Session, key: str, owner: str, value: str, ttl: int) -> None:
    """Be present once, for its seconds; nobody renews it.

    Example: diego claim-presence --key cell-x --owner me --ttl 60
    """
    session.locket.lock(key, owner, value=value, kind=PRESENCE, ttl=ttl)
    session.output.say(f"{key} is present as {owner} for {ttl} s")


@click.command("release-lock")
@key_option
@owner_option
@pass_session
def release_lock(session: Session, key: str, owner: str) -> None:
    """Give a lock up.

    Example: diego release-lock --key maintenance --owner me
    """
    session.locket.release(key, owner)
    session.output.say(f"{owner} no longer has {key}")


@click.command("release-presence")
@key_option
@owner_option
@pass_session
def release_presence(session: Session, key: str, owner: str) -> None:
    """End a presence before its time.

    Example: diego release-presence --key cell-x --owner me
    """
    session.locket.release(key, owner)
    session.output.say(f"{key} is no longer present as {owner}")
