"""The entry of `diego`: common options, the list of commands, and how failures become a line and a status."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from diego.cli.commands import ENTRIES, GROUPS
from diego.cli.faults import Fault, Status
from diego.cli.output import Output
from diego.cli.session import AUCTIONEER_URL, Session


class Commands(click.Group):
    """Commands in the order of their nouns; the help shows them under headings."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's form)
        return list(ENTRIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 (click's form)
        entry = ENTRIES.get(cmd_name)
        return None if entry is None else entry.load()

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in ENTRIES and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], ENTRIES, 1)
            ctx.fail(f"there is no command {args[0]}{f'; is it {near[0]}?' if near else ''}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 (click's form)
        width = max(map(len, ENTRIES))
        for heading, entries in GROUPS:
            with formatter.section(heading):
                formatter.write_dl(
                    [(f"{entry.name:<{width}}", entry.load().get_short_help_str(90)) for entry in entries]
                )


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--bbs-url", envvar="BBS_URL", default="", help="The BBS, https://HOST:PORT. [BBS_URL]")
@click.option(
    "--locket-api-location",
    envvar="LOCKET_API_LOCATION",
    default="",
    help="Locket, HOST:PORT. [LOCKET_API_LOCATION]",
)
@click.option(
    "--auctioneer-url",
    envvar="AUCTIONEER_URL",
    default=AUCTIONEER_URL,
    show_default=True,
    help="The auctioneer, for `explain`. [AUCTIONEER_URL]",
)
@click.option("--ca-cert-file", envvar="CA_CERT_FILE", default="", help="Whom to trust. [CA_CERT_FILE]")
@click.option(
    "--client-cert-file", envvar="CLIENT_CERT_FILE", default="", help="Who calls. [CLIENT_CERT_FILE]"
)
@click.option("--client-key-file", envvar="CLIENT_KEY_FILE", default="", help="Its key. [CLIENT_KEY_FILE]")
@click.option(
    "--timeout",
    envvar="CFDOT_TIMEOUT",
    type=click.FloatRange(min=0.1),
    default=10.0,
    show_default=True,
    help="Seconds for one call. [CFDOT_TIMEOUT]",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON value per line, in cfdot's keys.")
@click.pass_context
def diego(
    context: click.Context,
    bbs_url: str,
    locket_api_location: str,
    auctioneer_url: str,
    ca_cert_file: str,
    client_cert_file: str,
    client_key_file: str,
    timeout: float,
    as_json: bool,  # noqa: FBT001 (click's form)
) -> None:
    """Look at a Diego deployment, run workloads on it, and read what they say.

    Where it is and who calls comes from the environment: `. .lab/env` sets it for a lab. The exit status is 3 for
    bad arguments, 4 when the BBS or another component refused, 5 for any other failure.
    """
    context.obj = Session(
        bbs_url=bbs_url,
        locket_address=locket_api_location,
        auctioneer_url=auctioneer_url,
        ca_file=ca_cert_file,
        cert_file=client_cert_file,
        key_file=client_key_file,
        timeout=timeout,
        environment=dict(os.environ),
        output=Output(json=as_json),
    )
    context.call_on_close(context.obj.close)


def main(words: Sequence[str] | None = None) -> None:
    """Run a command and end the process with its status."""
    ended(lambda: diego.main(None if words is None else list(words), "diego", standalone_mode=False))


def ended(command: Callable[[], Any]) -> None:
    """Run a command; whatever it fails with is told on one line, and ends the process with its status."""
    try:
        command()
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
        sys.exit(0)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "diego"
        fail(Fault(error.format_message(), hint=f"`{path} --help`", status=Status.BAD_ARGUMENTS))
    except (click.Abort, KeyboardInterrupt):
        sys.exit(Status.INTERRUPTED)
    except Fault as error:
        fail(error)
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # whoever read has gone, as `head` does
        sys.exit(0)
    except Exception as error:
        from diego.cli.refusals import fault_of

        fault = fault_of(error)
        if fault is None:
            raise
        fail(fault)


def fail(fault: Fault) -> None:
    """Say what is wrong on one line, and end."""
    Output().fault(str(fault))
    sys.exit(int(fault.status))


if __name__ == "__main__":
    main()
