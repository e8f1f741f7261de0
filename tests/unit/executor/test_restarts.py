"""Containers outlive the rep (ours.md section 3): what a new rep makes of what the last one left."""

import asyncio
import json
from pathlib import Path

import pytest

from diego.executor.cell import Event
from diego.executor.core.containers import Container, Outcome, State
from diego.executor.service import Executor
from diego.wire.actions_pb2 import (
    Action,
    CodependentAction,
    EmitProgressAction,
    SerialAction,
    TimeoutAction,
)
from diego.wire.check_definition_pb2 import Check, CheckDefinition, TCPCheck
from support.executor_bench import Bench, a_request, ended, played, reached, run_action, until


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def killed(bench: Bench, executor: Executor) -> None:
    """The rep's process dies: its coroutines are gone at once, its connections break, nothing is signalled."""
    bench.leaving = True
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.sleep(0.01)
    for connection in list(bench.garden.connections):
        connection.break_off()
    bench.leaving = False
    bench.events.clear()
    del executor


async def restarted(bench: Bench, executor: Executor) -> Executor:
    await killed(bench, executor)
    following = bench.executor()
    following.resume()
    return following


def test_a_running_container_is_running_again_at_once_and_its_process_is_the_same(bench: Bench) -> None:
    bench.app()

    async def scene() -> Container | None:
        executor = bench.executor()
        bench.start(executor, a_request(ports=(8080,)))
        before = await reached(executor, "guid-1", State.RUNNING)
        await until(lambda: "running" in _record(bench))
        executor = await restarted(bench, executor)
        after = executor.get("guid-1")
        assert after is not None
        assert (after.state, after.addresses) == (State.RUNNING, before.addresses)
        await asyncio.sleep(0.05)
        assert bench.events == [(Event.RUNNING, "guid-1")]
        return executor.get("guid-1")

    container = played(scene)

    assert container is not None
    assert container.state is State.RUNNING
    assert bench.garden.runs == ["action"]
    assert bench.garden.creates == ["guid-1"]


def test_an_exit_met_while_the_rep_was_away_is_the_outcome(bench: Bench) -> None:
    bench.app()

    async def scene() -> Outcome | None:
        executor = bench.executor()
        bench.start(executor, a_request())
        await reached(executor, "guid-1", State.RUNNING)
        await until(lambda: "running" in _record(bench))
        await killed(bench, executor)
        life = bench.garden.life("guid-1", "action")
        life.unread["out"].append(b"last words\n")
        life.exit(6)
        executor = bench.executor()
        executor.resume()
        return (await ended(executor, "guid-1")).outcome

    assert played(scene) == Outcome(failed=True, reason="APP: Exited with status 6")
    assert "last words" in bench.said("APP")


def test_a_process_that_started_and_that_nobody_knows_any_more_never_starts_again(bench: Bench) -> None:
    bench.app()

    async def scene() -> Outcome | None:
        executor = bench.executor()
        bench.start(executor, a_request())
        await reached(executor, "guid-1", State.RUNNING)
        await until(lambda: "running" in _record(bench))
        await killed(bench, executor)
        bench.garden.made["guid-1"].lives.clear()
        executor = bench.executor()
        executor.resume()
        return (await ended(executor, "guid-1")).outcome

    assert played(scene) == Outcome(failed=True, reason="APP: Exited with unknown status")
    assert bench.garden.runs == ["action"]


def test_finished_steps_are_not_done_again(bench: Bench) -> None:
    bench.app("/first", status=0)
    bench.app("/second")
    action = Action(serial_action=SerialAction(actions=[run_action("/first"), run_action("/second")]))

    async def scene() -> Outcome | None:
        executor = bench.executor()
        bench.start(executor, a_request(action))
        await reached(executor, "guid-1", State.RUNNING)
        await until(lambda: "running" in _record(bench))
        executor = await restarted(bench, executor)
        await asyncio.sleep(0.03)
        bench.garden.life("guid-1", "action.1").exit(0)
        return (await ended(executor, "guid-1")).outcome

    assert played(scene) == Outcome(failed=False)
    assert bench.garden.runs == ["action.0", "action.1"]


def test_both_parts_of_a_group_are_taken_up(bench: Bench) -> None:
    bench.app("/one")
    bench.app("/two")
    action = Action(codependent_action=CodependentAction(actions=[run_action("/one"), run_action("/two")]))

    async def scene() -> Outcome | None:
        executor = bench.executor()
        bench.start(executor, a_request(action))
        await reached(executor, "guid-1", State.RUNNING)
        await until(lambda: "running" in _record(bench))
        executor = await restarted(bench, executor)
        await asyncio.sleep(0.03)
        bench.garden.life("guid-1", "action.1").exit(1)
        return (await ended(executor, "guid-1")).outcome

    assert played(scene) == Outcome(failed=True, reason="APP: Exited with status 1")
    assert bench.garden.life("guid-1", "action.0").signals == [0]
    assert sorted(bench.garden.runs) == ["action.0", "action.1"]


def test_a_timeout_counts_from_its_begin_across_the_restart(bench: Bench) -> None:
    bench.app()
    action = Action(timeout_action=TimeoutAction(action=run_action(), timeout_ms=60_000))

    async def scene() -> Outcome | None:
        executor = bench.executor()
        bench.start(executor, a_request(action))
        await reached(executor, "guid-1", State.RUNNING)
        await until(lambda: "running" in _record(bench))
        await killed(bench, executor)
        record = json.loads(_record(bench))
        record["journal"]["action"]["begun_at"] -= 61
        _write_record(bench, json.dumps(record))
        executor = bench.executor()
        executor.resume()
        return (await ended(executor, "guid-1")).outcome

    assert played(scene) == Outcome(failed=True, reason="exceeded 1m0s timeout")


def test_a_start_message_is_not_said_twice(bench: Bench) -> None:
    bench.app()
    emit = EmitProgressAction(action=run_action(), start_message="begin", success_message="done")

    async def scene() -> None:
        executor = bench.executor()
        bench.start(executor, a_request(Action(emit_progress_action=emit)))
        await reached(executor, "guid-1", State.RUNNING)
        await until(lambda: "running" in _record(bench))
        executor = await restarted(bench, executor)
        await asyncio.sleep(0.03)
        bench.garden.life("guid-1", "action.0").exit(0)
        await ended(executor, "guid-1")

    played(scene)

    assert [text for text in bench.said("APP") if text in {"begin", "done"}] == ["begin", "done"]


def test_a_half_made_container_is_made_anew(bench: Bench) -> None:
    """Nothing ran in it: what the engine has of it goes first."""
    bench.app()

    async def scene() -> None:
        executor = bench.executor()
        bench.start(executor, a_request())
        await until(lambda: "initializing" in _record(bench))
        await until(lambda: "guid-1" in bench.garden.made)
        await killed(bench, executor)
        _write_record(bench, _record(bench).replace('"state": "created"', '"state": "initializing"'))
        executor = bench.executor()
        executor.resume()
        await reached(executor, "guid-1", State.RUNNING)

    played(scene)

    assert bench.garden.creates == ["guid-1", "guid-1"]


def test_a_stop_of_the_last_life_is_repeated(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diego.executor.container.TIME_TO_ATTACH", 0.05)
    bench.app(ignores_term=True)

    async def scene() -> Container:
        executor = bench.executor()
        bench.start(executor, a_request())
        await reached(executor, "guid-1", State.RUNNING)
        executor.stop("guid-1")
        await until(lambda: '"stop_wanted": true' in _record(bench))
        executor = await restarted(bench, executor)
        return await ended(executor, "guid-1")

    container = played(scene)

    assert container.stop_wanted
    assert container.outcome == Outcome(failed=True, reason="exceeded graceful shutdown interval")
    assert bench.said("APP").count("Cell cell-1 stopping instance guid-1") == 1


def test_a_completed_container_is_reported_again(bench: Bench) -> None:
    bench.app(status=2)

    async def scene() -> None:
        executor = bench.executor()
        bench.start(executor, a_request())
        await ended(executor, "guid-1")
        await until(lambda: "completed" in _record(bench))
        executor = await restarted(bench, executor)
        container = executor.get("guid-1")
        assert container is not None
        assert container.outcome == Outcome(failed=True, reason="APP: Exited with status 2")

    played(scene)

    assert bench.events == [(Event.COMPLETED, "guid-1")]


def test_a_reservation_is_still_there(bench: Bench) -> None:
    from diego.executor.core.resources import Demand

    async def scene() -> None:
        executor = bench.executor()
        executor.allocate("guid-1", Demand(64, 64, 0, "preloaded:stack"), {"lifecycle": "lrp"})
        await until(lambda: "reserved" in _record(bench))
        executor = await restarted(bench, executor)
        assert executor.remaining().memory_mb == 1024 - 64

    played(scene)

    assert bench.events == [(Event.RESERVED, "guid-1")]


def test_a_healthy_instance_skips_its_startup_checks_after_a_restart(bench: Bench) -> None:
    bench.app()
    checks = CheckDefinition(checks=[Check(tcp_check=TCPCheck(port=8080, interval_ms=20))])

    async def scene() -> None:
        executor = bench.executor()
        bench.start(executor, a_request(check_definition=checks))
        await reached(executor, "guid-1", State.RUNNING)
        await until(lambda: "running" in _record(bench))
        executor = await restarted(bench, executor)
        bench.prober.failures[8080] = "it is down"
        container = await ended(executor, "guid-1")
        assert container.outcome is not None
        assert (
            container.outcome.reason == "Instance became unhealthy: Liveness check unsuccessful: it is down"
        )

    played(scene)

    assert bench.said("APP").count("Starting health monitoring of container") == 1


def test_a_container_that_vanished_meanwhile_is_missing(bench: Bench) -> None:
    bench.app()

    async def scene() -> Outcome | None:
        executor = bench.executor()
        bench.start(executor, a_request())
        await reached(executor, "guid-1", State.RUNNING)
        bench.garden.made.clear()
        await executor.reap()
        return (await ended(executor, "guid-1")).outcome

    assert played(scene) == Outcome(failed=True, reason="missing garden container")


def test_strays_of_our_owner_are_destroyed(bench: Bench) -> None:
    async def scene() -> None:
        executor = bench.executor()
        for handle, owner in (("stray", "executor"), ("foreign", "somebody")):
            await bench.garden.create({"handle": handle, "properties": {"executor:owner": owner}})
        await executor.reap()

    played(scene)

    assert list(bench.garden.made) == ["foreign"]


def test_a_damaged_record_is_no_reason_not_to_start(bench: Bench) -> None:
    async def scene() -> None:
        executor = bench.executor()
        _write_record(bench, "{not json")
        executor.resume()
        assert executor.containers() == []

    played(scene)


def test_an_orderly_end_of_the_rep_loses_no_output(bench: Bench) -> None:
    bench.app()

    async def scene() -> None:
        executor = bench.executor()
        bench.start(executor, a_request())
        await reached(executor, "guid-1", State.RUNNING)
        life = bench.garden.life("guid-1", "action")
        life.unread["out"].append(b"before the end\n")
        bench.leaving = True
        await executor.leave()
        assert life.signals == []
        assert not life.ended.is_set()

    played(scene)

    assert "before the end" in bench.said("APP")
    assert "Exit status 143" not in bench.said("APP")


def test_an_expired_reservation_completes_and_is_not_retryable(bench: Bench) -> None:
    from diego.executor.core.resources import Demand
    from diego.executor.service import Rhythm

    async def scene() -> Outcome | None:
        executor = bench.executor()
        executor.rhythm = Rhythm(reservation_expires_after=0.0)
        executor.allocate("guid-1", Demand(64, 64, 0, "preloaded:stack"), {})
        await executor.prune()
        container = executor.get("guid-1")
        return container.outcome if container else None

    assert played(scene) == Outcome(failed=True, reason="expired container", retryable=False)


def _record(bench: Bench) -> str:
    path = bench.directory / "records" / "guid-1.json"
    return path.read_text() if path.exists() else ""


def _write_record(bench: Bench, text: str) -> None:
    (bench.directory / "records" / "guid-1.json").write_text(text)
