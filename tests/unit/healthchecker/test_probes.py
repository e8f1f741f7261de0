"""Probes against real listeners, the counter file, the configuration."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, request
from flask.typing import ResponseReturnValue

from diego.healthchecker.config import Endpoint, HealthcheckerConfig
from diego.healthchecker.probes import probe
from diego.healthchecker.watcher import Restarts
from diego.runtime.api import Api
from diego.runtime.config import ConfigError, parse
from diego.runtime.tls import server_context
from support import pki
from support.worker import free_port, running


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    certificates = pki.write(tmp_path_factory.mktemp("pki"), "diego_rep_agent_v2", "diego_rep_client")
    app = Flask("asked")

    @app.get("/ping")
    def ping() -> str:
        return ""

    @app.get("/elsewhere")
    def elsewhere() -> ResponseReturnValue:
        return "", 302, {"Location": "/ping"}

    @app.get("/for-ever")
    def for_ever() -> ResponseReturnValue:
        return "", 302, {"Location": "/for-ever"}

    @app.get("/slow")
    def slow() -> str:
        time.sleep(0.6)
        return ""

    @app.get("/guarded")
    def guarded() -> ResponseReturnValue:
        known = request.authorization
        return "", 200 if known and (known.username, known.password) == ("me", "secret") else 401

    with running() as runtime:
        api = Api(app)
        mutual = server_context(
            certificates / "diego_rep_agent_v2.crt",
            certificates / "diego_rep_agent_v2.key",
            certificates / "service_cf_internal_ca.crt",
        )
        unix = tmp_path_factory.mktemp("run") / "x.sock"
        runtime.open_listener(f"unix:{unix}", api)
        yield {
            "http": f"http://127.0.0.1:{runtime.open_listener('127.0.0.1:0', api).port}",
            "https": f"https://127.0.0.1:{runtime.open_listener('127.0.0.1:0', api, mutual).port}",
            "unix": str(unix),
            "certificates": certificates,
        }


def test_a_good_answer_is_200_and_nothing_else(asked: dict[str, Any]) -> None:
    results = [
        probe(Endpoint(url=asked["http"] + path), 60)
        for path in ("/ping", "/nope", "/elsewhere", "/for-ever")
    ]

    assert results == ["", "status 404", "", "too many redirects"]


def test_an_answer_must_come_in_time(asked: dict[str, Any]) -> None:
    assert probe(Endpoint(url=asked["http"] + "/slow"), 0.2) != ""


def test_credentials_are_shown(asked: dict[str, Any]) -> None:
    url = asked["http"] + "/guarded"

    assert probe(Endpoint(url=url), 60) == "status 401"
    assert probe(Endpoint(url=url, user="me", password="secret"), 60) == ""


def test_a_daemon_that_wants_a_certificate_gets_one(asked: dict[str, Any]) -> None:
    url, certificates = asked["https"] + "/ping", asked["certificates"]

    shown = Endpoint(
        url=url,
        cert_file=certificates / "diego_rep_client.crt",
        key_file=certificates / "diego_rep_client.key",
    )
    assert probe(shown, 60) == ""
    assert probe(Endpoint(url=url), 60) != ""


def test_a_port_must_accept(asked: dict[str, Any]) -> None:
    assert probe(Endpoint(tcp=asked["http"].removeprefix("http://")), 60) == ""
    assert "refused" in probe(Endpoint(tcp=f"127.0.0.1:{free_port()}"), 2)


def test_a_unix_socket_must_accept_or_answer(asked: dict[str, Any], tmp_path: Path) -> None:
    assert probe(Endpoint(socket=asked["unix"]), 60) == ""
    assert probe(Endpoint(socket=asked["unix"], path="/ping"), 60) == ""
    assert probe(Endpoint(socket=asked["unix"], path="/nope"), 60) == "status 404"
    assert probe(Endpoint(socket=str(tmp_path / "none.sock")), 60) != ""


def test_a_daemon_that_accepts_and_says_nothing_is_not_well() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        begin = time.monotonic()
        assert probe(Endpoint(url=f"http://127.0.0.1:{server.getsockname()[1]}/"), 0.3) != ""
        assert time.monotonic() - begin < 30


# Files and configuration


def test_a_counter_that_cannot_be_read_counts_as_zero(tmp_path: Path) -> None:
    counter = Restarts(tmp_path / "deep" / "one.counter")
    assert counter.read() == 0

    counter.write(7)
    assert (counter.path.read_text(), counter.read()) == ("7\n", 7)
    counter.path.write_text("seven")
    assert counter.read() == 0


def test_the_defaults_are_the_original_s() -> None:
    config = parse(
        HealthcheckerConfig,
        '{"daemons": [{"component_name": "a", "healthcheck_endpoint": {"tcp": "127.0.0.1:1"}}]}',
    )
    policy = config.policy(config.daemons[0])

    assert (policy.poll_interval, policy.timeout, policy.grace) == (10.0, 5.0, 35.0)
    assert str(config.counter_file(config.daemons[0])) == "/var/vcap/data/healthchecker/a.counter"


def test_configuration_faults_are_told() -> None:
    text = """{"daemons": [
        {"component_name": "a", "healthcheck_endpoint": {"url": "ftp://x", "tcp": "nowhere"}},
        {"component_name": "b", "healthcheck_endpoint": {"socket": "/x", "cert_file": "/c"}}]}"""
    with pytest.raises(ConfigError) as error:
        parse(HealthcheckerConfig, text, "h.json")

    assert error.value.faults == [
        "h.json: daemons[0].healthcheck_endpoint.exactly one of url, tcp and socket must be given",
        "h.json: daemons[0].healthcheck_endpoint.url: not a URL of http or https: 'ftp://x'",
        "h.json: daemons[0].healthcheck_endpoint.tcp: not an address of the form host:port: 'nowhere'",
        "h.json: daemons[1].healthcheck_endpoint.cert_file, key_file: one is of no use without the other",
    ]
