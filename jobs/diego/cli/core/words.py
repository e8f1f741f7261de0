"""How names, sizes and ages are told. Imports nothing, since the quickest commands need it."""

import re

Row = list[str]


def natural(name: str) -> list[tuple[int, str]]:
    """A key to sort names by, in which cell-2 comes before cell-10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def size(megabytes: int) -> str:
    """Megabytes in the unit that reads best."""
    if megabytes >= 10240 or (megabytes >= 1024 and megabytes % 1024 == 0):
        return f"{megabytes / 1024:g} GB" if megabytes % 1024 == 0 else f"{megabytes / 1024:.1f} GB"
    return f"{megabytes} MB"


def age(nanoseconds: int, now: int) -> str:
    """How long ago, in the largest unit that fits. Both are since the epoch."""
    return length(max(0, now - nanoseconds)) if nanoseconds else ""


def length(nanoseconds: int) -> str:
    """A length of time in the largest unit that fits."""
    seconds = nanoseconds // 1_000_000_000
    for unit, seconds_of_it in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= seconds_of_it:
            return f"{seconds // seconds_of_it}{unit}"
    return f"{seconds}s"


def counted(number: int, one: str, many: str = "") -> str:
    """A number with its noun: "1 cell", "2 cells"."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"
