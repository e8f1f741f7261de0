"""What a drain does next, by what it sees of the rep (contract/deployment.md sections 4 and 10).

The rep's admin listener answers as long as the cell is being emptied. That it does not answer means that the rep is
done, or that it was killed and supervisor starts it again: containers outlive it, and the evacuation goes on. So
supervisor's word counts, and what the rep remembers on disk:

    listener        the rep says        supervisor     remembered          next
    answers         evacuating                                             wait
    answers         nothing of it                                          ask
    does not        -                   keeps it up                        wait, when never asked only for a while
    does not        -                   has let go     under way           failed, when it was asked
    does not        -                   has let go     over with a fault   failed, when it was asked
    does not        -                   has let go     anything else       done
    does not        -                   says nothing   under way           wait, when it was asked
    does not        -                   says nothing   else                as if it had let go
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from diego.rep.core.evacuation import Evacuation, Phase

PAUSE = 5
"""Seconds between two looks."""
START_PATIENCE = 60.0
"""Seconds for a rep that is just starting to be asked."""


class Program(StrEnum):
    """What supervisor does with the rep."""

    KEPT_UP = "kept up"
    LET_GO = "let go"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Look:
    """What is seen of the rep at a moment. `evacuating` is None where it could not be asked."""

    answers: bool
    program: Program
    evacuating: bool | None = None
    remembered: Evacuation | None = None


class Step(StrEnum):
    ASK = "ask"
    WAIT = "wait"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Next:
    step: Step
    why: str = ""


def next_step(look: Look, *, asked: bool, waited: float) -> Next:
    """What to do; `asked` whether this drain has asked the rep already, `waited` seconds for it to listen."""
    if look.answers:
        if look.evacuating or (look.evacuating is None and asked):
            return Next(Step.WAIT)
        return Next(Step.ASK)
    if look.program is Program.KEPT_UP:
        if asked or waited < START_PATIENCE:
            return Next(Step.WAIT, "the rep does not listen at the moment")
        return Next(Step.FAILED, f"the rep runs, but it did not listen for {START_PATIENCE:.0f} s")
    if not asked:
        return Next(Step.DONE, "the rep does not run: nothing was moved")
    under_way = look.remembered is not None and look.remembered.phase is not Phase.OVER
    if under_way and look.program is Program.UNKNOWN:
        return Next(Step.WAIT, "the rep does not listen, and supervisor does not say whether it will")
    if under_way:
        return Next(Step.FAILED, "the rep was stopped before the cell was empty")
    if look.remembered is not None and look.remembered.fault:
        left = ", ".join(look.remembered.left)
        return Next(Step.FAILED, f"{look.remembered.fault}: {left}")
    cut_off = len(look.remembered.cut_off) if look.remembered is not None else 0
    late = f"; {counted(cut_off, 'container')} could not be moved in time" if cut_off else ""
    return Next(Step.DONE, f"the cell is empty, and its rep has ended{late}")


def told(progress: Mapping[str, Any]) -> str:
    """One line for people of what the rep says of its evacuation."""
    lrps, tasks = len(progress["lrps"]), len(progress["tasks"])
    left = f"{counted(lrps, 'instance')} and {counted(tasks, 'task')} left"
    if not progress["evacuating"]:
        return f"not evacuating, {left}"
    if progress["phase"] == Phase.EVACUATING:
        return f"evacuating: {left}, at most {progress['seconds_left']:.0f} s more"
    return f"ending: {left}"


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
