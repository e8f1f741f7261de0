"""What one batch comes to, and what does not fit a column."""

from dataclasses import replace

import pytest

from diego.bbs.store import (
    DeleteActual,
    DeleteDesired,
    DeleteDomain,
    DeleteTask,
    PutActual,
    PutDesired,
    PutDomain,
    PutTask,
    Write,
    fits,
    latest,
)
from diego.models import Presence
from support.stored import a_desired_lrp, a_task, an_actual_lrp


def test_the_later_of_two_writes_of_a_record_counts() -> None:
    first, second = PutActual(an_actual_lrp(since=1)), PutActual(an_actual_lrp(since=2))

    assert latest([first, second]) == [second]
    assert latest([first, DeleteActual("app-1", 0, Presence.ORDINARY)]) == [
        DeleteActual("app-1", 0, Presence.ORDINARY)
    ]
    assert latest([DeleteTask("task-1"), PutTask(a_task())]) == [PutTask(a_task())]


def test_records_of_one_key_but_different_presence_are_different_records() -> None:
    writes: list[Write] = [
        DeleteActual("app-1", 0, Presence.ORDINARY),
        PutActual(an_actual_lrp(presence=Presence.SUSPECT)),
    ]

    assert latest(writes) == writes


def test_what_is_named_alike_in_different_tables_is_different() -> None:
    writes: list[Write] = [PutDomain("x", 1), DeleteDesired("x"), DeleteTask("x")]

    assert latest(writes) == writes


@pytest.mark.parametrize(
    "write",
    [
        PutDomain("d" * 255, 0),
        DeleteDomain("d" * 300),
        PutDesired(a_desired_lrp("g" * 255)),
        PutActual(an_actual_lrp(crash_reason="ä" * 1024)),
        PutTask(a_task(failure_reason="ä" * 1024)),
    ],
)
def test_what_fits_fits(write: Write) -> None:
    assert fits(write) is None


@pytest.mark.parametrize(
    ("write", "column"),
    [
        (PutDomain("d" * 256, 0), "domain"),
        (PutDesired(a_desired_lrp("g" * 256)), "process_guid"),
        (PutDesired(replace(a_desired_lrp(), domain="d" * 256)), "domain"),
        (PutDesired(a_desired_lrp(index=2**31)), "modification_tag_index"),
        (PutDesired(replace(a_desired_lrp(), served=b"\x12" + b"x" * (9 << 20), completed=0)), "run_info"),
        (PutActual(an_actual_lrp(cell_id="c" * 256)), "cell_id"),
        (PutActual(an_actual_lrp(crash_reason="x" * 1025)), "crash_reason"),
        (PutActual(an_actual_lrp(metric_tags={"a": "x" * (5 << 20)})), "metric_tags"),
        (PutTask(a_task("t" * 256)), "guid"),
        (PutTask(a_task(result="x" * (9 << 20))), "result"),
    ],
)
def test_a_column_that_is_too_small_is_named(write: Write, column: str) -> None:
    assert fits(write) == column


def test_long_texts_inside_the_message_are_found() -> None:
    message = a_desired_lrp().message()
    message.root_fs = "r" * 1025

    assert fits(PutDesired(type(a_desired_lrp()).of(message, 0))) == "rootfs"

    message.root_fs = "r"
    message.PlacementTags.extend("t" * 100 for _ in range(700))
    assert fits(PutDesired(type(a_desired_lrp()).of(message, 0))) == "placement_tags"
