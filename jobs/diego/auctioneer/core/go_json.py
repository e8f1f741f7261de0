"""Why a text is no JSON, in the words of the original's decoder, which callers see in a 400 answer.

Only called for texts that could not be decoded, so it is written for clarity. The words are those of the
recordings (golden/auctioneer-rep.json) and of Go's standard decoder.
"""

import re

DEPTH_LIMIT = 10_000
_SPACE = " \t\r\n"
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_END = "unexpected end of JSON input"


class _Fault(Exception):
    """The text stops to be JSON here."""


def fault(text: str) -> str | None:
    """What is wrong with `text`, or None when it is JSON."""
    scanner = _Scanner(text)
    try:
        scanner.whole()
    except _Fault as found:
        return str(found)
    return None


class _Scanner:
    """Reads one value; keeps its own stack, since a caller chooses how deep a text goes."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.open: list[str] = []

    def whole(self) -> None:
        """Read exactly one value."""
        self.value()
        while self.open:
            self.after_value()
        self.skip_space()
        if self.at < len(self.text):
            raise self.unexpected("after top-level value")

    def value(self) -> None:
        """Read a scalar, or open an object or array up to its first value."""
        while True:
            self.skip_space()
            first = self.peek()
            if first not in "{[":
                self.scalar(first)
                return
            self.at += 1
            self.open.append(first)
            if len(self.open) > DEPTH_LIMIT:
                raise _Fault("exceeded max depth")
            self.skip_space()
            if self.peek() == {"{": "}", "[": "]"}[first]:
                self.at += 1
                self.open.pop()
                return
            if first == "{":
                self.key()

    def after_value(self) -> None:
        """Inside an object or array, behind a value: its end, or the next value."""
        kind = self.open[-1]
        self.skip_space()
        found = self.peek()
        if found == {"{": "}", "[": "]"}[kind]:
            self.at += 1
            self.open.pop()
            return
        if found != ",":
            raise self.unexpected("after object key:value pair" if kind == "{" else "after array element")
        self.at += 1
        if kind == "{":
            self.key()
        self.value()

    def key(self) -> None:
        self.skip_space()
        if self.peek() != '"':
            raise self.unexpected("looking for beginning of object key string")
        self.string()
        self.skip_space()
        if self.peek() != ":":
            raise self.unexpected("after object key")
        self.at += 1

    def scalar(self, first: str) -> None:
        if first == '"':
            self.string()
        elif first in "tfn":
            self.literal({"t": "true", "f": "false", "n": "null"}[first])
        elif first == "-" or first.isdigit():
            self.number()
        else:
            raise self.unexpected("looking for beginning of value")

    def literal(self, word: str) -> None:
        for wanted in word:
            if self.peek() != wanted:
                raise self.unexpected(f"in literal {word} (expecting {_quoted(wanted)})")
            self.at += 1

    def number(self) -> None:
        found = _NUMBER.match(self.text, self.at)
        if found:
            self.at = found.end()
            rest = self.text[self.at : self.at + 1]
            if rest == ".":
                self.at += 1
                self.digit("after decimal point in numeric literal")
            if rest and rest in "eE":
                self.at += 1
                if self.peek() in "+-":
                    self.at += 1
                self.digit("in exponent of numeric literal")
            return
        self.at += 1
        self.digit("in numeric literal")

    def digit(self, where: str) -> None:
        if not self.peek().isdigit():
            raise self.unexpected(where)

    def string(self) -> None:
        self.at += 1
        while (found := self.peek()) != '"':
            if found < " ":
                raise self.unexpected("in string literal")
            self.at += 1
            if found == "\\":
                self.escape()
        self.at += 1

    def escape(self) -> None:
        found = self.peek()
        if found == "u":
            for _ in range(4):
                self.at += 1
                if self.peek() not in "0123456789abcdefABCDEF":
                    raise self.unexpected("in \\u hexadecimal character escape")
        elif found not in '"\\/bfnrt':
            raise self.unexpected("in string escape code")
        self.at += 1

    def skip_space(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in _SPACE:
            self.at += 1

    def peek(self) -> str:
        if self.at >= len(self.text):
            raise _Fault(_END)
        return self.text[self.at]

    def unexpected(self, where: str) -> _Fault:
        return _Fault(f"invalid character {_quoted(self.text[self.at])} {where}")


def _quoted(character: str) -> str:
    """A character as the original prints it; of one beyond ASCII its first byte."""
    if character == "'":
        return r"'\''"
    if character == '"':
        return "'\"'"
    if character == "\\":
        return r"'\\'"
    plain = {"\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v"}
    if character in plain:
        return f"'{plain[character]}'"
    byte = character.encode("utf-8", "surrogatepass")[0]
    if 0x20 <= byte < 0x7F:
        return f"'{character}'"
    if byte < 0x20 or byte == 0x7F or 0x80 <= byte < 0xA1 or byte == 0xAD:
        return f"'\\x{byte:02x}'" if byte < 0x80 else f"'\\u{byte:04x}'"
    return f"'{chr(byte)}'"
