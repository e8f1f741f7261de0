"""The option that most commands have; apart from the others, since the quickest commands need no more."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from diego.cli.session import Session

F = TypeVar("F", bound=Callable[..., Any])


def _ask_for_json(context: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001 (click's form)
    if value:
        context.ensure_object(Session).output.json = True


def json_option(command: F) -> F:
    """`--json` after a command does the same as before it."""
    return click.option(
        "--json",
        is_flag=True,
        expose_value=False,
        callback=_ask_for_json,
        help="One JSON value per line, in cfdot's keys.",
    )(command)
