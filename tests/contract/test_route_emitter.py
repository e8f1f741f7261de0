"""The route emitter between a real BBS and a real bus (contract/routing.md sections 3 to 5)."""

import asyncio
import contextlib
import json
import os
import signal
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nats
import pytest

from diego.bbs.client import BbsClient
from diego.wire.actual_lrp_pb2 import ActualLRPInstanceKey, ActualLRPKey, ActualLRPNetInfo, PortMapping
from diego.wire.actual_lrp_requests_pb2 import StartActualLRPRequest
from diego.wire.desired_lrp_pb2 import DesiredLRP, DesiredLRPUpdate
from support import bbs as real_bbs
from support import locket as real_locket
from support.mariadb import Database
from support.nats import PASSWORD, USER, NatsServer, nats_server
from support.worker import JobProcess, diego_job, free_port, job_process, until

pytestmark = [pytest.mark.database, pytest.mark.timeout(300)]

CELL = "cell-a"
SELDOM, OFTEN = 3600, 2
"""Seconds after which the router wants everything again: so seldom that a test never sees it, and so often that it does."""


@dataclass
class Ears:
    """A router's ears: what was said on the bus, and it greets as a router does."""

    bus: NatsServer
    heard: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    interval: int = SELDOM
    wished: bool = False

    def wants_everything_often(self) -> None:
        """Say so on the bus, as a router does that starts."""
        self.interval, self.wished = OFTEN, True

    def greeting(self) -> bytes:
        return json.dumps(
            {"id": "0-x", "hosts": [], "minimumRegisterIntervalInSeconds": self.interval}
        ).encode()

    def listen(self) -> None:
        asyncio.run(self._listen())

    async def _listen(self) -> None:
        context = ssl.create_default_context(cafile=str(self.bus.ca_file))
        context.load_cert_chain(self.bus.cert_file, self.bus.key_file)
        client = await nats.connect(
            f"tls://{self.bus.address}", user=USER, password=PASSWORD, tls=context, max_reconnect_attempts=-1
        )

        async def take(message: Any) -> None:
            if message.subject == "router.greet":
                await client.publish(message.reply, self.greeting())
            elif message.subject != "router.start":
                self.heard.append((time.monotonic(), message.subject, json.loads(message.data)))

        await client.subscribe("router.*", cb=take)
        while not self.stop.is_set():
            await asyncio.sleep(0.05)
            if self.wished:
                self.wished = False
                await client.publish("router.start", self.greeting())
        await client.close()

    def said(self, subject: str, uri: str) -> list[dict[str, Any]]:
        return [
            fields
            for _, told, fields in self.heard
            if told == f"router.{subject}" and fields["uris"] == [uri]
        ]


@dataclass
class Stage:
    bbs: BbsClient
    server: real_bbs.BbsProcess
    ears: Ears
    config: dict[str, Any]
    directory: Path
    emitter: JobProcess

    def desire(self, guid: str, *hostnames: str, instances: int = 1) -> None:
        desired = DesiredLRP(process_guid=guid, domain="tests", root_fs="preloaded:x", instances=instances)
        desired.action.run_action.path = "true"
        desired.action.run_action.user = "vcap"
        desired.log_guid = f"{guid}-log"
        desired.metric_tags["source_id"].static = guid
        desired.routes.routes["cf-router"] = json.dumps(
            [{"hostnames": list(hostnames), "port": 8080}]
        ).encode()
        self.bbs.desire_lrp(desired)

    def start(self, guid: str, index: int = 0, cell: str = CELL, host_port: int = 61001) -> tuple[Any, Any]:
        key = ActualLRPKey(process_guid=guid, index=index, domain="tests")
        instance = ActualLRPInstanceKey(instance_guid=f"{guid}-instance-{index}", cell_id=cell)
        net = ActualLRPNetInfo(
            address="10.0.0.1",
            instance_address="10.255.1.2",
            preferred_address=ActualLRPNetInfo.HOST,
            ports=[PortMapping(container_port=8080, host_port=host_port)],
        )
        self.bbs.start_actual_lrp(
            StartActualLRPRequest(
                actual_lrp_key=key, actual_lrp_instance_key=instance, actual_lrp_net_info=net
            )
        )
        return key, instance


@pytest.fixture(scope="module")
def stage(mariadb: Any, pki: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("emitter")
    database: Database = mariadb.create_database()
    with contextlib.ExitStack() as stack:
        standing = stack.enter_context(real_bbs.stand_ins("auctioneer"))
        locket = stack.enter_context(real_locket.running(directory / "locket", database, pki))
        server = stack.enter_context(
            real_bbs.running(directory / "bbs", database, pki, locket.address, standing.url("auctioneer"))
        )
        bus = stack.enter_context(nats_server(directory))
        ears = Ears(bus)
        thread = threading.Thread(target=ears.listen)
        thread.start()
        stack.callback(thread.join)
        stack.callback(ears.stop.set)
        certificates = {
            "ca_cert_file": str(pki / "ca.crt"),
            "client_cert_file": str(pki / "diego_bbs_client.crt"),
            "client_key_file": str(pki / "diego_bbs_client.key"),
        }
        config = {
            "cell_id": CELL,
            "bbs_address": server.url,
            **{f"bbs_{name}": path for name, path in certificates.items()},
            "nats_addresses": bus.address,
            "nats_username": USER,
            "nats_password": PASSWORD,
            "nats_tls_enabled": True,
            "nats_ca_cert_file": str(bus.ca_file),
            "nats_client_cert_file": str(bus.cert_file),
            "nats_client_key_file": str(bus.key_file),
            "sync_interval": "1h",
            "unregistration_interval": "1s",
            "unregistration_send_count": 3,
            "healthcheck_address": f"127.0.0.1:{free_port()}",
            "debug_address": f"127.0.0.1:{free_port()}",
        }
        emitter = stack.enter_context(job_process(diego_job("route_emitter"), config, directory))
        client = BbsClient(
            server.url,
            ca_file=certificates["ca_cert_file"],
            cert_file=certificates["client_cert_file"],
            key_file=certificates["client_key_file"],
        )
        stack.callback(client.close)
        client.upsert_domain("tests", 0)
        until(lambda: emitter.events("route_emitter.subscribed"), seconds=60)
        yield Stage(client, server, ears, config, directory, emitter)
    mariadb.drop_database(database)


def test_an_instance_that_runs_is_registered_and_one_that_stops_is_unregistered_within_a_second(
    stage: Stage,
) -> None:
    stage.desire("quick", "quick.example.org")

    _, instance = stage.start("quick")
    until(lambda: stage.ears.said("register", "quick.example.org"))

    stage.bbs.remove_actual_lrp("quick", 0, instance)
    until(lambda: stage.ears.said("unregister", "quick.example.org"))
    message = stage.ears.said("unregister", "quick.example.org")[0]
    assert (message["host"], message["port"], message["app"]) == ("10.0.0.1", 61001, "quick-log")
    assert message["private_instance_id"] == "quick-instance-0"


def test_an_instance_of_another_cell_is_not_ours(stage: Stage) -> None:
    stage.desire("elsewhere", "elsewhere.example.org", "marker.example.org")
    stage.start("elsewhere", cell="cell-b")
    stage.desire("marker", "marker.example.org")
    stage.start("marker")

    until(lambda: stage.ears.said("register", "marker.example.org"))
    assert stage.ears.said("register", "elsewhere.example.org") == []


def test_a_new_route_of_a_running_app_is_registered_and_a_lost_one_unregistered(stage: Stage) -> None:
    stage.desire("mapped", "old.example.org")
    stage.start("mapped")
    until(lambda: stage.ears.said("register", "old.example.org"))

    update = DesiredLRPUpdate()
    update.routes.routes["cf-router"] = json.dumps(
        [{"hostnames": ["new.example.org"], "port": 8080}]
    ).encode()
    stage.bbs.update_desired_lrp("mapped", update)

    until(lambda: stage.ears.said("register", "new.example.org"))
    until(lambda: stage.ears.said("unregister", "old.example.org"))


def test_everything_is_registered_again_at_the_routers_interval(stage: Stage) -> None:
    stage.desire("steady", "steady.example.org")
    stage.start("steady")
    until(lambda: stage.ears.said("register", "steady.example.org"))

    stage.ears.wants_everything_often()

    until(lambda: len(stage.ears.said("register", "steady.example.org")) >= 3, seconds=60)


def test_a_removal_is_repeated_so_that_no_router_misses_it(stage: Stage) -> None:
    stage.desire("gone", "gone.example.org")
    _, instance = stage.start("gone")
    until(lambda: stage.ears.said("register", "gone.example.org"))
    stage.bbs.remove_actual_lrp("gone", 0, instance)

    until(lambda: len(stage.ears.said("unregister", "gone.example.org")) == 4, seconds=60)
    time.sleep(2)
    assert len(stage.ears.said("unregister", "gone.example.org")) == 4


def test_an_outage_of_the_bbs_takes_no_route_away_and_what_happened_is_noticed_after_it(stage: Stage) -> None:
    stage.desire("kept", "kept.example.org")
    stage.start("kept")
    stage.ears.wants_everything_often()
    until(lambda: stage.ears.said("register", "kept.example.org"))

    stage.server.kill()
    heard = len(stage.ears.heard)
    until(lambda: stage.emitter.events("route_emitter.stream-broken"), seconds=60)
    until(lambda: len(stage.ears.heard) > heard, seconds=60)
    stage.server.start()
    stage.desire("after", "after.example.org")
    stage.start("after")

    until(lambda: stage.ears.said("register", "after.example.org"), seconds=60)
    assert stage.ears.said("unregister", "kept.example.org") == []


def test_an_outage_of_the_bus_is_made_up_for_when_it_is_back(stage: Stage) -> None:
    stage.desire("offline", "offline.example.org")
    stage.ears.wants_everything_often()
    stage.ears.bus.stop(hard=True)
    stage.start("offline")
    time.sleep(1)
    assert stage.ears.said("register", "offline.example.org") == []

    stage.ears.bus.start()

    until(lambda: stage.ears.said("register", "offline.example.org"), seconds=60)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_emitter_that_ends_takes_nothing_back(
    stage: Stage, number: signal.Signals, tmp_path: Path
) -> None:
    config = {
        **stage.config,
        "cell_id": "cell-c",
        "healthcheck_address": f"127.0.0.1:{free_port()}",
        "debug_address": f"127.0.0.1:{free_port()}",
    }
    name = f"ends-{number.name.lower()}"
    with job_process(diego_job("route_emitter"), config, tmp_path) as emitter:
        stage.desire(name, f"{name}.example.org")
        stage.start(name, cell="cell-c")
        until(lambda: stage.ears.said("register", f"{name}.example.org"), seconds=60)
        for worker in emitter.workers if number == signal.SIGKILL else []:
            os.kill(worker, number)
        emitter.process.send_signal(number)
        emitter.process.wait(60)

    time.sleep(1)
    assert stage.ears.said("unregister", f"{name}.example.org") == []
