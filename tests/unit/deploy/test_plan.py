"""The order of a group's instances and the sliding window (contract/deployment.md sections 1, 2 and 5)."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diego.deploy.core.plan import (
    Instance,
    Progress,
    ZoneStep,
    faults_of,
    is_canary,
    may_begin,
    not_begun,
    runs_of,
    steps_of,
)
from diego.deploy.core.update import update_of


def cells(*zones: str) -> list[Instance]:
    """One cell in each of `zones`, in that order."""
    return [Instance("diego-cell", index, zone, f"cell-{index}") for index, zone in enumerate(zones)]


def all_change(group: list[Instance], **update: object) -> tuple[ZoneStep, ...]:
    return steps_of(group, {each.id for each in group}, update_of("diego-cell", update, {}))


def numbers(instances: tuple[Instance, ...]) -> list[int]:
    return [instance.index for instance in instances]


def ids(*indexes: int) -> frozenset[str]:
    return frozenset(f"diego-cell-{index}" for index in indexes)


def test_the_bootstrap_instances_zone_is_first_then_those_without_a_zone_then_by_name() -> None:
    steps = all_change(cells("z2", "z3", "z1", "", "z2"))

    assert [step.zone for step in steps] == ["z2", "", "z1", "z3"]


def test_within_a_zone_the_bootstrap_instance_is_first_and_the_others_follow_by_number() -> None:
    group = list(reversed(cells(*["z1"] * 12)))

    steps = all_change(group)

    assert numbers(steps[0].instances) == list(range(12))


def test_canaries_are_taken_in_the_first_zone_alone() -> None:
    steps = all_change(cells("z1", "z1", "z1", "z2", "z2"), canaries=2)

    assert [numbers(step.canaries) for step in steps] == [[0, 1], []]
    assert is_canary(steps, "diego-cell-1")
    assert not is_canary(steps, "diego-cell-3")


def test_the_zone_that_begins_has_the_canaries_when_the_bootstrap_instances_zone_needs_no_change() -> None:
    group = cells("z1", "z2", "z2")

    steps = steps_of(group, ids(1, 2), update_of("diego-cell", {}, {}))

    assert [(step.zone, numbers(step.canaries)) for step in steps] == [("z2", [1])]


def test_percentages_count_what_changes_in_the_zone() -> None:
    group = cells(*["z1"] * 20, *["z2"] * 9)

    steps = steps_of(
        group, {each.id for each in group} - ids(0, 1, 2, 3, 4), update_of("x", {"max_in_flight": "10%"}, {})
    )

    assert [step.window for step in steps] == [1, 1]
    assert [step.window for step in all_change(group, max_in_flight="10%")] == [2, 1]


def test_others_wait_for_every_canary() -> None:
    steps = all_change(cells(*["z1"] * 5), canaries=2, max_in_flight=2)

    assert numbers(may_begin(steps, Progress())) == [0, 1]
    assert numbers(may_begin(steps, Progress(in_flight=ids(1), finished=ids(0)))) == []
    assert numbers(may_begin(steps, Progress(finished=ids(0, 1)))) == [2, 3]


def test_more_canaries_than_the_window_go_through_the_window() -> None:
    steps = all_change(cells(*["z1"] * 5), canaries=3, max_in_flight=2)

    assert numbers(may_begin(steps, Progress())) == [0, 1]
    assert numbers(may_begin(steps, Progress(in_flight=ids(0), finished=ids(1)))) == [2]


def test_a_slow_instance_keeps_one_place_and_holds_back_nobody() -> None:
    steps = all_change(cells(*["z1"] * 6), canaries=0, max_in_flight=2)

    assert numbers(may_begin(steps, Progress(in_flight=ids(0, 1)))) == []
    assert numbers(may_begin(steps, Progress(in_flight=ids(0), finished=ids(1)))) == [2]
    assert numbers(may_begin(steps, Progress(in_flight=ids(0), finished=ids(1, 2, 3, 4)))) == [5]


def test_a_zone_begins_when_the_one_before_is_completely_done() -> None:
    steps = all_change(cells("z1", "z1", "z2"), canaries=0, max_in_flight=2)

    assert numbers(may_begin(steps, Progress(in_flight=ids(0), finished=ids(1)))) == []
    assert numbers(may_begin(steps, Progress(finished=ids(0, 1)))) == [2]


def test_after_a_failure_nobody_begins() -> None:
    steps = all_change(cells(*["z1"] * 4), canaries=0, max_in_flight=2)

    progress = Progress(in_flight=ids(1), failed=ids(0))

    assert may_begin(steps, progress) == ()
    assert numbers(not_begun(steps, progress)) == [2, 3]


def test_a_window_as_large_as_the_group_is_a_fault() -> None:
    assert faults_of(cells("z1", "z2"), update_of("x", {"max_in_flight": 2}, {})) == [
        "diego-cell: max_in_flight 2 of 2 instances leaves none at work"
    ]
    assert faults_of(cells("z1", "z2"), update_of("x", {"max_in_flight": "50%"}, {})) == []
    assert faults_of(cells("z1"), update_of("x", {}, {})) == []


def test_runs_of_groups_never_overlap() -> None:
    serial = {
        "nats": False,
        "pxc-mysql": True,
        "api": False,
        "scheduler": False,
        "router": True,
        "cell": False,
    }

    runs = list(runs_of(serial, list(serial)))

    assert runs == [("nats",), ("pxc-mysql",), ("api", "scheduler"), ("router",), ("cell",)]


groups = st.lists(st.sampled_from(["", "z1", "z2", "z3"]), min_size=1, max_size=14).map(
    lambda zones: cells(*zones)
)
shares = st.integers(-1, 6) | st.integers(0, 120).map(lambda percent: f"{percent}%")
Choose = Callable[[int], int]


@st.composite
def choices(draw: st.DrawFn) -> Choose:
    made = draw(st.lists(st.integers(0, 10_000), min_size=80, max_size=80))
    return lambda size: made.pop() % size


def roll(
    steps: tuple[ZoneStep, ...], choose: Choose, *, finished: frozenset[str], failing: frozenset[str]
) -> tuple[list[str], Progress]:
    """Carry an update out, whoever is at work ending in any order; whoever is in `failing` fails."""
    begun: list[str] = []
    progress = Progress(finished=finished)
    limits = {instance.id: step for step in steps for instance in step.instances}
    while True:
        starting = may_begin(steps, progress)
        begun += [instance.id for instance in starting]
        progress = Progress(
            progress.in_flight | {each.id for each in starting}, progress.finished, progress.failed
        )
        zones = {limits[each].zone for each in progress.in_flight}
        assert len(zones) <= 1
        assert all(len(progress.in_flight) <= limits[each].window for each in progress.in_flight)
        assert not starting or not progress.failed
        if not progress.in_flight:
            return begun, progress
        ends = sorted(progress.in_flight)[choose(len(progress.in_flight))]
        progress = Progress(
            progress.in_flight - {ends},
            progress.finished if ends in failing else progress.finished | {ends},
            progress.failed | {ends} if ends in failing else progress.failed,
        )


@given(groups, shares, shares, choices())
def test_each_instance_begins_once_and_never_more_than_the_window(
    group: list[Instance], canaries: int | str, max_in_flight: int | str, choose: Choose
) -> None:
    steps = all_change(group, canaries=canaries, max_in_flight=max_in_flight)

    begun, progress = roll(steps, choose, finished=frozenset(), failing=frozenset())

    assert sorted(begun) == sorted(instance.id for instance in group)
    assert progress.finished == frozenset(begun)


@given(groups, shares, shares, choices(), st.data())
def test_whoever_had_begun_ends_and_nobody_begins_after_a_failure(
    group: list[Instance], canaries: int | str, max_in_flight: int | str, choose: Choose, data: st.DataObject
) -> None:
    steps = all_change(group, canaries=canaries, max_in_flight=max_in_flight)
    failing = data.draw(st.sampled_from([each.id for each in group]))

    begun, progress = roll(steps, choose, finished=frozenset(), failing=frozenset({failing}))

    assert progress.failed == {failing}
    assert progress.finished | progress.failed == frozenset(begun)
    assert not progress.in_flight
    assert sorted(each.id for each in not_begun(steps, progress)) == sorted(
        {each.id for each in group} - frozenset(begun)
    )


@given(groups, shares, shares, choices(), choices(), st.data())
def test_a_repeated_run_takes_those_alone_that_had_not_finished(
    group: list[Instance],
    canaries: int | str,
    max_in_flight: int | str,
    choose: Choose,
    choose_again: Choose,
    data: st.DataObject,
) -> None:
    failing = data.draw(st.sampled_from([each.id for each in group]))
    steps = all_change(group, canaries=canaries, max_in_flight=max_in_flight)
    _, first = roll(steps, choose, finished=frozenset(), failing=frozenset({failing}))

    left = {each.id for each in group} - first.finished
    update = update_of("x", {"canaries": canaries, "max_in_flight": max_in_flight}, {})
    again, _ = roll(steps_of(group, left, update), choose_again, finished=frozenset(), failing=frozenset())

    assert sorted(again) == sorted(left)


@pytest.mark.parametrize("window", [1, 2, 3])
def test_the_window_is_always_full_while_enough_wait(window: int) -> None:
    steps = all_change(cells(*["z1"] * 7), canaries=0, max_in_flight=window)

    for done in range(7 - window + 1):
        starting = may_begin(steps, Progress(finished=ids(*range(done))))
        assert len(starting) == window
