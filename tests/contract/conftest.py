"""What the contract tests share: certificates, a MariaDB for the run, a schema for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import mariadb as mariadb_server
from support import pki as test_pki
from support.mariadb import Database, MariaDb


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `ca.crt` and the leaves of `support.pki`."""
    return test_pki.write(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDb]:
    """The run's database server. Who kills it starts it again before the test ends."""
    with mariadb_server.running() as server:
        yield server


@pytest.fixture
def database(mariadb: MariaDb) -> Iterator[Database]:
    """An empty schema of this test's own."""
    database = mariadb.create_database()
    yield database
    mariadb.drop_database(database)
