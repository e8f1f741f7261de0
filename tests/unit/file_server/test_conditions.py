"""Which part of a file is sent."""

import pytest

from diego.file_server.core.conditions import Decision, Part, Version, decide, http_date
from diego.file_server.core.kinds import content_type
from diego.file_server.core.paths import RefusedPath, base_name, relative_path

VERSION = Version('"abc"', 1_700_000_000, 100)
WHOLE = Decision(200, Part(0, 100))
THEN = http_date(1_700_000_000)
BEFORE = http_date(1_699_999_999)
NO_OVERLAP = Decision(416, error="invalid range: failed to overlap")
NO_RANGE = Decision(416, error="invalid range")


@pytest.mark.parametrize(
    ("headers", "decision"),
    [
        ({}, WHOLE),
        ({"if-none-match": '"abc"'}, Decision(304)),
        ({"if-none-match": 'W/"abc"'}, Decision(304)),
        ({"if-none-match": '"x", "abc"'}, Decision(304)),
        ({"if-none-match": "*"}, Decision(304)),
        ({"if-none-match": '"x"'}, WHOLE),
        ({"if-none-match": '"x"', "if-modified-since": THEN}, WHOLE),
        ({"if-modified-since": THEN}, Decision(304)),
        ({"if-modified-since": BEFORE}, WHOLE),
        ({"if-modified-since": "yesterday"}, WHOLE),
        ({"if-match": '"abc"'}, WHOLE),
        ({"if-match": '"x"'}, Decision(412)),
        ({"if-unmodified-since": BEFORE}, Decision(412)),
        ({"if-unmodified-since": THEN}, WHOLE),
        ({"range": "bytes=0-9"}, Decision(206, Part(0, 10))),
        ({"range": "bytes=90-"}, Decision(206, Part(90, 10))),
        ({"range": "bytes=90-1000"}, Decision(206, Part(90, 10))),
        ({"range": "bytes=-10"}, Decision(206, Part(90, 10))),
        ({"range": "bytes=-1000"}, Decision(206, Part(0, 100))),
        ({"range": "bytes=0-0,-1"}, WHOLE),
        ({"range": "bytes=100-"}, NO_OVERLAP),
        ({"range": "bytes=9-5"}, NO_RANGE),
        ({"range": "bytes=x-y"}, NO_RANGE),
        ({"range": "bytes=-"}, NO_RANGE),
        ({"range": "lines=1-2"}, NO_RANGE),
        ({"range": "bytes=0-9", "if-range": '"abc"'}, Decision(206, Part(0, 10))),
        ({"range": "bytes=0-9", "if-range": '"x"'}, WHOLE),
        ({"range": "bytes=0-9", "if-range": THEN}, Decision(206, Part(0, 10))),
        ({"range": "bytes=0-9", "if-range": BEFORE}, WHOLE),
    ],
)
def test_what_is_sent_follows_from_conditions_and_range(headers: dict[str, str], decision: Decision) -> None:
    assert decide(headers, VERSION) == decision


def test_an_empty_file_is_sent_whatever_range_is_asked() -> None:
    empty = Version('"e"', 0, 0)

    assert decide({"range": "bytes=0-9"}, empty) == Decision(200, Part(0, 0))


@pytest.mark.parametrize("path", ["../x", "a/../b", "..", "a\\..\\b", "a/b\0"])
def test_a_path_that_leads_upwards_is_refused(path: str) -> None:
    with pytest.raises(RefusedPath):
        relative_path(path)


@pytest.mark.parametrize(
    ("path", "relative"), [("a/b", "a/b"), ("/etc/passwd", "etc/passwd"), ("a//./b/", "a/b"), ("..a", "..a")]
)
def test_a_path_is_always_below_the_directory(path: str, relative: str) -> None:
    assert relative_path(path) == relative


def test_errors_name_the_last_part_of_the_path() -> None:
    assert [base_name(path) for path in ("a/b.tgz", "b", "a/", "")] == ["b.tgz", "b", "a", "/"]


@pytest.mark.parametrize(
    ("name", "beginning", "kind"),
    [
        ("a.html", b"", "text/html; charset=utf-8"),
        ("a.tgz", b"\x1f\x8b\x08\x00", "application/x-gzip"),
        ("a", b"hello\n", "text/plain; charset=utf-8"),
        ("a", b"\x00\x01", "application/octet-stream"),
    ],
)
def test_the_kind_of_a_file_is_told_by_name_or_beginning(name: str, beginning: bytes, kind: str) -> None:
    assert content_type(name, beginning) == kind
