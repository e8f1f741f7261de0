"""What the steps of a container have done so far, so that a restarted rep goes on instead of beginning again.

A note exists for each step that began. A finished step answers from its note. A
step that began and did not finish is taken up: a process is attached to by its
identity, a download or upload is made again, a timeout counts from its begin.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a step failed. What cannot be displayed is left out where errors are joined."""

    message: str
    displayable: bool = True


@dataclass(frozen=True, slots=True)
class Note:
    """How far one step came. `begun_at` is in seconds since the epoch; `started` once its process was seen."""

    begun_at: float
    started: bool = False
    done: bool = False
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Journal:
    notes: Mapping[str, Note] = field(default_factory=dict)

    def note(self, step: str) -> Note | None:
        return self.notes.get(step)

    def begun(self, step: str, now: float) -> "Journal":
        """Remember the begin of a step; a second begin changes nothing."""
        if step in self.notes:
            return self
        return Journal({**self.notes, step: Note(begun_at=now)})

    def started(self, step: str) -> "Journal":
        """Its process is there."""
        return self._with(step, started=True)

    def done(self, step: str, failure: Failure | None = None) -> "Journal":
        return self._with(step, done=True, failure=failure)

    def _with(self, step: str, **changes: object) -> "Journal":
        return Journal({**self.notes, step: replace(self.notes[step], **changes)})  # type: ignore[arg-type]  # names of Note's own fields
