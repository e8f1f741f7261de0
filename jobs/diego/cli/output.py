"""Printing: tables for people, one JSON value per line for programs, faults and progress on standard error."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf.message import Message
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from diego.wire.gojson import to_go

WIDE = 1000
"""Columns when the output is no terminal: nothing is wrapped or cut off that another program reads."""


class Output:
    """Where a command's results go. `json` is what `--json` asked for."""

    def __init__(self, *, json: bool = False) -> None:
        self.json = json
        self.console = Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)
        self.errors = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else WIDE)

    def line(self, value: Any) -> None:
        """One JSON value on a line of its own, at once."""
        shown = to_go(value) if isinstance(value, Message) else value
        print(json.dumps(shown, ensure_ascii=False, separators=(",", ":")), flush=True)

    def lines(self, values: Iterable[Any]) -> None:
        """A JSON value per line."""
        for value in values:
            self.line(value)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
        """A table; numbers stand to the right. `empty` is said when there is no row."""
        if not rows:
            self.console.print(f"[dim]{escape(empty)}[/dim]")
            return
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
        for number, column in enumerate(columns):
            numeric = all(
                row[number].replace("/", "").strip("-% ").isdigit() or not row[number] for row in rows
            )
            table.add_column(column, justify="right" if numeric else "left", overflow="fold")
        for row in rows:
            table.add_row(*(coloured(cell) for cell in row))
        self.console.print(table)

    def thing(self, value: Message) -> None:
        """One record in full."""
        if self.json:
            self.line(value)
        else:
            print(json.dumps(to_go(value), indent=2, ensure_ascii=False))

    def say(self, text: str) -> None:
        """A sentence about what was done. With `--json` it goes to standard error."""
        (self.errors if self.json else self.console).print(escape(text))

    def fault(self, text: str) -> None:
        """What went wrong, on one line of standard error."""
        self.errors.print(f"[bold red]diego:[/bold red] {escape(' '.join(text.split()))}", soft_wrap=True)


COLOURS = {
    "RUNNING": "green",
    "CLAIMED": "yellow",
    "UNCLAIMED": "yellow",
    "CRASHED": "red",
    "Completed": "green",
    "Running": "yellow",
    "Pending": "yellow",
    "failed": "red",
    "evacuating": "red",
}


def coloured(cell: str) -> str:
    """A table's cell with its colour, if its first word has one."""
    colour = COLOURS.get(cell.split(" ", 1)[0] if cell else "")
    return f"[{colour}]{escape(cell)}[/{colour}]" if colour else escape(cell)
