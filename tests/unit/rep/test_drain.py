"""The drain script: what it does next, and what it says (contract/deployment.md sections 4 and 10)."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diego.rep.core.drain import Look, Program, Step, next_step, told
from diego.rep.core.evacuation import CLEANUP_FAILED, Evacuation, Phase
from diego.rep.drain import Drain, Refused, main

UNDER_WAY = Evacuation(began=1.0, boot="b")
OVER = Evacuation(began=1.0, boot="b", phase=Phase.OVER)
FAULTY = Evacuation(began=1.0, boot="b", phase=Phase.OVER, fault=CLEANUP_FAILED, left=("a", "b"))


@pytest.mark.parametrize(
    ("look", "asked", "step"),
    [
        (Look(True, Program.KEPT_UP, evacuating=False), False, Step.ASK),
        (Look(True, Program.KEPT_UP, evacuating=None), False, Step.ASK),
        (Look(True, Program.KEPT_UP, evacuating=True), False, Step.WAIT),
        (Look(True, Program.KEPT_UP, evacuating=True), True, Step.WAIT),
        (Look(True, Program.KEPT_UP, evacuating=None), True, Step.WAIT),
        # killed at the very end and started again: it takes work, and is to be asked once more
        (Look(True, Program.KEPT_UP, evacuating=False), True, Step.ASK),
        (Look(False, Program.KEPT_UP, remembered=UNDER_WAY), True, Step.WAIT),
        (Look(False, Program.KEPT_UP, remembered=OVER), True, Step.WAIT),
        (Look(False, Program.LET_GO, remembered=OVER), True, Step.DONE),
        (Look(False, Program.LET_GO, remembered=FAULTY), True, Step.FAILED),
        (Look(False, Program.LET_GO, remembered=UNDER_WAY), True, Step.FAILED),
        (Look(False, Program.LET_GO, remembered=FAULTY), False, Step.DONE),
        (Look(False, Program.LET_GO), False, Step.DONE),
        (Look(False, Program.UNKNOWN), False, Step.DONE),
        (Look(False, Program.UNKNOWN, remembered=OVER), True, Step.DONE),
        (Look(False, Program.UNKNOWN, remembered=FAULTY), True, Step.FAILED),
        (Look(False, Program.UNKNOWN, remembered=UNDER_WAY), True, Step.WAIT),
    ],
)
def test_what_is_done_next(look: Look, asked: bool, step: Step) -> None:
    assert next_step(look, asked=asked, waited=0.0).step is step


def test_a_rep_that_never_listens_is_not_waited_for_without_end() -> None:
    look = Look(False, Program.KEPT_UP)

    assert next_step(look, asked=False, waited=59.0).step is Step.WAIT
    assert next_step(look, asked=False, waited=60.0).step is Step.FAILED


def test_a_failure_names_what_could_not_be_deleted() -> None:
    following = next_step(Look(False, Program.LET_GO, remembered=FAULTY), asked=True, waited=0.0)

    assert following.why == "failed-to-cleanup-all-containers: a, b"


def test_those_that_could_not_be_moved_are_counted() -> None:
    over = Evacuation(began=1.0, boot="b", phase=Phase.OVER, cut_off=("a", "b"))

    following = next_step(Look(False, Program.LET_GO, remembered=over), asked=True, waited=0.0)

    assert following.step is Step.DONE
    assert following.why.endswith("; 2 containers could not be moved in time")


@given(st.booleans(), st.sampled_from(Program), st.sampled_from([None, UNDER_WAY, OVER, FAULTY]))
def test_a_rep_that_supervisor_keeps_up_or_that_answers_is_never_done(
    answers: bool, program: Program, remembered: Evacuation | None
) -> None:
    following = next_step(Look(answers, program, None, remembered), asked=True, waited=0.0)

    if answers or program is Program.KEPT_UP:
        assert following.step is not Step.DONE


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({}, "evacuating: 2 instances and 1 task left, at most 12 s more"),
        ({"phase": "ending"}, "ending: 2 instances and 1 task left"),
        ({"evacuating": False}, "not evacuating, 2 instances and 1 task left"),
        ({"lrps": [], "tasks": []}, "evacuating: 0 instances and 0 tasks left, at most 12 s more"),
    ],
)
def test_progress_is_one_line(more: dict[str, Any], text: str) -> None:
    progress = {"evacuating": True, "phase": "evacuating", "seconds_left": 12.3, "lrps": [1, 2], "tasks": [1]}

    assert told({**progress, **more}) == text


class PlayedRep:
    """Looks as the test lays them out; notes whether it was asked."""

    def __init__(self, *looks: Look, refuses: bool = False) -> None:
        self.looks = list(looks)
        self.asked = 0
        self.refuses = refuses

    def look(self) -> Look:
        return self.looks.pop(0)

    def progress(self) -> None:
        return None

    def ask(self) -> None:
        if self.refuses:
            raise Refused("no")
        self.asked += 1


def test_it_asks_once_waits_and_ends_when_the_rep_is_gone() -> None:
    pauses: list[float] = []
    rep = PlayedRep(
        Look(True, Program.KEPT_UP, evacuating=False),
        Look(True, Program.KEPT_UP, evacuating=True),
        Look(False, Program.KEPT_UP, remembered=OVER),
        Look(False, Program.LET_GO, remembered=OVER),
    )

    assert Drain(rep, False, lambda _text: None, pauses.append).whole() == 0  # type: ignore[arg-type]  # played
    assert rep.asked == 1
    assert pauses == [5, 5, 5]


def test_called_again_it_only_looks() -> None:
    rep = PlayedRep(Look(True, Program.KEPT_UP, evacuating=True))

    assert Drain(rep, True, lambda _text: None).once() == -5  # type: ignore[arg-type]  # played
    assert rep.asked == 0


def test_a_refused_evacuation_fails_the_drain() -> None:
    rep = PlayedRep(Look(True, Program.KEPT_UP, evacuating=False), refuses=True)

    with pytest.raises(Refused):
        Drain(rep, False, lambda _text: None).whole()  # type: ignore[arg-type]  # played


def test_a_config_that_cannot_be_read_is_told_on_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rep.json"
    path.write_text(json.dumps({"cell_id": "x"}))

    assert main(["--config", str(path), "job_shutdown", "hash_unchanged"]) == 1

    told = capsys.readouterr()
    assert told.out == ""
    assert "cert_file" in told.err
