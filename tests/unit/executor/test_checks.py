"""Health checks: when they are made, and what is said (contract/executor.md section 6, ours.md section 3)."""

import asyncio
import itertools
from pathlib import Path

import pytest

from diego.executor.core.checks import (
    HttpCheck,
    TcpCheck,
    http_failed,
    http_status,
    http_timed_out,
    startup_moments,
    tcp_failed,
    tcp_timed_out,
    usable_checks,
)
from diego.executor.core.containers import Container, State
from diego.executor.monitors import Pace
from diego.executor.probes import NetworkProber
from diego.wire.actions_pb2 import Action, ParallelAction, RunAction
from diego.wire.check_definition_pb2 import Check, CheckDefinition, HTTPCheck, TCPCheck
from support.executor_bench import Bench, a_request, ended, played, reached


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.app()
    return bench


def tcp(port: int = 8080, **more: int) -> Check:
    return Check(tcp_check=TCPCheck(port=port, **more))


def outcome(bench: Bench, definition: CheckDefinition, start_timeout_ms: int = 0) -> str:
    request = a_request(check_definition=definition, start_timeout_ms=start_timeout_ms)
    container = played(lambda: bench.outcome(request))
    assert container.outcome is not None
    return container.outcome.reason


def test_startup_checks_come_quickly_at_first() -> None:
    assert list(itertools.islice(startup_moments(), 8)) == pytest.approx(
        [0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.6, 5.6]
    )


def test_defaults_and_ports_of_checks() -> None:
    checks = usable_checks(
        [
            tcp(0),
            tcp(80, connect_timeout_ms=500),
            Check(http_check=HTTPCheck(port=70_000)),
            Check(http_check=HTTPCheck(port=81, interval_ms=5000)),
            Check(),
        ],
        timeout=1.0,
        interval=30.0,
    )

    assert checks == (TcpCheck(80, 0.5, 30.0), HttpCheck(81, 1.0, 5.0, "/"))


def test_texts_of_failed_checks() -> None:
    assert (
        tcp_timed_out("10.0.0.1", 80, 1.0)
        == "failed to make TCP connection to 10.0.0.1:80: timed out after 1.00 seconds"
    )
    assert (
        tcp_failed("10.0.0.1", 80, "connection refused")
        == "failed to make TCP connection to 10.0.0.1:80: connection refused"
    )
    assert (
        http_status("/x", 80, 503, 12)
        == "failed to make HTTP request to '/x' on port 80: received status code 503 in 12ms"
    )
    assert (
        http_timed_out("/x", 80, 0.25)
        == "failed to make HTTP request to '/x' on port 80: timed out after 0.25 seconds"
    )
    assert http_failed("/x", 80) == "failed to make HTTP request to '/x' on port 80: connection refused"


def test_an_instance_is_running_only_once_all_its_checks_have_passed(bench: Bench) -> None:
    bench.prober.failures[8081] = "not yet"
    definition = CheckDefinition(checks=[tcp(8080), tcp(8081)])

    async def scene() -> None:
        executor = bench.executor()
        bench.start(executor, a_request(check_definition=definition))
        await reached(executor, "guid-1", State.CREATED)
        await asyncio.sleep(0.05)
        assert executor.get("guid-1").state is State.CREATED  # type: ignore[union-attr]  # it is there
        del bench.prober.failures[8081]
        await reached(executor, "guid-1", State.RUNNING)

    played(scene)

    said = bench.said("APP")
    assert "Starting health monitoring of container" in said
    assert "Container became healthy" in said


def test_an_instance_that_never_passes_crashes_with_what_was_tried(bench: Bench) -> None:
    bench.prober.failures[8080] = "no answer"

    reason = outcome(bench, CheckDefinition(checks=[tcp()], log_source="HEALTH"), start_timeout_ms=150)

    checker = "Timed out after 150ms (2 attempts) waiting for startup check to succeed: no answer"
    assert reason.startswith("Instance never healthy after ")
    assert reason.endswith(f": {checker}")
    assert ("HEALTH", "ERR", checker) in bench.sink.lines
    told = [text for source, stream, text in bench.sink.lines if (source, stream) == ("APP", "ERR")]
    assert told[0].startswith("Failed after ")
    assert told[0].endswith(": startup health check never passed.")
    assert bench.garden.runs == ["action"]


def test_the_first_failure_of_any_check_ends_a_running_instance(bench: Bench) -> None:
    definition = CheckDefinition(checks=[tcp(8080, interval_ms=10), tcp(8081, interval_ms=10)])

    async def scene() -> Container:
        executor = bench.executor()
        bench.start(executor, a_request(check_definition=definition))
        await reached(executor, "guid-1", State.RUNNING)
        bench.prober.failures[8081] = "it is deaf"
        return await ended(executor, "guid-1")

    container = played(scene)

    assert container.outcome is not None
    assert container.outcome.reason == "Instance became unhealthy: Liveness check unsuccessful: it is deaf"
    assert ("HEALTH", "ERR", "Liveness check unsuccessful: it is deaf") in bench.sink.lines
    assert ("APP", "ERR", "Container became unhealthy") in bench.sink.lines
    assert bench.garden.life("guid-1", "action").signals == [0]


def test_an_action_that_ends_well_beside_its_checks_leaves_them_to_decide(bench: Bench) -> None:
    """Daemonising apps stay up while the monitor passes (section 4)."""
    bench.app(status=0)

    async def scene() -> None:
        executor = bench.executor()
        bench.start(executor, a_request(check_definition=CheckDefinition(checks=[tcp(8080, interval_ms=10)])))
        await reached(executor, "guid-1", State.RUNNING)
        await asyncio.sleep(0.05)
        assert executor.get("guid-1").state is State.RUNNING  # type: ignore[union-attr]  # it is there

    played(scene)


def test_an_action_that_fails_beside_its_checks_is_the_reason(bench: Bench) -> None:
    bench.app(status=4, after=0.03)

    assert outcome(bench, CheckDefinition(checks=[tcp()])) == "APP: Exited with status 4"


def test_a_check_definition_without_usable_checks_watches_nothing(bench: Bench) -> None:
    bench.app(status=0)

    assert outcome(bench, CheckDefinition(checks=[tcp(0)])) == ""


def test_a_check_definition_wins_over_the_monitor_action(bench: Bench) -> None:
    monitor = Action(run_action=RunAction(path="/monitor"))
    request = a_request(check_definition=CheckDefinition(checks=[tcp()]), monitor=monitor)

    async def scene() -> None:
        executor = bench.executor()
        bench.start(executor, request)
        await reached(executor, "guid-1", State.RUNNING)

    played(scene)

    assert bench.garden.runs == ["action"]


def monitored(bench: Bench, monitor: Action, start_timeout_ms: int = 0) -> str:
    request = a_request(monitor=monitor, start_timeout_ms=start_timeout_ms)
    container = played(lambda: bench.outcome(request))
    assert container.outcome is not None
    return container.outcome.reason


def test_a_monitor_that_never_succeeds_gives_up_after_the_start_timeout(bench: Bench) -> None:
    bench.app("/monitor", status=1)

    reason = monitored(bench, Action(run_action=RunAction(path="/monitor")), start_timeout_ms=60)

    assert reason.startswith("Instance never healthy after ")
    assert reason.endswith(": APP: Exited with status 1")
    assert "Exit status 1" not in bench.said()


def test_the_output_of_a_monitors_parallel_parts_explains_the_failure(bench: Bench) -> None:
    bench.app("/monitor", status=1, stderr=b"port 8080 is closed\n")
    run = Action(run_action=RunAction(path="/monitor", suppress_log_output=True))

    reason = monitored(bench, Action(parallel_action=ParallelAction(actions=[run])), start_timeout_ms=30)

    assert reason.endswith(": port 8080 is closed")


def test_a_monitor_that_fails_later_ends_the_instance(bench: Bench) -> None:
    bench.app("/monitor", status=0)
    bench.pace = Pace(0.01, 0.01)

    async def scene() -> Container:
        executor = bench.executor()
        bench.start(executor, a_request(monitor=Action(run_action=RunAction(path="/monitor"))))
        await reached(executor, "guid-1", State.RUNNING)
        bench.app("/monitor", status=2)
        return await ended(executor, "guid-1")

    container = played(scene)

    assert container.outcome is not None
    assert container.outcome.reason == "Instance became unhealthy: APP: Exited with status 2"


def test_stopping_a_monitored_instance_says_nothing_about_its_health(bench: Bench) -> None:
    bench.app("/monitor", ignores_term=False)

    async def scene() -> Container:
        executor = bench.executor()
        bench.start(executor, a_request(monitor=Action(run_action=RunAction(path="/monitor"))))
        await reached(executor, "guid-1", State.CREATED)
        await asyncio.sleep(0.05)
        executor.stop("guid-1")
        return await ended(executor, "guid-1")

    container = played(scene)

    assert container.outcome is not None
    assert container.outcome.reason == ""
    assert "Container became unhealthy" not in bench.said()


async def _serve(answer: bytes) -> tuple[asyncio.Server, int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"User-Agent: diego-healthcheck" in head
        assert b"X-Forwarded-Proto: https" in head
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\nfine", None),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "received status code 204 in "),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\nno", "received status code 500 in "),
        (b"nonsense\r\n\r\n", "connection refused"),
    ],
)
def test_http_checks_over_the_network(answer: bytes, failure: str | None) -> None:
    async def scene() -> str | None:
        server, port = await _serve(answer)
        async with server:
            return await NetworkProber(4).probe(HttpCheck(port, 2.0, 30.0, "/health"), "127.0.0.1")

    found = asyncio.run(scene())

    if failure is None:
        assert found is None
    else:
        assert found is not None
        assert failure in found


def test_checks_of_a_closed_port_are_refused() -> None:
    async def scene() -> tuple[str | None, str | None, int]:
        server, port = await _serve(b"")
        server.close()
        await server.wait_closed()
        prober = NetworkProber(1)
        return (
            await prober.probe(TcpCheck(port, 1.0, 30.0), "127.0.0.1"),
            await prober.probe(HttpCheck(port, 1.0, 30.0, "/"), "127.0.0.1"),
            port,
        )

    by_tcp, by_http, port = asyncio.run(scene())

    assert by_tcp == f"failed to make TCP connection to 127.0.0.1:{port}: connection refused"
    assert by_http == f"failed to make HTTP request to '/' on port {port}: connection refused"


def test_a_silent_server_times_out() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def scene() -> tuple[str | None, str | None]:
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            prober = NetworkProber(1)
            found = (
                await prober.probe(HttpCheck(port, 0.05, 30.0, "/"), "127.0.0.1"),
                await prober.probe(TcpCheck(port, 20.0, 30.0), "127.0.0.1"),
            )
            await asyncio.sleep(0.05)  # the server sees both connections end
            return found

    by_http, by_tcp = asyncio.run(scene())

    assert by_http is not None
    assert by_http.endswith("timed out after 0.05 seconds")
    assert by_tcp is None
