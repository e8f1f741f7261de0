"""How far an LRP is on its way to what was asked for."""

from collections.abc import Sequence
from dataclasses import dataclass

from diego.wire.actual_lrp_pb2 import ActualLRP

ORDINARY = ActualLRP.ORDINARY


@dataclass(frozen=True, slots=True)
class Progress:
    """`running` of `wanted` instances run; `extra` ones are still to go. `failure` ends the waiting."""

    running: int
    wanted: int
    extra: int
    note: str = ""
    failure: str = ""

    @property
    def done(self) -> bool:
        return self.running == self.wanted and not self.extra

    def __str__(self) -> str:
        going = f", {self.extra} stopping" if self.extra else ""
        note = f": {self.note}" if self.note else ""
        return f"{self.running} of {self.wanted} running{going}{note}"


def progress(lrps: Sequence[ActualLRP], wanted: int) -> Progress:
    """Judge a process's instances. One that waits in CRASHED after its restarts were used up is a failure."""
    rows = [lrp for lrp in lrps if lrp.presence == ORDINARY]
    running = {lrp.actual_lrp_key.index for lrp in rows if lrp.state == "RUNNING"}
    crashed = next((lrp for lrp in rows if lrp.state == "CRASHED"), None)
    failure = ""
    if crashed is not None:
        index = crashed.actual_lrp_key.index
        failure = f"instance {index} crashed {crashed.crash_count} times: {crashed.crash_reason}"
    return Progress(
        running=len([index for index in running if index < wanted]),
        wanted=wanted,
        extra=len({lrp.actual_lrp_key.index for lrp in rows if lrp.actual_lrp_key.index >= wanted}),
        note=_note(rows),
        failure=failure,
    )


def _note(rows: Sequence[ActualLRP]) -> str:
    """Why it may take longer, if anything is known of it."""
    for lrp in rows:
        if lrp.state != "RUNNING" and lrp.placement_error:
            return f"instance {lrp.actual_lrp_key.index} is not placed, {lrp.placement_error}"
    for lrp in rows:
        if lrp.state != "RUNNING" and lrp.crash_count:
            return f"instance {lrp.actual_lrp_key.index} crashed, {lrp.crash_reason}"
    return ""
