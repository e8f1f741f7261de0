"""Domains: whose wishes are known to be complete."""

import click

from diego.cli.commands.options import json_option
from diego.cli.session import Session, pass_session


@click.command("domains")
@json_option
@pass_session
def domains(session: Session) -> None:
    """List the domains that are fresh.

    Example: diego domains
    """
    found = sorted(session.bbs.domains())
    if session.output.json:
        session.output.lines(found)
    else:
        session.output.table(["DOMAIN"], [[name] for name in found], empty="No domain is fresh.")


@click.command("set-domain")
@click.argument("domain")
@click.option("-t", "--ttl", type=click.IntRange(min=0), default=0, help="Seconds; 0 means for ever.")
@pass_session
def set_domain(session: Session, domain: str, ttl: int) -> None:
    """Make DOMAIN fresh: what is not wanted in it may be stopped.

    Example: diego set-domain cf-apps --ttl 120
    """
    session.bbs.upsert_domain(domain, ttl)
    session.output.say(f"domain {domain} is fresh {f'for {ttl} s' if ttl else 'for ever'}")
