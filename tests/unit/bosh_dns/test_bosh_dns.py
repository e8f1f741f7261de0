"""bosh_dns on two hosts that are one machine: 127.0.0.2 and 127.0.0.3."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from diego.bosh_dns.config import BoshDnsConfig
from diego.bosh_dns.core.names import Filter, Instance, Name
from diego.bosh_dns.directory import HostsDirectory
from diego.bosh_dns.health import LocalHealth
from diego.bosh_dns.main import JOB, compose
from diego.runtime.config import ConfigError, parse
from diego.runtime.http import HttpClient
from diego.runtime.logs import get_logger
from diego.runtime.process import Runtime
from diego.runtime.supervisor import Program, State, Supervisor, SupervisorError
from diego.runtime.tls import client_context
from support import pki
from support.worker import free_port, running, until

NAME = "locket.service.cf.internal"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pki.write(tmp_path_factory.mktemp("pki"), "dns_health_server", "dns_health_client")


def a_config(certificates: Path, directory: Path, own: int, port: int) -> BoshDnsConfig:
    return BoshDnsConfig(
        names=[Name(NAME, "api"), Name("bbs.service.cf.internal", "api", Filter.ALL)],
        instances=[Instance("api-2", "api", "127.0.0.2"), Instance("api-3", "api", "127.0.0.3")],
        instance_ids=[f"api-{own}"],
        cert_file=certificates / "dns_health_server.crt",
        key_file=certificates / "dns_health_server.key",
        client_cert_file=certificates / "dns_health_client.crt",
        client_key_file=certificates / "dns_health_client.key",
        ca_file=certificates / "dns_ca.crt",
        listen_address=f"127.0.0.{own}:{port}",
        hosts_directory=directory / f"hosts-{own}",
        supervisor_socket=directory / "none.sock",
        healthchecker_url=f"http://127.0.0.1:{free_port()}",
        local_health_interval=0.1,
        remote_health_interval=0.1,
    )


class Programs(Supervisor):
    """A supervisor that says what the test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.state: State | None = State.RUNNING

    def programs(self) -> list[Program]:
        if self.state is None:
            raise SupervisorError("away")
        return [Program("locket", self.state), Program("keeper", State.FATAL)]


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Programs:
    found = Programs()
    monkeypatch.setattr("diego.bosh_dns.main.Supervisor", lambda _path: found)
    return found


@pytest.fixture
def other_host(
    certificates: Path, tmp_path: Path, programs: Programs
) -> Iterator[tuple[Runtime, BoshDnsConfig]]:
    """The host 127.0.0.3, and the configuration of 127.0.0.2."""
    port = free_port()
    third = replace(a_config(certificates, tmp_path, 3, port), ignored_programs=["keeper"])
    second = replace(a_config(certificates, tmp_path, 2, port), ignored_programs=["keeper"])
    with running(lambda runtime: compose(third, runtime), job="third") as runtime:
        yield runtime, second


def addresses(config: BoshDnsConfig, name: str = NAME) -> list[str]:
    lines = (config.hosts_directory / name).read_text().splitlines()
    return [line.split()[0] for line in lines if line.split()[1] == name]


def test_a_host_that_goes_leaves_the_smart_names_and_not_the_others(
    other_host: tuple[Runtime, BoshDnsConfig], programs: Programs
) -> None:
    runtime, config = other_host
    with running(lambda second: compose(config, second)):
        until(lambda: addresses(config) == ["127.0.0.2", "127.0.0.3"])

        runtime.server.listeners[0].close()

        until(lambda: addresses(config) == ["127.0.0.2"])
        assert addresses(config, "bbs.service.cf.internal") == ["127.0.0.2", "127.0.0.3"]


def test_a_host_that_is_not_well_says_so_and_comes_back(
    other_host: tuple[Runtime, BoshDnsConfig], programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, config = other_host
    mine = Programs()
    monkeypatch.setattr("diego.bosh_dns.main.Supervisor", lambda _path: mine)
    with running(lambda second: compose(config, second)):
        until(lambda: addresses(config) == ["127.0.0.2", "127.0.0.3"])

        programs.state = State.BACKOFF
        until(lambda: addresses(config) == ["127.0.0.2"])
        mine.state = State.FATAL
        until(lambda: addresses(config) == ["127.0.0.2", "127.0.0.3"])
        programs.state = State.RUNNING
        until(lambda: addresses(config) == ["127.0.0.3"])


def test_names_are_there_before_anybody_was_asked(certificates: Path, tmp_path: Path) -> None:
    config = a_config(certificates, tmp_path, 2, free_port())

    seen: list[str] = []

    def compose_and_look(runtime: Runtime) -> None:
        compose(config, runtime)
        seen.extend(addresses(config))  # the rounds begin when the worker serves, which is later

    with running(compose_and_look):
        assert seen == ["127.0.0.2", "127.0.0.3"]


def test_what_an_earlier_run_knew_stays_until_somebody_was_asked(tmp_path: Path) -> None:
    directory = HostsDirectory(tmp_path)
    directory.write({"a": "10.0.0.1 a\n"})

    assert not directory.missing(["a"])
    assert directory.missing(["a", "b"])


def test_only_what_changed_is_written_and_what_is_unknown_goes(tmp_path: Path) -> None:
    directory = HostsDirectory(tmp_path / "hosts")
    assert directory.write({"a": "1\n", "b": "2\n"}) == ["a", "b"]
    before = (tmp_path / "hosts" / "a").stat().st_ino
    (tmp_path / "hosts" / ".c.new").write_text("left behind")

    assert directory.write({"a": "1\n", "c": "3\n"}) == ["c", "b"]

    assert sorted(path.name for path in (tmp_path / "hosts").iterdir()) == ["a", "c"]
    assert (tmp_path / "hosts" / "a").stat().st_ino == before


def test_the_health_listener_wants_a_certificate_and_tells_the_state(
    other_host: tuple[Runtime, BoshDnsConfig], certificates: Path
) -> None:
    runtime, config = other_host
    port = runtime.server.listeners[0].port
    tls = client_context(config.client_cert_file, config.client_key_file, config.ca_file)
    client = HttpClient(f"https://127.0.0.3:{port}", tls=tls, timeout=60, server_name="health.bosh-dns")

    until(lambda: json.loads(client.request("GET", "/health").body) == {"state": "running"})
    client.close()


def test_a_supervisor_that_is_away_makes_the_host_unknown() -> None:
    programs = Programs()
    programs.state = None

    local = LocalHealth(programs, HttpClient("http://127.0.0.1:1", timeout=1), [], get_logger("x"))

    assert local.look() == "unknown"


def test_configuration_faults_are_told() -> None:
    text = json.dumps(
        {
            "names": [{"name": "a/b", "group": "x"}, {"name": "c", "group": "x", "filter": "clever"}],
            "instances": [{"id": "x-0", "group": "x", "address": "host"}],
            "instance_ids": ["y-0"],
            **dict.fromkeys(
                ("cert_file", "key_file", "client_cert_file", "client_key_file", "ca_file"), "/x"
            ),
        }
    )
    with pytest.raises(ConfigError) as error:
        parse(BoshDnsConfig, text, "b.json")
    assert error.value.faults == ["b.json: names[1].filter: not one of smart, all: 'clever'"]

    with pytest.raises(ConfigError) as error:
        parse(BoshDnsConfig, text.replace("clever", "all"), "b.json")
    assert error.value.faults == [
        "b.json: instance_ids: y-0 is no instance",
        "b.json: instances: x-0: not an address: 'host'",
        "b.json: names: not usable: 'a/b'",
    ]


def test_the_job_listens_on_its_debug_address_from_the_start(certificates: Path, tmp_path: Path) -> None:
    config = a_config(certificates, tmp_path, 2, 1)

    assert JOB.plain(config) == ["127.0.0.1:17053"]
