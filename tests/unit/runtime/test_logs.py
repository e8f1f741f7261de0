"""Log lines, as the original's readers expect them."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from diego.runtime import logs


@pytest.fixture(autouse=True)
def _defaults() -> Iterator[None]:
    logs.configure()
    yield
    logs.configure()


def lines(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capfd.readouterr().out.splitlines()]


def test_an_event_is_one_json_line_with_its_fields(capfd: pytest.CaptureFixture[str]) -> None:
    logs.get_logger("bbs").info("actual-lrp.crashed", lrp="guid/0", count=3)

    [line] = lines(capfd)
    assert re.fullmatch(r"\d{10}\.\d{9}", line.pop("timestamp"))
    assert line == {
        "level": "info",
        "source": "bbs",
        "message": "bbs.actual-lrp.crashed",
        "data": {"lrp": "guid/0", "count": 3},
    }


def test_times_may_be_rfc_3339(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure(time_format="rfc3339")

    logs.get_logger("bbs").info("event")

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", lines(capfd)[0]["timestamp"])


def test_less_important_events_are_not_written(capfd: pytest.CaptureFixture[str]) -> None:
    log = logs.get_logger("bbs")
    log.debug("hidden")
    logs.set_level("d")
    log.debug("seen")
    logs.set_level("2")
    log.info("hidden")
    log.error("seen")

    assert [line["message"] for line in lines(capfd)] == ["bbs.seen", "bbs.seen"]


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="not a log level"):
        logs.set_level("loud")


def test_an_exception_comes_with_its_trace(capfd: pytest.CaptureFixture[str]) -> None:
    try:
        int("a wanted failure")
    except ValueError:
        logs.get_logger("bbs").exception("failed", lrp="guid")

    data = lines(capfd)[0]["data"]
    assert data["lrp"] == "guid"
    assert "a wanted failure" in data["error"]
    assert "test_logs.py" in data["trace"]


def test_long_texts_are_cut(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure(longest_text=10)

    logs.get_logger("bbs").info("event", text="x" * 20, other=b"y" * 20)

    cut = "-(truncated)"
    assert lines(capfd)[0]["data"] == {"text": "x" * 10 + cut, "other": "y" * 10 + cut}


def test_any_value_can_be_logged(capfd: pytest.CaptureFixture[str]) -> None:
    logs.get_logger("bbs").info(
        "event", raw=b"\xff", lone="\ud800", path=re.compile("x"), error=OSError(2, "gone"), many=[1, {2: 3}]
    )

    data = lines(capfd)[0]["data"]
    assert (data["raw"], data["lone"], data["error"]) == ("\ufffd", "?", "[Errno 2] gone")
    assert data["many"] == [1, {"2": 3}]


def test_fields_can_be_given_once_for_many_events(capfd: pytest.CaptureFixture[str]) -> None:
    log = logs.get_logger("bbs").with_fields(trace="t-1")

    log.info("event", count=1)

    assert lines(capfd)[0]["data"] == {"trace": "t-1", "count": 1}
