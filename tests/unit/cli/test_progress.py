"""When an LRP is where it was asked to be."""

from diego.cli.core.progress import progress
from diego.wire.actual_lrp_pb2 import ActualLRP, ActualLRPKey


def an_instance(index: int, state: str = "RUNNING", **fields: object) -> ActualLRP:
    lrp = ActualLRP(actual_lrp_key=ActualLRPKey(process_guid="web", index=index), state=state)
    for name, value in fields.items():
        setattr(lrp, name, value)
    return lrp


def test_all_running_is_done() -> None:
    assert progress([an_instance(0), an_instance(1)], 2).done


def test_no_instance_wanted_and_none_there_is_done() -> None:
    assert progress([], 0).done


def test_nothing_there_yet_is_not_done() -> None:
    seen = progress([], 2)

    assert not seen.done
    assert str(seen) == "0 of 2 running"


def test_instances_that_are_too_many_are_waited_for() -> None:
    seen = progress([an_instance(0), an_instance(1)], 1)

    assert not seen.done
    assert str(seen) == "1 of 1 running, 1 stopping"


def test_an_evacuating_instance_does_not_count() -> None:
    rows = [an_instance(0, presence=ActualLRP.EVACUATING), an_instance(0, "CLAIMED")]

    assert not progress(rows, 1).done


def test_why_an_instance_is_not_placed_is_told() -> None:
    seen = progress([an_instance(0, "UNCLAIMED", placement_error="insufficient resources: memory")], 1)

    assert str(seen) == "0 of 1 running: instance 0 is not placed, insufficient resources: memory"
    assert not seen.failure


def test_a_crash_is_told_and_waited_out() -> None:
    seen = progress([an_instance(0, "CLAIMED", crash_count=1, crash_reason="exited with status 1")], 1)

    assert str(seen) == "0 of 1 running: instance 0 crashed, exited with status 1"
    assert not seen.failure


def test_an_instance_whose_restarts_are_used_up_is_a_failure() -> None:
    seen = progress([an_instance(0, "CRASHED", crash_count=3, crash_reason="exited")], 1)

    assert seen.failure == "instance 0 crashed 3 times: exited"


def test_an_error_of_the_past_is_not_told_of_what_runs() -> None:
    assert progress([an_instance(0, crash_count=2, crash_reason="exited")], 1).note == ""
