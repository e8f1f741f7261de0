"""How figures are judged and shown."""

import pytest

from bench.table import TARGETS, Measured, Target, figure, rows, with_unit

FAST = Target("fast", "do it", "/s", "step", 100, 200, 400)
SOON = Target("soon", "have it", "s", "step", 3.6, 0.4, 0.3, lower=True)


@pytest.mark.parametrize(
    ("target", "value", "met", "aimed"),
    [
        (FAST, 199.0, False, False),
        (FAST, 200.0, True, False),
        (FAST, 401.0, True, True),
        (SOON, 0.41, False, False),
        (SOON, 0.4, True, False),
        (SOON, 0.2, True, True),
        (Target("x", "y", "s", "step"), 1.0, None, None),
    ],
)
def test_a_figure_meets_the_bar_or_it_does_not(
    target: Target, value: float, met: bool | None, aimed: bool | None
) -> None:
    assert target.met(value) is met
    assert target.aimed(value) is aimed


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (0, "0"), (0.0002, "< 0.001"), (0.3456, "0.346"), (12.345, "12.3"), (12345.6, "12,346")],
)
def test_numbers_have_the_digits_that_matter(value: float | None, text: str) -> None:
    assert figure(value) == text


def test_units_stand_as_people_write_them() -> None:
    assert with_unit(338, "/s") == "338/s"
    assert with_unit(0.4, "s") == "0.4 s"
    assert with_unit(0, "") == "0"
    assert with_unit(None, "s") == ""


def test_each_target_has_a_row_measured_or_not() -> None:
    shown = rows({})

    assert len(shown) == len(TARGETS)
    assert {row[4] for row in shown} == {"not measured"}


def test_a_row_tells_what_failed_what_is_met_and_what_else_was_going_on() -> None:
    first, second = TARGETS[0], TARGETS[1]

    shown = rows(
        {
            first.key: Measured(first.key, error="cut after 3 s"),
            second.key: Measured(second.key, 5000.0, other_cores=0.04),
        }
    )

    assert shown[0][4:6] == ["failed: cut after 3 s", "no"]
    assert shown[1][1:] == [
        "780/s",
        "≥ 2,000/s",
        "3,900/s",
        "5,000/s",
        "yes, and the aim",
        "0.0",
        f"`scripts/bench --only {second.step}`",
    ]


def test_no_key_is_used_twice() -> None:
    assert len({target.key for target in TARGETS}) == len(TARGETS)
