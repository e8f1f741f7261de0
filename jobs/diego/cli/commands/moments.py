"""Options that take a moment, and what the history's questions have in common."""

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import click

from diego.cli.core.times import clock, moment


class Moment(click.ParamType[int]):
    """A moment in the past; the value is Unix nanoseconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return moment(str(value), time.time_ns())
        except ValueError as error:
            self.fail(str(error), param, ctx)


def question(path: str, asked: Mapping[str, object]) -> str:
    """The path with the parameters that are set."""
    return f"{path}?{urlencode({name: value for name, value in asked.items() if value not in (None, '')})}"


def gap(begins: int | None, since: int | None, now: int) -> str:
    """A sentence on what the history does not go back to; empty when it goes back far enough."""
    if begins is None:
        return "the history is empty yet"
    if since is None or begins <= since:
        return ""
    return f"the history begins {clock(begins, now)}; what was before is not known"
