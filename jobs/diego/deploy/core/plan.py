"""In which order the instances of a group change, and who may begin next.

Contract: deployment.md sections 1, 2 and 5. A group is taken zone by zone: that of its bootstrap instance (number 0)
first, then the instances without a zone, then the other zones by name; a zone begins when the one before is completely
done. Within a zone the bootstrap instance is first, the others follow by number. The first of the first zone are
canaries: the others begin when all of them are done.

The window is a sliding one: an instance that is done gives its place to the next, whoever else is still at work. After
a failure nobody begins any more; whoever has begun goes on to the normal end.

What is finished needs no change any more, so a repeated run plans for the rest alone.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from diego.deploy.core.update import Update


@dataclass(frozen=True, slots=True, order=True)
class Instance:
    """One machine's share of a group."""

    group: str
    index: int
    zone: str = ""
    host: str = ""
    """The machine it is on; a machine may carry instances of several groups."""

    @property
    def id(self) -> str:
        return f"{self.group}-{self.index}"


@dataclass(frozen=True, slots=True)
class ZoneStep:
    """The instances of a group that change in one zone, in the order in which they begin."""

    zone: str
    canaries: tuple[Instance, ...]
    others: tuple[Instance, ...]
    window: int

    @property
    def instances(self) -> tuple[Instance, ...]:
        return self.canaries + self.others


@dataclass(frozen=True, slots=True)
class Progress:
    """What has become of instances so far, by their ids. Those in none of the sets have not begun."""

    in_flight: frozenset[str] = frozenset()
    finished: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()


def steps_of(group: Collection[Instance], changed: Collection[str], update: Update) -> tuple[ZoneStep, ...]:
    """The zones of `group` in their order, with those instances whose ids are in `changed`."""
    first_zone = min(group, key=lambda instance: instance.index).zone if group else ""
    zones = sorted({instance.zone for instance in group}, key=lambda zone: (zone != first_zone, zone))
    steps: list[ZoneStep] = []
    for zone in zones:
        due = sorted(instance for instance in group if instance.zone == zone and instance.id in changed)
        if due:
            canaries = 0 if steps else update.first_alone(len(due))
            steps.append(
                ZoneStep(zone, tuple(due[:canaries]), tuple(due[canaries:]), update.window(len(due)))
            )
    return tuple(steps)


def may_begin(steps: Iterable[ZoneStep], progress: Progress) -> tuple[Instance, ...]:
    """Who begins now: as many as there are free places, in their order."""
    if progress.failed:
        return ()
    for step in steps:
        for part in (step.canaries, step.others):
            if all(instance.id in progress.finished for instance in part):
                continue
            begun = progress.in_flight | progress.finished
            waiting = [instance for instance in part if instance.id not in begun]
            return tuple(waiting[: max(0, step.window - len(progress.in_flight))])
    return ()


def not_begun(steps: Iterable[ZoneStep], progress: Progress) -> tuple[Instance, ...]:
    """Who waits still."""
    begun = progress.in_flight | progress.finished | progress.failed
    return tuple(instance for step in steps for instance in step.instances if instance.id not in begun)


def is_canary(steps: Iterable[ZoneStep], instance: str) -> bool:
    """Whether the instance of that id is one of those that are changed first, alone."""
    return any(instance == canary.id for step in steps for canary in step.canaries)


def faults_of(group: Collection[Instance], update: Update) -> list[str]:
    """What is wrong with a window: it must leave somebody at work, where there is more than one."""
    if len(group) < 2:
        return []
    name = min(group).group
    window = max(1, update.max_in_flight.of(len(group)))
    if window < len(group):
        return []
    return [f"{name}: max_in_flight {window} of {len(group)} instances leaves none at work"]


def runs_of(serial: Mapping[str, bool], groups: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Groups cut into runs that never overlap: one serial group, or neighbours that may go side by side."""
    for alone, run in groupby(groups, key=lambda group: serial[group]):
        if alone:
            yield from ((group,) for group in run)
        else:
            yield tuple(run)
