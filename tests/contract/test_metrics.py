"""Every number of the table is there on the running jobs, with its type and labels, and moves when it should.

The table is tests/unit/runtime/data/metrics.json: the rows of contract/config-and-metrics.md section 11 for the BBS,
Locket and the auctioneer.
"""

import json
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from diego.bbs.client import BbsClient
from diego.locket.client import PRESENCE, LockCollision, LocketClient
from diego.wire.actual_lrp_pb2 import ActualLRPInstanceKey, ActualLRPKey, ActualLRPNetInfo
from diego.wire.actual_lrp_requests_pb2 import StartActualLRPRequest
from support import auctioneer as real_auctioneer
from support import bbs as real_bbs
from support import locket as real_locket
from support.auctioneer import AuctioneerProcess
from support.bbs import BbsProcess, EventStream
from support.cells import StandInCell, stand_in_cell
from support.locket import LocketProcess
from support.logs import json_lines
from support.mariadb import Database, MariaDb
from support.records import a_definition, a_desired_message
from support.worker import free_port, until

pytestmark = [pytest.mark.database, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[1]
ROWS = json.loads((ROOT / "unit" / "runtime" / "data" / "metrics.json").read_text())
PATIENCE = 60.0
RUN = "DesireDesiredLRP"
UUID = "2cb8f1a0-41c7-4c4b-9d1d-4d9ee1a8a31e"
TRACE = UUID.replace("-", "")


def numbers(port: int) -> dict[str, Metric]:
    """All that a job tells, by the names that its lines have."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        found = text_string_to_metric_families(answer.read().decode())
        return {f"{one.name}_total" if one.type == "counter" else one.name: one for one in found}


@dataclass
class Jobs:
    """The three jobs, what they serve, and one cell that takes all work."""

    bbs: BbsProcess
    locket: LocketProcess
    auctioneer: AuctioneerProcess
    client: BbsClient
    locks: LocketClient
    cell: StandInCell
    access_log: Path
    database: Database

    def families(self, job: str) -> dict[str, Metric]:
        ports = {
            "bbs": self.bbs.debug_port,
            "locket": self.locket.debug_port,
            "auctioneer": self.auctioneer.debug_port,
        }
        return numbers(ports[job])

    def number(self, job: str, name: str, /, **labels: str) -> float | None:
        """One number, or None while it is not there."""
        samples = self.families(job)[name].samples
        return next((one.value for one in samples if one.labels == labels), None)

    def run_once(self) -> None:
        """Wait for a convergence that begins from now on."""
        name = "convergence_task_runs_total"
        before = self.number("bbs", name) or 0
        until(lambda: (self.number("bbs", name) or 0) >= before + 2, seconds=PATIENCE, pause=0.2)

    def call(self, lrp: str, index: int = 0) -> tuple[ActualLRPKey, ActualLRPInstanceKey]:
        key = ActualLRPKey(process_guid=lrp, index=index, domain="domain")
        return key, ActualLRPInstanceKey(instance_guid=f"{lrp}-{index}", cell_id=self.cell.cell_id)

    def start(self, lrp: str, index: int = 0) -> None:
        key, instance = self.call(lrp, index)
        self.client.claim_actual_lrp(key.process_guid, key.index, instance)
        self.client.start_actual_lrp(
            StartActualLRPRequest(
                actual_lrp_key=key,
                actual_lrp_instance_key=instance,
                actual_lrp_net_info=ActualLRPNetInfo(address="10.0.0.1"),
            )
        )


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory, mariadb: MariaDb, pki: Path) -> Iterator[Jobs]:
    directory = tmp_path_factory.mktemp("jobs")
    database = mariadb.create_database()
    with ExitStack() as stack:
        stack.callback(mariadb.drop_database, database)
        locket = stack.enter_context(real_locket.running(directory / "locket", database, pki))
        locks = LocketClient(
            locket.address,
            ca_file=pki / "ca.crt",
            cert_file=pki / "diego_locket_client.crt",
            key_file=pki / "diego_locket_client.key",
        )
        stack.callback(locks.close)
        cell = stack.enter_context(stand_in_cell("cell-a", "z1"))
        locks.lock(cell.cell_id, "owner", value=cell.presence().value(), kind=PRESENCE, ttl=3600)
        port, access_log = free_port(), directory / "bbs.access.log"
        bbs = stack.enter_context(
            real_bbs.running(
                directory / "bbs",
                database,
                pki,
                locket.address,
                f"https://127.0.0.1:{port}",
                auctioneer_ca_cert=str(pki / "ca.crt"),
                auctioneer_client_cert=str(pki / "diego_auctioneer_client.crt"),
                auctioneer_client_key=str(pki / "diego_auctioneer_client.key"),
                auctioneer_require_tls=True,
                converge_repeat_interval="1s",
                access_log_path=str(access_log),
                advanced_metrics={
                    "enabled": True,
                    "route_config": {"request_count": [RUN, "Ping"], "request_latency": [RUN]},
                },
            )
        )
        auctioneer = stack.enter_context(
            real_auctioneer.running(
                directory / "auctioneer", pki, bbs=bbs.url, locket=locket.address, port=port
            )
        )
        client = BbsClient(
            bbs.url,
            ca_file=pki / "ca.crt",
            cert_file=pki / "diego_bbs_client.crt",
            key_file=pki / "diego_bbs_client.key",
        )
        stack.callback(client.close)
        yield Jobs(bbs, locket, auctioneer, client, locks, cell, access_log, database)


@pytest.mark.parametrize("job", ["bbs", "locket", "auctioneer"])
def test_every_number_of_the_table_is_there_with_its_type(jobs: Jobs, job: str) -> None:
    found = jobs.families(job)

    wanted = {row["shown"]: row["kind"] for row in ROWS if row["job"] == job}
    assert {name: found[name].type for name in wanted if name in found} == wanted


@pytest.mark.parametrize("job", ["bbs", "locket", "auctioneer"])
def test_every_number_that_a_job_tells_is_on_the_operators_page(jobs: Jobs, job: str) -> None:
    page = (ROOT.parent / "docs" / "operations" / "metrics.md").read_text()

    told = {name for name in jobs.families(job) if not name.startswith(("process_", "python_"))}

    assert {name for name in told if f"`{name}" not in page} == set()


def test_numbers_without_a_condition_have_values_from_the_start(jobs: Jobs) -> None:
    for row in ROWS:
        if row["sample"] == "always":
            samples = jobs.families(row["job"])[row["shown"]].samples
            assert samples, row
            assert all(sorted(sample.labels) == sorted(row["labels"]) for sample in samples), row


def test_the_bbs_tells_that_it_became_active(jobs: Jobs) -> None:
    assert jobs.number("bbs", "lock_held") == 1
    assert jobs.number("bbs", "bbs_master_elected") == 1
    assert jobs.number("bbs", "encryption_duration_seconds") is None
    assert 0 < (jobs.number("bbs", "migration_duration_seconds") or 0) < 60
    assert (jobs.number("bbs", "open_file_descriptors") or 0) > 10


def test_requests_are_counted_as_a_whole_and_by_the_routes_that_the_config_names(jobs: Jobs) -> None:
    before = jobs.number("bbs", "request_count_total") or 0

    for _ in range(3):
        jobs.client.ping()

    assert (jobs.number("bbs", "request_count_total") or 0) >= before + 3
    assert (jobs.number("bbs", "request_count_by_route_total", route="Ping") or 0) >= 3
    assert jobs.number("bbs", "request_count_by_route_total", route="Cells") is None
    assert (jobs.number("bbs", "request_latency_seconds") or 0) > 0
    assert jobs.number("bbs", "request_latency_by_route_seconds", route="Ping") is None


def test_instances_are_counted_after_each_convergence(jobs: Jobs) -> None:
    jobs.client.upsert_domain("domain", 0)
    jobs.client.desire_lrp(a_desired_message("counted", instances=4))
    jobs.client.desire_lrp(a_desired_message("huge", instances=1, memory_mb=1_000_000))
    jobs.start("counted", 0)
    key, instance = jobs.call("counted", 1)
    jobs.client.claim_actual_lrp(key.process_guid, key.index, instance)
    for _ in range(3):
        key, instance = jobs.call("counted", 2)
        jobs.client.claim_actual_lrp(key.process_guid, key.index, instance)
        jobs.client.crash_actual_lrp(key, instance, "exit 1")
    jobs.run_once()

    assert jobs.number("bbs", "lrps_desired") == 5
    assert jobs.number("bbs", "lrps_running") == 1
    assert jobs.number("bbs", "lrps_claimed") == 1
    assert jobs.number("bbs", "lrps_unclaimed") == 2
    assert jobs.number("bbs", "crashed_actual_lrps") == 1
    assert jobs.number("bbs", "crashing_desired_lrps") == 1
    assert jobs.number("bbs", "lrps_missing") == 0
    assert jobs.number("bbs", "lrps_extra") == 0
    assert jobs.number("bbs", "domain_by_name", name="domain") == 1
    assert jobs.number("bbs", "present_cells") == 1
    assert jobs.number("bbs", "suspect_cells") == 0
    assert (jobs.number("bbs", "convergence_lrp_duration_seconds") or 0) > 0
    assert (jobs.number("bbs", "convergence_lrp_runs_total") or 0) >= 2
    assert (jobs.number("bbs", "request_latency_by_route_seconds", route=RUN) or 0) > 0
    assert jobs.number("bbs", "bbs_actual_lrps", presence="ORDINARY", state="RUNNING") == 1
    for name in ("bbs_commit_writes", "bbs_commit_transactions", "bbs_commit_seconds"):
        assert jobs.families("bbs")[name].type == "histogram"
    until(lambda: jobs.number("bbs", "bbs_commit_lag_seconds") == 0, seconds=PATIENCE)


def test_the_auctioneer_counts_what_it_places_and_what_it_cannot(jobs: Jobs) -> None:
    jobs.client.desire_lrp(a_desired_message("placed", instances=2))
    jobs.client.desire_lrp(a_desired_message("too-large", instances=1, memory_mb=1_000_000))
    jobs.client.desire_task("placed-task", "domain", a_definition())
    jobs.client.desire_task("too-large-task", "domain", a_definition(memory_mb=1_000_000))

    wanted = {
        "auctioneer_lrp_auctions_started_total": 2.0,
        "auctioneer_lrp_auctions_failed_total": 1.0,
        "auctioneer_task_auctions_started_total": 1.0,
        "auctioneer_task_auctions_failed_total": 1.0,
        "auctioneer_fetch_states_duration_seconds": 1e-9,
        "request_count_total": 1.0,
        "request_latency_seconds": 1e-9,
    }
    until(
        lambda: all((jobs.number("auctioneer", name) or 0) >= least for name, least in wanted.items()),
        seconds=PATIENCE,
    )
    assert jobs.number("auctioneer", "lock_held") == 1
    assert jobs.number("auctioneer", "auctioneer_failed_cell_state_requests_total") == 0


def test_tasks_are_counted_by_state_and_by_cell(jobs: Jobs) -> None:
    cell = jobs.cell.cell_id  # one that is present: tasks of any other fail in the next convergence
    for guid in ("good", "bad"):
        jobs.client.desire_task(guid, "domain", a_definition())
        assert jobs.client.start_task(guid, cell)
    jobs.client.complete_task("good", cell, failed=False, failure_reason="", result="")
    jobs.client.complete_task("bad", cell, failed=True, failure_reason="exit 1", result="")

    assert jobs.number("bbs", "tasks_started", cell_id=cell) == 2
    assert jobs.number("bbs", "tasks_succeeded", cell_id=cell) == 1
    assert jobs.number("bbs", "tasks_failed", cell_id=cell) == 1
    jobs.run_once()
    assert (jobs.number("bbs", "tasks_completed") or 0) >= 2
    assert jobs.number("bbs", "tasks_running") == 0
    assert jobs.number("bbs", "tasks_resolving") == 0
    assert jobs.number("bbs", "tasks_pending") is not None
    assert (jobs.number("bbs", "convergence_task_duration_seconds") or 0) > 0


def test_the_instances_of_a_lost_cell_are_told_as_suspect(jobs: Jobs) -> None:
    jobs.client.desire_lrp(a_desired_message("lost", instances=1))
    gone = ActualLRPInstanceKey(instance_guid="lost-0", cell_id="cell-gone")
    jobs.client.claim_actual_lrp("lost", 0, gone)
    jobs.run_once()

    assert jobs.number("bbs", "suspect_claimed_actual_lrps") == 1
    assert jobs.number("bbs", "suspect_running_actual_lrps") == 0
    assert jobs.number("bbs", "suspect_cells") == 1


def test_locket_counts_rows_and_requests(jobs: Jobs) -> None:
    before = jobs.number("locket", "requests_succeeded", request_type="Lock") or 0
    with pytest.raises(LockCollision):
        jobs.locks.lock("bbs", "somebody else")

    assert (jobs.number("locket", "requests_succeeded", request_type="Lock") or 0) > before
    assert jobs.number("locket", "requests_failed", request_type="Lock") == 0
    until(lambda: jobs.number("locket", "active_locks") == 2, seconds=PATIENCE)
    assert jobs.number("locket", "active_presences") == 1
    assert (jobs.number("locket", "request_latency_max_seconds", request_type="Lock") or 0) > 0


@pytest.mark.parametrize("job", ["bbs", "locket"])
def test_exchanges_with_the_database_are_counted(jobs: Jobs, job: str) -> None:
    assert (jobs.number(job, "db_open_connections") or 0) >= 1
    assert (jobs.number(job, "db_queries_succeeded") or 0) > 3
    total = jobs.number(job, "db_queries_total") or 0
    assert total >= (jobs.number(job, "db_queries_failed") or 0) > -1
    assert (jobs.number(job, "db_query_duration_max_seconds") or 0) > 0


def test_streams_are_counted_while_they_are_open(jobs: Jobs) -> None:
    stream = EventStream(jobs.bbs, "POST", "/v1/events/tasks.r1", b"", lambda: 0)
    until(lambda: jobs.number("bbs", "bbs_event_streams", stream="tasks.r1") == 1, seconds=PATIENCE)
    stream.close()

    until(lambda: jobs.number("bbs", "bbs_event_streams", stream="tasks.r1") == 0, seconds=PATIENCE)
    assert jobs.number("bbs", "bbs_event_streams_dropped_total", stream="tasks.r1") == 0


def access_lines(jobs: Jobs) -> list[dict[str, Any]]:
    return json_lines(jobs.access_log)


def test_the_access_log_has_a_line_for_each_request(jobs: Jobs) -> None:
    jobs.client.domains(request_id=UUID)
    jobs.bbs.call("/v1/nowhere")

    def line(path: str, trace: str | None) -> dict[str, Any] | None:
        return next(
            (
                one
                for one in access_lines(jobs)
                if one["data"]["request"] == path and one["data"].get("trace-id") == trace
            ),
            None,
        )

    known = until(lambda: line("/v1/domains/list", TRACE), seconds=PATIENCE)
    assert known is not None
    assert (known["message"], known["data"]["method"], known["data"]["status"]) == (
        "bbs.access.request",
        "POST",
        200,
    )
    unknown = until(lambda: line("/v1/nowhere", None), seconds=PATIENCE)
    assert unknown is not None
    assert unknown["data"]["status"] == 404
    assert (jobs.number("bbs", "bbs_access_log_lines_total") or 0) > 1
    assert jobs.number("bbs", "bbs_access_log_dropped_total") == 0


def test_a_request_id_travels_from_the_caller_to_cells_and_into_lines(jobs: Jobs) -> None:
    jobs.client.desire_lrp(a_desired_message("traced", instances=1), request_id=UUID)

    def of_the_round() -> bool:
        return any(line["data"].get("trace-id") == TRACE for line in jobs.auctioneer.lines("round-done"))

    until(of_the_round, seconds=PATIENCE)
    asked = {
        exchange.path for exchange in jobs.cell.asked if exchange.headers.get("x-vcap-request-id") == UUID
    }
    assert asked == {"/state", "/work"}


def test_the_log_level_is_read_and_changed_while_a_job_runs(jobs: Jobs) -> None:
    for port in (jobs.bbs.debug_port, jobs.locket.debug_port, jobs.auctioneer.debug_port):
        url = f"http://127.0.0.1:{port}/log-level"
        with urllib.request.urlopen(url, timeout=30) as answer:
            before = answer.read().decode().strip()
        for given, meant in (
            ("d", "debug"),
            ("1", "info"),
            ("error", "error"),
            ("f", "fatal"),
            (before, before),
        ):
            change = urllib.request.Request(url, data=given.encode(), method="PUT")
            with urllib.request.urlopen(change, timeout=30) as answer:
                assert answer.read().decode().strip() == meant


def test_a_bbs_that_waits_for_the_lock_tells_nothing_of_lrps(jobs: Jobs, tmp_path: Path) -> None:
    waiting = BbsProcess(
        tmp_path / "waiting", jobs.database, jobs.bbs.pki, jobs.locket.address, "http://127.0.0.1:1"
    )
    try:
        waiting.start(wait=False)
        until(lambda: waiting.lines("bbs.serving"), seconds=PATIENCE)
        found = numbers(waiting.debug_port)

        assert found["lock_held"].samples[0].value == 0
        for name in (
            "bbs_master_elected",
            "lrps_desired",
            "present_cells",
            "tasks_pending",
            "migration_duration_seconds",
        ):
            assert found[name].samples == []
    finally:
        waiting.stop()


def test_encrypting_everything_with_a_new_key_is_timed(jobs: Jobs) -> None:
    jobs.client.desire_lrp(a_desired_message("secret", instances=1))
    keys = {**jobs.bbs.settings["encryption_keys"], "key-new": "another passphrase"}
    settings = {**jobs.bbs.settings, "active_key_label": "key-new", "encryption_keys": keys}
    jobs.bbs.stop()
    jobs.bbs.config.write_text(json.dumps(settings))
    jobs.bbs.start()

    until(lambda: (jobs.number("bbs", "encryption_duration_seconds") or 0) > 0, seconds=PATIENCE)
