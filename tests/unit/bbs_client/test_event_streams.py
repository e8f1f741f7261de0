"""Event streams as iterators: contract/bbs-api.md section 5."""

import base64
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from diego.bbs.client import BbsClient, EndpointNotFound, Unreachable, read_events
from diego.models.errors import BbsError, ErrorType
from diego.wire import desired_lrp_pb2, events_pb2, task_pb2
from support import pki
from support.scripted_server import ScriptedServer, Told, serving

LRPS = "/v1/events/lrp_instances.r1"
TASKS = "/v1/events/tasks.r1"


def text(number: int, name: str, message: Message) -> bytes:
    data = base64.b64encode(message.SerializeToString()).decode()
    return f"id: {number}\nevent: {name}\ndata: {data}\n\n".encode()


def created(guid: str) -> events_pb2.DesiredLRPCreatedEvent:
    return events_pb2.DesiredLRPCreatedEvent(desired_lrp=desired_lrp_pb2.DesiredLRP(process_guid=guid))


def stream(*pieces: bytes, status: int = 200) -> Told:
    return Told(status=status, content_type="text/event-stream; charset=utf-8", pieces=list(pieces))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pki.write(tmp_path_factory.mktemp("pki"), "diego_bbs_server", "diego_bbs_client")


@pytest.fixture
def server(certificates: Path) -> Iterator[ScriptedServer]:
    with serving(certificates) as scripted:
        yield scripted


@pytest.fixture
def bbs(server: ScriptedServer, certificates: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BbsClient]:
    monkeypatch.setattr("diego.bbs.client.STREAM_PAUSE", 0.02)
    with BbsClient(
        server.url,
        ca_file=certificates / "service_cf_internal_ca.crt",
        cert_file=certificates / "diego_bbs_client.crt",
        key_file=certificates / "diego_bbs_client.key",
        timeout=5,
    ) as client:
        yield client


def test_events_come_as_their_messages(bbs: BbsClient, server: ScriptedServer) -> None:
    task = events_pb2.TaskCreatedEvent(task=task_pb2.Task(task_guid="t"))
    server.tell(TASKS, stream(text(0, "task_created", task)))

    with bbs.task_events() as events:
        event = next(events)

    assert (event.name, event.message) == ("task_created", task)


def test_the_cell_filter_is_sent_and_no_content_type_is_needed(
    bbs: BbsClient, server: ScriptedServer
) -> None:
    server.tell(LRPS, stream(text(0, "desired_lrp_created", created("a"))))

    with bbs.lrp_instance_events("cell-1") as events:
        next(events)

    assert events_pb2.EventsByCellId.FromString(server.asked[0].body).cell_id == "cell-1"
    assert server.asked[0].method == "POST"


def test_the_old_stream_is_asked_for_with_get(bbs: BbsClient, server: ScriptedServer) -> None:
    server.tell("/v1/events.r1", stream(text(0, "desired_lrp_created", created("a"))))

    with bbs.lrp_group_events() as events:
        next(events)

    assert server.asked[0].method == "GET"


def test_a_stream_that_ends_is_opened_again_and_the_caller_is_told(
    bbs: BbsClient, server: ScriptedServer
) -> None:
    told: list[str] = []
    server.tell(
        LRPS,
        stream(text(0, "desired_lrp_created", created("a")), text(1, "desired_lrp_created", created("b"))),
        stream(status=503),
        stream(text(0, "desired_lrp_created", created("c"))),
    )

    with bbs.lrp_instance_events(on_reconnect=lambda: told.append("again")) as events:
        names = [next(events).message for _ in range(2)]
        assert told == []
        names.append(next(events).message)

    assert names == [created("a"), created("b"), created("c")]
    assert told == ["again"]
    assert [each.headers.get("Last-Event-ID") for each in server.asked] == [None, "1", "1"]


def test_unknown_event_types_are_skipped_and_counted(bbs: BbsClient, server: ScriptedServer) -> None:
    server.tell(
        LRPS, stream(text(0, "brand_new", created("x")), text(1, "desired_lrp_created", created("a")))
    )

    with bbs.lrp_instance_events() as events:
        assert next(events).message == created("a")
        assert events.skipped == 1


def test_a_server_without_the_stream_is_an_unknown_endpoint(bbs: BbsClient) -> None:
    with pytest.raises(EndpointNotFound):
        bbs.task_events()


def test_another_status_is_a_failure(bbs: BbsClient, server: ScriptedServer) -> None:
    server.tell(TASKS, Told(b"", 403, "text/plain"))

    with pytest.raises(BbsError, match="status code: 403") as raised:
        bbs.task_events()

    assert raised.value.type is ErrorType.INVALID_RESPONSE
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_in_trouble_is_asked_until_it_is_well(
    bbs: BbsClient, server: ScriptedServer, status: int
) -> None:
    trouble = [Told(b"", status, "text/plain")] * 5
    server.tell(
        TASKS,
        *trouble,
        stream(text(0, "task_created", events_pb2.TaskCreatedEvent(task=task_pb2.Task(task_guid="t")))),
    )

    with bbs.task_events() as events:
        assert next(events).name == "task_created"
    assert len(server.asked) == 6


def test_three_failures_of_the_transport_are_unreachable(bbs: BbsClient, server: ScriptedServer) -> None:
    server.tell(TASKS, Told(status=0))

    with pytest.raises(Unreachable):
        bbs.task_events()

    assert len(server.asked) == 3


def test_closing_from_another_thread_ends_an_iteration_that_waits(
    bbs: BbsClient, server: ScriptedServer
) -> None:
    hold = threading.Event()
    idle = Told(content_type="text/event-stream", pieces=[], after=lambda: hold.wait(10))
    server.tell(TASKS, idle)
    events = bbs.task_events()
    closer = threading.Timer(0.2, events.close)
    closer.start()

    assert list(events) == []

    hold.set()
    closer.join()
    assert len(server.asked) == 1


# The text of a stream


def test_comments_other_fields_and_carriage_returns_do_not_matter() -> None:
    raw = b": hello\r\nid: 7\r\nretry: 5\r\nevent: task_created\r\ndata: aGk=\r\n\r\n"

    events = list(read_events([raw]))

    assert [(each.id, each.name, each.data) for each in events] == [("7", "task_created", b"hi")]


def test_an_event_cut_off_by_the_end_is_not_one() -> None:
    assert list(read_events([b"id: 0\nevent: x\ndata: aGk=\n"])) == []


def test_an_event_without_data_is_refused() -> None:
    with pytest.raises(BbsError, match="without data"):
        list(read_events([b"id: 0\nevent: x\n\n"]))


def test_data_that_is_no_base64_is_refused() -> None:
    with pytest.raises(BbsError, match="no base64"):
        list(read_events([b"id: 0\nevent: x\ndata: %%\n\n"]))


def test_a_line_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diego.bbs.client.LONGEST_EVENT", 1000)

    with pytest.raises(BbsError, match="longer than"):
        list(read_events([b"data: " + b"x" * 600, b"x" * 600]))


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b_c"]), st.binary(min_size=1, max_size=40)), max_size=5),
    st.lists(st.integers(1, 30), max_size=40),
)
def test_where_the_pieces_are_cut_does_not_matter(events: list[tuple[str, bytes]], cuts: list[int]) -> None:
    raw = b"".join(
        f"id: {i}\nevent: {name}\ndata: {base64.b64encode(data).decode()}\n\n".encode()
        for i, (name, data) in enumerate(events)
    )
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(raw[at : at + cut])
        at += cut
    pieces.append(raw[at:])

    assert [(each.name, each.data) for each in read_events(pieces)] == events
