"""The file server itself, over its real listeners."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from diego.file_server.config import FileServerConfig
from diego.file_server.main import compose
from diego.runtime.config import ConfigError, parse
from diego.runtime.http import HttpClient
from diego.runtime.process import Runtime
from diego.runtime.tls import client_context
from support import pki
from support.rawhttp import RawClient
from support.worker import running

CONTENT = b"a small file\n"
ETAG = '"' + hashlib.sha256(CONTENT).hexdigest() + '"'


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("static")
    (root / "bundle").mkdir()
    (root / "bundle" / "small.tgz").write_bytes(CONTENT)
    (root / "bundle" / "large").write_bytes(os.urandom(1 << 20) * 30)
    (root / "a b").write_bytes(b"spaces")
    (root.parent / "secret").write_bytes(b"secret")
    return root


def opened(runtime: Runtime, config: FileServerConfig) -> list[int]:
    """The ports of its listeners, in the order in which they were opened."""
    compose(config, runtime)
    return [listener.port for listener in runtime.server.listeners]


@pytest.fixture(scope="module")
def port(directory: Path) -> Iterator[int]:
    with running() as runtime:
        config = FileServerConfig(static_directory=directory, server_address="127.0.0.1:0")
        yield opened(runtime, config)[0]


@pytest.fixture
def client(port: int) -> Iterator[RawClient]:
    with RawClient(port) as found:
        yield found


def test_a_file_comes_with_its_checksum_as_etag(client: RawClient) -> None:
    answer = client.request("GET", "/v1/static/bundle/small.tgz")

    assert (answer.status, answer.body) == (200, CONTENT)
    assert answer.headers["etag"] == ETAG
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["last-modified"].endswith("GMT")
    assert answer.headers["content-length"] == str(len(CONTENT))


def test_head_tells_the_same_without_the_file(client: RawClient) -> None:
    answer = client.request("HEAD", "/v1/static/bundle/small.tgz")

    assert (answer.status, answer.body) == (200, b"")
    assert (answer.headers["etag"], answer.headers["content-length"]) == (ETAG, str(len(CONTENT)))
    assert client.request("GET", "/v1/static/a%20b").body == b"spaces"


def test_who_has_the_file_is_told_so(client: RawClient) -> None:
    answer = client.request("GET", "/v1/static/bundle/small.tgz", b"", f"If-None-Match: {ETAG}")

    assert (answer.status, answer.headers["etag"]) == (304, ETAG)
    assert "content-length" not in answer.headers
    assert client.request("GET", "/v1/static/bundle/small.tgz").status == 200


def test_a_part_of_the_file_can_be_had(client: RawClient) -> None:
    answer = client.request("GET", "/v1/static/bundle/small.tgz", b"", "Range: bytes=2-6")

    assert (answer.status, answer.body) == (206, b"small")
    assert answer.headers["content-range"] == f"bytes 2-6/{len(CONTENT)}"


def test_a_part_beyond_the_end_cannot_be_had(client: RawClient) -> None:
    answer = client.request("GET", "/v1/static/bundle/small.tgz", b"", "Range: bytes=1000-")

    assert (answer.status, answer.body) == (416, b"invalid range: failed to overlap\n")
    assert answer.headers["content-range"] == f"bytes */{len(CONTENT)}"


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/v1/static/bundle/none.tgz", 404, "File not found: none.tgz\n"),
        ("/v1/static/bundle/small.tgz/below", 404, "File not found: below\n"),
        ("/v1/static/bundle", 401, "Unauthorized to list the directory\n"),
        ("/v1/static/", 401, "Unauthorized to list the directory\n"),
        ("/v1/static/../secret", 400, "invalid URL path\n"),
        ("/v1/static/bundle/%2e%2e/%2e%2e/secret", 400, "invalid URL path\n"),
        ("/v1/static/..%2fsecret", 400, "invalid URL path\n"),
        ("/", 404, "404 page not found\n"),
        ("/v1/other", 404, "404 page not found\n"),
    ],
)
def test_what_cannot_be_served_is_told(client: RawClient, path: str, status: int, text: str) -> None:
    answer = client.request("GET", path)

    assert (answer.status, answer.body.decode()) == (status, text)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_files_cannot_be_changed(client: RawClient) -> None:
    for method in ("PUT", "POST", "DELETE"):
        assert client.request(method, "/v1/static/bundle/small.tgz").status == 404


def test_what_is_no_file_is_not_opened(client: RawClient, directory: Path) -> None:
    os.mkfifo(directory / "pipe")

    answer = client.request("GET", "/v1/static/pipe")

    assert (answer.status, answer.body) == (500, b"Cannot stat file: pipe\n")


def test_a_large_file_comes_whole(client: RawClient, directory: Path) -> None:
    answer = client.request("GET", "/v1/static/bundle/large")

    assert answer.body == (directory / "bundle" / "large").read_bytes()


def test_a_replaced_file_has_a_new_etag_at_once(client: RawClient, directory: Path) -> None:
    (directory / "changing").write_bytes(b"one")
    first = client.request("GET", "/v1/static/changing")
    (directory / "new").write_bytes(b"two")
    (directory / "new").rename(directory / "changing")

    second = client.request("GET", "/v1/static/changing", b"", f"If-None-Match: {first.headers['etag']}")

    assert (second.status, second.body) == (200, b"two")


def test_with_https_the_plain_listener_only_redirects(directory: Path, tmp_path: Path) -> None:
    certificates = pki.write(tmp_path, "file_server_cert")
    config = FileServerConfig(
        static_directory=directory,
        server_address="127.0.0.1:0",
        https_server_enabled=True,
        https_listen_addr="127.0.0.1:0",
        cert_file=certificates / "file_server_cert.crt",
        key_file=certificates / "file_server_cert.key",
    )
    with running() as runtime:
        https, plain = opened(runtime, config)
        with RawClient(plain) as client:
            answer = client.request("GET", "/v1/static/bundle/small.tgz?x=%20y")
        assert answer.status == 301
        assert answer.headers["location"] == f"https://localhost:{https}/v1/static/bundle/small.tgz?x=%20y"

        tls = client_context(None, None, certificates / "service_cf_internal_ca.crt")
        secure = HttpClient(f"https://localhost:{https}", tls=tls, timeout=60)
        assert secure.request("GET", "/v1/static/bundle/small.tgz").body == CONTENT


def test_configuration_faults_are_told() -> None:
    with pytest.raises(ConfigError) as error:
        parse(FileServerConfig, '{"static_directory": "", "https_server_enabled": true}', "f.json")

    assert error.value.faults == [
        "f.json: static_directory: must not be empty",
        "f.json: cert_file, key_file: needed when https_server_enabled is true",
    ]
