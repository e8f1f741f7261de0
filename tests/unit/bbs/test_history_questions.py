"""What may be asked of the history."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diego.bbs.core.history_questions import LARGEST, BadQuestion, Moment, Page, moment, page, time_of
from support.records import NOW, SECOND

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@given(st.integers(0, LARGEST // SECOND), st.integers(0, SECOND - 1), st.integers(-14 * 60, 14 * 60))
def test_a_time_is_read_to_the_nanosecond_whatever_its_offset(
    seconds: int, nanoseconds: int, minutes: int
) -> None:
    at = min(seconds * SECOND + nanoseconds, LARGEST)
    told = EPOCH + timedelta(seconds=at // SECOND, minutes=minutes)
    sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    text = f"{told:%Y-%m-%dT%H:%M:%S}.{at % SECOND:09d}{sign}{hours:02d}:{rest:02d}".rjust(35, "0")

    assert time_of(text) == at
    assert time_of(str(at)) == at


def test_what_is_not_asked_has_its_usual_value() -> None:
    assert page({}) == Page(limit=100)
    assert moment({"time": "1"}, NOW) == Moment(time=1)


def test_a_page_is_read_from_its_parameters() -> None:
    asked = {
        "guid": "web", "since": "1970-01-01T00:00:01Z", "until": "2000000000", "after": "7", "limit": "1000",
        "newest": "true", "events": "false",
    }  # fmt: skip

    assert page(asked) == Page("web", SECOND, 2 * SECOND, 7, 1000, newest=True, events=False)


def refusal(asked: dict[str, str]) -> str | None:
    try:
        page(asked)
    except BadQuestion as error:
        return str(error)
    return None


@given(st.dictionaries(st.sampled_from([*Page.__slots__, "other"]), st.text(max_size=30)))
def test_whatever_is_asked_is_answered_or_refused_by_a_parameters_name(asked: dict[str, str]) -> None:
    refused = refusal(asked)

    assert refused is None or refused.split(":")[0] in asked


@pytest.mark.parametrize("name", ["since", "until", "after", "limit"])
@pytest.mark.parametrize("text", ["٣", "1e3", "-1", " 1", "0x10", "9" * 5000])
def test_numbers_of_another_kind_are_refused(name: str, text: str) -> None:
    with pytest.raises(BadQuestion, match=f"^{name}: "):
        page({name: text})
