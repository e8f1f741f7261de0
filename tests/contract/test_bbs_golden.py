"""Every recorded exchange with the original's BBS, its outbound calls and its events, played to ours.

Nothing is skipped; what may differ is in docs/differences.md. Convergence has a module of its own.
"""

from pathlib import Path

import pytest

from support.golden_bbs import on_stage, play, verdict
from support.mariadb import Database

pytestmark = [pytest.mark.database, pytest.mark.timeout(240)]


def test_domains_cells_and_ping_answer_as_recorded(tmp_path: Path, database: Database, pki: Path) -> None:
    with on_stage(tmp_path, database, pki) as stage:
        tally = play(
            stage,
            "bbs-domains-cells-ping",
            {14: lambda: stage.release("cell-b"), 15: lambda: stage.release("cell-a")},
        )

    verdict(tally)
    assert tally.exchanges == 23


def test_desired_lrps_answer_as_recorded(tmp_path: Path, database: Database, pki: Path) -> None:
    with on_stage(tmp_path, database, pki) as stage:
        tally = play(stage, "bbs-desired-lrps")

    verdict(tally)
    assert (tally.exchanges, tally.calls, tally.events.total()) == (127, 19, 168)


def test_actual_lrps_answer_as_recorded(tmp_path: Path, database: Database, pki: Path) -> None:
    with on_stage(tmp_path, database, pki) as stage:
        tally = play(stage, "bbs-actual-lrps")

    verdict(tally)
    assert (tally.exchanges, tally.calls, tally.events.total()) == (113, 10, 188)


def test_tasks_answer_as_recorded(tmp_path: Path, database: Database, pki: Path) -> None:
    with on_stage(tmp_path, database, pki) as stage:
        tally = play(stage, "bbs-tasks")

    verdict(tally)
    assert (tally.exchanges, tally.calls, tally.events.total()) == (135, 20, 94)


def test_evacuations_answer_as_recorded(tmp_path: Path, database: Database, pki: Path) -> None:
    with on_stage(tmp_path, database, pki) as stage:
        tally = play(stage, "bbs-evacuation")

    verdict(tally)
    assert (tally.exchanges, tally.calls, tally.events.total()) == (64, 11, 213)
