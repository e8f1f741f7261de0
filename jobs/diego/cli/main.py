"""The entry of `diego`: common options, the list of commands, and how failures become a line and a status."""

import os
import sys
from collections.abc import Sequence

import click

from diego.cli.commands import GROUPS
from diego.cli.faults import Fault, Status, fault_of_bbs, fault_of_locket
from diego.cli.output import Output
from diego.cli.session import Session
from diego.locket.client import LocketError
from diego.models.errors import BbsError
from diego.runtime import logs


class Commands(click.Group):
    """Commands in the order of their nouns; the help shows them under headings."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's form)
        return [str(command.name) for _, commands in GROUPS for command in commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 (click's form)
        for _, commands in GROUPS:
            for command in commands:
                if command.name == cmd_name:
                    return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(len(name) for name in self.list_commands(ctx))
        for heading, commands in GROUPS:
            with formatter.section(heading):
                formatter.write_dl(
                    [(f"{command.name:<{width}}", command.get_short_help_str(90)) for command in commands]
                )


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--bbs-url", envvar="BBS_URL", default="", help="The BBS, https://HOST:PORT. [BBS_URL]")
@click.option(
    "--locket-api-location",
    envvar="LOCKET_API_LOCATION",
    default="",
    help="Locket, HOST:PORT. [LOCKET_API_LOCATION]",
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
    logs.configure(level="fatal", descriptor=2)
    try:
        diego.main(args=None if words is None else list(words), prog_name="diego", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
        sys.exit(0)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "diego"
        fail(Fault(error.format_message(), hint=f"`{path} --help`", status=Status.BAD_ARGUMENTS))
    except click.Abort:
        sys.exit(Status.INTERRUPTED)
    except Fault as error:
        fail(error)
    except BbsError as error:
        fail(fault_of_bbs(error))
    except LocketError as error:
        fail(fault_of_locket(error))
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # whoever read has gone, as `head` does
        sys.exit(0)


def fail(fault: Fault) -> None:
    """Say what is wrong on one line, and end."""
    Output().fault(str(fault))
    sys.exit(int(fault.status))


if __name__ == "__main__":
    main()
