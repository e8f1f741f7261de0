"""A BBS that has much: how soon it takes over, how fast it reads, converges and answers operators, what memory it takes.

The rows are written in SQL: one is desired, claimed and started over the API, and copied under other guids with tags
of their own, as it was done for the original's figures. The BBS then reads them as it reads everything at a takeover.
Instances share one instance guid: it stands in their metric tags, encrypted, and with tags that do not fit their guid
each convergence would tell their cells so.
"""

import time
from collections.abc import Sequence
from contextlib import closing

from bench import bodies
from bench.commands import commands
from bench.driver import Run, accounting, describe, median, run
from bench.load import percentile
from bench.stack import Stack, running
from bench.step import Reporter
from bench.usage import memory_mb
from support import auctioneer

LISTS = {"desired": "desired LRPs", "infos": "scheduling infos", "actual": "actual LRPs"}
TAKEOVERS = 3
LIST_RUNS = 5
GET_SECONDS = 3.0
WAIT_SECONDS = 120.0


def fifty_thousand(report: Reporter) -> None:
    """Everything there is to know of 50,000 LRPs."""
    with running(converge_repeat_interval="30s") as stack:
        size = report.of(50_000)
        fill(report, stack, size)
        takeovers(report, stack, "takeover-50k")
        gets = reads(report, stack, size)
        memory(report, stack)
        operators(report, stack, size)
        convergence(report, stack, "50k", size, gets)


def quarter_million(report: Reporter) -> None:
    """Convergence over 250,000."""
    with running(converge_repeat_interval="30s") as stack:
        size = report.of(250_000)
        fill(report, stack, size)
        stack.start_bbs()
        _first_convergence(stack)
        gets = [_gets(stack, size) for _ in range(3)]
        report.keep(
            "get-250k",
            median([each.result.per_s for each in gets]),
            note=describe(gets),
            other_cores=median([each.used.other_cores for each in gets]),
        )
        convergence(report, stack, "250k", size, gets)


def fill(report: Reporter, stack: Stack, size: int) -> None:
    """Write so many rows; the BBS is stopped afterwards."""
    for cycle in ("desire", "claim+start"):
        first = run(stack, cycle, 1, 1)
        if first.result.errors:
            raise RuntimeError(f"{cycle}: {first.result.first_error}")
    stack.stop_bbs()
    began = time.monotonic()
    with closing(stack.database.connect()) as connection, connection.cursor() as cursor:
        for table, columns in (("desired_lrps", ()), ("actual_lrps", ("cell_id",))):
            cursor.execute(f"SHOW COLUMNS FROM {table}")
            names = [str(row[0]) for row in cursor.fetchall()]
            new = {
                "process_guid": f"RPAD(CONCAT('load-', seq, '-'), {bodies.GUID_LENGTH}, '0')",
                "modification_tag_epoch": "UUID()",
                "cell_id": f"CONCAT('load-cell-', seq MOD {bodies.CELLS})",
            }
            chosen = {key: new[key] for key in ("process_guid", "modification_tag_epoch", *columns)}
            values = ", ".join(chosen.get(name, f"model.{name}") for name in names)
            # a table of its own: one that is read and written at once would be copied first, each time
            cursor.execute(
                f"CREATE TABLE model SELECT * FROM {table} WHERE process_guid = %s", (bodies.guid("load", 0),)
            )
            for at in range(1, size, 10_000):
                cursor.execute(
                    f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM model"
                    f" JOIN seq_{at}_to_{min(at + 9_999, size - 1)}"
                )
            cursor.execute("DROP TABLE model")
    report.say(f"{size} rows of each kind in {time.monotonic() - began:.1f} s")


def takeovers(report: Reporter, stack: Stack, key: str) -> None:
    """From the lock to the open API, as the BBS's log has it. The last one stays up."""
    runs, others = [], []
    for number in range(TAKEOVERS):
        with accounting({"mariadb": stack.pids["mariadb"]}) as used:
            stack.start_bbs()
        others.append(max(0.0, used.other_cores - 1.0))  # the new BBS itself, loading on one core
        began, ended = (
            float(stack.events(f"bbs.{word}")[-1]["timestamp"]) for word in ("lock-held", "started")
        )
        runs.append(ended - began)
        report.say(f"takeover: {runs[-1]:.2f} s")
        if number < TAKEOVERS - 1:
            stack.stop_bbs()
    report.keep(
        key, median(runs), runs=runs, note="lock-held to started in the log", other_cores=median(others)
    )


def reads(report: Reporter, stack: Stack, size: int) -> list[Run]:
    """Lists by one client, to the last byte; and one by one by eight."""
    _first_convergence(stack)
    for key, kind in LISTS.items():
        runs = [run(stack, f"list {kind}", 1, 1) for _ in range(LIST_RUNS)]
        cpu = median([each.used.cpu["bbs"] for each in runs])
        report.keep(
            f"{key}-50k",
            median([each.result.seconds for each in runs]),
            runs=[each.result.seconds for each in runs],
            note=f"{runs[0].result.bytes / 1e6:.1f} MB; CPU s, bbs / load: {cpu:.2f} /"
            f" {median([each.result.cpu_s for each in runs]):.2f}" + _faults(runs),
            other_cores=median([each.used.other_cores for each in runs]),
        )
    gets = [_gets(stack, size) for _ in range(3)]
    report.keep(
        "get-50k",
        median([each.result.per_s for each in gets]),
        runs=[each.result.per_s for each in gets],
        note=describe(gets),
        other_cores=median([each.used.other_cores for each in gets]),
    )
    return gets


def memory(report: Reporter, stack: Stack) -> None:
    """Resident memory at its peak, master and worker added up; the lists were asked for before."""
    pid = stack.pids["bbs"]
    report.keep(
        "memory-50k", memory_mb(pid, "VmHWM"), note=f"{memory_mb(pid):.0f} MB afterwards, master and worker"
    )


def operators(report: Reporter, stack: Stack, size: int) -> None:
    """The whole command, from the shell and back to it."""
    with auctioneer.running(
        stack.directory / "auctioneer", stack.certificates, bbs=stack.bbs_url, locket=stack.locket_address
    ) as process:
        guid = bodies.guid("load", size * 4 // 5)
        with accounting(stack.pids) as used:
            asked = commands(stack.bbs_url, process.url, stack.certificates, stack.pids["bbs"], guid)
    for each in asked:
        report.keep(
            f"{each.name}-50k",
            each.wall_ms / 1000,
            note=f"the whole command, its start included; CPU ms, command / bbs: {each.cpu_ms:.0f} / {each.bbs_cpu_ms:.1f}",
            other_cores=used.other_cores,
        )


def convergence(report: Reporter, stack: Stack, name: str, size: int, without: Sequence[Run]) -> None:
    """Its seconds in the log, once each second; what that leaves of the rate of gets, and their p99."""
    stack.stop_bbs()
    stack.start_bbs(converge_repeat_interval="1s")
    _first_convergence(stack)
    runs = [_gets(stack, size, timed=True) for _ in range(3)]
    seconds = [float(line["data"]["seconds"]) for line in stack.events("bbs.converge-lrps-done")[1:]]
    others = median([each.used.other_cores for each in runs])
    report.keep(
        f"convergence-{name}",
        median(seconds),
        note=f"{len(seconds)} convergences, one each second, the longest {max(seconds):.3f} s; with the load of gets",
        other_cores=others,
    )
    rate, before = (median([each.result.per_s for each in group]) for group in (runs, without))
    report.keep(
        f"convergence-{name}-rate",
        100 * rate / before,
        note=f"{rate:.0f}/s with a convergence each second, {before:.0f}/s without",
        other_cores=others,
    )
    latencies = sorted(milliseconds for each in runs for _, milliseconds in each.result.rounds)
    report.keep(
        f"convergence-{name}-p99",
        percentile(latencies, 0.99),
        note=f"the longest of {len(latencies)}: {latencies[-1]:.1f} ms" + _faults(runs),
        other_cores=others,
    )


def _gets(stack: Stack, size: int, *, timed: bool = False) -> Run:
    """Gets of LRPs here and there, for a few seconds."""
    first = size // 3
    return run(stack, "get", 8, min(80_000, size - first), first=first, seconds=GET_SECONDS, timed=timed)


def _first_convergence(stack: Stack) -> None:
    """The BBS looks at everything once, an interval after its start: let that be over."""
    end = time.monotonic() + WAIT_SECONDS
    while not stack.events("bbs.converge-lrps-done"):
        if time.monotonic() > end:
            raise TimeoutError("no convergence ended")
        time.sleep(0.2)


def _faults(runs: Sequence[Run]) -> str:
    faults = [each.result.first_error for each in runs if each.result.errors]
    return f"; ERRORS: {faults[0]}" if faults else ""
