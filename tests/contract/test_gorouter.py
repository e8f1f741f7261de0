"""The router as deployed: real nginx, the real control job, a real bus, apps on loopback (contract/routing.md)."""

import asyncio
import contextlib
import http.client
import http.server
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
import nats
import pytest
import yaml

from support import pki
from support.nats import PASSWORD, USER, NatsServer, nats_server
from support.worker import JobProcess, diego_job, free_port, job_process, until

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parents[2]
ROLE = ROOT / "roles/gorouter"
STALE = 60
"""Seconds after which a route that is not registered again is pruned, unless its message says less. Tests register once."""


class App(http.server.ThreadingHTTPServer):
    """An instance of an app: it tells who it is and what it was asked."""

    daemon_threads = True

    def __init__(self, name: str, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.name = name
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    server: App
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.headers.get("Upgrade"):
            self.wfile.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
            )
            while data := self.connection.recv(100):
                self.connection.sendall(self.server.name.encode() + b":" + data)
            self.close_connection = True
            return
        body = json.dumps(
            {"app": self.server.name, "path": self.path, "headers": dict(self.headers)}
        ).encode()
        self.send_response(502 if self.path == "/own-502" else 200)
        if self.path == "/session":
            self.send_header("Set-Cookie", "JSESSIONID=1; Path=/; Secure")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        received = 0
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                received += len(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
        else:
            received = len(self.rfile.read(int(self.headers["Content-Length"])))
        body = f"{received}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the library's name
        return


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    cookies: list[str]

    @property
    def app(self) -> str:
        return str(json.loads(self.body)["app"])

    @property
    def seen(self) -> dict[str, str]:
        """The headers that the app saw, names in lower case."""
        headers: dict[str, str] = json.loads(self.body)["headers"]
        return {name.lower(): value for name, value in headers.items()}


@dataclass
class Nginx:
    """nginx under the test as its supervisor."""

    command: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, start_new_session=True)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def workers(self) -> list[int]:
        words = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(word) for word in words]

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)


@dataclass
class Router:
    port: int
    tls_port: int
    health_port: int
    nginx: Nginx
    bus: NatsServer
    config: dict[str, Any]
    directory: Path
    control: JobProcess
    apps: list[App] = field(default_factory=list)
    said: list[dict[str, Any]] = field(default_factory=list)

    def clear(self) -> None:
        """Take back every registration and end every app."""
        self.say("router.unregister", *self.said)
        hosts = {uri.partition("/")[0].replace("*", "any") for one in self.said for uri in one["uris"]}
        for host in hosts:
            until(partial(self.unknown, host))
        for app in self.apps:
            app.close()
        self.apps, self.said = [], []

    def app(self, name: str) -> App:
        app = App(name, free_port())  # nobody else answers there when it is closed
        self.apps.append(app)
        return app

    def say(self, subject: str, *messages: dict[str, Any]) -> None:
        """Publish on the bus as a route emitter does."""

        async def publish() -> None:
            context = ssl.create_default_context(cafile=str(self.bus.ca_file))
            context.load_cert_chain(self.bus.cert_file, self.bus.key_file)
            client = await nats.connect(
                f"tls://{self.bus.address}", user=USER, password=PASSWORD, tls=context
            )
            for message in messages:
                await client.publish(subject, json.dumps(message).encode())
            await client.flush()
            await client.close()

        asyncio.run(publish())

    def register(self, app: App, *uris: str, **more: Any) -> None:
        self.said.append(message(app, *uris, **more))
        self.say("router.register", self.said[-1])

    def unregister(self, app: App, *uris: str, **more: Any) -> None:
        self.say("router.unregister", message(app, *uris, **more))

    def ask(
        self, host: str, path: str = "/", method: str = "GET", body: Any = None, **headers: str
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=90)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body=body, headers={"Host": host, **named})
            response = connection.getresponse()
            cookies = response.headers.get_all("Set-Cookie") or []
            return Answer(response.status, dict(response.headers), response.read(), cookies)
        finally:
            connection.close()

    def routes(self) -> bytes:
        """The routes as the control job tells them."""
        connection = http.client.HTTPConnection(self.config["routes_address"], timeout=30)
        try:
            connection.request("GET", "/routes")
            return connection.getresponse().read()
        finally:
            connection.close()

    def unknown(self, host: str) -> bool:
        return self.ask(host).status == 404

    def serves(self, host: str) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.ask(host).status == 200
        return False

    def takes_turns(self, host: str, count: int) -> bool:
        """Whether so many instances answer, each in its turn."""
        answers = [self.ask(host) for _ in range(2 * count)]
        return len({answer.app for answer in answers if answer.status == 200}) == count


def message(app: App, *uris: str, **more: Any) -> dict[str, Any]:
    return {
        "host": "127.0.0.1",
        "port": app.port,
        "uris": list(uris),
        "app": "3a1ff0c5-0f0c-4d1c-9d3a-0b1f0e4f3c2a",
        "private_instance_id": f"{app.name}-guid",
        "private_instance_index": "0",
        **more,
    }


def variables(directory: Path) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    run = directory / "run"
    run.mkdir()
    for name in ("router_ssl", "gorouter_lb_health_tls"):
        pki.write(directory, name)
    for leaf, name in (("router_ssl", "router"), ("gorouter_lb_health_tls", "health")):
        for end in (".crt", ".key"):
            (directory / f"{name}{end}").write_bytes((directory / f"{leaf}{end}").read_bytes())
    values |= {
        "ansible_managed": "Written by a test.",
        "gorouter_run": str(run),
        "gorouter_logs": str(run),
        "gorouter_certs": str(directory),
        "gorouter_job_directory": str(directory),
        "gorouter_lua": str(ROOT / "jobs/diego/gorouter/lua"),
        "gorouter_http_port": f"127.0.0.1:{free_port()}",
        "gorouter_https_port": f"127.0.0.1:{free_port()}",
        "gorouter_health_port": f"127.0.0.1:{free_port()}",
    }
    return values


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def render(name: str, values: dict[str, Any]) -> str:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    return environment.from_string((ROLE / "templates" / name).read_text()).render(values)


@contextlib.contextmanager
def deployed(tmp_path: Path, *, patience: int = 15) -> Iterator[Router]:
    """nginx, bus and control job, until the block ends."""
    values = variables(tmp_path) | {"gorouter_routes_patience": patience}
    (tmp_path / "nginx.conf").write_text(render("nginx.conf.j2", values))
    (tmp_path / "start-nginx").write_text(render("start-nginx.j2", values))
    nginx = Nginx(["sh", str(tmp_path / "start-nginx")], tmp_path / "nginx.log")
    with nats_server(tmp_path) as bus:
        config = {
            "index": 0,
            "address": "127.0.0.1",
            "nats_addresses": [bus.address],
            "nats_username": USER,
            "nats_password": PASSWORD,
            "nats_ca_file": str(bus.ca_file),
            "nats_cert_file": str(bus.cert_file),
            "nats_key_file": str(bus.key_file),
            "status_address": f"127.0.0.1:{free_port()}",
            "routes_address": f"127.0.0.1:{free_port()}",
            "nginx_socket": f"{values['gorouter_run']}/nginx.sock",
            "nginx_pid_file": f"{values['gorouter_run']}/nginx.pid",
            "access_log": f"{values['gorouter_run']}/access.log",
            "start_response_delay_interval": "200ms",
            "droplet_stale_threshold": f"{STALE}s",
            "prune_stale_droplets_interval": "500ms",
        }
        nginx.start()
        made: Router | None = None
        try:
            with job_process(diego_job("gorouter"), config, tmp_path) as control:
                made = Router(
                    port=port_of(values["gorouter_http_port"]),
                    tls_port=port_of(values["gorouter_https_port"]),
                    health_port=port_of(values["gorouter_health_port"]),
                    nginx=nginx,
                    bus=bus,
                    config=config,
                    directory=tmp_path,
                    control=control,
                )
                until(lambda: control.events("gorouter.nginx-filled"), seconds=60)
                yield made
        finally:
            for app in made.apps if made else []:
                app.close()
            nginx.stop()


@contextlib.contextmanager
def without_end(act: Callable[[], None]) -> Iterator[None]:
    """Do something again and again in a thread, until the block ends."""
    stop = threading.Event()

    def repeat() -> None:
        while not stop.is_set():
            act()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)


@contextlib.contextmanager
def route_emitter(router: Router, seconds: float, registration: dict[str, Any]) -> Iterator[None]:
    """What answers each `router.start` with a registration, so many seconds later, as the jitter has it."""
    ready, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        context = ssl.create_default_context(cafile=str(router.bus.ca_file))
        context.load_cert_chain(router.bus.cert_file, router.bus.key_file)
        client = await nats.connect(f"tls://{router.bus.address}", user=USER, password=PASSWORD, tls=context)

        async def answer(_message: Any) -> None:
            await asyncio.sleep(seconds)
            await client.publish("router.register", json.dumps(registration).encode())

        await client.subscribe("router.start", cb=answer)
        await client.flush()
        ready.set()
        while not stop.is_set():
            await asyncio.sleep(0.05)
        await client.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(30)
        yield
    finally:
        stop.set()
        thread.join(30)


@pytest.fixture(scope="module")
def shared_router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    with deployed(tmp_path_factory.mktemp("router")) as router:
        yield router


@pytest.fixture
def router(shared_router: Router) -> Iterator[Router]:
    """A router without routes; what the test has registered is gone afterwards."""
    yield shared_router
    shared_router.clear()


@pytest.fixture
def own_router(tmp_path: Path) -> Iterator[Router]:
    """A router whose parts the test may kill."""
    with deployed(tmp_path) as router:
        yield router


def test_an_unknown_route_is_told_in_the_contracts_words(router: Router) -> None:
    answer = router.ask("nobody.example.org")

    assert answer.status == 404
    assert answer.body == b"404 Not Found: Requested route ('nobody.example.org') does not exist.\n"
    assert answer.headers["X-Cf-RouterError"] == "unknown_route"
    assert answer.headers["Cache-Control"] == "no-cache, no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_registered_route_answers_at_once_and_an_unregistered_one_is_unknown_at_once(
    router: Router,
) -> None:
    app = router.app("one")

    router.register(app, "one.example.org")
    until(lambda: router.serves("one.example.org"), seconds=STALE / 3)

    # far sooner than it would be stale
    router.unregister(app, "one.example.org")
    until(lambda: router.ask("one.example.org").status == 404, seconds=STALE / 3)


def test_the_app_sees_who_it_is_and_where_the_request_came_from(router: Router) -> None:
    app = router.app("one")
    router.register(app, "one.example.org")
    until(lambda: router.serves("one.example.org"))

    answer = router.ask("One.Example.org:80", "/a%20b?q=%2F;x", X_Vcap_Request_Id="forged")

    assert json.loads(answer.body)["path"] == "/a%20b?q=%2F;x"
    seen = answer.seen
    assert seen["host"] == "One.Example.org:80"
    assert seen["x-cf-applicationid"] == "3a1ff0c5-0f0c-4d1c-9d3a-0b1f0e4f3c2a"
    assert seen["x-cf-instanceid"] == "one-guid"
    assert seen["x-cf-instanceindex"] == "0"
    assert seen["x-forwarded-for"] == "127.0.0.1"
    assert seen["x-forwarded-proto"] == "http"
    assert re.fullmatch(r"\d{13}", seen["x-request-start"])
    assert re.fullmatch(
        r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", seen["x-vcap-request-id"]
    )
    assert answer.headers["X-Vcap-Request-Id"] == seen["x-vcap-request-id"]


def test_what_a_proxy_before_it_has_said_is_kept_or_continued(router: Router) -> None:
    app = router.app("one")
    router.register(app, "one.example.org")
    until(lambda: router.serves("one.example.org"))

    seen = router.ask(
        "one.example.org", X_Forwarded_For="1.2.3.4", X_Forwarded_Proto="https", X_Request_Start="17"
    ).seen

    assert seen["x-forwarded-for"] == "1.2.3.4, 127.0.0.1"
    assert seen["x-forwarded-proto"] == "https"
    assert seen["x-request-start"] == "17"


def test_the_longest_registered_path_in_whole_segments_wins(router: Router) -> None:
    apps = {uri: router.app(uri) for uri in ("a.org", "a.org/v1", "a.org/v1/deep/er", "*.b.org", "*.org")}
    for uri, app in apps.items():
        router.register(app, uri)
    until(lambda: json.loads(router.routes()).keys() >= apps.keys())
    until(lambda: router.serves("x.y.org"))
    until(lambda: router.ask("a.org", "/v1/deep/er").body.startswith(b'{"app": "a.org/v1/deep/er"'))

    def answering(host: str, path: str) -> str:
        return router.ask(host, path).app

    assert answering("a.org", "/") == "a.org"
    assert answering("a.org", "/v1") == "a.org/v1"
    assert answering("a.org", "/V1/deep") == "a.org/v1"
    assert answering("a.org", "/v12") == "a.org"
    assert answering("a.org", "/v1/deep/er/still?x=/v9") == "a.org/v1/deep/er"
    assert answering("x.b.org", "/") == "*.b.org"
    assert answering("y.x.b.org", "/") == "*.b.org"
    assert answering("c.org", "/") == "*.org"


def test_the_instances_take_turns(router: Router) -> None:
    apps = [router.app(f"app-{number}") for number in range(3)]
    for app in apps:
        router.register(app, "turns.example.org")
    until(lambda: router.takes_turns("turns.example.org", 3))

    asked = [router.ask("turns.example.org").app for _ in range(30)]

    assert {asked.count(app.name) for app in apps} == {10}


def test_an_instance_that_does_not_connect_costs_no_request(router: Router) -> None:
    apps = [router.app(f"app-{number}") for number in range(3)]
    for app in apps:
        router.register(app, "turns.example.org")
    until(lambda: router.takes_turns("turns.example.org", 3))

    apps[0].close()

    answers = [router.ask("turns.example.org") for _ in range(20)]
    assert {answer.status for answer in answers} == {200}
    assert {answer.app for answer in answers} == {"app-1", "app-2"}
    assert all(answer.seen["x-cf-instanceid"] == f"{answer.app}-guid" for answer in answers)


def test_an_instance_that_vanished_without_a_word_costs_time_once_and_no_request(router: Router) -> None:
    """A cell lost its power, and requests for its instances failed until their routes were stale."""
    app = router.app("well")
    with contextlib.ExitStack() as held:
        silent = held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):  # more than it has room for: whoever comes now gets no answer at all
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(silent.getsockname())
        router.register(app, "turns.example.org")
        gone = message(app, "turns.example.org", port=silent.getsockname()[1], private_instance_id="gone")
        router.said.append(gone)
        router.say("router.register", gone)
        until(lambda: len(json.loads(router.routes())["turns.example.org"]) == 2)

        def answer(**how: Any) -> Answer:
            router.say("router.register", *router.said)  # as each 20 s
            return router.ask("turns.example.org", **how)

        answers = [answer() for _ in range(6)]
        posted = answer(method="POST", body=b"abc")

    assert [answer.status for answer in answers] == [200] * 6
    assert {answer.app for answer in answers} == {"well"}
    assert posted.body == b"3"


def test_a_post_goes_to_the_next_instance_when_one_does_not_connect(router: Router) -> None:
    apps = [router.app(f"app-{number}") for number in range(2)]
    for app in apps:
        router.register(app, "turns.example.org")
    until(lambda: router.takes_turns("turns.example.org", 2))
    apps[0].close()

    for _ in range(4):
        assert router.ask("turns.example.org", method="POST", body=b"x" * 100_000).body == b"100000"
    streamed = router.ask("turns.example.org", method="POST", body=iter([b"abc", b"defg"]))
    assert streamed.body == b"7"


def test_when_no_instance_connects_the_endpoint_has_failed(router: Router) -> None:
    app = router.app("one")
    router.register(app, "one.example.org")
    until(lambda: router.serves("one.example.org"))
    app.close()

    answer = router.ask("one.example.org")

    assert answer.status == 502
    assert answer.body == b"502 Bad Gateway: Registered endpoint failed to handle the request.\n"
    assert answer.headers["X-Cf-RouterError"].startswith("endpoint_failure (")


def test_an_apps_own_502_is_its_own(router: Router) -> None:
    app = router.app("one")
    router.register(app, "one.example.org")
    until(lambda: router.serves("one.example.org"))

    answer = router.ask("one.example.org", "/own-502")

    assert answer.status == 502
    assert answer.app == "one"
    assert "X-Cf-RouterError" not in answer.headers


def test_a_header_chooses_the_instance_and_is_not_passed_on(router: Router) -> None:
    guid = "3a1ff0c5-0f0c-4d1c-9d3a-0b1f0e4f3c2a"
    for index in range(3):
        router.register(router.app(f"app-{index}"), "turns.example.org", private_instance_index=str(index))
    until(lambda: router.takes_turns("turns.example.org", 3))

    chosen = [router.ask("turns.example.org", X_CF_APP_INSTANCE=f"{guid}:1") for _ in range(6)]
    missing = router.ask("turns.example.org", X_CF_APP_INSTANCE=f"{guid}:7")
    invalid = router.ask("turns.example.org", X_CF_APP_INSTANCE="seven")

    assert {answer.app for answer in chosen} == {"app-1"}
    assert "x-cf-app-instance" not in chosen[0].seen
    assert missing.status == 400
    assert missing.headers["X-Cf-RouterError"] == "unknown_route"
    assert missing.body.decode() == (
        f"400 Bad Request: Requested instance ('7') with guid ('{guid}') does not exist for route ('turns.example.org')\n"
    )
    assert invalid.status == 400
    assert invalid.headers["X-Cf-RouterError"] == "invalid_cf_app_instance_header"
    assert invalid.body == b"400 Bad Request: Invalid X-CF-App-Instance Header\n"


def test_a_session_sticks_to_its_instance(router: Router) -> None:
    for index in range(3):
        router.register(router.app(f"app-{index}"), "turns.example.org")
    until(lambda: router.takes_turns("turns.example.org", 3))

    first = router.ask("turns.example.org", "/session")

    assert first.cookies == [
        "JSESSIONID=1; Path=/; Secure",
        f"__VCAP_ID__={first.app}-guid; Path=/; HttpOnly; Secure",
    ]
    again = [
        router.ask("turns.example.org", Cookie=f"JSESSIONID=1; __VCAP_ID__={first.app}-guid").app
        for _ in range(6)
    ]
    assert set(again) == {first.app}


def test_a_websocket_is_passed_through(router: Router) -> None:
    app = router.app("one")
    router.register(app, "one.example.org")
    until(lambda: router.serves("one.example.org"))

    with socket.create_connection(("127.0.0.1", router.port), timeout=30) as client:
        client.sendall(
            b"GET /ws HTTP/1.1\r\nHost: one.example.org\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\r\n"
        )
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(1000)
        assert head.startswith(b"HTTP/1.1 101")
        client.sendall(b"hello")
        assert client.recv(100) == b"one:hello"


def test_tls_is_taken_off_and_said_so(router: Router) -> None:
    app = router.app("one")
    router.register(app, "one.example.org")
    until(lambda: router.serves("one.example.org"))
    context = ssl.create_default_context(cafile=str(router.directory / "router_ca.crt"))
    connection = http.client.HTTPSConnection("localhost", router.tls_port, timeout=30, context=context)

    connection.request("GET", "/", headers={"Host": "one.example.org"})
    answer = connection.getresponse()
    seen = json.loads(answer.read())["headers"]
    connection.close()

    assert answer.status == 200
    assert seen["X-Forwarded-Proto"] == "https"


def test_a_load_balancers_probe_is_answered_by_the_router(router: Router) -> None:
    answer = router.ask("whatever", User_Agent="HTTP-Monitor/1.1")

    assert (answer.status, answer.body) == (200, b"ok\n")
    assert answer.headers["Cache-Control"] == "private, max-age=0"


def test_a_route_that_nobody_registers_any_more_is_pruned(router: Router) -> None:
    app = router.app("one")
    router.register(app, "one.example.org", stale_threshold_in_seconds=4)
    until(lambda: router.serves("one.example.org"))

    # that of the message, not that of the router
    until(lambda: router.ask("one.example.org").status == 404, seconds=STALE / 2)


def test_while_the_bus_is_away_nothing_is_pruned(own_router: Router) -> None:
    router = own_router
    app = router.app("one")
    router.register(app, "one.example.org", stale_threshold_in_seconds=10)
    until(lambda: router.serves("one.example.org"))

    router.bus.stop(hard=True)
    time.sleep(12)
    assert router.serves("one.example.org")

    router.bus.start()
    until(lambda: router.control.events("bus.reconnected"))
    time.sleep(2)
    assert router.serves("one.example.org")


def test_the_router_says_how_often_it_wants_to_hear_of_a_route(router: Router) -> None:
    async def greet() -> dict[str, Any]:
        context = ssl.create_default_context(cafile=str(router.bus.ca_file))
        context.load_cert_chain(router.bus.cert_file, router.bus.key_file)
        client = await nats.connect(f"tls://{router.bus.address}", user=USER, password=PASSWORD, tls=context)
        answer = await client.request("router.greet", b"", timeout=30)
        await client.close()
        greeting: dict[str, Any] = json.loads(answer.data)
        return greeting

    greeting = asyncio.run(greet())

    assert greeting["hosts"] == ["127.0.0.1"]
    assert greeting["minimumRegisterIntervalInSeconds"] == 20
    assert greeting["pruneThresholdInSeconds"] == STALE
    assert greeting["id"].startswith("0-")


def test_nginx_serves_on_while_the_control_job_is_dead_and_its_successor_knows_the_routes(
    own_router: Router,
) -> None:
    router = own_router
    app = router.app("one")
    router.register(app, "one.example.org", stale_threshold_in_seconds=STALE - 1)
    until(lambda: router.serves("one.example.org"))

    kill_control(router)
    assert router.serves("one.example.org")

    with job_process(diego_job("gorouter"), router.config, router.directory, name="successor") as control:
        until(lambda: control.events("gorouter.nginx-filled"), seconds=60)
        assert control.events("gorouter.routes-adopted")[0]["data"]["routes"] == 1
        assert router.serves("one.example.org")
        assert list(json.loads(router.routes())) == ["one.example.org"]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("which", ["worker", "master", "both"])
def test_a_killed_nginx_gets_its_routes_back(own_router: Router, which: str) -> None:
    router = own_router
    app = router.app("one")
    router.register(app, "one.example.org")
    until(lambda: router.serves("one.example.org"))
    workers = until(router.nginx.workers)
    victims = {"worker": workers, "master": [router.nginx.pid], "both": [router.nginx.pid, *workers]}[which]

    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    if which != "worker":
        assert router.nginx.process is not None
        router.nginx.process.wait(60)
        router.nginx.start()

    until(lambda: router.serves("one.example.org"), seconds=STALE / 2)
    until(lambda: not [pid for pid in workers if alive(pid)])


def kill_control(router: Router, *others: int) -> None:
    """End the control job, all its processes, and these others at once."""
    victims = [router.control.process.pid, *router.control.workers, *others]
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    router.control.process.wait(60)
    until(lambda: not [pid for pid in victims if alive(pid)])


def kill_both(router: Router) -> None:
    """End nginx and the control job, all their processes, at once."""
    kill_control(router, router.nginx.pid, *router.nginx.workers())
    assert router.nginx.process is not None
    router.nginx.process.wait(60)


def test_a_route_is_never_unknown_when_nginx_and_the_control_job_are_killed_together(tmp_path: Path) -> None:
    """A router was changed, filled its new nginx after 1.5 s with what few emitters had said, and answered 404."""
    with deployed(tmp_path, patience=80) as router:
        app = router.app("one")
        router.register(app, "one.example.org")
        until(lambda: router.serves("one.example.org"))
        said: list[int] = []

        def ask() -> None:
            # nginx is not there, or was killed amid its answer: a load balancer tries the next
            with contextlib.suppress(ConnectionError, http.client.HTTPException):
                said.append(router.ask("one.example.org").status)

        with route_emitter(router, 2, message(app, "one.example.org")), without_end(ask):
            kill_both(router)
            router.nginx.start()
            config = router.config | {"start_response_delay_interval": "6s"}
            with job_process(diego_job("gorouter"), config, tmp_path, name="successor") as control:
                until(lambda: control.events("gorouter.routes-awaited"), seconds=60)
                assert health(router) == (503, b"no routes yet\n")
                assert status(router, "/health") == (503, b"no routes yet\n")
                assert status(router, "/is-process-alive-do-not-use-for-loadbalancing") == (200, b"ok\n")
                held = router.ask("nobody.example.org")
                assert health(router) == (200, b"ok\n")
                until(lambda: status(router, "/health") == (200, b"ok\n"))
                asked = len(said)
                until(lambda: len(said) > asked)

    assert held.status == 404
    assert set(said) == {200}


def test_a_request_to_a_router_that_gets_no_routes_is_refused_in_the_contracts_words(tmp_path: Path) -> None:
    with deployed(tmp_path, patience=1) as router:
        router.bus.stop(hard=True)
        kill_both(router)
        router.nginx.start()
        with job_process(diego_job("gorouter"), router.config, tmp_path, name="successor") as control:
            until(lambda: control.events("gorouter.routes-awaited"), seconds=60)
            until(lambda: control.events("bus.error"), seconds=60)

            answer = router.ask("one.example.org")

            assert answer.status == 503
            assert answer.body == (
                b"503 Service Unavailable: Requested route ('one.example.org') has no available endpoints.\n"
            )
            assert answer.headers["X-Cf-RouterError"] == "no_endpoints"
            router.bus.start()
            until(lambda: control.events("gorouter.nginx-filled"), seconds=60)
            assert router.ask("one.example.org").status == 404


def test_a_request_is_written_down_in_the_contracts_form(router: Router) -> None:
    app = router.app("one")
    router.register(app, "one.example.org")
    until(lambda: router.serves("one.example.org"))

    answer = router.ask("one.example.org", "/logged?x=1", User_Agent='a "quoted" one')
    router.ask("nobody.example.org", "/logged-404")

    line = until(lambda: logged(router, "/logged?x=1"))
    pattern = (
        r'one\.example\.org - \[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z\] "GET /logged\?x=1 HTTP/1\.1" 200 \d+ '
        rf'{len(answer.body)} "-" "a \\"quoted\\" one" "127\.0\.0\.1:\d+" "127\.0\.0\.1:{app.port}" '
        r'x_forwarded_for:"-" x_forwarded_proto:"http" '
    )
    assert re.match(pattern, line), line
    assert re.search(r'response_time:\d+\.\d{6} gorouter_time:\d+\.\d{6} app_id:"3a1ff0c5', line), line
    missing = until(lambda: logged(router, "/logged-404"))
    assert missing.endswith('x_cf_routererror:"unknown_route"'), missing


def logged(router: Router, path: str) -> str:
    """The access log's line of the one request for a path. It is written after the answer."""
    whole = Path(router.config["access_log"]).read_text().rpartition("\n")[0].splitlines()
    lines = [line for line in whole if f'"GET {path} ' in line]
    assert len(lines) < 2, lines
    return lines[0] if lines else ""


def test_a_bad_message_changes_nothing_and_ends_nothing(router: Router) -> None:
    app = router.app("one")
    router.register(app, "one.example.org")
    until(lambda: router.serves("one.example.org"))
    worker = router.control.workers

    router.say("router.register", {"host": 5}, {"host": "127.0.0.1", "port": 0, "uris": ["one.example.org"]})
    router.say("router.unregister", {"uris": "one.example.org"})

    until(lambda: len(router.control.events("gorouter.message-dropped")) == 3)
    assert router.serves("one.example.org")
    assert router.control.workers == worker


def health(router: Router) -> tuple[int, bytes]:
    """What a load balancer hears."""
    context = ssl._create_unverified_context()
    connection = http.client.HTTPSConnection("127.0.0.1", router.health_port, timeout=30, context=context)
    try:
        connection.request("GET", "/health")
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def status(router: Router, path: str) -> tuple[int, bytes]:
    """What the control job's own listener says."""
    connection = http.client.HTTPConnection(router.config["status_address"], timeout=30)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def drain(router: Router, *words: str) -> subprocess.CompletedProcess[str]:
    config = router.directory / "drained.json"
    config.write_text(json.dumps(router.config))
    return subprocess.run(
        [sys.executable, "-m", "diego.gorouter.drain", "--config", str(config), "--wait", "7", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_router_that_drains_sends_load_balancers_elsewhere_and_serves_on(own_router: Router) -> None:
    router = own_router
    app = router.app("one")
    router.register(app, "one.example.org")
    until(lambda: router.serves("one.example.org"))
    assert health(router) == (200, b"ok\n")

    said = drain(router, "--no-wait", "job_changed", "hash_changed")

    assert (said.returncode, said.stdout) == (0, "7\n")
    assert health(router) == (503, b"draining\n")
    assert router.serves("one.example.org")


def test_a_nginx_that_is_not_there_needs_no_time_to_drain(own_router: Router) -> None:
    own_router.nginx.stop()

    said = drain(own_router, "job_shutdown", "hash_unchanged")

    assert (said.returncode, said.stdout) == (0, "0\n")
