"""How fast the BBS writes: desires, claims and starts, whole tasks; and what the history costs of it."""

from bench.driver import Run, describe, median, run
from bench.stack import Stack, running
from bench.step import Reporter

REPEATS = 3
DESIRES = ((1, 600), (8, 3000), (32, 6000))
CLAIMS = ((1, 300), (8, 1500), (32, 4000))
TASKS = ((1, 150), (8, 800), (32, 2000))
SECONDS = 8.0
"""The most that one timed run takes; it then counts what is done."""


def desire(report: Reporter) -> None:
    """By 1, 8 and 32 clients; what was desired is removed again, unplaced as it is."""
    with running() as stack:
        _warm(stack)
        for clients, count in DESIRES:
            runs = _desires(report, stack, clients, report.of(count))
            _rate(report, f"desire-{clients}", f"desire, {clients} clients", runs)


def claims(report: Reporter) -> None:
    """What a cell tells of an instance that it starts, of LRPs that wait for that."""
    with running() as stack:
        _warm(stack)
        for clients, count in CLAIMS:
            runs = []
            for repeat in range(REPEATS):
                prefix = f"c{clients}-{repeat}"
                wanted = run(stack, "desire", 32, report.of(count), prefix=prefix).result.done
                runs.append(run(stack, "claim+start", clients, wanted, prefix=prefix, seconds=SECONDS))
                report.say(f"claim+start, {clients} clients: {runs[-1].result.per_s:.0f}/s")
                run(stack, "remove", 32, wanted, prefix=prefix)
                run(stack, "remove actual", 32, runs[-1].result.done, prefix=prefix)
            _rate(report, f"claims-{clients}", f"claim+start, {clients} clients", runs)


def tasks(report: Reporter) -> None:
    """Desire, start, complete, resolving, delete."""
    with running() as stack:
        _warm(stack)
        for clients, count in TASKS:
            runs = []
            for repeat in range(REPEATS):
                runs.append(
                    run(
                        stack,
                        "task",
                        clients,
                        report.of(count),
                        prefix=f"t{clients}-{repeat}",
                        seconds=SECONDS,
                    )
                )
                report.say(f"task, {clients} clients: {runs[-1].result.per_s:.0f}/s")
            _rate(report, f"tasks-{clients}", f"task, {clients} clients", runs)


def history_cost(report: Reporter) -> None:
    """Desires with and without the history, in turn on one database."""
    kept: dict[bool, list[Run]] = {True: [], False: []}
    with running() as stack:
        _warm(stack)
        for number in range(REPEATS):
            for with_history in (True, False):
                stack.stop_bbs()
                stack.start_bbs(history_max_rows=1_000_000 if with_history else 0)
                run(stack, "ping", 32, 2000)
                prefix = f"h{with_history:d}-{number}"
                kept[with_history].append(
                    run(stack, "desire", 32, report.of(4000), prefix=prefix, seconds=SECONDS)
                )
                run(stack, "remove", 32, kept[with_history][-1].result.done, prefix=prefix)
                word = "with" if with_history else "without"
                report.say(f"desire {word} history: {kept[with_history][-1].result.per_s:.0f}/s")
    rates = {key: median([each.result.per_s for each in runs]) for key, runs in kept.items()}
    shares = [
        100 * one.result.per_s / other.result.per_s
        for one, other in zip(kept[True], kept[False], strict=True)
    ]
    note = (
        f"desire, 32 clients: {rates[True]:.0f}/s with history, {rates[False]:.0f}/s without; "
        f"with: {describe(kept[True])}; without: {describe(kept[False])}"
    )
    others = median([each.used.other_cores for runs in kept.values() for each in runs])
    report.keep("history-cost", 100 * rates[True] / rates[False], runs=shares, note=note, other_cores=others)


def _desires(report: Reporter, stack: Stack, clients: int, count: int) -> list[Run]:
    runs, removed = [], []
    for repeat in range(REPEATS):
        prefix = f"d{clients}-{repeat}"
        runs.append(run(stack, "desire", clients, count, prefix=prefix, seconds=SECONDS))
        removed.append(run(stack, "remove", clients, runs[-1].result.done, prefix=prefix))
        report.say(f"desire, {clients} clients: {runs[-1].result.per_s:.0f}/s")
    _rate(report, f"remove-{clients}", f"remove, {clients} clients", removed)
    return runs


def _rate(report: Reporter, key: str, what: str, runs: list[Run]) -> None:
    report.keep(
        key,
        median([each.result.per_s for each in runs]),
        runs=[each.result.per_s for each in runs],
        note=f"{what}: {describe(runs)}",
        other_cores=median([each.used.other_cores for each in runs]),
    )


def _warm(stack: Stack) -> None:
    run(stack, "desire", 8, 500, prefix="warm")
    run(stack, "remove", 8, 500, prefix="warm")
