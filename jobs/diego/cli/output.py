"""Printing: tables for people, one JSON value per line for programs, faults and progress on standard error.

Written by hand rather than with a library for terminals: loading one takes longer than `diego status` may take.
"""

import json
import os
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.message import Message

GAP = "   "
CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}
COLOURS = {
    "RUNNING": "green",
    "CLAIMED": "yellow",
    "UNCLAIMED": "yellow",
    "CRASHED": "red",
    "Completed": "green",
    "Running": "yellow",
    "Pending": "yellow",
    "failed": "red",
    "failed:": "red",
    "evacuating": "red",
    "silent": "red",
    "gone": "red",
    "unhealthy": "red",
}
"""What begins a cell of a table, and its colour."""


class Output:
    """Where a command's results go. `json` is what `--json` asked for, `program` whose faults are told."""

    def __init__(self, *, json: bool = False, program: str = "diego") -> None:
        self.json = json
        self.program = program
        self._told = False

    def line(self, value: Any) -> None:
        """One JSON value on a line of its own, at once."""
        if not isinstance(value, str | dict | list | int | float | None):
            value = _shown(value)
        print(json.dumps(value, ensure_ascii=False, separators=(",", ":")), flush=True)

    def lines(self, values: Iterable[Any]) -> None:
        """A JSON value per line."""
        for value in values:
            self.line(value)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
        """A table; numbers stand to the right. `empty` is said when there is no row."""
        if not rows:
            if empty:
                print(styled(empty, "dim"))
            return
        widths = [max(width(row[number]) for row in (columns, *rows)) for number in range(len(columns))]
        numeric = [all(_is_number(row[number]) for row in rows) for number in range(len(columns))]
        print(_row(columns, widths, numeric, bold=True))
        for row in rows:
            print(_row(row, widths, numeric))

    def thing(self, value: "Message") -> None:
        """One record in full."""
        if self.json:
            self.line(value)
        else:
            print(json.dumps(_shown(value), indent=2, ensure_ascii=False))

    def say(self, text: str) -> None:
        """A sentence about what was done. With `--json` it goes to standard error."""
        print(text, file=sys.stderr if self.json else sys.stdout, flush=True)

    def heading(self, text: str) -> None:
        """What begins a part of a screen."""
        print(styled(text, "bold"))

    def warn(self, text: str) -> None:
        """Something that ought not to be so, on standard output among what was asked for."""
        print(f"{styled('!', 'red')} {text}")

    def progress(self, text: str) -> None:
        """How far it is, on standard error. On a terminal each text takes the place of the one before."""
        if sys.stderr.isatty():
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
            self._told = True
        else:
            print(text, file=sys.stderr, flush=True)

    def progress_ended(self) -> None:
        """Take the last progress away from the terminal."""
        if self._told:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            self._told = False

    def fault(self, text: str) -> None:
        """What went wrong, on one line of standard error."""
        self.progress_ended()
        name = styled(f"{self.program}:", "red", sys.stderr)
        print(f"{name} {' '.join(text.split())}", file=sys.stderr, flush=True)


def styled(text: str, style: str, stream: IO[str] | None = None) -> str:
    """A text with its colour, where that is shown: on a terminal, unless NO_COLOR is set."""
    shown = (stream or sys.stdout).isatty() and not os.environ.get("NO_COLOR")
    return f"\033[{CODES[style]}m{text}\033[0m" if shown and text else text


def width(text: str) -> int:
    """Columns of a terminal that a text takes."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(each) else 2 if _wide(each) else 1 for each in text)


def _wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in {"W", "F"}


def _row(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool], *, bold: bool = False) -> str:
    shown = []
    for number, (cell, wanted, right) in enumerate(zip(cells, widths, numeric, strict=True)):
        cell = " ".join(cell.split("\n"))
        space = " " * (wanted - width(cell))
        last = number == len(cells) - 1
        text = styled(cell, "bold") if bold else coloured(cell)
        shown.append(f"{space}{text}" if right else text if last else f"{text}{space}")
    return GAP.join(shown).rstrip()


def _is_number(cell: str) -> bool:
    return not cell or cell.replace("/", "").strip("-% ").isdigit()


def coloured(cell: str) -> str:
    """A table's cell with its colour, if its first word has one."""
    colour = COLOURS.get(cell.split(" ", 1)[0] if cell else "")
    return styled(cell, colour) if colour else cell


def _shown(message: "Message") -> dict[str, Any]:
    from diego.wire.gojson import to_go

    return to_go(message)
