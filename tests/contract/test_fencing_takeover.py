"""A BBS that falls asleep in its own takeover never opens on what it saw then (ours.md section 2).

As test_fencing.py, at three moments of a takeover; `make chaos` has the others, and a minute's sleep.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.fencing import TAKEOVER_POINTS, Site, site, sleep_in_a_takeover
from support.mariadb import Database

pytestmark = [pytest.mark.database, pytest.mark.timeout(300)]

TTL = 10.0


@pytest.fixture
def pair(tmp_path: Path, database: Database, pki: Path) -> Iterator[Site]:
    with site(tmp_path, pki, databases=[database, database], locket_databases=[database], ttl=TTL) as made:
        yield made


@pytest.mark.parametrize(
    "point", ["before the epoch's commit", "while loading", "before the last look at the fence"]
)
def test_one_that_falls_asleep_in_a_takeover_never_opens_on_what_it_saw_then(pair: Site, point: str) -> None:
    sleep_in_a_takeover(pair, TAKEOVER_POINTS[point], ttl=TTL)
