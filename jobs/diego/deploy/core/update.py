"""The update block: how many instances of a group change at once, and how long one may take to run again.

Contract: deployment.md section 1. Keys that a group does not set are those of the whole deployment, and what neither
sets has cf-deployment's value; `serial` alone is true where nobody says anything.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PERCENT = re.compile(r"(\d+)%")
NUMBER = re.compile(r"-?\d+")
TIME = re.compile(r"(\d+)(?:\s*-\s*(\d+))?")
CHECKS = 9
SHORTEST_STEP, LONGEST_STEP = 1.0, 15.0
DEFAULTS: Mapping[str, Any] = {
    "canaries": 1,
    "max_in_flight": 1,
    "canary_watch_time": "30000-1200000",
    "update_watch_time": "5000-1200000",
    "serial": True,
}


class BadUpdate(ValueError):
    """The update block cannot be followed; all its faults are in the text."""


@dataclass(frozen=True, slots=True)
class Share:
    """A number of instances, or a percentage of those that change."""

    number: int
    percent: bool = False

    @staticmethod
    def parse(said: Any) -> "Share":
        """Raises ValueError."""
        if isinstance(said, int) and not isinstance(said, bool):
            return Share(said)
        if isinstance(said, str) and NUMBER.fullmatch(said):
            return Share(int(said))
        if isinstance(said, str) and (match := PERCENT.fullmatch(said)):
            return Share(int(match[1]), percent=True)
        raise ValueError(f"{said!r} is neither a whole number nor a whole percentage")

    def of(self, size: int) -> int:
        """How many of `size` that is: a percentage never rounds up, and nothing is more than all."""
        number = self.number * size // 100 if self.percent else self.number
        return min(number, size)


@dataclass(frozen=True, slots=True)
class WatchTime:
    """From when, and until when, a started instance is asked whether it runs; in seconds."""

    low: float
    high: float

    @staticmethod
    def parse(said: Any) -> "WatchTime":
        """Raises ValueError."""
        match = None if isinstance(said, bool) else TIME.fullmatch(str(said))
        if match is None:
            raise ValueError(f"{said!r} is neither milliseconds nor two of them, low-high")
        low, high = int(match[1]), int(match[2] or match[1])
        if low > high:
            raise ValueError(f"{said!r} ends before it begins")
        return WatchTime(low / 1000, high / 1000)

    @property
    def step(self) -> float:
        """Seconds between two checks."""
        return min(max((self.high - self.low) / CHECKS, SHORTEST_STEP), LONGEST_STEP)

    @property
    def further_checks(self) -> int:
        """How many checks may follow the one at `low`."""
        # the quotient of the shortest intervals is not a whole number in binary, though it should be
        return int((self.high - self.low) / self.step + 1e-9)


@dataclass(frozen=True, slots=True)
class Update:
    """How the instances of one group are changed."""

    canaries: Share
    max_in_flight: Share
    canary_watch_time: WatchTime
    update_watch_time: WatchTime
    serial: bool

    def window(self, changed: int) -> int:
        """How many of a zone's `changed` instances may be between stop and post-start at once."""
        return max(1, self.max_in_flight.of(changed))

    def first_alone(self, changed: int) -> int:
        """How many of the first zone's `changed` instances are its canaries."""
        return max(0, self.canaries.of(changed))


PARSERS = {
    "canaries": Share.parse,
    "max_in_flight": Share.parse,
    "canary_watch_time": WatchTime.parse,
    "update_watch_time": WatchTime.parse,
}


def update_of(group: str, block: Mapping[str, Any], by_group: Mapping[str, Mapping[str, Any]]) -> Update:
    """What holds for `group`, of what is said for all and what for it alone.

    Raises:
        BadUpdate: with every fault.
    """
    own = by_group.get(group) or {}
    faults = [f"{key}: there is no such key" for key in sorted({*block, *own} - set(DEFAULTS))]
    values: dict[str, Any] = {}
    for key, usual in DEFAULTS.items():
        said = own.get(key, block.get(key, usual))
        if key == "serial":
            values[key] = said
            if not isinstance(said, bool):
                faults.append(f"serial: {said!r} is neither true nor false")
            continue
        try:
            values[key] = PARSERS[key](said)
        except ValueError as error:
            faults.append(f"{key}: {error}")
    if faults:
        raise BadUpdate(f"update block of {group}: {'; '.join(faults)}")
    return Update(**values)
