"""Log lines as cells hand them out: "<time> [<source>/<index>] OUT|ERR <text>"."""

import heapq
from collections.abc import Iterable, Iterator, Sequence


def lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """Whole lines of a text that comes in pieces; one without an end at the end counts too."""
    kept = b""
    for piece in pieces:
        *whole, kept = (kept + piece).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")
    if kept:
        yield kept.decode(errors="replace")


def in_order(logs: Sequence[Iterable[str]]) -> Iterator[str]:
    """Several logs as one, by the time that begins each line; each log is in order by itself."""
    return iter(heapq.merge(*logs, key=lambda line: line.partition(" ")[0]))
