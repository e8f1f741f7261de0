"""How bosh_dns is put together."""

import json
import threading

import orjson
from flask import Flask, Response
from flask.typing import ResponseReturnValue

from diego.bosh_dns.config import BoshDnsConfig
from diego.bosh_dns.core.names import RUNNING, addresses, hosts_file, to_be_asked
from diego.bosh_dns.directory import HostsDirectory
from diego.bosh_dns.health import LocalHealth, RemoteHealth
from diego.runtime import metrics
from diego.runtime.api import Api, Call, Reply
from diego.runtime.config import split_address
from diego.runtime.debug import debug_api
from diego.runtime.http import HttpClient
from diego.runtime.job import Job
from diego.runtime.loops import every
from diego.runtime.process import Runtime
from diego.runtime.supervisor import Supervisor
from diego.runtime.tls import client_context, server_context

ANSWER_SECONDS = 3.0
JITTER = 0.1


class Names:
    """The table of names: decided anew from all health that is known, and written when it changed."""

    def __init__(
        self, config: BoshDnsConfig, runtime: Runtime, local: LocalHealth, remote: RemoteHealth
    ) -> None:
        self._config = config
        self._runtime = runtime
        self._local = local
        self._remote = remote
        self._directory = HostsDirectory(config.hosts_directory)
        self._lock = threading.Lock()
        self._changes = metrics.counter("bosh_dns_changes_total", "Names whose addresses changed.")

    @property
    def health(self) -> dict[str, bool]:
        own = dict.fromkeys(self._config.own_addresses, self._local.state == RUNNING)
        return {**self._remote.known, **own}

    def begin(self) -> None:
        """Have every name there before anybody was asked; files of an earlier run know more, and stay."""
        if self._directory.missing([name.name for name in self._config.names]):
            self._write({})  # an instance that was not looked at counts as healthy

    def write(self) -> None:
        self._write(self.health)

    def _write(self, health: dict[str, bool]) -> None:
        files = {name.name: hosts_file(name, self._config.instances, health) for name in self._config.names}
        with self._lock:
            changed = self._directory.write(files)
        if changed:
            self._changes.inc(len(changed))
            self._runtime.log.info("names-changed", names=changed)

    def look_here(self) -> None:
        """One round of the local check."""
        before = self._local.state
        if self._local.look() != before:
            self.write()

    def look_elsewhere(self) -> None:
        """One round of asking the others."""
        self._remote.ask()
        self.write()

    def table(self) -> dict[str, list[str]]:
        health = self.health
        return {name.name: addresses(name, self._config.instances, health) for name in self._config.names}


def compose(config: BoshDnsConfig, runtime: Runtime) -> list[Api]:
    local = LocalHealth(
        Supervisor(config.supervisor_socket),
        HttpClient(config.healthchecker_url, timeout=ANSWER_SECONDS),
        config.ignored_programs,
        runtime.log,
    )
    remote = RemoteHealth(_clients(config), runtime.log)
    names = Names(config, runtime, local, remote)
    names.begin()
    every(runtime, "local health", config.local_health_interval, names.look_here, first=0.0)
    every(
        runtime,
        "remote health",
        config.remote_health_interval,
        names.look_elsewhere,
        jitter=JITTER,
        first=0.0,
    )
    tls = server_context(config.cert_file, config.key_file, config.ca_file)
    runtime.open_listener(config.listen_address, health_api(local), tls)
    return [status_api(names)]


def _clients(config: BoshDnsConfig) -> dict[str, HttpClient]:
    tls = client_context(config.client_cert_file, config.client_key_file, config.ca_file)
    port = split_address(config.listen_address)[1]
    asked = to_be_asked(config.names, config.instances, config.own_addresses)
    return {
        address: HttpClient(
            f"https://{_in_url(address)}:{port}",
            tls=tls,
            timeout=ANSWER_SECONDS,
            server_name=config.server_name,
        )
        for address in asked
    }


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def health_api(local: LocalHealth) -> Api:
    """What the other hosts ask."""
    api = Api(Flask("bosh_dns health"))

    @api.rpc("/health", method="GET")
    def health(_call: Call) -> Reply:
        return Reply(200, orjson.dumps({"state": local.state}), "application/json")

    return api


def status_api(names: Names) -> Api:
    """The debug listener: besides the usual, `GET /` tells every name's addresses and every host's health."""
    api = debug_api("bosh_dns")

    @api.app.get("/")
    def status() -> ResponseReturnValue:
        found = {"names": names.table(), "healthy": names.health}
        return Response(json.dumps(found, indent=1, sort_keys=True) + "\n", content_type="application/json")

    return api


JOB = Job(
    name="bosh_dns",
    config=BoshDnsConfig,
    plain=lambda config: [config.debug_address],
    compose=compose,
)
