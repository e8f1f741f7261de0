"""Records and the messages that tell of them."""

from typing import Any

from diego.models import DesiredLRP, Task
from diego.models.desired_lrp import internal_routes
from diego.models.entries import entry_content, list_entry, varint
from diego.wire import desired_lrp_pb2, desired_lrp_requests_pb2
from support.records import (
    NET_INFO,
    a_desired_lrp,
    a_desired_message,
    a_task,
    running,
    unclaimed,
    with_internal_routes,
)


def test_an_actual_lrp_always_tells_keys_net_info_tag_and_routable() -> None:
    message = unclaimed().message()

    for name in ("actual_lrp_key", "actual_lrp_instance_key", "actual_lrp_net_info", "modification_tag"):
        assert message.HasField(name)
    assert message.HasField("routable")
    assert not message.routable


def test_an_actual_lrp_tells_its_net_info() -> None:
    message = running(internal_routes=("a", "b"), metric_tags={"x": "y"}).message()

    assert message.actual_lrp_net_info.SerializeToString(deterministic=True) == NET_INFO
    assert [route.hostname for route in message.actual_lrp_internal_routes] == ["a", "b"]
    assert dict(message.metric_tags) == {"x": "y"}


def test_a_list_of_desired_lrps_is_a_join_of_their_entries() -> None:
    lrps = [a_desired_lrp("one"), a_desired_lrp("two")]

    answer = desired_lrp_requests_pb2.DesiredLRPsResponse.FromString(b"".join(lrp.served for lrp in lrps))

    assert [lrp.process_guid for lrp in answer.desired_lrps] == ["one", "two"]
    assert answer.desired_lrps[0] == lrps[0].served_message()


def test_what_is_told_but_not_stored_is_kept_apart() -> None:
    lrp = a_desired_lrp()

    assert lrp.completed > 0
    assert DesiredLRP.of(lrp.message(), lrp.created_at) == lrp
    assert desired_lrp_pb2.DesiredLRP.FromString(entry_content(lrp.frame)) == lrp.message()


def test_the_short_forms_have_what_their_readers_need() -> None:
    lrp = with_internal_routes("a.internal", annotation="note", PlacementTags=["tag"])

    infos = desired_lrp_requests_pb2.DesiredLRPSchedulingInfosResponse.FromString(lrp.scheduling)
    (info,) = infos.desired_lrp_scheduling_infos
    assert (info.desired_lrp_key.process_guid, info.annotation, list(info.PlacementTags)) == (
        "process", "note", ["tag"],
    )  # fmt: skip
    assert info.HasField("volume_placement")
    assert info.routes == lrp.message().routes

    (routing,) = desired_lrp_requests_pb2.DesiredLRPsResponse.FromString(lrp.routing).desired_lrps
    assert {descriptor.name for descriptor, _ in routing.ListFields()} == {
        "process_guid", "domain", "log_guid", "instances", "routes", "modification_tag", "metric_tags",
    }  # fmt: skip


def test_the_volume_placement_is_the_drivers_of_the_mounts() -> None:
    mounts: Any = [{"driver": "nfs", "mode": "rw"}, {"driver": "smb", "mode": "r"}]

    infos = desired_lrp_requests_pb2.DesiredLRPSchedulingInfosResponse.FromString(
        a_desired_lrp(volume_mounts=mounts).scheduling
    )

    assert list(infos.desired_lrp_scheduling_infos[0].volume_placement.driver_names) == ["nfs", "smb"]


def test_a_port_that_stands_twice_is_told_once() -> None:
    assert list(a_desired_lrp(ports=[8080, 2222, 8080]).served_message().ports) == [8080, 2222]


def test_internal_routes_are_the_host_names_of_their_entry() -> None:
    def of(text: bytes) -> tuple[str, ...] | None:
        return internal_routes({"internal-router": text})

    assert of(b'[{"hostname":"a"},{"hostname":"b"}]') == ("a", "b")
    assert of(b"[]") == ()
    assert of(b"null") is None
    assert of(b"no json") is None
    assert internal_routes(a_desired_message().routes.routes) is None


def test_entries_of_any_length_are_framed_and_found_again() -> None:
    for length in (0, 1, 127, 128, 16_383, 16_384, 3_000_000):
        content = b"x" * length
        assert entry_content(list_entry(content)) == content
    assert varint(300) == b"\xac\x02"


def test_a_task_is_read_as_it_is_told() -> None:
    task = a_task(cell_id="cell", result="42", rejection_count=2, rejection_reason="no room")

    assert Task.of(task.message()) == task
