"""A worker ends when it has had no file handle for a while, and not for a moment without."""

import errno
import os
from collections.abc import Iterator

import pytest

from diego.runtime import handles
from support.worker import running, until


def looks(*answers: bool) -> Iterator[bool]:
    """These answers, and the last one for ever."""
    yield from answers
    while True:
        yield answers[-1]


@pytest.mark.parametrize(
    ("answers", "ends"),
    [((False,), True), ((False, False, True), False), ((True, False, True, False, False, False), True)],
)
def test_it_ends_after_three_looks_in_a_row_without_a_handle(answers: tuple[bool, ...], ends: bool) -> None:
    seen = looks(*answers)
    count = 0

    def look() -> bool:
        nonlocal count
        count += 1
        return next(seen)

    left: list[int] = []
    with running(leave=left.append) as runtime:
        handles.watch(runtime, look=look, every=0.01, looks=3)
        until(lambda: left or count > 20)

    assert bool(left) == ends


def test_a_handle_can_be_had_here() -> None:
    assert handles.can_open()


def test_an_error_of_the_limit_is_told_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_words: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "open", refuse)

    assert not handles.can_open()
