"""A minute's SIGSTOP at every point of a write and of a takeover, with the lock's deployed time to live.

Each point has a deployment of its own, several at once, since most of the time everybody sleeps.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

from chaos.history import History
from support import galera as galera_cluster
from support import mariadb as mariadb_server
from support import pki as test_pki
from support.fencing import (
    TAKEOVER_POINTS,
    WRITE_POINTS,
    Point,
    Site,
    site,
    sleep_in_a_takeover,
    sleep_in_a_write,
)
from support.mariadb import Database

TTL = 15.0
ASLEEP = 60.0
AT_ONCE = 7

Scenario = Callable[[Site], None]
Make = Callable[[], Sequence[Database]]


def scenarios() -> dict[str, Scenario]:
    """By name, what is done to two BBSes."""
    found: dict[str, Scenario] = {}
    for name, point in WRITE_POINTS.items():
        for late in (True, False):
            how = "arrives late" if late else "arrives while it sleeps"
            found[f"write, {name}, {how}"] = partial(_write, point, late)
    for name, point in TAKEOVER_POINTS.items():
        found[f"takeover, {name}"] = partial(_takeover, point)
    return found


def _write(point: Point, late: bool, made: Site) -> None:
    sleep_in_a_write(made, point, late=late, ttl=TTL, asleep=ASLEEP)


def _takeover(point: Point, made: Site) -> None:
    sleep_in_a_takeover(made, point, ttl=TTL, asleep=ASLEEP)


def on_one_server(directory: Path, history: History) -> None:
    """The two BBSes share one MariaDB."""
    with mariadb_server.running() as server:

        def make() -> Sequence[Database]:
            return [server.create_database()] * 3

        _all_points(directory, history, make)


def on_three_nodes(directory: Path, history: History) -> None:
    """The two BBSes write to different nodes of a Galera cluster; an outsider looks through the third."""
    with galera_cluster.running() as cluster:
        with closing(cluster.nodes[2].root()) as connection, connection.cursor() as cursor:
            cursor.execute("SET GLOBAL wsrep_sync_wait = 15")
        _all_points(directory, history, cluster.create_database)


def _all_points(directory: Path, history: History, make: Make) -> None:
    pki = test_pki.write(directory / "pki")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        runs = [
            pool.submit(_one, directory / f"{number}", pki, history, name, scenario, make)
            for number, (name, scenario) in enumerate(scenarios().items())
        ]
        for run in runs:
            run.result()


def _one(directory: Path, pki: Path, history: History, name: str, scenario: Scenario, make: Make) -> None:
    history.note("fault", what=name)
    with ExitStack() as stack:
        one, two, outside = make()
        made = stack.enter_context(
            site(directory, pki, databases=[one, two], locket_databases=[one, two], outside=outside, ttl=TTL)
        )
        try:
            scenario(made)
        except (AssertionError, RuntimeError, OSError) as error:
            history.note("wrong", what=f"{name}: {type(error).__name__} {error}")
        history.note(
            "point",
            name=name,
            acknowledged=len(made.acknowledged),
            refused=made.refused,
            stored=sorted(made.stored()),
        )
