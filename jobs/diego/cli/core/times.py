"""How people name a moment, and how moments and lengths of time are told. Imports little: quick commands need it."""

import re
from datetime import datetime, timedelta

SECOND = 10**9
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
FORMS = "10m (ago), 14:05, 14:05:30, 2026-01-31T14:05:00Z"

_AGO = re.compile(r"(?:\d+[smhd])+")
_CLOCK = re.compile(r"\d{1,2}:\d\d(?::\d\d)?")


def moment(text: str, now: int) -> int:
    """The moment that `text` names, in Unix nanoseconds: a length of time ago, a time of day, or a full date.

    A time of day is the last one that was, in the time zone of the machine; so is a date without an offset.

    Raises:
        ValueError: it names none, or one in the future.
    """
    if _AGO.fullmatch(text):
        seconds = sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)([smhd])", text))
        return max(0, now - seconds * SECOND)
    here = datetime.fromtimestamp(now // SECOND).astimezone()
    try:
        if _CLOCK.fullmatch(text):
            hour, minute, *second = map(int, text.split(":"))
            found = here.replace(hour=hour, minute=minute, second=second[0] if second else 0, microsecond=0)
            if found > here:
                found = (found.replace(tzinfo=None) - timedelta(days=1)).astimezone()
        else:
            found = datetime.fromisoformat(text)
            found = found.astimezone() if found.tzinfo is None else found
    except ValueError as error:
        raise ValueError(f"{text!r} is no time; say it as one of {FORMS}") from error
    nanoseconds = int(found.timestamp()) * SECOND + found.microsecond * 1000
    if nanoseconds > now:
        raise ValueError(f"{text} lies in the future")
    if nanoseconds < 0:
        raise ValueError(f"{text} lies before 1970")
    return nanoseconds


def clock(nanoseconds: int, now: int) -> str:
    """A moment on the clock of this machine, with its day where that is not today's."""
    when = datetime.fromtimestamp(nanoseconds / SECOND).astimezone()
    today = datetime.fromtimestamp(now / SECOND).astimezone()
    return f"{when:%H:%M:%S}" if when.date() == today.date() else f"{when:%Y-%m-%d %H:%M:%S}"


def lasted(nanoseconds: int) -> str:
    """A length of time in the two largest units that tell something."""
    milliseconds = nanoseconds // 10**6
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    seconds = milliseconds // 1000
    if seconds < 10:
        return f"{milliseconds / 1000:.1f}s"
    for (unit, length), (smaller, part) in (
        (("d", 86400), ("h", 3600)), (("h", 3600), ("m", 60)), (("m", 60), ("s", 1)),
    ):  # fmt: skip
        if seconds >= length:
            rest = seconds % length // part
            return f"{seconds // length}{unit}" + (f"{rest}{smaller}" if rest else "")
    return f"{seconds}s"
