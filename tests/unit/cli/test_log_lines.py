"""Logs of several instances as one."""

from hypothesis import given
from hypothesis import strategies as st

from diego.cli.core.log_lines import in_order, lines


def test_lines_are_put_together_from_pieces() -> None:
    assert list(lines([b"one\ntw", b"o\n", b"", b"three"])) == ["one", "two", "three"]


def test_bytes_that_are_no_text_do_not_stop_the_reading() -> None:
    assert list(lines([b"\xff\n"])) == ["\ufffd"]


def test_logs_are_merged_by_the_time_that_begins_a_line() -> None:
    first = ["2026-01-01T00:00:01Z [A/0] OUT b", "2026-01-01T00:00:03Z [A/0] OUT a"]
    second = ["2026-01-01T00:00:02Z [A/1] OUT x"]

    assert [line[19] for line in in_order([first, second])] == ["Z"] * 3
    assert [line[-1] for line in in_order([first, second])] == ["b", "x", "a"]


@given(st.binary(max_size=60), st.lists(st.integers(1, 9)))
def test_where_the_pieces_are_cut_does_not_matter(raw: bytes, cuts: list[int]) -> None:
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(raw[at : at + cut])
        at += cut
    pieces.append(raw[at:])

    assert list(lines(pieces)) == list(lines([raw]))
