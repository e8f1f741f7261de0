"""Texts as Go and the original print them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diego.executor.core.texts import (
    LONGEST_REASON,
    LONGEST_UNPACK_ERROR,
    byte_size,
    exit_error,
    exit_line,
    go_duration,
    joined,
    rounded_duration,
    shortened_reason,
    shortened_unpack_error,
)
from diego.runtime.config import parse_duration


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1_500, "1.5µs"),
        (50_000_000, "50ms"),
        (1_000_000_000, "1s"),
        (1_500_000_000, "1.5s"),
        (60_012_000_000, "1m0.012s"),
        (3_600_000_000_000, "1h0m0s"),
        (90_061_000_000_000, "25h1m1s"),
        (-2_000_000_000, "-2s"),
    ],
)
def test_durations_are_printed_as_go_does(nanoseconds: int, text: str) -> None:
    assert go_duration(nanoseconds) == text


@given(st.integers(0, 10**16))
def test_a_printed_duration_reads_back(nanoseconds: int) -> None:
    assert parse_duration(go_duration(nanoseconds)) == pytest.approx(nanoseconds / 1e9)


def test_durations_of_checks_are_rounded_to_milliseconds() -> None:
    assert rounded_duration(60.0124) == "1m0.012s"
    assert rounded_duration(10.0) == "10s"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0B"), (512, "512B"), (10 << 10, "10K"), (3 << 19, "1.5M"), (1 << 30, "1G"), (1023, "1023B")],
)
def test_sizes_use_units_of_1024_and_one_decimal_at_most(count: int, text: str) -> None:
    assert byte_size(count) == text


def test_exit_lines_and_errors() -> None:
    assert exit_line(0) == "Exit status 0"
    assert exit_line(137, out_of_memory=True) == "Exit status 137 (out of memory)"
    assert (
        exit_line(137, grace="10s", out_of_memory=True)
        == "Exit status 137 (exceeded 10s graceful shutdown interval) (out of memory)"
    )
    assert exit_error("APP/PROC/WEB", 1) == "APP/PROC/WEB: Exited with status 1"


def test_errors_are_joined_without_the_empty_ones() -> None:
    assert joined(["a", "", "b"]) == "a; b"


@given(st.text(max_size=30_000))
def test_a_long_reason_is_cut_in_its_middle(reason: str) -> None:
    short = shortened_reason(reason)

    assert len(short) <= LONGEST_REASON
    if len(reason) > LONGEST_REASON:
        assert "\n... (truncated)\n" in short
        assert reason.startswith(short[:4000])
        assert reason.endswith(short[-4000:])
    else:
        assert short == reason


@given(st.text(max_size=3000))
def test_an_unpack_error_fits_in_its_limit(text: str) -> None:
    short = shortened_unpack_error(text)

    assert len(short.encode()) <= LONGEST_UNPACK_ERROR
    assert short == text or short.endswith(" (error truncated)")
