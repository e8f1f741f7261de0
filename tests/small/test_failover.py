"""Whatever there are two of can lose one: somebody else takes over in time, and apps do not notice."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from diego.bbs.client import BbsClient
from support.faults import Faults, timed
from support.lab import Lab
from support.observe import Poll, ask, eventually, instances, polling
from support.small import Desire, answering, answers, cells_of, first_write, reaches_all, runs, zones

AFTER_KILL, AFTER_TERM = 20.0, 6.0
"""Seconds until the first write that succeeds: what is promised."""
BUSY = 2.5
"""A machine of two cores that runs all hosts and other tests besides may take so many times as long."""


@contextmanager
def apps_untouched(lab: Lab, *routers: str) -> Iterator[list[Poll]]:
    """Twenty requests a second through each router; at the end none failed, and the instances are the same."""
    before = {(one["instance_guid"], one["since"]) for one in instances(lab, "web")}
    with ExitStack() as stack:
        polls = [stack.enter_context(polling(lab, router=router)) for router in routers or lab.routers]
        time.sleep(1)
        yield polls
        time.sleep(2)
    for poll in polls:
        assert poll.asked > 40
        assert poll.failed == []
    assert {(one["instance_guid"], one["since"]) for one in instances(lab, "web")} == before


def took_over(what: str, seconds: float, promised: float) -> None:
    print(f"{what}: first write after {seconds:.2f} s (promised: {promised:g} s)")
    assert seconds < promised * BUSY


def test_a_killed_bbs_is_followed_within_20_s(lab: Lab, faults: Faults, bbs: BbsClient, app: Desire) -> None:
    guid = app(1)
    active = faults.holder("bbs")

    with apps_untouched(lab):
        faults.kill(active, "bbs")
        seconds = first_write(bbs, within=120)

    took_over("kill -9 of the active BBS", seconds, AFTER_KILL)
    assert bbs.desired_lrp(guid).process_guid == guid
    assert len(faults.active("bbs")) == 1


def test_a_bbs_that_stays_dead_is_followed_within_20_s(lab: Lab, faults: Faults, bbs: BbsClient) -> None:
    """Its lock has to expire: nobody gives it back."""
    active, standby = faults.holder("bbs"), faults.standby("bbs")

    with apps_untouched(lab), faults.frozen(active, "bbs"):
        seconds = first_write(bbs, within=120)
        assert faults.accepts(standby, 8889)

    took_over("stopped with SIGSTOP", seconds, AFTER_KILL)
    eventually(lambda: faults.active("bbs") == [standby], within=60, what="the old one closed its API")


def test_a_bbs_that_is_told_to_end_is_followed_within_6_s(lab: Lab, faults: Faults, bbs: BbsClient) -> None:
    active, standby = faults.holder("bbs"), faults.standby("bbs")

    with apps_untouched(lab):
        faults.terminate(active, "bbs")
        seconds = first_write(bbs, within=120)
        eventually(lambda: faults.active("bbs") == [standby], within=60, what="the other one is active")

    took_over("TERM of the active BBS", seconds, AFTER_TERM)


def test_a_killed_auctioneer_is_followed_and_places_again(lab: Lab, faults: Faults, app: Desire) -> None:
    faults.kill(faults.holder("auctioneer"), "auctioneer")

    guid = app(2)

    with timed("from a desire without an auctioneer to two running instances"):
        runs(lab, guid, 2)


@pytest.mark.parametrize("which", [0, 1])
def test_one_locket_is_enough(lab: Lab, faults: Faults, bbs: BbsClient, which: int) -> None:
    host = lab.groups["diego-api"][which]
    active = faults.holder("bbs")

    with apps_untouched(lab), faults.stopped(host, "locket"):
        for _ in range(20):  # longer than a lock lives
            time.sleep(1)
            first_write(bbs, within=60)
        assert faults.active("bbs") == [active]
        assert len(cells_of(lab)) == len(lab.groups["diego-cell"])


def test_a_lost_control_host_costs_neither_the_api_nor_an_app(
    lab: Lab, faults: Faults, bbs: BbsClient
) -> None:
    active, standby = faults.holder("bbs"), faults.standby("bbs")

    with apps_untouched(lab, f"{lab.address(standby)}:80"):
        with faults.powered_off(active):
            seconds = first_write(bbs, within=120)
            took_over("power cut of the host with the active BBS", seconds, AFTER_KILL)
            eventually(
                lambda: faults.active("auctioneer") == [standby], within=60, what="its auctioneer is active"
            )
        eventually(faults.all_well, within=180, what="the host is back", every=1.0)
    assert faults.active("bbs") == [standby]


def test_a_paused_control_host_comes_back_as_a_standby(lab: Lab, faults: Faults, bbs: BbsClient) -> None:
    active, standby = faults.holder("bbs"), faults.standby("bbs")

    with apps_untouched(lab, f"{lab.address(standby)}:80"), faults.paused(active):
        seconds = first_write(bbs, within=120)

    took_over("pause of the host with the active BBS", seconds, AFTER_KILL)
    eventually(lambda: faults.active("bbs") == [standby], within=90, what="the other one is active alone")
    bbs.upsert_domain("after-the-pause", 120)
    assert "after-the-pause" in bbs.domains()


def test_a_control_host_that_is_cut_off_comes_back_as_a_standby(
    lab: Lab, faults: Faults, bbs: BbsClient
) -> None:
    active, standby = faults.holder("bbs"), faults.standby("bbs")

    with apps_untouched(lab, f"{lab.address(standby)}:80"), faults.cut(active):
        seconds = first_write(bbs, within=120)

    took_over("cut of the host with the active BBS", seconds, AFTER_KILL)
    eventually(lambda: faults.active("bbs") == [standby], within=90, what="the other one is active alone")
    first_write(bbs, within=60)


def test_control_hosts_that_do_not_see_each_other_keep_one_bbs(
    lab: Lab, faults: Faults, bbs: BbsClient
) -> None:
    """Each has a Locket, but there is one database, and so one truth about the lock."""
    active, standby = faults.holder("bbs"), faults.standby("bbs")

    with apps_untouched(lab), faults.cut(active, standby):
        for _ in range(20):  # longer than a lock lives
            time.sleep(1)
            assert len(faults.active("bbs")) <= 1
        first_write(bbs, within=60)

    assert len(faults.active("bbs")) == 1


def test_a_lost_cells_instances_run_in_the_other_zone(lab: Lab, faults: Faults, app: Desire) -> None:
    lost = lab.groups["diego-cell"][1]
    guid = app(2)
    runs(lab, guid, 2)
    host = f"{guid}.{lab.env['APPS_DOMAIN']}"

    with faults.powered_off(lost):
        with timed("from a cell's power cut to all instances running again"):
            eventually(
                lambda: {*runs(lab, "web", 3), *runs(lab, guid, 2)} == {"diego-cell-0"},
                within=150,
                what="all run on the other cell",
            )
        for router in lab.routers:
            reaches_all(lab, router)
            for _ in range(10):  # a dial to what is gone takes the router 5 s, before the next one's turn
                assert ask(lab, "/", host=host, router=router, timeout=20).status == 200

    eventually(lambda: len(cells_of(lab)) == 2, within=120, what="the cell is back")
    assert zones(lab) == {"z1"}


@pytest.mark.parametrize("which", [0, 1])
def test_a_new_app_gets_its_routes_while_one_bus_is_away(
    lab: Lab, faults: Faults, app: Desire, which: int
) -> None:
    with apps_untouched(lab), faults.stopped(lab.groups["nats"][which], "nats"):
        guid = app(2)
        runs(lab, guid, 2)
        for router in lab.routers:
            answers(lab, f"{guid}.{lab.env['APPS_DOMAIN']}", router)


def test_one_router_is_enough(lab: Lab, faults: Faults) -> None:
    host, other = lab.groups["router"]

    with apps_untouched(lab, f"{lab.address(other)}:80"), faults.stopped(host, "gorouter", "nginx"):
        time.sleep(3)
        assert not faults.accepts(host, 80)
        assert len(answering(lab, f"{lab.address(other)}:80")) == 3

    eventually(
        lambda: len(answering(lab, f"{lab.address(host)}:80")) == 3, within=60, what="it knows all again"
    )
