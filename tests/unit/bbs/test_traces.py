"""The name that a caller gave its request is found in the lines about what became of it."""

import json
from typing import Any

import pytest

from diego.bbs.core import desired_lrps
from diego.bbs.outside import AWAY_SECONDS, Auctioneer
from diego.wire import actual_lrp_requests_pb2, desired_lrp_requests_pb2
from support.active_bbs import ActiveBbs, active_bbs
from support.records import a_desired_lrp, a_desired_message, an_instance_key, an_lrp_key
from support.worker import free_port, until

UUID = "2cb8f1a0-41c7-4c4b-9d1d-4d9ee1a8a31e"
TRACE = UUID.replace("-", "")


def a_claimed_lrp(bbs: ActiveBbs) -> None:
    desire = desired_lrp_requests_pb2.DesireLRPRequest(desired_lrp=a_desired_message(instances=1))
    bbs.ask(lambda: bbs.service.desired_lrps.desire(desire, request_id=""))
    claim = actual_lrp_requests_pb2.ClaimActualLRPRequest(
        process_guid=an_lrp_key().process_guid, index=0, actual_lrp_instance_key=an_instance_key()
    )
    bbs.ask(lambda: bbs.service.actual_lrps.claim(claim))


def lines(text: str, message: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [line["data"] for line in found if line["message"] == message]


def test_a_cell_that_does_not_stop_an_instance_is_told_with_the_trace(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with active_bbs() as bbs:
        a_claimed_lrp(bbs)
        bbs.reps.failures = 100
        retire = actual_lrp_requests_pb2.RetireActualLRPRequest(actual_lrp_key=an_lrp_key())

        bbs.ask(lambda: bbs.service.actual_lrps.retire(retire, request_id=UUID))

    (line,) = lines(capfd.readouterr().out, "bbs.retire-failed")
    assert line["trace-id"] == TRACE


def test_an_instance_that_is_removed_and_not_stopped_is_told_with_the_trace(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with active_bbs() as bbs:
        a_claimed_lrp(bbs)
        bbs.reps.failures = 100
        remove = desired_lrp_requests_pb2.RemoveDesiredLRPRequest(process_guid=an_lrp_key().process_guid)

        bbs.ask(lambda: bbs.service.desired_lrps.remove(remove, request_id=UUID))
        until(lambda: bbs.reps.calls)
        bbs.settle()
        until(lambda: bbs.service.context.outside._waiting == 0)

    told = [
        *lines(out := capfd.readouterr().out, "bbs.stop-failed"),
        *lines(out, "bbs.retire-failed"),
    ]
    assert told
    assert all(line["trace-id"] == TRACE for line in told)


def test_an_auction_that_nobody_took_is_told_with_the_trace(capfd: pytest.CaptureFixture[str]) -> None:
    clock = [0.0]
    auctioneer = Auctioneer(
        f"http://127.0.0.1:{free_port()}", None, timeout=5, require_tls=False, clock=lambda: clock[0]
    )

    auctioneer.start_lrps([desired_lrps.start_request(a_desired_lrp(), [0])], UUID)
    auctioneer.turn()
    clock[0] += AWAY_SECONDS
    auctioneer.turn()

    (line,) = lines(capfd.readouterr().out, "bbs.auction-not-requested")
    assert line["trace-id"] == TRACE
