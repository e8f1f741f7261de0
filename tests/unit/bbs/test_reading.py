"""What a takeover left of desired LRPs is made when it is asked for, and by and by."""

import asyncio

import pytest

from diego.bbs.reading import make_whole
from diego.bbs.store import rows
from diego.bbs.store.encryption import Encryption
from diego.models import DesiredLRP
from support.stored import a_desired_lrp

KEYS = Encryption("key", {"key": "secret"})


def loaded(guid: str = "app-1") -> DesiredLRP:
    record = rows.desired_record(rows.desired_columns(a_desired_lrp(guid), KEYS), KEYS)
    assert isinstance(record, DesiredLRP)
    return record


@pytest.mark.parametrize(
    "asked", ["served", "completed", "created_at", "layered", "scheduling", "routing", "frame"]
)
def test_whatever_is_asked_for_first_is_as_in_the_record_that_was_stored(asked: str) -> None:
    record = loaded()
    assert not record.is_whole

    assert getattr(record, asked) == getattr(a_desired_lrp("app-1"), asked)

    assert record.is_whole
    assert record == a_desired_lrp("app-1")


@pytest.mark.parametrize(
    "known", ["process_guid", "domain", "instances", "tag", "internal_routes", "metric_tags"]
)
def test_what_decisions_need_is_known_at_once(known: str) -> None:
    record = loaded()

    assert getattr(record, known) == getattr(a_desired_lrp("app-1"), known)

    assert not record.is_whole


def test_no_other_name_is_taken_for_something_to_come() -> None:
    record = loaded()

    with pytest.raises(AttributeError, match="no 'unknown'"):
        _ = record.unknown  # type: ignore[attr-defined]  # that is the point
    assert not record.is_whole


def test_all_become_whole_in_turns() -> None:
    records = [loaded(f"app-{number}") for number in range(200)]
    other_turns = 0

    async def scene() -> None:
        nonlocal other_turns
        make_whole(asyncio.get_running_loop(), records)
        while not all(record.is_whole for record in records):
            other_turns += 1
            await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(scene(), 30))

    assert other_turns > 0
