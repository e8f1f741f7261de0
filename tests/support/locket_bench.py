"""How locket carries a fleet: presences refreshed on an absolute schedule, then as fast as it goes.

    PYTHONPATH=tests python -m support.locket_bench [CELLS] [SECONDS]

Starts a MariaDB (a commit is on the disk before it is answered) and a real locket, over mutual TLS. On a busy machine the
numbers say more about the machine; the share of a processor per refresh is printed for that.
"""

import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from diego.locket.client import PRESENCE, PRESENCE_EVERY, LocketClient
from support import locket as locket_process
from support import mariadb as mariadb_server
from support import pki as test_pki

CONNECTIONS = 32
VALUE = '{"cell_id":"%s"' + ',"padding":"' + "x" * 400 + '"}'


class Fleet:
    """Cells that refresh their presences over a few connections."""

    def __init__(self, address: str, pki: Path, cells: int) -> None:
        self.cells = cells
        self.failures = 0
        self._clients = [
            LocketClient(
                address,
                ca_file=pki / "ca.crt",
                cert_file=pki / "diego_rep_client.crt",
                key_file=pki / "diego_rep_client.key",
            )
            for _ in range(CONNECTIONS)
        ]

    def refresh(self, cell: int, due: float = 0.0) -> float:
        """Refresh one presence; seconds since it was due (or since now)."""
        due = due or time.monotonic()
        name = f"cell-{cell % self.cells}"
        try:
            self._clients[cell % CONNECTIONS].lock(name, f"owner-{name}", value=VALUE % name, kind=PRESENCE)
        except Exception:  # noqa: BLE001 - whatever it is, it counts as a failure and the bench goes on
            self.failures += 1
        return time.monotonic() - due

    def on_schedule(self, seconds: float) -> list[float]:
        """Each cell every five seconds, at moments fixed beforehand: a late answer does not delay the next."""
        pause = PRESENCE_EVERY / self.cells
        began = time.monotonic()
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            futures = []
            for number in range(int(seconds / pause)):
                due = began + number * pause
                time.sleep(max(0.0, due - time.monotonic()))
                futures.append(pool.submit(self.refresh, number, due))
            return [future.result() for future in futures]

    def as_fast_as_it_goes(self, seconds: float) -> float:
        """Refreshes per second with all connections busy."""
        end = time.monotonic() + seconds
        counts = [0] * CONNECTIONS

        def run(number: int) -> None:
            cell = number
            while time.monotonic() < end:
                self.refresh(cell)
                cell += CONNECTIONS
                counts[number] += 1

        threads = [threading.Thread(target=run, args=(number,)) for number in range(CONNECTIONS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts) / seconds

    def list_seconds(self) -> float:
        began = time.monotonic()
        self._clients[0].fetch_all(PRESENCE)
        return time.monotonic() - began

    def close(self) -> None:
        for client in self._clients:
            client.close()


def main() -> None:
    cells = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 30.0
    with tempfile.TemporaryDirectory() as directory, mariadb_server.running() as mariadb:
        pki = test_pki.write(Path(directory) / "pki")
        with locket_process.running(
            Path(directory), mariadb.create_database(), pki, log_level="info"
        ) as locket:
            fleet = Fleet(locket.address, pki, cells)
            for cell in range(cells):
                fleet.refresh(cell)
            before = locket.metric("process_cpu_seconds_total")
            waits = sorted(fleet.on_schedule(seconds))
            cpu = locket.metric("process_cpu_seconds_total") - before
            print(
                f"{cells} presences, {len(waits) / seconds:.0f} refreshes/s: p50 {1000 * statistics.median(waits):.1f} ms,"
                f" p99 {1000 * waits[int(len(waits) * 0.99)]:.1f} ms, max {1000 * waits[-1]:.1f} ms,"
                f" {1000 * cpu / len(waits):.2f} ms of locket's CPU each, {fleet.failures} failures"
            )
            print(f"list of all presences: {1000 * min(fleet.list_seconds() for _ in range(5)):.1f} ms")
            print(f"as fast as it goes: {fleet.as_fast_as_it_goes(seconds / 3):.0f} refreshes/s")
            print(f"presences expired: {locket.metric('presence_expired'):.0f}")
            fleet.close()


if __name__ == "__main__":
    main()
