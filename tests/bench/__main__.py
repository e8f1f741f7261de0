"""`scripts/bench`: measure what is there, print it, and write docs/performance.md."""

import argparse
import sys
from pathlib import Path
from typing import Any

from bench import lab as lab_bench
from bench import report, stack
from bench.control_plane import ControlPlane

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument(
        "--stored",
        type=int,
        nargs="*",
        default=[1000, 10000],
        help="LRPs stored for lists (default 1000 10000)",
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--lab", default="dev", help="the lab to measure, if it is up (default dev)")
    parser.add_argument("--no-lab", action="store_true")
    parser.add_argument("--no-bbs", action="store_true")
    parser.add_argument("--no-deploy", action="store_true", help="leave out the second deploy")
    parser.add_argument("--output", type=Path, default=ROOT / "docs/performance.md")
    asked = parser.parse_args()
    facts: dict[str, Any] = {} if asked.no_lab else measure_lab(asked)
    control = None if asked.no_bbs else measure_bbs(asked)
    text = report.document(control, facts)
    print()
    print(text)
    report.write(text, asked.output)
    print(f"written to {asked.output}")


def measure_lab(asked: argparse.Namespace) -> dict[str, Any]:
    """What a lab that is up shows; nothing when there is none."""
    env = ROOT / ".lab" / asked.lab / "env"
    if not env.exists():
        say(f"no lab {asked.lab} is up (make up): its measurements are left out")
        return {}
    lab = lab_bench.Lab(lab_bench.environment(env), say, asked.repeats)
    lab.bare_to_url()
    lab.run()
    if not asked.no_deploy:
        lab.second_deploy(asked.lab)
    return lab.facts


def measure_bbs(asked: argparse.Namespace) -> ControlPlane:
    """The BBS on a MariaDB of its own."""
    with stack.running() as running:
        control = ControlPlane(running, say, asked.repeats)
        control.run(sorted(asked.stored))
    return control


def say(text: str) -> None:
    """Progress, at once."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
