"""`scripts/bench`: measure, print the table, and write docs/performance.md."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from bench import lab as lab_bench
from bench import report
from bench.results import Results
from bench.runner import run_step
from bench.step import STEPS

ROOT = Path(__file__).resolve().parents[2]
ALL = [*STEPS, "lab"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--only", default="", help=f"steps, comma-separated: {', '.join(ALL)}")
    parser.add_argument(
        "--resume", action="store_true", help="leave out the steps that a cut run had finished"
    )
    parser.add_argument(
        "--quick", action="store_true", help="little of everything, to see that it works; writes nothing"
    )
    parser.add_argument("--lab", default="dev", help="the lab to measure, if it is up (default dev)")
    parser.add_argument("--no-deploy", action="store_true", help="leave out the lab's second deploy")
    parser.add_argument(
        "--results", type=Path, default=ROOT / ".lab/bench.json", help="where figures are kept"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "docs/performance.md")
    asked = parser.parse_args()
    chosen = asked.only.split(",") if asked.only else ALL
    if unknown := set(chosen) - set(ALL):
        parser.error(f"no such step: {', '.join(sorted(unknown))}")
    results = Results.read(asked.results)
    if asked.quick:
        results = Results(asked.results.with_name("bench-quick.json"))
    elif not asked.only and not asked.resume:
        results = Results(asked.results)
    for name in chosen:
        if asked.resume and name in results.finished:
            say(f"{name}: finished before")
        elif name == "lab":
            measure_lab(results, asked)
        else:
            measure(results, name, scale=0.02 if asked.quick else 1.0)
    text = report.document(results)
    print(f"\n{text}")
    if not asked.quick:
        report.write(text, asked.output)
        print(f"written to {asked.output}")


def measure(results: Results, name: str, *, scale: float) -> None:
    """One step; what becomes of it is kept, a failure too."""
    limit = STEPS[name][1]
    say(f"{name} (at most {limit:.0f} s)")
    began = time.monotonic()
    figures, error = run_step(name, limit, scale)
    say(f"{name}: {f'FAILED: {error}' if error else 'done'}, {time.monotonic() - began:.0f} s")
    results.add(name, figures, error, time.time())


def measure_lab(results: Results, asked: argparse.Namespace) -> None:
    """What a lab that is up shows; nothing when there is none."""
    env = ROOT / ".lab" / asked.lab / "env"
    if not env.exists():
        say(f"no lab {asked.lab} is up (make up): its measurements are left out")
        return
    lab = lab_bench.Lab(lab_bench.environment(env), say)
    try:
        lab.bare_to_url()
        lab.run()
        if not asked.no_deploy:
            lab.second_deploy(asked.lab)
    except (OSError, RuntimeError, TimeoutError, subprocess.SubprocessError) as error:
        say(f"the lab: FAILED: {error}")
    results.lab = lab.facts
    results.finished.append("lab")
    results.save()


def say(text: str) -> None:
    """Progress, at once."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
