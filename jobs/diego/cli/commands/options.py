"""Options and arguments that several commands have."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from google.protobuf.message import Message

from diego.cli.commands.json_option import json_option
from diego.cli.faults import Fault, Status
from diego.wire.gojson import GoJsonError, from_go

__all__ = ["cell_option", "domain_option", "json_option", "spec"]

F = TypeVar("F", bound=Callable[..., Any])
M = TypeVar("M", bound=Message)


def domain_option(command: F) -> F:
    return click.option("-d", "--domain", default="", help="Only those of this domain.")(command)


def cell_option(command: F) -> F:
    return click.option("-c", "--cell-id", default="", help="Only those on this cell.")(command)


def spec(cls: type[M], text: str) -> M:
    """A record given as JSON, as @FILE, or as - for standard input.

    Raises:
        Fault: no JSON, or a key or value that the record does not have.
    """
    if text == "-":
        source, text = "standard input", sys.stdin.read()
    elif text.startswith("@"):
        source = text[1:]
        try:
            text = Path(source).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise Fault(f"{source} cannot be read: {error}", status=Status.BAD_ARGUMENTS) from error
    else:
        source = "SPEC"
    try:
        return from_go(cls, json.loads(text), unknown_keys=False)
    except GoJsonError as error:
        raise Fault(f"{source}: {error}", status=Status.BAD_ARGUMENTS) from error
    except ValueError as error:
        raise Fault(f"{source} is no JSON: {error}", status=Status.BAD_ARGUMENTS) from error
