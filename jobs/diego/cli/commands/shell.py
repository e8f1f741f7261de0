"""The command line about itself."""

from importlib.metadata import version as installed_version

import click
from click.shell_completion import get_completion_class

from diego.cli.faults import Fault, Status


@click.command("version")
def version() -> None:
    """Print the version.

    Example: diego version
    """
    print(f"diego {installed_version('diego')}")


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what a shell needs to complete these commands.

    Example: diego completion bash > ~/.local/share/bash-completion/completions/diego
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise Fault(f"no completion for {shell}", status=Status.BAD_ARGUMENTS)
    print(kind(context.find_root().command, {}, "diego", "_DIEGO_COMPLETE").source())
