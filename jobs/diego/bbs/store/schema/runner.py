"""Runs the migrations that a database has not seen."""

import json
from collections.abc import Callable

from diego.bbs.store import SchemaTooNew, StoreError
from diego.bbs.store.encryption import Encryption
from diego.bbs.store.schema.migrations import MIGRATIONS, NEWEST, TABLE
from diego.database import Connection
from diego.runtime.logs import get_logger

VERSION = "version"
ENCRYPTION_KEY_LABEL = "encryption_key_label"

CONFIGURATIONS = (
    f"CREATE TABLE IF NOT EXISTS configurations (id VARCHAR(255) PRIMARY KEY, value VARCHAR(255)) {TABLE}"
)

log = get_logger("bbs")


def migrate(connection: Connection, encryption: Encryption, *, fence: Callable[[], None]) -> None:
    """From whatever version to the newest; a database without one is empty.

    `fence` is called in each transaction, and raises when the database is no longer ours to change.

    Raises:
        SchemaTooNew: the database is newer than this program.
    """
    connection.run(CONFIGURATIONS)
    present = version_of(connection)
    if present > NEWEST:
        raise SchemaTooNew(f"Existing DB version ({present}) exceeds bbs version ({NEWEST})")
    for migration in MIGRATIONS:
        if migration.version <= present:
            continue
        log.info("migration.started", version=migration.version)
        fence()
        connection.commit_work()
        for statement in migration.statements:
            connection.run(statement)
        if migration.rewrite is not None:
            migration.rewrite(connection, encryption)
        fence()
        put_configuration(connection, VERSION, json.dumps({"CurrentVersion": migration.version}))
        connection.commit_work()
        log.info("migration.finished", version=migration.version)


def version_of(connection: Connection) -> int:
    """The version that the database says it has, 0 when it says none."""
    text = configuration(connection, VERSION)
    if text is None:
        return 0
    try:
        return int(json.loads(text)["CurrentVersion"])
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(f"the version in the database cannot be read: {text!r}") from error


def configuration(connection: Connection, name: str) -> str | None:
    found = connection.row("SELECT value FROM configurations WHERE id = %s", (name,))
    return None if found is None else str(found[0])


def put_configuration(connection: Connection, name: str, value: str) -> None:
    connection.run(
        "INSERT INTO configurations (id, value) VALUES (%s, %s) ON DUPLICATE KEY UPDATE value = VALUES(value)",
        (name, value),
    )
