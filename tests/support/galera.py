"""Three real Galera nodes on loopback, each a MariaDB that takes writes.

All nodes begin as copies of one data directory, so that whoever joins, now or after a restart, needs only what the
others have in their write-set caches: the transfer program is a few lines of shell that hand over the position. A
cluster stands within seconds.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

from support.mariadb import Database, MariaDb
from support.ports import free_port

PROVIDER = Path("/usr/lib/galera/libgalera_smm.so")
NODES = 3
TRANSFER = """#!/bin/sh
# Called by mariadbd at both ends of a state transfer. The donor hands over its position in a file, nothing more:
# the joiner gets what it misses from the donor's cache of write-sets.
bypass=
while [ $# -gt 0 ]; do
    case "$1" in
        --role) role=$2; shift ;;
        --address) address=$2; shift ;;
        --gtid) gtid=$2; shift ;;
        --bypass) bypass=yes ;;
    esac
    shift
done
file="$(dirname "$0")/$(echo "$address" | tr -c 'a-zA-Z0-9\n' _)"
if [ "$role" = joiner ]; then
    rm -f "$file"
    echo "ready $address"
    until [ -s "$file" ]; do sleep 0.05; done
    cat "$file"
elif [ -n "$bypass" ]; then
    echo "$gtid" > "$file.new" && mv "$file.new" "$file"
    echo "done $gtid"
else
    echo "a whole state transfer was asked for" >&2
    exit 1
fi
"""
SYNCED_SECONDS = 120.0


class GaleraNode(MariaDb):
    """One node. `peers` are the group addresses of all nodes, its own included."""

    def __init__(self, directory: Path, number: int, group_port: int, transfer_port: int) -> None:
        super().__init__(directory)
        self.number = number
        self.group_port = group_port
        self.transfer_port = transfer_port
        self.peers: list[str] = []
        self._new_cluster = False

    @property
    def state(self) -> str:
        """What the node says of itself: `Synced` when it is in."""
        with closing(self.root()) as connection, connection.cursor() as cursor:
            cursor.execute("SHOW STATUS LIKE 'wsrep_local_state_comment'")
            row = cursor.fetchone()
            return str(row[1]) if row else ""

    def wait_until_synced(self, size: int = NODES) -> None:
        deadline = time.monotonic() + SYNCED_SECONDS
        while time.monotonic() < deadline:
            if self.state == "Synced" and self.size == size:
                return
            time.sleep(0.1)
        raise RuntimeError(f"node {self.number} is not in:\n{self.log.read_text()[-3000:]}")

    @property
    def size(self) -> int:
        with closing(self.root()) as connection, connection.cursor() as cursor:
            cursor.execute("SHOW STATUS LIKE 'wsrep_cluster_size'")
            row = cursor.fetchone()
            return int(row[1]) if row else 0

    def _environment(self) -> dict[str, str]:
        programs = self.directory.parent / "bin"
        return {**super()._environment(), "PATH": f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin"}

    def start_new_cluster(self) -> None:
        """Start as the first of a new cluster."""
        self._new_cluster = True
        try:
            self.start()
        finally:
            self._new_cluster = False
        self.wait_until_synced(1)

    def copy(self, other: "GaleraNode") -> None:
        """Begin with the data of a node that has ended, at its position."""
        shutil.copytree(other.directory, self.directory, dirs_exist_ok=True)
        for name in ("galera.cache", "gvwstate.dat"):
            (self.directory / "data" / name).unlink(missing_ok=True)
        for path in (self.directory, *self.directory.rglob("*")):
            shutil.chown(path, self._user)

    def _command(self) -> list[str]:
        options = (
            f"gmcast.listen_addr=tcp://127.0.0.1:{self.group_port};"
            f"ist.recv_addr=127.0.0.1:{self.transfer_port};"  # codespell:ignore ist
            "gcache.size=16M;evs.suspect_timeout=PT3S;evs.inactive_timeout=PT8S"
        )
        return [
            *super()._command(),
            "--wsrep-on=ON",
            f"--wsrep-provider={PROVIDER}",
            "--wsrep-cluster-name=diego",
            f"--wsrep-cluster-address=gcomm://{','.join(self.peers)}",
            f"--wsrep-node-address=127.0.0.1:{self.group_port}",
            f"--wsrep-node-name=node-{self.number}",
            f"--wsrep-provider-options={options}",
            "--wsrep-sst-method=position",
            "--binlog-format=ROW",
            "--default-storage-engine=InnoDB",
            "--innodb-autoinc-lock-mode=2",
            *(["--wsrep-new-cluster"] if self._new_cluster else []),
        ]


class Galera:
    """A cluster. A schema made on one node is on all of them."""

    def __init__(self, nodes: list[GaleraNode]) -> None:
        self.nodes = nodes

    def create_database(self) -> list[Database]:
        """An empty schema, as each node shows it."""
        made = self.nodes[0].create_database()
        seen = [replace(made, port=node.port, ca_file=node.ca_file) for node in self.nodes]
        deadline = time.monotonic() + SYNCED_SECONDS
        for one in seen[1:]:
            while True:
                try:
                    one.rows("SELECT 1")
                    break
                except OSError:
                    raise
                except Exception:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.1)
        return seen


@contextmanager
def running() -> Iterator[Galera]:
    """Three nodes that have each other, for the length of a with-block.

    Raises:
        RuntimeError: Galera is not installed.
    """
    if not PROVIDER.exists():
        raise RuntimeError(f"{PROVIDER} is missing: `scripts/prepare test` installs galera-4")
    root = Path(tempfile.mkdtemp(prefix="diego-galera-"))
    root.chmod(0o755)
    ports = [free_port() for _ in range(2 * NODES)]
    nodes = [
        GaleraNode(root / f"node-{number}", number, ports[2 * number], ports[2 * number + 1])
        for number in range(NODES)
    ]
    first, *others = nodes
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        script = root / "bin" / "wsrep_sst_position"
        script.parent.mkdir()
        script.write_text(TRANSFER)
        script.chmod(0o755)
        shutil.chown(script.parent, first._user)
        for node in nodes:
            node.directory.mkdir()
            node.peers = [f"127.0.0.1:{other.group_port}" for other in nodes]
        first.initialise()
        first.start_new_cluster()
        first.stop()
        for node in others:
            node.copy(first)
        stack.callback(first.stop)
        first.start_new_cluster()
        for node in others:
            stack.callback(node.stop)
            node.start()
        for node in nodes:
            node.wait_until_synced()
        yield Galera(nodes)
