"""How a byte stream of a process becomes log messages (contract/executor.md section 10)."""

import re

LONGEST_MESSAGE = 61_440
"""Bytes of one log message; a longer line is cut at a UTF-8 boundary."""

_ENDS = re.compile(rb"[\r\n]")


class LineSplitter:
    """Cuts one stream into messages: at newline or carriage return, and at the longest message.

    Empty lines are dropped. An incomplete line is kept until its end, a flush,
    or the limit, so at most `LONGEST_MESSAGE` bytes are remembered.
    """

    def __init__(self, longest: int = LONGEST_MESSAGE) -> None:
        self._longest = longest
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are complete now."""
        *lines, rest = _ENDS.split(self._rest + data)
        messages = [piece for line in lines if line for piece in self._pieces(line)]
        while len(rest) >= self._longest:
            cut = _boundary(rest, self._longest)
            messages.append(rest[:cut])
            rest = rest[cut:]
        self._rest = rest
        return messages

    def flush(self) -> list[bytes]:
        """What is left of an incomplete line."""
        rest, self._rest = self._rest, b""
        return list(self._pieces(rest)) if rest else []

    def _pieces(self, line: bytes) -> list[bytes]:
        if len(line) <= self._longest:
            return [line]
        pieces = []
        while line:
            cut = _boundary(line, self._longest)
            pieces.append(line[:cut])
            line = line[cut:]
        return pieces


def _boundary(data: bytes, limit: int) -> int:
    """The largest cut at or below `limit` that splits no UTF-8 character, or `limit` where the bytes are none."""
    if len(data) <= limit:
        return len(data)
    for cut in range(limit, max(limit - 4, 0), -1):
        if data[cut] & 0xC0 != 0x80:
            return cut
    return limit
