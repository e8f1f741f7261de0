"""How fast the BBS is: rates, lists, convergence, memory."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.load import SECONDS, Order, Result
from bench.stack import Stack
from bench.usage import busy_seconds, cpu_seconds, memory_mb

TESTS = Path(__file__).resolve().parents[1]

RATES = (
    ("desire", 1, 400),
    ("desire", 8, 1500),
    ("desire", 32, 1500),
    ("claim+start", 1, 300),
    ("claim+start", 8, 1000),
    ("claim+start", 32, 1000),
    ("task", 1, 150),
    ("task", 8, 600),
    ("task", 32, 600),
)
"""Cycle, clients, rounds."""


@dataclass
class Row:
    """One line of the report: the medians of several runs."""

    what: str
    clients: int
    stored: int
    per_s: float
    runs: list[float]
    p50_ms: float
    p99_ms: float
    seconds: float
    bytes: int
    errors: int
    first_error: str
    cpu_ms: dict[str, float]
    other_cores: float


@dataclass
class ControlPlane:
    """Runs the load and keeps the rows."""

    stack: Stack
    say: Callable[[str], None]
    repeats: int = 3
    stored: int = 0
    rows: list[Row] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def run(self, sizes: list[int]) -> None:
        """The whole sequence: rates on an empty store, then lists and one-by-one reads at each size."""
        with self.stack.client() as bbs:
            bbs.upsert_domain("load", 0)
        self._load("desire", 8, 200, prefix="warm")
        self._load("remove", 8, 200, prefix="warm")
        self.rates()
        for size in sizes:
            self.fill(size)
            self.lists()
            self.converge()
        self.facts["memory_mb"] = {name: memory_mb(pid) for name, pid in self.stack.pids.items()}
        self.facts["peak_memory_mb"] = {
            name: memory_mb(pid, "VmHWM") for name, pid in self.stack.pids.items()
        }

    def rates(self) -> None:
        """Writes, by 1, 8 and 32 clients; each round's records are its own, and gone afterwards."""
        for cycle, clients, count in RATES:
            kept: list[tuple[Result, dict[str, float], float]] = []
            removed: list[tuple[Result, dict[str, float], float]] = []
            for repeat in range(self.repeats):
                prefix = f"{cycle[0]}{clients}-{repeat}"
                if cycle == "claim+start":
                    self._load("desire", 32, count, prefix=prefix)
                kept.append(self._load(cycle, clients, count, prefix=prefix))
                if cycle == "desire":
                    removed.append(self._load("remove", clients, count, prefix=prefix))
                elif cycle == "claim+start":
                    self._load("remove", 32, count, prefix=prefix)
                    self._load("remove actual", 32, count, prefix=prefix)
            self._keep(cycle, clients, count, kept)
            if removed:
                self._keep("remove", clients, count, removed)

    def fill(self, size: int) -> None:
        """Desire up to so many LRPs, and let each instance run."""
        missing = size - self.stored
        first = self.stored
        for cycle in ("desire", "claim+start"):
            for at in range(first, size, 5000):
                self._load(cycle, 32, min(5000, size - at), first=at)
        self.stored = size
        self.say(f"filled with {missing} more, {size} stored")

    def lists(self) -> None:
        """Everything at once by one client, and one by one by eight."""
        for kind in ("desired LRPs", "scheduling infos", "actual LRPs"):
            runs = [self._load(f"list {kind}", 1, 1) for _ in range(max(5, self.repeats))]
            self._keep(f"list {kind}", 1, 1, runs)
        runs = [self._load("get", 8, 500) for _ in range(self.repeats)]
        self._keep("get", 8, 500, runs)

    def converge(self) -> None:
        """How long a convergence takes that finds nothing to do, from the BBS's own log."""
        seen = len(self.stack.bbs.events("bbs.converge-lrps-done"))
        end = time.monotonic() + 60
        while len(done := self.stack.bbs.events("bbs.converge-lrps-done")) < seen + 2:
            if time.monotonic() > end:
                self.say("no convergence was seen in a minute")
                return
            time.sleep(0.5)
        self.facts.setdefault("convergence_s", {})[self.stored] = done[-1]["data"]["seconds"]

    def _load(
        self, cycle: str, clients: int, count: int, *, prefix: str = "load", first: int = 0
    ) -> tuple[Result, dict[str, float], float]:
        """One run of the load: what came of it, each server's CPU seconds, and the cores that others used meanwhile."""
        certificates = self.stack.certificates
        order = Order(
            url=self.stack.bbs_url,
            ca=str(certificates / "ca.crt"),
            cert=str(certificates / "diego_bbs_client.crt"),
            key=str(certificates / "diego_bbs_client.key"),
            cycle=cycle,
            count=count,
            clients=clients,
            prefix=prefix,
            first=first,
        )
        busy, began, before = busy_seconds(), time.monotonic(), os.times()
        cpu = {name: cpu_seconds(pid) for name, pid in self.stack.pids.items()}
        ran = subprocess.run(
            [sys.executable, "-m", "bench.load"],
            input=json.dumps(asdict(order)),
            cwd=TESTS,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS * 2,
        )
        if ran.returncode:
            raise RuntimeError(f"the load of {cycle} failed: {ran.stderr[-2000:]}")
        result = Result(**json.loads(ran.stdout))
        used = {name: cpu_seconds(pid) - cpu[name] for name, pid in self.stack.pids.items()}
        after = os.times()
        mine = after.children_user + after.children_system - before.children_user - before.children_system
        others = max(0.0, busy_seconds() - busy - sum(used.values()) - mine) / (time.monotonic() - began)
        used["load"] = result.cpu_s
        return result, used, others

    def _keep(
        self, what: str, clients: int, count: int, runs: list[tuple[Result, dict[str, float], float]]
    ) -> None:
        def median(name: str) -> float:
            return statistics.median(float(getattr(result, name)) for result, _, _ in runs)

        total = count * len(runs)
        row = Row(
            what=what,
            clients=clients,
            stored=self.stored,
            per_s=median("per_s"),
            runs=[result.per_s for result, _, _ in runs],
            p50_ms=median("p50_ms"),
            p99_ms=median("p99_ms"),
            seconds=median("seconds"),
            bytes=runs[-1][0].bytes,
            errors=sum(result.errors for result, _, _ in runs),
            first_error=next((result.first_error for result, _, _ in runs if result.first_error), ""),
            cpu_ms={name: 1000 * sum(used[name] for _, used, _ in runs) / total for name in runs[0][1]},
            other_cores=statistics.median(others for _, _, others in runs),
        )
        self.rows.append(row)
        self.say(
            f"{what}, {clients} clients, {self.stored} stored: {row.per_s:.0f}/s, p50 {row.p50_ms:.1f} ms,"
            f" p99 {row.p99_ms:.1f} ms, {row.seconds:.2f} s"
            + (f", {row.errors} ERRORS: {row.first_error}" if row.errors else "")
        )
