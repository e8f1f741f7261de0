"""Breaks the BBS's rules, one at a time, and sees the test named after the rule fail.

    PYTHONPATH=tests python -m support.broken_rules                  run all, print what was caught and what was not
    PYTHONPATH=tests python -m support.broken_rules --section 9      only those of a section (may be repeated)
    PYTHONPATH=tests python -m support.broken_rules --table          print docs/rules.md's table, run nothing

Each break is made in a copy of the package; the checkout is not touched. Each test runs in a fork of its own. First the tests must pass on an unbroken
copy. Where a test needs a database, it starts one.
"""

import argparse
import importlib
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

import pytest

from support.rules import BREAKS, Break

ROOT = Path(__file__).parents[2]
CORE = "bbs/core"
UNIT_TESTS = "unit/bbs"
TEST_SECONDS = 120
ALL_TESTS_SECONDS = 1200
CODE_CHARACTERS = 86
FAILED, FAILED_OTHERWISE = 1, 99
"""Exit statuses: pytest's own, when a test failed, and ours. Any but the first says that the test could not run."""


def module_of(broken: Break) -> str:
    return broken.module if "/" in broken.module else f"{CORE}/{broken.module}"


def test_of(broken: Break) -> str:
    file = broken.test.partition("::")[0]
    return f"tests/{broken.test}" if "/" in file else f"tests/{UNIT_TESTS}/{broken.test}"


def load_ahead() -> None:
    """Load once what all tests need and no break touches: each test runs in a fork of this process."""
    for name in (
        "pytest",
        "hypothesis",
        "flask",
        "orjson",
        "pymysql",
        "cryptography.hazmat.primitives.ciphers.aead",
    ):
        importlib.import_module(name)
    for module in sorted((ROOT / "jobs" / "diego" / "wire").glob("*_pb2.py")):
        importlib.import_module(f"diego.wire.{module.stem}")


def tested(jobs: Path, tests: Sequence[str], *, seconds: int, log: Path) -> int:
    """The exit status of pytest over the package in `jobs`; what it prints is in `log`."""
    child = os.fork()
    if not child:
        status = FAILED_OTHERWISE
        try:
            with log.open("w") as out:
                os.dup2(out.fileno(), 1)
                os.dup2(out.fileno(), 2)
            status = int(_pytest(jobs, tests, seconds))
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _pytest(jobs: Path, tests: Sequence[str], seconds: int) -> int:
    """In the fork: everything of ours is loaded from `jobs`, but for the messages, which may be loaded only once."""
    signal.alarm(seconds)
    os.chdir(ROOT)
    sys.dont_write_bytecode = True
    for name in [name for name in sys.modules if name.split(".")[0] in {"diego", "support"}]:
        if not name.startswith("diego.wire"):
            del sys.modules[name]
    sys.path.insert(0, str(jobs))
    os.environ.update(PYTHONPATH=str(jobs), PYTHONDONTWRITEBYTECODE="1")
    importlib.invalidate_caches()
    loaded = "ignore::pytest.PytestAssertRewriteWarning"  # plugins, ahead of their time
    return pytest.main(["-q", "-p", "no:cacheprovider", "-W", loaded, *tests])


def check_unbroken(jobs: Path, breaks: Sequence[Break], log: Path) -> None:
    """A test that fails anyhow would catch everything."""
    tests = list(dict.fromkeys(map(test_of, breaks)))
    if tested(jobs, tests, seconds=ALL_TESTS_SECONDS, log=log):
        raise SystemExit(f"without a break not all tests pass:\n{log.read_text()[-4000:]}")


def caught(jobs: Path, broken: Break, log: Path) -> bool:
    """Whether the test fails on the copy of the package with the rule broken. The copy is whole afterwards."""
    module = jobs / "diego" / f"{module_of(broken)}.py"
    source = module.read_text()
    if source.count(broken.words) != 1:
        raise SystemExit(f"{broken.module}: {broken.words!r} is there {source.count(broken.words)} times")
    changed = source.replace(broken.words, broken.instead)
    compile(changed, str(module), "exec")
    module.write_text(changed)
    try:
        return tested(jobs, [test_of(broken)], seconds=TEST_SECONDS, log=log) == FAILED
    finally:
        module.write_text(source)


def table(breaks: Sequence[Break]) -> str:
    lines = ["| § | Rule | Test | Broken as |", "|---|---|---|---|"]
    for broken in breaks:
        name = broken.test.replace("::", " › ")
        lines.append(
            f"| {broken.section} | {broken.rule} | {name} | {broken.module}: "
            f"{_code(broken.words)} → {_code(broken.instead)} |"
        )
    return "\n".join(lines)


def _code(words: str) -> str:
    """The part of it that fits a table."""
    line = " ".join(words.split()) or "(nothing)"
    line = line.replace("|", "\\|")
    return f"`{line if len(line) <= CODE_CHARACTERS else line[:CODE_CHARACTERS].rpartition(' ')[0] + ' ...'}`"


def main() -> int:
    parser = argparse.ArgumentParser(prog="support.broken_rules", description=__doc__)
    parser.add_argument("--section", action="append", default=[], help="only this section's rules")
    parser.add_argument("--rule", default="", help="only rules with these words in their names")
    parser.add_argument("--table", action="store_true", help="print the table and run nothing")
    asked = parser.parse_args()
    breaks = [
        broken
        for broken in BREAKS
        if (not asked.section or broken.section in asked.section) and asked.rule in broken.rule
    ]
    if asked.table:
        print(table(breaks))
        return 0
    load_ahead()
    missed = []
    with tempfile.TemporaryDirectory(prefix="diego-broken-") as directory:
        jobs, log = Path(directory) / "jobs", Path(directory) / "log"
        shutil.copytree(ROOT / "jobs" / "diego", jobs / "diego", ignore=shutil.ignore_patterns("__pycache__"))
        check_unbroken(jobs, breaks, log)
        for broken in breaks:
            noticed = caught(jobs, broken, log)
            print(("caught  " if noticed else "MISSED  ") + f"{broken.section} {broken.rule}", flush=True)
            if not noticed:
                missed.append(broken)
    print(f"{len(breaks) - len(missed)} of {len(breaks)} broken rules were caught")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
