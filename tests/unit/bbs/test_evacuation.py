"""contract/lifecycle.md section 6: emptying a cell, row by row."""

from dataclasses import replace
from typing import Any

import pytest

from diego.bbs.core import evacuation, lifecycle
from diego.bbs.core.evacuation import Evacuation
from diego.bbs.core.lifecycle import NOTHING, Change, Outcome, Rows
from diego.models import ActualLRP, ActualLRPState, BbsError, DesiredLRP, ErrorType, ModificationTag, Presence
from support.records import (
    ELSEWHERE,
    HERE,
    NOW,
    a_desired_lrp,
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
DELETED = [evacuating(), suspect()]


def deleted(row: ActualLRP) -> Evacuation:
    return Evacuation(Outcome((Change(row, None),)))


class TestClaimed:
    def test_without_a_target_there_is_nothing_to_evacuate(self) -> None:
        with pytest.raises(BbsError) as error:
            evacuation.claimed(rows(claimed()), ELSEWHERE, now=NOW)

        assert error.value.type is ErrorType.RESOURCE_NOT_FOUND

    @pytest.mark.parametrize("row", DELETED)
    def test_an_evacuating_or_suspect_target_is_deleted(self, row: ActualLRP) -> None:
        assert evacuation.claimed(rows(row), HERE, now=NOW) == deleted(row)

    @pytest.mark.parametrize("row", [claimed(), running()])
    def test_an_ordinary_target_goes_back_to_auction(self, row: ActualLRP) -> None:
        evacuated = evacuation.claimed(rows(row), HERE, now=NOW)

        free = lifecycle.unclaim(row, now=NOW)
        assert evacuated == Evacuation(Outcome((Change(row, free),), auction=True))

    def test_what_is_unclaimed_already_cannot_be_unclaimed(self) -> None:
        row = unclaimed(instance_guid=HERE.instance_guid, cell_id=HERE.cell_id)

        with pytest.raises(BbsError) as error:
            evacuation.claimed(rows(row), HERE, now=NOW)

        assert error.value.type is ErrorType.ACTUAL_LRP_CANNOT_BE_UNCLAIMED


class TestCrashed:
    def test_without_a_target_there_is_nothing_to_evacuate(self) -> None:
        with pytest.raises(BbsError) as error:
            evacuation.crashed(rows(), HERE, "exit 1", now=NOW)

        assert error.value.type is ErrorType.RESOURCE_NOT_FOUND

    @pytest.mark.parametrize("row", DELETED)
    def test_an_evacuating_or_suspect_target_is_deleted(self, row: ActualLRP) -> None:
        assert evacuation.crashed(rows(row), HERE, "exit 1", now=NOW) == deleted(row)

    def test_a_forgiven_crash_is_neither_auctioned_nor_told_of(self) -> None:
        outcome = evacuation.crashed(rows(running()), HERE, "exit 1", now=NOW).outcome

        (change,) = outcome.changes
        assert change.after is not None
        assert change.after.state is ActualLRPState.UNCLAIMED
        assert not outcome.auction
        assert outcome.crash is None

    def test_a_crash_for_good_is_told_of(self) -> None:
        outcome = evacuation.crashed(rows(running(crash_count=2)), HERE, "exit 1", now=NOW).outcome

        assert outcome.crash is not None
        assert outcome.crash.count == 3


class TestStopped:
    @pytest.mark.parametrize("row", [running(), claimed(), *DELETED])
    def test_the_target_is_deleted(self, row: ActualLRP) -> None:
        assert evacuation.stopped(rows(row), HERE) == deleted(row)

    def test_without_a_target_there_is_nothing_to_evacuate(self) -> None:
        with pytest.raises(BbsError) as error:
            evacuation.stopped(rows(running()), ELSEWHERE)

        assert error.value.type is ErrorType.RESOURCE_NOT_FOUND


class TestRemoveEvacuating:
    def test_an_evacuating_target_is_deleted(self) -> None:
        assert evacuation.remove_evacuating(rows(unclaimed(), evacuating()), HERE) == Outcome(
            (Change(evacuating(), None),)
        )

    @pytest.mark.parametrize("records", [rows(), rows(running()), rows(suspect())])
    def test_anything_else_is_not_found(self, records: Rows) -> None:
        with pytest.raises(BbsError) as error:
            evacuation.remove_evacuating(records, HERE)

        assert error.value.type is ErrorType.RESOURCE_NOT_FOUND


class TestRunning:
    def evacuate(self, records: Rows, desired: DesiredLRP | None = None, **more: Any) -> Evacuation:
        return evacuation.still_running(
            records,
            more.pop("told", told()),
            a_desired_lrp() if desired is None else desired,
            **{"running_ordinary": 1, "now": NOW, "epoch": EPOCH, **more},
        )

    def test_row2_without_any_record_the_container_goes(self) -> None:
        assert self.evacuate(rows()) == Evacuation()

    def test_row3_without_an_ordinary_record_the_evacuating_one_goes(self) -> None:
        assert self.evacuate(rows(evacuating())) == deleted(evacuating())

    def test_row3_once_the_replacement_runs_the_evacuating_record_goes(self) -> None:
        replacement = running(instance_guid="new", cell_id="new-cell")

        assert self.evacuate(rows(replacement, evacuating())) == deleted(evacuating())

    def test_row3_once_the_replacement_has_crashed_it_goes_as_well(self) -> None:
        assert self.evacuate(rows(crashed(), evacuating())) == deleted(evacuating())

    def test_row3_without_an_evacuating_record_there_is_nothing_to_do(self) -> None:
        assert self.evacuate(rows(running(instance_guid="new", cell_id="new-cell"))) == Evacuation()

    def test_row4_what_nobody_wants_any_more_goes(self) -> None:
        found = evacuation.still_running(
            rows(unclaimed(), evacuating()), told(), None, running_ordinary=0, now=NOW, epoch=EPOCH
        )

        assert found == deleted(evacuating())

    RECREATE = a_desired_lrp(update_strategy=1)

    def test_row6_recreate_without_a_target_does_nothing(self) -> None:
        assert self.evacuate(rows(unclaimed()), self.RECREATE) == Evacuation()

    @pytest.mark.parametrize("row", DELETED)
    def test_rows7_and_8_recreate_deletes_an_evacuating_or_suspect_target(self, row: ActualLRP) -> None:
        assert self.evacuate(rows(unclaimed(), row), self.RECREATE) == deleted(row)

    def test_row9_recreate_waits_while_another_instance_is_down(self) -> None:
        found = self.evacuate(rows(running()), self.RECREATE, running_ordinary=0)

        assert found == Evacuation(NOTHING, keep_container=True)

    def test_row10_recreate_gives_the_instance_back_to_auction(self) -> None:
        row = running()

        found = self.evacuate(rows(row), self.RECREATE)

        free = lifecycle.unclaim(row, now=NOW)
        assert found == Evacuation(Outcome((Change(row, free),), auction=True))

    def test_row11_rolling_with_another_evacuating_record_the_container_goes(self) -> None:
        other = evacuating(instance_guid="other", cell_id="other-cell")

        assert self.evacuate(rows(unclaimed(), other)) == Evacuation()

    def test_row12_rolling_without_a_target_it_becomes_evacuating_from_the_request(self) -> None:
        found = self.evacuate(rows(unclaimed()))

        (change,) = found.outcome.changes
        assert change.before is None
        assert change.after is not None
        assert (change.after.presence, change.after.state) == (Presence.EVACUATING, ActualLRPState.RUNNING)
        assert change.after.tag == ModificationTag(EPOCH, 0)
        assert found.keep_container

    def test_row12_a_repeated_question_changes_nothing_and_keeps_the_container(self) -> None:
        leaving = evacuating(internal_routes=None, metric_tags=None)

        assert self.evacuate(rows(unclaimed(), leaving)) == Evacuation(NOTHING, keep_container=True)

    def test_row12_news_of_an_evacuating_instance_are_kept(self) -> None:
        leaving = evacuating(internal_routes=None, metric_tags=None)

        found = self.evacuate(rows(unclaimed(), leaving), told=told(routable=False))

        (change,) = found.outcome.changes
        assert change.after is not None
        assert not change.after.routable
        assert change.after.tag == leaving.tag.next()

    @pytest.mark.parametrize("row", [running(), claimed()])
    def test_row13_rolling_an_ordinary_target_stays_as_evacuating_and_is_replaced(
        self, row: ActualLRP
    ) -> None:
        found = self.evacuate(rows(row))

        moved, new = found.outcome.changes
        assert moved.before is row
        assert moved.after == replace(
            row,
            presence=Presence.EVACUATING,
            state=ActualLRPState.RUNNING,
            tag=ModificationTag(EPOCH, 0),
            since=NOW,
        )
        assert new == Change(None, lifecycle.unclaim(row, now=NOW))
        assert (found.outcome.auction, found.keep_container) == (True, True)

    def test_row14_rolling_a_suspect_target_becomes_evacuating(self) -> None:
        doubtful = suspect()

        found = self.evacuate(rows(unclaimed(), doubtful))

        (change,) = found.outcome.changes
        assert change.before is doubtful
        assert change.after is not None
        assert change.after.presence is Presence.EVACUATING
        assert (found.outcome.auction, found.keep_container) == (False, True)

    def test_row15_anything_else_lets_the_container_go(self) -> None:
        row = unclaimed(instance_guid=HERE.instance_guid, cell_id=HERE.cell_id)

        assert self.evacuate(rows(row)) == Evacuation()
