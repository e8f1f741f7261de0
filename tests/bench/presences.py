"""Locket under a fleet: a thousand presences, each refreshed every five seconds at a moment fixed beforehand."""

import tempfile
from pathlib import Path

from bench.driver import accounting
from bench.load import percentile
from bench.step import Reporter
from support import locket, mariadb, pki
from support.locket_bench import Fleet

CELLS = 1000
SECONDS = 30.0


def presences(report: Reporter) -> None:
    """Locket's share of a core, as Locket itself counts it, and what ran out."""
    cells = report.of(CELLS)
    with tempfile.TemporaryDirectory() as directory, mariadb.running() as server:
        certificates = pki.write(Path(directory) / "pki")
        database = server.create_database()
        with locket.running(Path(directory) / "locket", database, certificates, log_level="info") as process:
            fleet = Fleet(process.address, certificates, cells)
            for cell in range(cells):
                fleet.refresh(cell)
            report.say(f"{cells} presences are there")
            expired, cpu = process.metric("presence_expired"), process.metric("process_cpu_seconds_total")
            with accounting({}) as used:
                waits = sorted(fleet.on_schedule(SECONDS))
            cpu = process.metric("process_cpu_seconds_total") - cpu
            missed = process.metric("presence_expired") - expired + fleet.failures
            fleet.close()
    milliseconds = [1000 * each for each in waits]
    report.keep(
        "presences-cpu",
        100 * cpu / used.seconds,
        note=f"{len(waits) / used.seconds:.0f} refreshes/s, {1000 * cpu / len(waits):.2f} ms of Locket's CPU each;"
        f" answered after p50 {percentile(milliseconds, 0.5):.1f} ms, p99 {percentile(milliseconds, 0.99):.1f} ms,"
        f" at most {milliseconds[-1]:.0f} ms",
    )
    report.keep(
        "presences-missed",
        missed,
        note=f"of {cells} presences in {used.seconds:.0f} s, refused refreshes included",
    )
