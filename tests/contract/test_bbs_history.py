"""The history and the comparison of a real BBS on a real MariaDB."""

import base64
import contextlib
import http.client
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from diego.bbs.client import EVENT_MESSAGES, BbsClient
from diego.cli.core.replays import same
from diego.models.errors import BbsError
from diego.wire import actual_lrp_pb2, actual_lrp_requests_pb2, task_pb2
from diego.wire.gojson import from_go
from support import bbs as real_bbs
from support import locket as real_locket
from support.bbs import BbsProcess, StandIns
from support.locket import LocketProcess
from support.mariadb import Database, MariaDb
from support.records import a_definition, a_desired_message
from support.worker import until

pytestmark = [pytest.mark.database, pytest.mark.timeout(400)]

DOMAIN = "domain"


@dataclass
class Deployment:
    """A locket, a database, and BBSes on them."""

    directory: Path
    database: Database
    pki: Path
    locket: LocketProcess
    standing: StandIns
    stack: contextlib.ExitStack

    def start(self, name: str = "bbs-0", **config: Any) -> BbsProcess:
        # A BBS that is kept from its lock ends streams and refuses writers: that is another story. Here one that ends
        # gives its lock up.
        config = {"lock_ttl": "45s", **config}
        process = BbsProcess(
            self.directory / name,
            self.database,
            self.pki,
            self.locket.address,
            self.standing.url("auctioneer"),
            **config,
        )
        self.stack.callback(process.stop)
        process.start()
        return process

    def client(self, bbs: BbsProcess) -> BbsClient:
        client = BbsClient(
            bbs.url,
            ca_file=self.pki / "ca.crt",
            cert_file=self.pki / "diego_bbs_client.crt",
            key_file=self.pki / "diego_bbs_client.key",
        )
        self.stack.callback(client.close)
        return client


@pytest.fixture
def deployment(tmp_path: Path, mariadb: MariaDb, database: Database, pki: Path) -> Iterator[Deployment]:
    with contextlib.ExitStack() as stack:
        standing = stack.enter_context(real_bbs.stand_ins("auctioneer"))
        locket = stack.enter_context(real_locket.running(tmp_path / "locket", database, pki))
        yield Deployment(tmp_path, database, pki, locket, standing, stack)


def key(guid: str, index: int = 0) -> actual_lrp_pb2.ActualLRPKey:
    return actual_lrp_pb2.ActualLRPKey(process_guid=guid, index=index, domain=DOMAIN)


def instance(guid: str, cell: str = "cell-1") -> actual_lrp_pb2.ActualLRPInstanceKey:
    return actual_lrp_pb2.ActualLRPInstanceKey(instance_guid=guid, cell_id=cell)


def start(client: BbsClient, guid: str, instance_guid: str, cell: str = "cell-1") -> None:
    client.start_actual_lrp(
        actual_lrp_requests_pb2.StartActualLRPRequest(
            actual_lrp_key=key(guid),
            actual_lrp_instance_key=instance(instance_guid, cell),
            actual_lrp_net_info=actual_lrp_pb2.ActualLRPNetInfo(address="10.0.0.7"),
        )
    )


def live(client: BbsClient, guid: str = "web") -> None:
    """A life: wanted, claimed, running, crashed, running elsewhere, no longer wanted."""
    client.desire_lrp(a_desired_message(guid, domain=DOMAIN, instances=1), request_id="request-1")
    client.claim_actual_lrp(guid, 0, instance(f"{guid}-a"))
    start(client, guid, f"{guid}-a")
    client.crash_actual_lrp(key(guid), instance(f"{guid}-a"), "exited with status 7")
    start(client, guid, f"{guid}-b", "cell-2")


STORY = [
    "desired_lrp_created", "actual_lrp_created", "actual_lrp_changed", "actual_lrp_changed", "actual_lrp_crashed",
    "actual_lrp_changed",
]  # fmt: skip


def shown(page: dict[str, Any]) -> list[str]:
    return [entry["event"] for entry in page["entries"]]


def test_a_life_is_told_in_order_by_process_and_by_instance(deployment: Deployment) -> None:
    bbs = deployment.start()
    client = deployment.client(bbs)

    live(client)
    live(client, "other")

    page = client.history("web")
    assert shown(page) == STORY
    assert [entry["at"] for entry in page["entries"]] == sorted(entry["at"] for entry in page["entries"])
    crash = page["entries"][4]["crash"]
    assert (crash["crash_count"], crash["crash_reason"], crash["cell_id"]) == (
        1,
        "exited with status 7",
        "cell-1",
    )
    assert page["entries"][0]["trace_id"] == "request-1"
    assert page["entries"][0]["after"]["instances"] == 1
    assert [entry["after"]["state"] for entry in page["entries"][1:]] == [
        "UNCLAIMED", "CLAIMED", "RUNNING", "UNCLAIMED", "RUNNING",
    ]  # fmt: skip
    assert shown(client.history("web-a")) == [
        "actual_lrp_changed",
        "actual_lrp_changed",
        "actual_lrp_crashed",
    ]
    assert shown(client.history("web-b")) == ["actual_lrp_changed"]
    assert shown(client.history(newest=True, limit=2)) == STORY[-2:]


def test_a_task_is_told_and_its_definition_is_not(deployment: Deployment) -> None:
    client = deployment.client(deployment.start())

    client.desire_task("task-1", DOMAIN, a_definition(annotation="secret"))
    assert client.start_task("task-1", "cell-1")
    client.complete_task("task-1", "cell-1", failed=True, failure_reason="no more memory", result="secret")

    page = client.history("task-1")
    assert shown(page) == ["task_created", "task_changed", "task_changed"]
    assert page["entries"][-1]["after"]["state"] == task_pb2.Task.State.Name(task_pb2.Task.Completed)
    assert page["entries"][-1]["after"]["failure_reason"] == "no more memory"
    assert deployment.database.rows("SELECT id FROM diego_history WHERE detail LIKE '%secret%'") == []


def test_pages_follow_each_other_without_gap(deployment: Deployment) -> None:
    client = deployment.client(deployment.start())
    for number in range(5):
        live(client, f"web-{number}")

    found: list[int] = []
    after: int | None = 0
    while after is not None:
        page = client.history(after=after, limit=7)
        found += [entry["id"] for entry in page["entries"]]
        after = page["next"]

    assert found == sorted(set(found))
    assert len(found) == 1 + 5 * len(STORY)
    middle = client.history()["entries"][10]["at"]
    before, since = client.history(until=middle - 1), client.history(since=middle)
    assert [entry["id"] for entry in before["entries"] + since["entries"]] == found


def test_a_refused_batch_leaves_no_history(deployment: Deployment, mariadb: MariaDb) -> None:
    bbs = deployment.start()
    client = deployment.client(bbs)
    client.desire_lrp(a_desired_message("before", domain=DOMAIN, instances=1))
    with contextlib.closing(mariadb.root()) as connection, connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TRIGGER {deployment.database.name}.refuse BEFORE INSERT ON"
            f" {deployment.database.name}.actual_lrps FOR EACH ROW"
            " IF NEW.process_guid = 'refused' THEN SIGNAL SQLSTATE '45000'; END IF"
        )

    request = a_desired_message("refused", domain=DOMAIN, instances=1)
    with pytest.raises(BbsError):
        client.desire_lrp(request)
    client.desire_lrp(a_desired_message("after", domain=DOMAIN, instances=1))

    assert shown(client.history("refused")) == []
    assert shown(client.history("before")) == shown(client.history("after")) == STORY[:2]


def test_another_bbs_goes_on_with_the_history(deployment: Deployment) -> None:
    first = deployment.start()
    live(deployment.client(first))
    first.stop()

    second = deployment.start("bbs-1")
    client = deployment.client(second)
    client.remove_desired_lrp("web")

    assert shown(client.history("web")) == [*STORY, "desired_lrp_removed"]
    everything = client.history()
    assert [entry["id"] for entry in everything["entries"]] == list(range(1, 10))
    assert [entry["epoch"] for entry in everything["entries"] if entry["event"] == "bbs_took_over"] == [1, 2]
    assert everything["begins"] == everything["entries"][0]["at"]


def test_what_a_bbs_without_history_did_is_told_to_be_missing(deployment: Deployment) -> None:
    first = deployment.start()
    live(deployment.client(first))
    first.stop()
    second = deployment.start("bbs-1", history_max_rows=0)
    off = deployment.client(second)
    off.remove_desired_lrp("web")
    with pytest.raises(BbsError, match="turned off by history_max_age or history_max_rows"):
        off.history()
    second.stop()

    client = deployment.client(deployment.start("bbs-2"))
    page = client.history()
    before = client.actual_lrps_at(page["entries"][3]["at"])

    assert shown(page) == ["bbs_took_over", *STORY, "bbs_took_over"]
    assert page["begins"] == page["entries"][-1]["at"]
    assert before["complete"] is False
    assert before["begins"] == page["begins"]


def test_what_was_at_a_moment_is_told(deployment: Deployment) -> None:
    bbs = deployment.start()
    client = deployment.client(bbs)
    client.desire_lrp(a_desired_message("steady", domain=DOMAIN, instances=1))
    start(client, "steady", "steady-a")
    live(client)
    client.remove_actual_lrp("web", 0)
    entries = client.history("web")["entries"]

    def states(at: int, **chosen: Any) -> list[tuple[str, str, str]]:
        answer = client.actual_lrps_at(at, **chosen)
        assert answer["complete"]
        return [(lrp["process_guid"], lrp["state"], lrp["instance_guid"]) for lrp in answer["actual_lrps"]]

    steady = ("steady", "RUNNING", "steady-a")
    assert states(entries[0]["at"] - 1) == [steady]
    assert [states(entry["at"], process_guid="web") for entry in entries[1:]] == [
        [("web", "UNCLAIMED", "")],
        [("web", "CLAIMED", "web-a")],
        [("web", "RUNNING", "web-a")],
        [("web", "UNCLAIMED", "")],
        [("web", "RUNNING", "web-b")],
        [],
    ]
    assert states(entries[5]["at"], cell_id="cell-2") == [("web", "RUNNING", "web-b")]
    assert states(entries[5]["at"], index=1) == []
    assert states(entries[5]["at"], domain="another") == []
    assert not client.actual_lrps_at(1)["complete"]


BAD = [
    ("/v1/history?limit=0", "limit: must be 1 to 1000"),
    ("/v1/history?limit=-1", "limit: must be a whole number, not negative"),
    ("/v1/history?since=yesterday", "since: must be RFC 3339"),
    ("/v1/history?since=2026-13-01T00:00:00Z", "since: "),
    ("/v1/history?until=99999999999999999999999", "until: must be 0 to"),
    ("/v1/history?since=2&until=1", "until: must not be before since"),
    ("/v1/history?after=x", "after: must be a whole number"),
    ("/v1/history?newest=yes", "newest: must be true or false"),
    ("/v1/history?colour=red", "colour: is not known here"),
    (f"/v1/history?guid={'x' * 300}", "guid: must not be longer"),
    ("/v1/actual_lrps_at", "time: must be given"),
    ("/v1/actual_lrps_at?time=9000000000000000000", "time: must not lie in the future"),
    ("/v1/actual_lrps_at?time=1&index=one", "index: must be a whole number"),
]


def test_bad_parameters_are_refused_by_their_names(deployment: Deployment) -> None:
    bbs = deployment.start()
    for path, names in BAD:
        status, headers, body = bbs.call(path, method="GET")

        assert (status, headers["content-type"]) == (400, "text/plain; charset=utf-8"), path
        assert names in body.decode(), path


# ---- the command line


def diego(deployment: Deployment, bbs: BbsProcess, *words: str) -> "subprocess.Popen[str]":
    environment = {
        **os.environ,
        "BBS_URL": bbs.url,
        "CA_CERT_FILE": str(deployment.pki / "ca.crt"),
        "CLIENT_CERT_FILE": str(deployment.pki / "diego_bbs_client.crt"),
        "CLIENT_KEY_FILE": str(deployment.pki / "diego_bbs_client.key"),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "diego.cli.main", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


@contextlib.contextmanager
def watched(deployment: Deployment, bbs: BbsProcess, *words: str) -> Iterator[list[str]]:
    """The lines that a command without end prints, as they come."""
    lines: list[str] = []
    with diego(deployment, bbs, *words) as watching:
        reader = threading.Thread(target=lambda: lines.extend(watching.stdout or ()))
        reader.start()
        try:
            yield lines
        finally:
            watching.terminate()
            reader.join(20)


def test_a_person_is_told_what_happened_and_what_was(deployment: Deployment) -> None:
    bbs = deployment.start()
    client = deployment.client(bbs)
    live(client)
    ran = client.history("web")["entries"][3]["at"]

    story, fault = diego(deployment, bbs, "history", "web", "--since", "10m").communicate(timeout=120)
    was, _ = diego(deployment, bbs, "actual-lrps", "web", "--at", rfc3339(ran)).communicate(timeout=120)
    _, refused = diego(deployment, bbs, "history", "web", "--since", "soon").communicate(timeout=120)
    unknown, _ = diego(deployment, bbs, "history", "nobody").communicate(timeout=120)

    assert fault == ""
    assert len(story.splitlines()) == 1 + len(STORY)
    assert "crashed, 1 time now, starts again at once" in story
    assert "exited with status 7" in story
    assert "cell-2" in story.splitlines()[-1]
    assert "web-a" in was
    assert "RUNNING" in was
    assert "'soon' is no time; say it as one of" in refused
    assert len(refused.splitlines()) == 1
    assert "Nothing is known of nobody." in unknown
    assert "the history begins" in unknown


def rfc3339(nanoseconds: int) -> str:
    """To the microsecond, rounded up: whatever happened in the given moment has happened by then."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=-(-nanoseconds // 1000))
    return moment.isoformat()


def test_events_of_the_past_are_followed_by_those_that_come_none_missing_and_none_twice(
    deployment: Deployment,
) -> None:
    bbs = deployment.start()
    client = deployment.client(bbs)
    ending = threading.Event()

    def write() -> None:
        number = 0
        while not ending.is_set():
            live(client, f"web-{number}")
            client.desire_task(f"task-{number}", DOMAIN, a_definition())
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    until(lambda: deployment.client(bbs).history("web-3")["entries"], seconds=60)
    shown = deployment.stack.enter_context(watched(deployment, bbs, "events", "--since", "1h", "--json"))
    until(lambda: any('"at"' not in line for line in shown[-5:]), seconds=120)
    ending.set()
    writer.join()
    asking = deployment.client(bbs)

    def expected() -> Counter[object]:
        told: Counter[object] = Counter()
        after: int | None = 0
        while after is not None:
            page = asking.history(after=after, limit=500, events=True)
            for event in (event for entry in page["entries"] for event in entry["events"]):
                told[same(EVENT_MESSAGES[event["type"]].FromString(base64.b64decode(event["data"])))] += 1
            after = page["next"]
        return told

    def found() -> Counter[object]:
        lines = [json.loads(line) for line in shown]
        return Counter(same(from_go(EVENT_MESSAGES[line["type"]], line["data"])) for line in lines)

    with contextlib.suppress(AssertionError):
        until(lambda: len(shown) >= expected().total(), seconds=120)
    assert found() == expected()
    lines = [json.loads(line) for line in shown]
    assert any("at" in line for line in lines)
    assert any("at" not in line for line in lines)


def test_what_is_too_much_is_deleted_oldest_first(deployment: Deployment) -> None:
    bbs = deployment.start(history_max_rows=20)
    client = deployment.client(bbs)
    for number in range(10):
        live(client, f"web-{number}")

    def count() -> int:
        return int(str(deployment.database.rows("SELECT COUNT(*) FROM diego_history")[0][0]))

    # each row has the number after that of the row before it; how many are left depends on when they are counted
    assert deployment.database.rows("SELECT MAX(id) FROM diego_history") == [(1 + 10 * len(STORY),)]
    until(lambda: count() <= 20, seconds=120)

    assert shown(client.history("web-0")) == []
    assert shown(client.history("web-9")) == STORY
    assert not client.actual_lrps_at(client.history()["begins"] - 1)["complete"]


def test_a_row_that_somebody_changed_is_told_and_not_mended(deployment: Deployment) -> None:
    bbs = deployment.start(comparison_interval="200ms")
    client = deployment.client(bbs)
    for guid in ("web", "other"):
        live(client, guid)
    client.upsert_domain(DOMAIN, 0)
    client.desire_task("task-1", DOMAIN, a_definition())

    rows = deployment.database.rows
    rows("UPDATE actual_lrps SET cell_id = 'cell-9' WHERE process_guid = 'web'")
    rows("UPDATE desired_lrps SET instances = 7 WHERE process_guid = 'other'")
    rows("DELETE FROM tasks")
    rows("INSERT INTO domains (domain, expire_time) VALUES ('stranger', 5)")

    def told() -> dict[str, tuple[list[str], list[str]]]:
        lines = [line["data"] for line in bbs.lines("bbs.memory-and-database-differ")]
        return {line["table"]: (line["key"], line["fields"]) for line in lines}

    until(lambda: len(told()) == 4, seconds=120)
    assert told() == {
        "actual_lrps": (["web", "0", "0"], ["cell_id"]),
        "desired_lrps": (["other"], ["instances"]),
        "tasks": (["task-1"], ["row"]),
        "domains": (["stranger"], ["row"]),
    }
    assert rows("SELECT cell_id FROM actual_lrps WHERE process_guid = 'web'") == [("cell-9",)]
    assert client.desired_lrp("other").instances == 1


def test_under_load_no_difference_is_told(deployment: Deployment) -> None:
    bbs = deployment.start(comparison_interval="1ms")
    client = deployment.client(bbs)
    for number in range(30):
        live(client, f"steady-{number}")
    ending = threading.Event()
    failures: list[BbsError] = []

    def work(name: str) -> None:
        caller = deployment.client(bbs)
        number = 0
        while not ending.is_set():
            guid = f"{name}-{number % 5}"
            try:
                live(caller, guid)
                caller.remove_actual_lrp(guid, 0)
                caller.remove_desired_lrp(guid)
            except BbsError as error:
                failures.append(error)
            number += 1

    workers = [threading.Thread(target=work, args=(f"worker-{number}",)) for number in range(3)]
    for worker in workers:
        worker.start()

    def compared() -> float:
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", bbs.debug_port, timeout=10)
        ) as asking:
            asking.request("GET", "/metrics")
            lines = asking.getresponse().read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("bbs_comparison_rows"))

    until(lambda: compared() > 1000, seconds=240)
    ending.set()
    for worker in workers:
        worker.join()

    assert bbs.lines("bbs.memory-and-database-differ") == []
    assert failures == []
