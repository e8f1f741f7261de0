"""What was measured, as a table on the terminal and as docs/performance.md."""

import os
import platform
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from bench.control_plane import ControlPlane, Row

ORIGINAL: dict[tuple[str, int], float] = {
    ("desire", 1): 338,
    ("desire", 8): 780,
    ("desire", 32): 947,
    ("remove", 1): 354,
    ("remove", 8): 770,
    ("remove", 32): 985,
    ("claim+start", 1): 276,
    ("claim+start", 8): 426,
    ("claim+start", 32): 478,
    ("task", 1): 147,
    ("task", 8): 353,
    ("task", 32): 314,
    ("get", 8): 2141,
}
"""Rounds per second of the original (release of 2024-10-24, Go) with the same load on two idle cores."""

ORIGINAL_LISTS: dict[tuple[str, int], float] = {
    ("list desired LRPs", 10000): 0.65,
    ("list scheduling infos", 10000): 0.17,
    ("list actual LRPs", 10000): 0.13,
    ("list desired LRPs", 50000): 3.6,
    ("list scheduling infos", 50000): 0.87,
    ("list actual LRPs", 50000): 0.70,
}
ORIGINAL_CONVERGENCE = {10000: 0.45, 50000: 2.25}

GOALS = {"desired_to_answering_s": 3.0, "killed_to_answering_s": 3.0}
TITLES = {
    "desired_to_answering_s": "desired → answering through the router",
    "killed_to_answering_s": "killed app process → answering again",
}


def machine() -> str:
    """Where it was measured, in a few words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GB, Linux {platform.release()}, Python {platform.python_version()}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown, its columns aligned so that it reads well as text too."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def rates(rows: Sequence[Row]) -> str:
    """Rates by clients, with the CPU time of each process and round, and the original's rate."""
    shown = [
        [
            row.what + (f", {row.stored} stored" if row.stored else ""),
            str(row.clients),
            f"{row.per_s:.0f} ({' '.join(f'{run:.0f}' for run in row.runs)})",
            f"{row.p50_ms:.1f} / {row.p99_ms:.1f}",
            " / ".join(f"{row.cpu_ms[name]:.2f}" for name in ("bbs", "mariadb", "load")),
            f"{ORIGINAL[row.what, row.clients]:.0f}" if (row.what, row.clients) in ORIGINAL else "",
            f"{row.other_cores:.1f}",
        ]
        for row in rows
        if not row.what.startswith("list ")
    ]
    head = (
        "Round",
        "Clients",
        "per s (runs)",
        "p50 / p99 ms",
        "CPU ms: bbs / mariadb / load",
        "original per s",
        "other cores",
    )
    return table(head, shown)


def lists(rows: Sequence[Row]) -> str:
    """Whole lists: seconds to the last byte."""
    shown = [
        [
            row.what.removeprefix("list "),
            str(row.stored),
            f"{row.seconds:.3f}",
            f"{row.bytes / 1e6:.1f}",
            f"{row.cpu_ms['bbs'] / 1000:.3f}",
            f"{ORIGINAL_LISTS[row.what, row.stored]:g}" if (row.what, row.stored) in ORIGINAL_LISTS else "",
        ]
        for row in rows
        if row.what.startswith("list ")
    ]
    return table(("List", "Stored", "s", "MB", "bbs CPU s", "original s"), shown)


def convergence(found: dict[int, float]) -> str:
    shown = [
        [str(size), f"{seconds:.3f}", f"{ORIGINAL_CONVERGENCE.get(size, '')}"]
        for size, seconds in found.items()
    ]
    return table(("Stored, all running", "s", "original s"), shown)


def lab_rows(facts: dict[str, Any]) -> str:
    """What a lab's measurements say, beside what they are meant to be."""
    shown: list[list[str]] = []
    if "up" in facts:
        up = facts["up"]
        phases = ", ".join(f"{name} {seconds} s" for name, seconds in up.get("phases", {}).items())
        shown.append(
            [f"last `make up`, to the URL ({phases})", f"{up['bare_to_url_s']} s", "360 s bare, 150 s cached"]
        )
    if "second_deploy" in facts:
        again = facts["second_deploy"]
        shown.append(
            [f"second deploy, changed={again['changed']}", f"{again['seconds']:.0f} s", "90 s, changed=0"]
        )
    for name, goal in GOALS.items():
        if name in facts:
            fact = facts[name]
            text = f"{fact['median']:.2f} s (most {fact['most']:.2f} of {fact['runs']})"
            shown.append([TITLES[name], text, f"{goal:g} s"])
    return table(("What", "Measured", "Meant to be at most"), shown)


HOW = (
    "Server, MariaDB (each commit on the disk) and load share the cores. A round of `claim+start` is two requests, of "
    "`task` five; bodies are those of a buildpack app, 5 KB. Rates are medians of the runs in brackets. `other cores` "
    "is what everything else on the machine used meanwhile: when it is not near 0, compare CPU time first and rates "
    "second. The original's figures are of release 2024-10-24 on two idle cores, another machine."
)


def document(control: ControlPlane | None, lab: dict[str, Any]) -> str:
    """The page."""
    parts = [
        "# Performance",
        "What `make bench` measured and wrote here. Nothing of it is a test: machines differ, and so does what else they do.",
        f"Measured on {date.today().isoformat()}: {machine()}.",
    ]
    if lab:
        parts += ["## A lab", lab_rows(lab)]
    if control is not None:
        errors = [f"{row.what}: {row.errors} × {row.first_error}" for row in control.rows if row.errors]
        parts += [
            "## The BBS",
            HOW,
            rates(control.rows),
            "Everything at once, one client, to the last byte:",
            lists(control.rows),
        ]
        if control.facts.get("convergence_s"):
            parts += ["A convergence that finds nothing to do:", convergence(control.facts["convergence_s"])]
        if control.facts.get("memory_mb"):
            now, peak = control.facts["memory_mb"], control.facts["peak_memory_mb"]
            memory = ", ".join(f"{name} {now[name]:.0f} (peak {peak[name]:.0f})" for name in now)
            parts.append(f"Memory with {control.stored} stored, MB, each process with its workers: {memory}.")
        parts.append("Errors: " + ("; ".join(errors) if errors else "none."))
    return "\n\n".join(parts) + "\n"


def write(text: str, target: Path) -> None:
    target.write_text(text)
