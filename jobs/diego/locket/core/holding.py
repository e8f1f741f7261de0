"""Whether a lock is held, as its holder must see it (ours.md section 2).

Locket frees a row a time to live after it took the last refresh. The holder does not know that moment, only
that it was not before it asked. So from the *start* of the last refresh that succeeded the holder counts on
the lock for the time to live less a margin, and not a moment longer: after that it is passive, though it
keeps what it knows and keeps asking. Who is passive and is granted the lock again has held it without a
break, or it was free in between; whether somebody else had it meanwhile is told by the fence, not here.

A refusal in favour of another owner, once the lock was held, means that it is lost for good: another one
may be active already.

    WAITING ──granted──▶ HELD ──no refresh in time──▶ PASSIVE ──granted──▶ HELD
       │ another owner: keep waiting   └──another owner──▶ LOST ◀──another owner──┘
"""

from dataclasses import dataclass, replace
from enum import StrEnum


class State(StrEnum):
    """What a holder is at a moment."""

    WAITING = "waiting"
    HELD = "held"
    PASSIVE = "passive"
    LOST = "lost"


class Change(StrEnum):
    """What just became of a holder, for who must act on it."""

    NONE = "none"
    ACQUIRED = "acquired"
    PASSIVE = "passive"
    REGAINED = "regained"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Holding:
    """A holder's view of its lock. All times are one steady clock's seconds.

    Attributes:
        period: how long a refresh counts from its start: the time to live less the margin.
        good_since: when the last refresh that succeeded was begun.
    """

    period: float
    state: State = State.WAITING
    good_since: float = 0.0

    @property
    def until(self) -> float:
        """When the last good refresh stops to count."""
        return self.good_since + self.period

    def held(self, now: float) -> bool:
        """Whether the holder may act as the only one, at this moment."""
        return self.state is State.HELD and now < self.until

    def passed(self, now: float) -> tuple["Holding", Change]:
        """Time went by."""
        if self.state is State.HELD and now >= self.until:
            return replace(self, state=State.PASSIVE), Change.PASSIVE
        return self, Change.NONE

    def granted(self, started: float, now: float) -> tuple["Holding", Change]:
        """A refresh that was begun at `started` succeeded, and the answer is here.

        An answer so late that it counts no longer changes nothing by itself.
        """
        if self.state is State.LOST:
            return self, Change.NONE
        renewed = replace(self, good_since=max(started, self.good_since))
        if now >= renewed.until or self.state is State.HELD:
            return renewed.passed(now)
        change = Change.ACQUIRED if self.state is State.WAITING else Change.REGAINED
        return replace(renewed, state=State.HELD), change

    def refused(self) -> tuple["Holding", Change]:
        """Another owner has the lock."""
        if self.state in (State.HELD, State.PASSIVE):
            return replace(self, state=State.LOST), Change.LOST
        return self, Change.NONE
