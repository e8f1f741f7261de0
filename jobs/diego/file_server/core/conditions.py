"""What is sent of a file, by the request's conditions and ranges (RFC 9110, in the order of Go's ServeContent)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

_RANGE = re.compile(r"\s*(\d*)\s*-\s*(\d*)\s*")
_TAG = re.compile(r'\s*((?:W/)?"[^"]*"|\*)\s*(?:,|$)')


@dataclass(frozen=True, slots=True)
class Version:
    """One state of one file."""

    etag: str
    """Quoted."""
    modified: int
    """Whole seconds since the epoch: HTTP knows no parts."""
    size: int


@dataclass(frozen=True, slots=True)
class Part:
    """The bytes from `start`, `length` of them."""

    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer's status, and the part of the file that it carries."""

    status: int
    part: Part | None = None
    error: str = ""


def decide(headers: Mapping[str, str], version: Version) -> Decision:
    """What a GET with these headers gets of a file that exists."""
    if not _preconditions_hold(headers, version):
        return Decision(412)
    if _client_has_it(headers, version):
        return Decision(304)
    wanted = headers.get("range", "")
    if not wanted or not _range_still_applies(headers, version):
        return Decision(200, Part(0, version.size))
    return _ranged(wanted, version.size)


def _preconditions_hold(headers: Mapping[str, str], version: Version) -> bool:
    if "if-match" in headers:
        tags = _TAG.findall(headers["if-match"])
        return "*" in tags or version.etag in tags
    since = _seconds(headers.get("if-unmodified-since"))
    return since is None or version.modified <= since


def _client_has_it(headers: Mapping[str, str], version: Version) -> bool:
    if "if-none-match" in headers:
        tags = [tag.removeprefix("W/") for tag in _TAG.findall(headers["if-none-match"])]
        return "*" in tags or version.etag in tags
    since = _seconds(headers.get("if-modified-since"))
    return since is not None and version.modified <= since


def _range_still_applies(headers: Mapping[str, str], version: Version) -> bool:
    known = headers.get("if-range", "").strip()
    if not known:
        return True
    if known.startswith(('"', "W/")):
        return known == version.etag
    return _seconds(known) == version.modified


def _ranged(wanted: str, size: int) -> Decision:
    unit, _, rest = wanted.partition("=")
    asked = [piece for piece in rest.split(",") if piece.strip()]
    parts = [_part(piece, size) for piece in asked]
    if unit != "bytes" or None in parts:
        return Decision(416, error="invalid range")
    found = [part for part in parts if part is not None and part.length > 0]
    if asked and not found and size > 0:
        return Decision(416, error="invalid range: failed to overlap")
    if len(found) != 1:
        return Decision(200, Part(0, size))
    return Decision(206, found[0])


def _part(text: str, size: int) -> Part | None:
    """The part that one range names, of length 0 when the file does not reach so far; None when it is no range."""
    found = _RANGE.fullmatch(text)
    if not found or found[1] == found[2] == "":
        return None
    if found[1] == "":
        length = min(int(found[2]), size)
        return Part(size - length, length)
    start = int(found[1])
    end = int(found[2]) if found[2] else size - 1
    if end < start and found[2]:
        return None
    return Part(start, max(0, min(end, size - 1) - start + 1))


def _seconds(text: str | None) -> int | None:
    if not text:
        return None
    try:
        found = parsedate_to_datetime(text)
    except ValueError:
        return None
    return int(found.replace(tzinfo=found.tzinfo or UTC).timestamp())


def http_date(seconds: int) -> str:
    """The time as Last-Modified writes it."""
    return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)
