"""What was measured, as a table on the terminal and as docs/performance.md."""

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.results import Results
from bench.table import HEAD, TARGETS, figure, rows

GOALS = {"desired_to_answering_s": 3.0, "killed_to_answering_s": 3.0}
TITLES = {
    "desired_to_answering_s": "desired → answering through the router",
    "killed_to_answering_s": "killed app process → answering again",
}
CARD = ("auction", "original, s", "ours, s", "per cell, original", "per cell, ours", "refused", "as good")

HOW = (
    "Server, MariaDB (each commit on the disk) and load share the cores, over mutual TLS; bodies are those of a"
    " buildpack app, 5 KB. Rates and times are medians of several runs. `other cores` is what everything else on the"
    " machine used meanwhile: when it is not near 0, rates fall and latencies grow, and CPU time per round (below)"
    " tells more. The original's figures are of the release of 2024-10-24, on two idle cores of another machine. One"
    " step is repeated by its command; the other rows then stay as they were."
)
BALANCE = (
    "Placement only, over imaginary cells whose states are known, beside the original's own simulation. Per cell:"
    " the fewest and the most new instances (or the memory in use) afterwards. `as good`: no more uneven, and no cell"
    " with more than the original's fullest; in packing, the first cells are meant to get more than those behind them."
)


def machine() -> str:
    """Where it was measured, in a few words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GB, Linux {platform.release()}, Python {platform.python_version()}"


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table of Markdown, its columns aligned so that it reads well as text too."""
    widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]
    return "\n".join(
        "| " + " | ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)) + " |"
        for line in [head, ["-" * width for width in widths], *lines]
    )


def details(results: Results) -> str:
    """What was behind each figure: runs, latencies, CPU time."""
    shown = [
        [
            key,
            figure(one.value),
            " ".join(figure(value) for value in one.runs),
            one.note.replace("|", "/"),
            time.strftime("%H:%M", time.gmtime(one.at)),
        ]
        for key, one in results.figures.items()
        if one.value is not None and not _is_auction(key)
    ]
    return table(("figure", "value", "runs", "behind it", "at, UTC"), shown)


def auctions(results: Results) -> str:
    """The report card."""
    shown = []
    for key, one in results.figures.items():
        if one.value is None or not _is_auction(key):
            continue
        name, seconds, original, ours, refused, good = one.note.split("|")
        shown.append([name, seconds, figure(one.value), original, ours, refused, good])
    return table(CARD, shown) if shown else "Not measured."


def _is_auction(key: str) -> bool:
    return key.startswith("auction")


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
    return table(("what", "measured", "meant to be at most"), shown)


def verdict(results: Results) -> str:
    """How many of the bars are met, and which are not."""
    judged = [(target, results.figures.get(target.key)) for target in TARGETS if target.bar is not None]
    known = {target.key: target.met(one.value) for target, one in judged if one and one.value is not None}
    missed = [key for key, met in known.items() if not met]
    unknown = [target.key for target, _ in judged if target.key not in known]
    text = f"{len(known) - len(missed)} of {len(judged)} bars are met."
    if missed:
        text += f" Not met: {', '.join(missed)}."
    return text + (f" Without a figure: {', '.join(unknown)}." if unknown else "")


def document(results: Results) -> str:
    """The page."""
    times = [one.at for one in results.figures.values() if one.at]
    when = time.strftime("%Y-%m-%d", time.gmtime(max(times))) if times else "never"
    parts = [
        "# Performance",
        "What `make bench` measured and wrote here. No test depends on it: machines differ, and so does what else they do.",
        f"Measured on {when}: {machine()}.",
        "## The control plane",
        HOW,
        table(HEAD, rows(results.figures)),
        verdict(results),
        "## Behind the figures",
        details(results),
        "## Auctions",
        BALANCE + " Repeat it with `scripts/bench --only auctions`.",
        auctions(results),
    ]
    if results.lab:
        parts += ["## A lab", "Repeat it with `scripts/bench --only lab`.", lab_rows(results.lab)]
    return "\n\n".join(parts) + "\n"


def write(text: str, target: Path) -> None:
    target.write_text(text)
