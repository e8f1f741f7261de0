"""contract/lifecycle.md section 3: what is wanted, rule by rule."""

from typing import Any

import pytest

from diego.bbs.core import desired_lrps
from diego.models import BbsError, DesiredLRP, ErrorType, ModificationTag
from diego.wire import desired_lrp_pb2, volume_mount_pb2
from support.records import (
    NOW,
    a_desired_lrp,
    a_desired_message,
    claimed,
    crashed,
    evacuating,
    running,
    suspect,
    unclaimed,
    with_internal_routes,
)

Update: Any = desired_lrp_pb2.DesiredLRPUpdate
"""Any: protobuf takes a dict for a message, its stubs do not."""


def routes(**values: str) -> desired_lrp_pb2.ProtoRoutes:
    return desired_lrp_pb2.ProtoRoutes(routes={name: value.encode() for name, value in values.items()})


def updated(lrp: DesiredLRP, change: desired_lrp_pb2.DesiredLRPUpdate) -> desired_lrp_pb2.DesiredLRP:
    return desired_lrps.update(lrp, change).message()


class TestCreate:
    def test_a_new_one_has_a_new_epoch_and_the_time_of_its_making(self) -> None:
        lrp = desired_lrps.create(a_desired_message(), now=NOW, epoch="new-epoch")

        assert (lrp.tag, lrp.created_at) == (ModificationTag("new-epoch", 0), NOW)
        assert lrp.message().modification_tag.epoch == "new-epoch"

    def test_a_tag_that_the_caller_sent_is_not_taken(self) -> None:
        message = a_desired_message()
        message.modification_tag.epoch, message.modification_tag.index = "mine", 9

        assert desired_lrps.create(message, now=NOW, epoch="new-epoch").tag == ModificationTag("new-epoch", 0)

    def test_ports_are_kept_once_each(self) -> None:
        lrp = desired_lrps.create(a_desired_message(ports=[1, 2, 1]), now=NOW, epoch="e")

        assert list(lrp.message().ports) == [1, 2]

    def test_routes_are_always_there_afterwards(self) -> None:
        assert desired_lrps.create(a_desired_message(), now=NOW, epoch="e").message().HasField("routes")

    def test_a_route_that_is_not_json_is_refused(self) -> None:
        with pytest.raises(BbsError, match="the request received is invalid") as error:
            desired_lrps.create(a_desired_message(routes=routes(router="{")), now=NOW, epoch="e")

        assert error.value.type is ErrorType.INVALID_REQUEST

    def test_fields_that_nobody_knows_are_dropped(self) -> None:
        message = a_desired_message()
        message.MergeFromString(b"\xf2\x7f\x01x")

        assert desired_lrps.create(message, now=NOW, epoch="e").message() == a_desired_lrp_message_of("e")

    def test_the_old_start_timeout_is_not_kept(self) -> None:
        message = a_desired_message(deprecated_start_timeout_s=30)

        assert desired_lrps.create(message, now=NOW, epoch="e").message().deprecated_start_timeout_s == 0


def a_desired_lrp_message_of(epoch: str) -> desired_lrp_pb2.DesiredLRP:
    message = a_desired_message()
    message.routes.SetInParent()
    message.modification_tag.epoch = epoch
    return message


class TestServed:
    def test_the_source_id_tag_completes_the_metrics_guid(self) -> None:
        assert a_desired_lrp().served_message().metrics_guid == "source"
        assert a_desired_lrp().message().metrics_guid == ""

    def test_the_metrics_guid_completes_the_source_id_tag(self) -> None:
        lrp = a_desired_lrp(metrics_guid="guid", metric_tags={"other": {"static": "x"}})

        assert lrp.served_message().metric_tags["source_id"].static == "guid"
        assert "source_id" not in lrp.message().metric_tags


class TestUpdate:
    def test_every_update_raises_the_tag_also_an_empty_one(self) -> None:
        lrp = desired_lrps.update(a_desired_lrp(), Update())

        assert lrp.tag == ModificationTag("desired-epoch", 1)
        assert lrp.message().modification_tag.epoch == "desired-epoch"
        assert lrp.message().modification_tag.index == 1

    def test_what_is_not_in_the_update_stays(self) -> None:
        lrp = a_desired_lrp(instances=3, annotation="note", routes=routes(router="[]"))

        message = updated(lrp, Update())

        assert (message.instances, message.annotation) == (3, "note")
        assert message.routes == routes(router="[]")

    def test_instances_and_annotation_may_become_zero_and_empty(self) -> None:
        message = updated(a_desired_lrp(instances=3, annotation="note"), Update(instances=0, annotation=""))

        assert (message.instances, message.annotation) == (0, "")

    def test_routes_replace_the_whole_map(self) -> None:
        lrp = a_desired_lrp(routes=routes(one="[1]", two="[2]"))

        assert updated(lrp, Update(routes=routes(three="[3]"))).routes == routes(three="[3]")
        assert not updated(lrp, Update(routes=routes())).routes.routes

    def test_metric_tags_replace_the_whole_map_and_cannot_be_cleared(self) -> None:
        lrp = a_desired_lrp()

        assert dict(updated(lrp, Update(metric_tags={"a": {"static": "b"}})).metric_tags).keys() == {"a"}
        assert dict(updated(lrp, Update()).metric_tags).keys() == {"source_id"}

    def test_image_credentials_change_together(self) -> None:
        message = updated(a_desired_lrp(), Update(image_username="u", image_password="p"))

        assert (message.image_username, message.image_password) == ("u", "p")

    def test_one_of_them_alone_changes_nothing(self) -> None:
        lrp = a_desired_lrp(image_username="old", image_password="secret")

        message = updated(lrp, Update(image_username="new"))

        assert (message.image_username, message.image_password) == ("old", "secret")

    def test_what_no_update_can_change_stays(self) -> None:
        before = a_desired_lrp(
            update_strategy=desired_lrp_pb2.DesiredLRP.RECREATE, memory_mb=77, cpu_weight=5, ports=[1, 2]
        )

        after = updated(before, Update(instances=9, annotation="note", routes=routes(router="[]")))

        after.instances, after.annotation = 1, ""
        after.routes.CopyFrom(before.message().routes)
        after.modification_tag.CopyFrom(before.message().modification_tag)
        assert after == before.message()

    def test_the_time_of_making_stays(self) -> None:
        lrp = a_desired_lrp()

        assert desired_lrps.update(lrp, Update(instances=9)).created_at == lrp.created_at


class TestScale:
    def test_only_indices_without_an_ordinary_record_are_made(self) -> None:
        existing = [running(index=0), suspect(index=1), unclaimed(index=2)]

        assert desired_lrps.missing(existing, 4) == [1, 3]
        assert desired_lrps.missing(existing, 4, start=2) == [3]

    def test_scaling_down_deletes_what_no_cell_holds_and_stops_the_rest(self) -> None:
        records = [
            running(index=0), unclaimed(index=1), crashed(index=2), claimed(index=3), running(index=4),
        ]  # fmt: skip

        down = desired_lrps.scale_down(records, 1)

        assert [row.index for row in down.delete] == [1, 2]
        assert [row.index for row in down.stop] == [3, 4]

    def test_an_evacuating_record_is_left_to_end_by_itself(self) -> None:
        assert desired_lrps.scale_down([evacuating()], 0) == ((), ())


class TestTellingCells:
    def tell(
        self, before: DesiredLRP, change: desired_lrp_pb2.DesiredLRPUpdate
    ) -> list[desired_lrps.RepUpdate]:
        rows = [claimed(index=0), running(index=1), unclaimed(index=2), evacuating(index=3)]
        return desired_lrps.rep_updates(before, desired_lrps.update(before, change), change, rows)

    def test_cells_hear_of_other_internal_routes_for_what_they_hold(self) -> None:
        change = Update(routes=with_internal_routes("new").message().routes)

        told = self.tell(with_internal_routes("old"), change)

        assert [update.lrp.index for update in told] == [0, 1]
        assert {update.internal_routes for update in told} == {("new",)}
        assert all(update.metric_tags is None for update in told)

    def test_cells_do_not_hear_of_the_same_internal_routes(self) -> None:
        assert (
            self.tell(
                with_internal_routes("a", "b"), Update(routes=with_internal_routes("b", "a").message().routes)
            )
            == []
        )

    def test_cells_hear_when_internal_routes_come_or_go(self) -> None:
        gone = self.tell(with_internal_routes("old"), Update(routes=routes(router="[]")))
        come = self.tell(a_desired_lrp(), Update(routes=with_internal_routes("new").message().routes))

        assert {update.internal_routes for update in gone} == {()}
        assert {update.internal_routes for update in come} == {("new",)}

    def test_cells_hear_of_no_routes_when_neither_side_has_internal_ones(self) -> None:
        told = self.tell(a_desired_lrp(), Update(routes=routes(router="[]")))

        assert [update.internal_routes for update in told] == [(), ()]

    def test_cells_hear_of_other_metric_tags_as_each_instance_has_them(self) -> None:
        told = self.tell(a_desired_lrp(), Update(metric_tags={"index": {"dynamic": 1}}))

        assert [update.metric_tags for update in told] == [{"index": "0"}, {"index": "1"}]
        assert all(update.internal_routes is None for update in told)

    def test_cells_do_not_hear_of_anything_else(self) -> None:
        assert self.tell(a_desired_lrp(), Update(instances=5, annotation="note")) == []


class TestAuction:
    def test_a_start_request_has_what_a_cell_must_offer(self) -> None:
        mount = volume_mount_pb2.VolumeMount(driver="nfs", container_dir="/x", mode="rw")
        lrp = a_desired_lrp(PlacementTags=["tag"], volume_mounts=[mount], max_pids=9)

        assert desired_lrps.start_request(lrp, [2, 3]) == desired_lrps.StartRequest(
            "process", "domain", (2, 3), ("tag",), ("nfs",), "preloaded:cflinuxfs4", 128, 256, 9
        )

    def test_no_drivers_are_an_empty_list_at_the_desire_and_null_later(self) -> None:
        assert desired_lrps.start_request(a_desired_lrp(), [0], new=True).volume_drivers == ()
        assert desired_lrps.start_request(a_desired_lrp(), [0]).volume_drivers is None
