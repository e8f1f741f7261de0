"""What each version of the schema changed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from diego.bbs.store.encryption import Encryption, Undecodable
from diego.bbs.store.rows import HEADER, wanted_tags_json
from diego.database import Connection
from diego.models.desired_lrp import wanted_metric_tags
from diego.runtime.logs import get_logger
from diego.wire import desired_lrp_pb2

TABLE = "ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"

Rewrite = Callable[[Connection, Encryption], None]

log = get_logger("bbs")


@dataclass(frozen=True)
class Migration:
    """Brings the schema to `version`: first the statements, then the rewriting of rows."""

    version: int
    statements: Sequence[str] = ()
    rewrite: Rewrite | None = None


def encrypt_routes(connection: Connection, encryption: Encryption) -> None:
    """The routes of a desired LRP may hold what only its app should know."""
    for guid, routes in connection.rows("SELECT process_guid, routes FROM desired_lrps"):
        if not str(routes).startswith("02"):
            connection.run(
                "UPDATE desired_lrps SET routes = %s WHERE process_guid = %s",
                (encryption.encrypt(str(routes).encode()), guid),
            )


def copy_metric_tags(connection: Connection, encryption: Encryption) -> None:
    """Metric tags become changeable: they move from the run info to a column of their own."""
    query = "SELECT process_guid, run_info FROM desired_lrps WHERE metric_tags IS NULL"
    for guid, text in connection.rows(query):
        run_info = desired_lrp_pb2.DesiredLRPRunInfo()
        try:
            run_info.MergeFromString(encryption.decrypt(text)[len(HEADER) :])
        except (Undecodable, ValueError) as error:
            log.error("migration.unreadable-run-info", process_guid=guid, error=str(error))
            continue
        connection.run(
            "UPDATE desired_lrps SET metric_tags = %s WHERE process_guid = %s",
            (encryption.encrypt(wanted_tags_json(wanted_metric_tags(run_info.metric_tags))), guid),
        )


_TEXT_COLUMNS = (
    ("desired_lrps", "annotation", ""),
    ("desired_lrps", "routes", " NOT NULL"),
    ("desired_lrps", "volume_placement", " NOT NULL"),
    ("desired_lrps", "run_info", " NOT NULL"),
    ("actual_lrps", "net_info", " NOT NULL"),
    ("tasks", "result", ""),
    ("tasks", "task_definition", " NOT NULL"),
)


def _wider_text(kind: str) -> list[str]:
    return [f"ALTER TABLE {table} MODIFY {column} {kind}{null}" for table, column, null in _TEXT_COLUMNS]


_TABLES = [
    "DROP TABLE IF EXISTS domains, desired_lrps, actual_lrps, tasks",
    f"""
    CREATE TABLE domains (
      domain VARCHAR(255) PRIMARY KEY,
      expire_time BIGINT DEFAULT 0
    ) {TABLE}
    """,
    f"""
    CREATE TABLE desired_lrps (
      process_guid VARCHAR(255) PRIMARY KEY,
      domain VARCHAR(255) NOT NULL,
      log_guid VARCHAR(255) NOT NULL,
      annotation TEXT,
      instances INT NOT NULL,
      memory_mb INT NOT NULL,
      disk_mb INT NOT NULL,
      rootfs VARCHAR(255) NOT NULL,
      routes TEXT NOT NULL,
      volume_placement TEXT NOT NULL,
      modification_tag_epoch VARCHAR(255) NOT NULL,
      modification_tag_index INT,
      run_info TEXT NOT NULL
    ) {TABLE}
    """,
    f"""
    CREATE TABLE actual_lrps (
      process_guid VARCHAR(255),
      instance_index INT,
      evacuating BOOL DEFAULT false,
      domain VARCHAR(255) NOT NULL,
      state VARCHAR(255) NOT NULL,
      instance_guid VARCHAR(255) NOT NULL DEFAULT '',
      cell_id VARCHAR(255) NOT NULL DEFAULT '',
      placement_error VARCHAR(255) NOT NULL DEFAULT '',
      since BIGINT DEFAULT 0,
      net_info TEXT NOT NULL,
      modification_tag_epoch VARCHAR(255) NOT NULL,
      modification_tag_index INT,
      crash_count INT NOT NULL DEFAULT 0,
      crash_reason VARCHAR(255) NOT NULL DEFAULT '',
      expire_time BIGINT DEFAULT 0,
      PRIMARY KEY (process_guid, instance_index, evacuating)
    ) {TABLE}
    """,
    f"""
    CREATE TABLE tasks (
      guid VARCHAR(255) PRIMARY KEY,
      domain VARCHAR(255) NOT NULL,
      updated_at BIGINT DEFAULT 0,
      created_at BIGINT DEFAULT 0,
      first_completed_at BIGINT DEFAULT 0,
      state INT,
      cell_id VARCHAR(255) NOT NULL DEFAULT '',
      result TEXT,
      failed BOOL DEFAULT false,
      failure_reason VARCHAR(255) NOT NULL DEFAULT '',
      task_definition TEXT NOT NULL
    ) {TABLE}
    """,
    "CREATE INDEX domains_expire_time_idx ON domains (expire_time)",
    "CREATE INDEX desired_lrps_domain_idx ON desired_lrps (domain)",
    *(
        f"CREATE INDEX actual_lrps_{column}_idx ON actual_lrps ({column})"
        for column in ("domain", "cell_id", "since", "state", "expire_time")
    ),
    *(
        f"CREATE INDEX tasks_{column}_idx ON tasks ({column})"
        for column in ("domain", "state", "cell_id", "updated_at", "created_at", "first_completed_at")
    ),
]

MIGRATIONS = (
    Migration(1461790966, _TABLES),
    Migration(1471030898, _wider_text("MEDIUMTEXT")),
    Migration(1472757022, ["ALTER TABLE desired_lrps ADD COLUMN IF NOT EXISTS placement_tags TEXT"]),
    Migration(
        1474908092,
        [
            (
                "ALTER TABLE actual_lrps MODIFY crash_reason VARCHAR(1024) NOT NULL DEFAULT '',"
                " MODIFY placement_error VARCHAR(1024) NOT NULL DEFAULT ''"
            )
        ],
    ),
    Migration(1474993971, rewrite=encrypt_routes),
    Migration(1481761088, ["ALTER TABLE desired_lrps ADD COLUMN IF NOT EXISTS max_pids INTEGER DEFAULT 0"]),
    Migration(1502289152, ["ALTER TABLE desired_lrps MODIFY rootfs VARCHAR(1024) NOT NULL"]),
    Migration(
        1522700600,
        ["ALTER TABLE tasks ADD COLUMN IF NOT EXISTS rejection_count INTEGER NOT NULL DEFAULT 0"],
    ),
    Migration(
        1523050077,
        ["ALTER TABLE tasks ADD COLUMN IF NOT EXISTS rejection_reason VARCHAR(255) NOT NULL DEFAULT ''"],
    ),
    Migration(
        1528928964,
        [
            (
                "ALTER TABLE tasks MODIFY rejection_reason VARCHAR(1024) NOT NULL DEFAULT '',"
                " MODIFY failure_reason VARCHAR(1024) NOT NULL DEFAULT ''"
            )
        ],
    ),
    Migration(
        1529530809,
        [
            "ALTER TABLE actual_lrps ADD COLUMN IF NOT EXISTS presence INT NOT NULL DEFAULT 0",
            "UPDATE actual_lrps SET presence = 1 WHERE evacuating = true",
            "ALTER TABLE actual_lrps DROP PRIMARY KEY, ADD PRIMARY KEY (process_guid, instance_index, presence)",
        ],
    ),
    Migration(1643660541, ["ALTER TABLE actual_lrps ADD COLUMN IF NOT EXISTS internal_routes MEDIUMTEXT"]),
    Migration(1674146125, _wider_text("LONGTEXT")),
    Migration(1676360874, ["ALTER TABLE actual_lrps ADD COLUMN IF NOT EXISTS metric_tags MEDIUMTEXT"]),
    Migration(
        1686692176,
        [
            "ALTER TABLE actual_lrps ADD COLUMN IF NOT EXISTS routable BOOL DEFAULT false",
            "UPDATE actual_lrps SET routable = true WHERE state = 'RUNNING'",
        ],
    ),
    Migration(
        1698182853,
        [
            (
                "ALTER TABLE actual_lrps ADD COLUMN IF NOT EXISTS"
                " availability_zone VARCHAR(255) NOT NULL DEFAULT ''"
            )
        ],
    ),
    Migration(
        1722634733,
        ["ALTER TABLE desired_lrps ADD COLUMN IF NOT EXISTS metric_tags MEDIUMTEXT"],
        copy_metric_tags,
    ),
    Migration(
        1764949919,
        [
            (
                "CREATE TABLE IF NOT EXISTS bbs_health_check"
                f" (id INT AUTO_INCREMENT PRIMARY KEY, time BIGINT NOT NULL) {TABLE}"
            )
        ],
    ),
    Migration(
        1772581987,
        ["ALTER TABLE desired_lrps ADD COLUMN IF NOT EXISTS update_strategy INT NOT NULL DEFAULT 0"],
    ),
)
"""In order of version."""

NEWEST = MIGRATIONS[-1].version
