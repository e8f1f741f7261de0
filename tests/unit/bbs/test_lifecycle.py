"""contract/lifecycle.md section 5: the states of an actual LRP, rule by rule."""

from dataclasses import replace

import pytest

from diego.bbs.core import lifecycle
from diego.bbs.core.lifecycle import NOTHING, Change, Outcome
from diego.models import ActualLRP, ActualLRPState, BbsError, ErrorType, ModificationTag, Presence
from support.records import (
    ELSEWHERE,
    HERE,
    KEY,
    MINUTE,
    NET_INFO,
    NOW,
    claimed,
    crashed,
    evacuating,
    rows,
    running,
    suspect,
    told,
    unclaimed,
)

EPOCH = "new-epoch"


def after(outcome: Outcome) -> ActualLRP:
    """The only record that the outcome changes, as it is then."""
    (change,) = outcome.changes
    assert change.after is not None
    return change.after


def refused(error: pytest.ExceptionInfo[BbsError]) -> ErrorType:
    return error.value.type


class TestANewRecord:
    def test_is_unclaimed_with_a_new_epoch_and_nothing_else(self) -> None:
        row = lifecycle.unclaimed(KEY, now=NOW, epoch=EPOCH)

        assert row.state is ActualLRPState.UNCLAIMED
        assert (row.since, row.tag) == (NOW, ModificationTag(EPOCH, 0))
        assert (row.net_info, row.internal_routes, row.metric_tags, row.routable) == (b"", (), {}, False)


class TestClaim:
    def test_an_unclaimed_index_may_be_claimed_by_any_instance(self) -> None:
        row = unclaimed(placement_error="no room", crash_count=2, crash_reason="exit 1", routable=True)

        taken = after(lifecycle.claim(rows(row), HERE, now=NOW))

        assert taken.state is ActualLRPState.CLAIMED
        assert taken.held_by(*HERE)
        assert (taken.placement_error, taken.net_info) == ("", b"")
        assert (taken.since, taken.tag) == (NOW, ModificationTag("epoch", 8))
        assert (taken.crash_count, taken.crash_reason, taken.routable) == (2, "exit 1", True)

    def test_a_claim_by_the_same_instance_changes_nothing(self) -> None:
        assert lifecycle.claim(rows(claimed()), HERE, now=NOW) is NOTHING

    def test_a_running_instance_may_claim_again_and_loses_its_net_info(self) -> None:
        taken = after(lifecycle.claim(rows(running()), HERE, now=NOW))

        assert (taken.state, taken.net_info, taken.routable) == (ActualLRPState.CLAIMED, b"", True)

    @pytest.mark.parametrize("row", [claimed(), running()])
    def test_what_one_instance_holds_no_other_may_claim(self, row: ActualLRP) -> None:
        with pytest.raises(BbsError) as error:
            lifecycle.claim(rows(row), ELSEWHERE, now=NOW)

        assert refused(error) is ErrorType.ACTUAL_LRP_CANNOT_BE_CLAIMED

    def test_the_same_instance_guid_on_another_cell_is_another_instance(self) -> None:
        with pytest.raises(BbsError) as error:
            lifecycle.claim(rows(claimed()), HERE._replace(cell_id="other-cell"), now=NOW)

        assert refused(error) is ErrorType.ACTUAL_LRP_CANNOT_BE_CLAIMED

    def test_a_crashed_index_cannot_be_claimed(self) -> None:
        with pytest.raises(BbsError) as error:
            lifecycle.claim(rows(crashed()), HERE, now=NOW)

        assert refused(error) is ErrorType.ACTUAL_LRP_CANNOT_BE_CLAIMED

    def test_an_index_without_record_cannot_be_claimed(self) -> None:
        with pytest.raises(BbsError) as error:
            lifecycle.claim(rows(), HERE, now=NOW)

        assert refused(error) is ErrorType.RESOURCE_NOT_FOUND

    def test_a_claim_by_the_suspect_instance_is_ignored(self) -> None:
        assert lifecycle.claim(rows(unclaimed(), suspect()), HERE, now=NOW) is NOTHING


class TestStart:
    def test_an_unclaimed_index_may_be_started_by_any_instance(self) -> None:
        row = unclaimed(placement_error="no room", crash_count=2, crash_reason="exit 1")
        said = told(
            internal_routes=("a.internal",), metric_tags={"a": "b"}, routable=False, availability_zone="z1"
        )

        started = after(lifecycle.start(rows(row), said, now=NOW, epoch=EPOCH))

        assert started.state is ActualLRPState.RUNNING
        assert started.held_by(*HERE)
        assert (started.net_info, started.internal_routes) == (NET_INFO, ("a.internal",))
        assert (started.metric_tags, started.routable, started.availability_zone) == ({"a": "b"}, False, "z1")
        assert (started.placement_error, started.since) == ("", NOW)
        assert started.tag == ModificationTag("epoch", 8)
        assert (started.crash_count, started.crash_reason) == (2, "exit 1")

    def test_a_claimed_index_may_be_started_by_any_instance(self) -> None:
        started = after(lifecycle.start(rows(claimed()), told(instance=ELSEWHERE), now=NOW, epoch=EPOCH))

        assert started.held_by(*ELSEWHERE)

    def test_a_start_that_tells_nothing_new_changes_nothing(self) -> None:
        row = running(internal_routes=None, metric_tags=None)

        assert lifecycle.start(rows(row), told(), now=NOW, epoch=EPOCH).changes == ()

    @pytest.mark.parametrize(
        "news",
        [
            {"net_info": b""},
            {"internal_routes": ("new.internal",)},
            {"metric_tags": {"new": "tag"}},
            {"routable": False},
            {"availability_zone": "z2"},
        ],
    )
    def test_a_start_with_news_changes_the_record(self, news: dict[str, object]) -> None:
        row = running(internal_routes=None, metric_tags=None)

        started = after(lifecycle.start(rows(row), told(**news), now=NOW, epoch=EPOCH))

        assert started.since == NOW
        assert started.tag.index == row.tag.index + 1

    def test_a_running_index_cannot_be_started_by_another_instance(self) -> None:
        with pytest.raises(BbsError) as error:
            lifecycle.start(rows(running()), told(instance=ELSEWHERE), now=NOW, epoch=EPOCH)

        assert refused(error) is ErrorType.ACTUAL_LRP_CANNOT_BE_STARTED

    def test_a_crashed_index_cannot_be_started(self) -> None:
        with pytest.raises(BbsError) as error:
            lifecycle.start(rows(crashed()), told(), now=NOW, epoch=EPOCH)

        assert refused(error) is ErrorType.ACTUAL_LRP_CANNOT_BE_STARTED

    def test_a_start_of_an_index_without_record_makes_one(self) -> None:
        outcome = lifecycle.start(rows(), told(), now=NOW, epoch=EPOCH)

        (change,) = outcome.changes
        assert change.before is None
        assert after(outcome).state is ActualLRPState.RUNNING
        assert after(outcome).tag == ModificationTag(EPOCH, 0)

    def test_a_start_by_the_suspect_instance_is_ignored(self) -> None:
        assert lifecycle.start(rows(unclaimed(), suspect()), told(), now=NOW, epoch=EPOCH) is NOTHING

    def test_a_start_ends_the_evacuating_and_the_suspect_record(self) -> None:
        leaving = evacuating(instance_guid="old", cell_id="old-cell")
        doubtful = suspect(instance_guid="older", cell_id="older-cell")

        outcome = lifecycle.start(rows(claimed(), leaving, doubtful), told(), now=NOW, epoch=EPOCH)

        assert outcome.changes[1:] == (Change(leaving, None), Change(doubtful, None))

    def test_a_repeated_start_ends_them_too(self) -> None:
        leaving = evacuating(instance_guid="old", cell_id="old-cell")
        row = running(internal_routes=None, metric_tags=None)

        outcome = lifecycle.start(rows(row, leaving), told(), now=NOW, epoch=EPOCH)

        assert outcome.changes == (Change(leaving, None),)


class TestCrash:
    @pytest.mark.parametrize(("before", "count"), [(0, 1), (1, 2)])
    def test_the_first_two_crashes_are_restarted_at_once(self, before: int, count: int) -> None:
        outcome = lifecycle.crash(rows(running(crash_count=before)), HERE, "exit 1", now=NOW)

        assert after(outcome).state is ActualLRPState.UNCLAIMED
        assert after(outcome).crash_count == count
        assert outcome.auction

    def test_the_third_crash_waits_for_convergence(self) -> None:
        outcome = lifecycle.crash(rows(running(crash_count=2)), HERE, "exit 1", now=NOW)

        assert after(outcome).state is ActualLRPState.CRASHED
        assert after(outcome).crash_count == 3
        assert not outcome.auction

    def test_an_instance_that_ran_for_more_than_five_minutes_starts_its_count_afresh(self) -> None:
        row = running(crash_count=7, since=NOW - 5 * MINUTE - 1)

        assert after(lifecycle.crash(rows(row), HERE, "exit 1", now=NOW)).crash_count == 1

    def test_one_that_ran_for_exactly_five_minutes_does_not(self) -> None:
        row = running(crash_count=7, since=NOW - 5 * MINUTE)

        assert after(lifecycle.crash(rows(row), HERE, "exit 1", now=NOW)).crash_count == 8

    def test_one_that_was_only_claimed_for_long_does_not(self) -> None:
        row = claimed(crash_count=7, since=NOW - 60 * MINUTE)

        assert after(lifecycle.crash(rows(row), HERE, "exit 1", now=NOW)).crash_count == 8

    def test_a_crash_empties_the_instance_and_keeps_the_rest(self) -> None:
        row = running(
            placement_error="kept", internal_routes=("a",), metric_tags={"a": "b"}, availability_zone="z1"
        )

        died = after(lifecycle.crash(rows(row), HERE, "exit 1", now=NOW))

        assert (died.instance_guid, died.cell_id, died.net_info) == ("", "", b"")
        assert (died.crash_reason, died.since, died.tag) == ("exit 1", NOW, ModificationTag("epoch", 8))
        assert (died.placement_error, died.internal_routes, died.routable) == ("kept", ("a",), True)
        assert (died.metric_tags, died.availability_zone) == ({"a": "b"}, "z1")

    def test_a_crash_tells_the_reason_uncut_and_remembers_it_cut(self) -> None:
        outcome = lifecycle.crash(rows(running()), HERE, "x" * 2000, now=NOW)

        assert outcome.crash is not None
        assert outcome.crash.reason == "x" * 2000
        assert after(outcome).crash_reason == "x" * 1013 + "(truncated)"

    @pytest.mark.parametrize("row", [unclaimed(), crashed()])
    def test_what_nobody_holds_cannot_crash(self, row: ActualLRP) -> None:
        with pytest.raises(BbsError) as error:
            lifecycle.crash(rows(row), HERE, "exit 1", now=NOW)

        assert refused(error) is ErrorType.ACTUAL_LRP_CANNOT_BE_CRASHED

    @pytest.mark.parametrize("row", [claimed(), running()])
    def test_only_its_own_instance_can_crash_it(self, row: ActualLRP) -> None:
        with pytest.raises(BbsError) as error:
            lifecycle.crash(rows(row), ELSEWHERE, "exit 1", now=NOW)

        assert refused(error) is ErrorType.ACTUAL_LRP_CANNOT_BE_CRASHED

    def test_an_index_without_record_cannot_crash(self) -> None:
        with pytest.raises(BbsError) as error:
            lifecycle.crash(rows(), HERE, "exit 1", now=NOW)

        assert refused(error) is ErrorType.RESOURCE_NOT_FOUND

    def test_a_crash_of_the_suspect_instance_only_ends_the_suspect_record(self) -> None:
        doubtful = suspect()

        outcome = lifecycle.crash(rows(unclaimed(), doubtful), HERE, "exit 1", now=NOW)

        assert outcome == Outcome((Change(doubtful, None),))


class TestFail:
    def test_an_unclaimed_index_remembers_why_no_cell_was_found(self) -> None:
        failed = after(lifecycle.fail(rows(unclaimed()), "y" * 1024, now=NOW))

        assert failed.state is ActualLRPState.UNCLAIMED
        assert failed.placement_error == "y" * 1013 + "(truncated)"
        assert (failed.since, failed.tag.index) == (NOW, 8)

    @pytest.mark.parametrize("row", [claimed(), running(), crashed()])
    def test_only_an_unclaimed_index_can_fail(self, row: ActualLRP) -> None:
        with pytest.raises(BbsError) as error:
            lifecycle.fail(rows(row), "no room", now=NOW)

        assert refused(error) is ErrorType.ACTUAL_LRP_CANNOT_BE_FAILED

    def test_a_failure_of_an_index_without_record_is_no_error(self) -> None:
        assert lifecycle.fail(rows(), "no room", now=NOW) is NOTHING


class TestUnclaim:
    def test_an_unclaim_empties_the_instance_and_keeps_the_rest(self) -> None:
        row = running(crash_count=2, crash_reason="exit 1", placement_error="kept", internal_routes=("a",))

        free = lifecycle.unclaim(row, now=NOW)

        assert free == replace(
            row,
            state=ActualLRPState.UNCLAIMED,
            instance_guid="",
            cell_id="",
            net_info=b"",
            since=NOW,
            tag=ModificationTag("epoch", 8),
        )


class TestRemove:
    def test_without_an_instance_whatever_is_there_is_removed(self) -> None:
        assert lifecycle.remove(rows(running()), None).changes == (Change(running(), None),)

    def test_with_an_instance_guid_and_cell_must_both_match(self) -> None:
        for other in (HERE._replace(cell_id="x"), HERE._replace(instance_guid="x")):
            with pytest.raises(BbsError) as error:
                lifecycle.remove(rows(running()), other)
            assert refused(error) is ErrorType.RESOURCE_NOT_FOUND

        assert lifecycle.remove(rows(running()), HERE).changes == (Change(running(), None),)

    def test_only_the_ordinary_record_is_removed(self) -> None:
        with pytest.raises(BbsError) as error:
            lifecycle.remove(rows(evacuating(), suspect()), HERE)

        assert refused(error) is ErrorType.RESOURCE_NOT_FOUND


class TestPresence:
    def test_a_change_of_presence_moves_neither_time_nor_tag(self) -> None:
        row = running()

        moved = lifecycle.moved(row, Presence.SUSPECT)

        assert moved == replace(row, presence=Presence.SUSPECT)


class TestModificationTags:
    @pytest.mark.parametrize(
        ("old", "new", "newer"),
        [
            (("a", 1), ("a", 2), True),
            (("a", 2), ("a", 2), False),
            (("a", 3), ("a", 2), False),
            (("a", 3), ("b", 0), True),
            (("b", 3), ("a", 0), True),
            (("", 3), ("a", 0), True),
            (("a", 3), ("", 0), True),
        ],
    )
    def test_a_tag_is_newer_by_its_index_or_by_another_epoch(
        self, old: tuple[str, int], new: tuple[str, int], newer: bool
    ) -> None:
        assert ModificationTag(*new).newer_than(ModificationTag(*old)) is newer
