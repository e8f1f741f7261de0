"""What may be asked of the history, and how a question that cannot be answered is refused."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

MOST = 1000
USUAL = 100
LARGEST = 2**63 - 2
LONGEST = 255
SECOND = 10**9

D = TypeVar("D")
T = TypeVar("T")

_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class BadQuestion(Exception):
    """A parameter that cannot be read; the text names it."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the history. `newest`: the last of what fits, instead of the first."""

    guid: str = ""
    since: int | None = None
    until: int | None = None
    after: int = 0
    limit: int = USUAL
    newest: bool = False
    events: bool = False


@dataclass(frozen=True, slots=True)
class Moment:
    """The actual LRPs of a moment, those that fit all filters."""

    time: int
    process_guid: str = ""
    index: int | None = None
    domain: str = ""
    cell_id: str = ""


def page(parameters: Mapping[str, str]) -> Page:
    """A page, as a query string asks for it. Raises BadQuestion."""
    read = _Reader(parameters, set(Page.__slots__))
    asked = Page(
        guid=read.text("guid"),
        since=read.one("since", time_of, None),
        until=read.one("until", time_of, None),
        after=read.one("after", whole, 0),
        limit=read.one("limit", whole, USUAL),
        newest=read.one("newest", yes_or_no, False),
        events=read.one("events", yes_or_no, False),
    )
    if not 1 <= asked.limit <= MOST:
        raise BadQuestion(f"limit: must be 1 to {MOST}")
    if asked.since is not None and asked.until is not None and asked.until < asked.since:
        raise BadQuestion("until: must not be before since")
    return asked


def moment(parameters: Mapping[str, str], now: int) -> Moment:
    """A moment, as a query string asks for it. Raises BadQuestion."""
    read = _Reader(parameters, set(Moment.__slots__))
    time = read.one("time", time_of, None)
    if time is None:
        raise BadQuestion("time: must be given")
    if time > now:
        raise BadQuestion("time: must not lie in the future")
    return Moment(
        time=time,
        process_guid=read.text("process_guid"),
        index=read.one("index", whole, None),
        domain=read.text("domain"),
        cell_id=read.text("cell_id"),
    )


def time_of(text: str) -> int:
    """RFC 3339 with its offset, or Unix nanoseconds. Raises ValueError."""
    if text.isascii() and text.isdecimal():
        return whole(text)
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise ValueError("must be RFC 3339 with an offset (2026-01-31T14:05:00Z) or Unix nanoseconds")
    day, clock, fraction, offset = found.groups()
    read = datetime.fromisoformat(f"{day}T{clock}{'+00:00' if offset in 'Zz' else offset}")
    seconds = (read - _EPOCH) // timedelta(seconds=1)
    return within(seconds * SECOND + int((fraction or "").ljust(9, "0")))


def whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError("must be a whole number, not negative")
    return within(int(text) if len(text) <= 20 else LARGEST + 1)


def within(number: int) -> int:
    if not 0 <= number <= LARGEST:
        raise ValueError(f"must be 0 to {LARGEST}")
    return number


def yes_or_no(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("must be true or false")
    return text == "true"


class _Reader:
    """Reads parameters by name; one that nobody knows is refused."""

    def __init__(self, parameters: Mapping[str, str], known: set[str]) -> None:
        for name in parameters:
            if name not in known:
                raise BadQuestion(f"{name[:80]}: is not known here, only {', '.join(sorted(known))}")
        self._parameters = parameters

    def one(self, name: str, read: Callable[[str], T], default: D) -> T | D:
        text = self._parameters.get(name, "")
        if not text:
            return default
        try:
            return read(text)
        except (ValueError, OverflowError) as error:
            raise BadQuestion(f"{name}: {error}") from error

    def text(self, name: str) -> str:
        text = self._parameters.get(name, "")
        if len(text) > LONGEST:
            raise BadQuestion(f"{name}: must not be longer than {LONGEST} characters")
        return text
