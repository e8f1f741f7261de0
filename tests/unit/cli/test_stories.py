"""Events in a sentence each."""

import pytest
from google.protobuf.message import Message

from diego.bbs.client import EVENT_MESSAGES
from diego.cli.core.stories import story
from diego.wire import events_pb2
from diego.wire.gojson import from_go

RUNNING = {"process_guid": "web", "index": 1, "cell_id": "cell-1", "instance_guid": "i", "state": "RUNNING"}


@pytest.mark.parametrize(
    ("cls", "value", "text"),
    [
        (
            events_pb2.DesiredLRPCreatedEvent,
            {"desired_lrp": {"process_guid": "web", "instances": 3}},
            "web × 3",
        ),
        (
            events_pb2.DesiredLRPChangedEvent,
            {"before": {"instances": 1}, "after": {"process_guid": "web", "instances": 3}},
            "web 1 → 3 instances",
        ),
        (
            events_pb2.DesiredLRPChangedEvent,
            {"before": {}, "after": {"process_guid": "web"}},
            "web changed",
        ),
        (events_pb2.DesiredLRPRemovedEvent, {"desired_lrp": {"process_guid": "web"}}, "web"),
        (events_pb2.ActualLRPInstanceCreatedEvent, {"actual_lrp": RUNNING}, "web/1 on cell-1 RUNNING"),
        (
            events_pb2.ActualLRPInstanceChangedEvent,
            {
                "process_guid": "web",
                "index": 1,
                "before": {"state": "CLAIMED"},
                "after": {"state": "RUNNING"},
            },
            "web/1 CLAIMED → RUNNING",
        ),
        (
            events_pb2.ActualLRPInstanceChangedEvent,
            {"process_guid": "web", "index": 1, "before": {}, "after": {"presence": "SUSPECT"}},
            "web/1 ORDINARY → SUSPECT",
        ),
        (
            events_pb2.ActualLRPInstanceChangedEvent,
            {
                "process_guid": "web",
                "index": 1,
                "before": {"state": "UNCLAIMED"},
                "after": {"state": "UNCLAIMED", "placement_error": "full"},
            },
            "web/1 UNCLAIMED, changed: full",
        ),
        (
            events_pb2.ActualLRPCrashedEvent,
            {"process_guid": "web", "index": 1, "cell_id": "c", "crash_count": 2, "crash_reason": "exited"},
            "web/1 on c for the 2. time: exited",
        ),
        (
            events_pb2.TaskChangedEvent,
            {
                "before": {"state": "Running"},
                "after": {"task_guid": "t", "state": "Completed", "failed": True, "failure_reason": "no"},
            },
            "t Running → Completed, failed: no",
        ),
    ],
)
def test_an_event_is_told_in_a_sentence(cls: type[Message], value: dict[str, object], text: str) -> None:
    assert story(from_go(cls, value)) == text


@pytest.mark.parametrize("name", sorted(EVENT_MESSAGES))
def test_no_event_is_without_words_or_breaks_when_it_is_empty(name: str) -> None:
    assert isinstance(story(EVENT_MESSAGES[name]()), str)
