"""What an update tells the operator: the order before it begins, and the whole story when it stopped."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from diego.deploy.core.plan import Instance, ZoneStep


@dataclass(frozen=True, slots=True)
class Failure:
    """Where an instance failed, and what was said."""

    instance: Instance
    step: str
    message: str


def order_told(group: str, steps: Sequence[ZoneStep]) -> list[str]:
    """The order in which the instances of `group` change."""
    if not steps:
        return [f"{group}: nothing changes"]
    lines = []
    for step in steps:
        place = f"zone {step.zone}" if step.zone else "no zone"
        words = [f"canaries {_names(step.canaries)}"] if step.canaries else []
        words += [f"{'then ' if words else ''}{_names(step.others)}"] if step.others else []
        lines.append(f"{group}, {place}, {step.window} at once: {', '.join(words)}")
    return lines


def stop_told(
    failures: Iterable[Failure],
    finished: Sequence[Instance],
    waiting: Sequence[Instance],
    later_groups: Sequence[str],
    command: str,
) -> list[str]:
    """Who failed where and why, what was finished, what was not begun, and how to go on."""
    lines = []
    for failure in failures:
        instance = failure.instance
        lines += [
            f"{instance.id} failed",
            f"  group    {instance.group}",
            f"  zone     {instance.zone or '-'}",
            f"  host     {instance.host}",
            f"  step     {failure.step}",
            *(
                f"  {'reason   ' if not number else '         '}{line}"
                for number, line in _lines(failure.message)
            ),
        ]
    lines.append(f"finished: {_names(finished) or 'none'}")
    lines.append(f"not begun: {_names(waiting) or 'none'} of this group")
    if later_groups:
        lines.append(f"not begun: {', '.join(later_groups)}")
    lines.append(f"to go on, when it is mended: {command}")
    return lines


def _lines(text: str) -> Iterable[tuple[int, str]]:
    return enumerate(text.strip().splitlines() or ["-"])


def _names(instances: Sequence[Instance]) -> str:
    return ", ".join(f"{instance.id} ({instance.host})" for instance in instances)
