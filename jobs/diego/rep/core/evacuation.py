"""Emptying the cell without anybody noticing (contract/rep.md sections 5.3 and 6).

An operator's drain begins it; it cannot be taken back. The cell takes no more work, and of each instance the BBS is
asked again and again what to do with it:

    container                  call to the BBS       the container
    reserved ... created       evacuate claimed      goes, whatever the answer
    running                    evacuate running      goes when the BBS does not want it kept
    completed, was stopped     evacuate stopped      goes, whatever the answer
    completed otherwise        evacuate crashed      goes, whatever the answer

Tasks run on to their end. When no container is left, or the time is up, what is left is deleted and the rep ends:

    phase          next          when
    evacuating     ending        the cell is empty, or the time is up
    ending         over          the rest is deleted, or could not be in time; then the process ends

Containers outlive the rep (ours.md section 3), so the phase is remembered on disk: a rep that is killed meanwhile is
followed by one that goes on where it was. Only one that ended by itself, and a reboot, which leaves no container,
are followed by one that takes work again.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from diego.executor.core.containers import Container, State
from diego.rep.core.capacity import Tag, is_lrp

CLEANUP_FAILED = "failed-to-cleanup-all-containers"
CLEANUP_MARGIN = 5.0
"""Seconds that the end takes at most beyond what stopping a container may take."""
MARK = ("evacuating", "true")
"""The annotation of the cell's presence meanwhile."""


class Phase(StrEnum):
    EVACUATING = "evacuating"
    ENDING = "ending"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Evacuation:
    """How far it is. `began` is in seconds since the epoch; `boot` names the host's boot that it began in.

    When the time was up, `cut_off` are the containers that were still there. Of one that is over, `fault` says why
    it did not end as it should, and `left` which containers stayed.
    """

    began: float
    boot: str
    phase: Phase = Phase.EVACUATING
    fault: str = ""
    left: tuple[str, ...] = ()
    cut_off: tuple[str, ...] = ()


class BadEvacuation(ValueError):
    """What is remembered of an evacuation cannot be understood."""


def encode(evacuation: Evacuation) -> bytes:
    return json.dumps(asdict(evacuation)).encode() + b"\n"


def decode(text: bytes) -> Evacuation:
    """Raises BadEvacuation."""
    try:
        found = json.loads(text)
        return Evacuation(
            began=float(found["began"]),
            boot=str(found["boot"]),
            phase=Phase(found["phase"]),
            fault=str(found["fault"]),
            left=tuple(str(guid) for guid in found["left"]),
            cut_off=tuple(str(guid) for guid in found["cut_off"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadEvacuation(f"{type(error).__name__}: {error}") from error


def resumed(found: Evacuation | None, *, now: float, boot: str, timeout: float) -> Evacuation | None:
    """What a rep that starts goes on with, given what the last one remembered; None: it takes work as usual.

    When the time ran out while no rep lived, nothing could be done in it for those who still run: it begins anew.
    """
    if found is None or found.phase is Phase.OVER or found.boot != boot:
        return None
    if found.phase is Phase.EVACUATING and time_left(found, now=now, timeout=timeout) <= 0:
        return Evacuation(began=now, boot=boot)
    return found


def time_left(evacuation: Evacuation, *, now: float, timeout: float) -> float:
    """Seconds until the rest is deleted: never more than `timeout`, whatever the clock did."""
    if evacuation.phase is not Phase.EVACUATING:
        return 0.0
    return max(0.0, min(timeout, evacuation.began + timeout - now))


def cleanup_seconds(grace: float, reload: float) -> float:
    """How long the end may take: `grace` from TERM to KILL, `reload` for a proxy to be told before it."""
    return grace + reload + CLEANUP_MARGIN


class EvacuationCall(StrEnum):
    CLAIMED = "evacuate claimed"
    RUNNING = "evacuate running"
    STOPPED = "evacuate stopped"
    CRASHED = "evacuate crashed"


def evacuation_call(container: Container) -> EvacuationCall:
    """What the BBS is to be told of an instance."""
    match container.state:
        case State.RUNNING:
            return EvacuationCall.RUNNING
        case State.COMPLETED:
            return EvacuationCall.STOPPED if container.stop_wanted else EvacuationCall.CRASHED
        case _:
            return EvacuationCall.CLAIMED


def has_routes(container: Container) -> bool:
    """Whether somebody may be sending requests to an instance."""
    return container.request is not None and bool(container.request.ports)


def requesting_replacement(cell_id: str, guid: str) -> str:
    """What the app's log says when the cell first asks for another place for a running instance."""
    return f"Cell {cell_id} requesting replacement for instance {guid}"


def reached_timeout(cell_id: str, guid: str) -> str:
    """What the app's log says when the instance ends although nobody took its place."""
    return f"Cell {cell_id} reached evacuation timeout for instance {guid}"


def progress(
    cell_id: str,
    evacuation: Evacuation | None,
    containers: Iterable[Container],
    *,
    words: Mapping[str, str],
    now: float,
    timeout: float,
) -> dict[str, Any]:
    """How far it is and what is left, for operators. `words` is what was last heard of an instance, by guid."""
    held = list(containers)
    return {
        "cell_id": cell_id,
        "evacuating": evacuation is not None,
        "phase": evacuation.phase if evacuation else "",
        "began": evacuation.began if evacuation else 0.0,
        "seconds_left": time_left(evacuation, now=now, timeout=timeout) if evacuation else 0.0,
        "lrps": [
            {
                "instance_guid": one.guid,
                "process_guid": one.tags[Tag.PROCESS_GUID],
                "index": int(one.tags[Tag.PROCESS_INDEX]),
                "state": one.state,
                "said": words.get(one.guid, ""),
            }
            for one in held
            if is_lrp(one)
        ],
        "tasks": [{"task_guid": one.guid, "state": one.state} for one in held if not is_lrp(one)],
    }
