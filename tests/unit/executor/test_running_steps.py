"""The actions of a container, as contract/executor.md sections 4, 5 and 9 describe them."""

import asyncio
import time
from pathlib import Path

import pytest

from diego.executor.cell import Event
from diego.executor.core.containers import Outcome, State
from diego.wire.actions_pb2 import (
    Action,
    CodependentAction,
    DownloadAction,
    EmitProgressAction,
    ParallelAction,
    SerialAction,
    TimeoutAction,
    TryAction,
    UploadAction,
)
from support.executor_bench import (
    Bench,
    a_request,
    ended,
    played,
    reached,
    run_action,
    until,
)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def outcome_of(bench: Bench, action: Action, **more: object) -> Outcome:
    container = played(lambda: bench.outcome(a_request(action, **more)))
    assert container.outcome is not None
    return container.outcome


def stopped_outcome(bench: Bench, action: Action) -> Outcome:
    async def scene() -> Outcome:
        executor = bench.executor()
        bench.start(executor, a_request(action))
        await reached(executor, "guid-1", State.RUNNING)
        executor.stop("guid-1")
        container = await ended(executor, "guid-1")
        assert container.outcome is not None
        assert container.stop_wanted
        return container.outcome

    return played(scene)


def test_a_process_that_exits_0_ends_well_and_says_so(bench: Bench) -> None:
    bench.app(status=0, stdout=b"hello\nworld")

    assert outcome_of(bench, run_action()) == Outcome(failed=False)
    assert ("APP", "OUT", "hello") in bench.sink.lines
    assert ("APP", "OUT", "world") in bench.sink.lines
    assert ("APP", "OUT", "Exit status 0") in bench.sink.lines


def test_a_process_that_exits_otherwise_is_the_crash_reason_with_its_source(bench: Bench) -> None:
    bench.app(status=3, stderr=b"oh no\n")

    outcome = outcome_of(bench, run_action(log_source="APP/PROC/WEB"))

    assert outcome == Outcome(failed=True, reason="APP/PROC/WEB: Exited with status 3")
    assert ("APP/PROC/WEB", "ERR", "oh no") in bench.sink.lines
    assert ("APP/PROC/WEB", "OUT", "Exit status 3") in bench.sink.lines


@pytest.mark.parametrize("event", ["Out of memory", "out of memory"])
def test_a_process_of_a_container_that_ran_out_of_memory_says_so(bench: Bench, event: str) -> None:
    bench.app(status=137, after=0.05)

    async def scene() -> Outcome | None:
        executor = bench.executor()
        bench.start(executor, a_request())
        await reached(executor, "guid-1", State.RUNNING)
        bench.garden.made["guid-1"].events.append(event)
        return (await ended(executor, "guid-1")).outcome

    assert played(scene) == Outcome(failed=True, reason="APP: Exited with status 137 (out of memory)")
    assert "Exit status 137 (out of memory)" in bench.said("APP")


def test_a_process_that_cannot_start_fails_with_the_engines_words(bench: Bench) -> None:
    outcome = outcome_of(bench, run_action("/missing"))

    assert outcome == Outcome(failed=True, reason="/missing: no such file or directory")
    assert "failed-creating-process: /missing: no such file or directory" in bench.said("APP")


def test_suppressed_output_hides_the_exit_line_too(bench: Bench) -> None:
    bench.app(status=0, stdout=b"secret\n")

    outcome_of(bench, run_action(suppress_log_output=True))

    assert not {"secret", "Exit status 0"} & set(bench.said())


def test_a_stopped_process_gets_term_and_ends_cancelled(bench: Bench) -> None:
    bench.app()

    assert stopped_outcome(bench, run_action()) == Outcome(failed=True, reason="cancelled")
    assert bench.garden.life("guid-1", "action").signals == [0]
    assert "Exit status 143" in bench.said("APP")
    assert "Cell cell-1 stopping instance guid-1" in bench.said("APP")


def test_a_process_that_outlives_the_grace_interval_is_killed(bench: Bench) -> None:
    bench.app(ignores_term=True)

    outcome = stopped_outcome(bench, run_action())

    assert outcome == Outcome(failed=True, reason="exceeded graceful shutdown interval")
    assert bench.garden.life("guid-1", "action").signals == [0, 1]
    assert "Exit status 137 (exceeded 80ms graceful shutdown interval)" in bench.said("APP")


def test_stopping_a_group_leaves_no_reason(bench: Bench) -> None:
    """What cannot be displayed is left out where errors are joined (section 9, last line of the table)."""
    bench.app()
    action = Action(codependent_action=CodependentAction(actions=[run_action(), run_action()]))

    assert stopped_outcome(bench, action) == Outcome(failed=False, reason="")


def test_serial_stops_at_the_first_error(bench: Bench) -> None:
    bench.app("/ok", status=0)
    bench.app("/bad", status=2)
    action = Action(
        serial_action=SerialAction(actions=[run_action("/ok"), run_action("/bad"), run_action("/ok")])
    )

    assert outcome_of(bench, action).reason == "APP: Exited with status 2"
    assert bench.garden.runs == ["action.0", "action.1"]


def test_parallel_waits_for_all_and_joins_their_errors(bench: Bench) -> None:
    bench.app("/slow", status=1, after=0.05)
    bench.app("/quick", status=2)
    action = Action(
        parallel_action=ParallelAction(
            actions=[run_action("/slow", log_source="A"), run_action("/quick", log_source="B")]
        )
    )

    assert outcome_of(bench, action).reason == "A: Exited with status 1; B: Exited with status 2"


def test_a_codependent_part_that_exits_well_is_an_error_and_ends_the_others(bench: Bench) -> None:
    bench.app("/ends", status=0, after=0.02)
    bench.app("/lives")
    action = Action(codependent_action=CodependentAction(actions=[run_action("/ends"), run_action("/lives")]))

    assert outcome_of(bench, action) == Outcome(failed=True, reason="Codependent step exited")
    assert bench.garden.life("guid-1", "action.1").signals == [0]


def test_a_codependent_part_that_fails_ends_the_others_with_its_reason(bench: Bench) -> None:
    bench.app("/ends", status=4, after=0.02)
    bench.app("/lives")
    action = Action(codependent_action=CodependentAction(actions=[run_action("/lives"), run_action("/ends")]))

    assert outcome_of(bench, action).reason == "APP: Exited with status 4"


def test_a_timeout_interrupts_its_child(bench: Bench) -> None:
    bench.app()
    action = Action(timeout_action=TimeoutAction(action=run_action(), timeout_ms=50))

    assert outcome_of(bench, action).reason == "exceeded 50ms timeout"
    assert bench.garden.life("guid-1", "action.0").signals == [0]


def test_a_timeout_that_is_not_reached_changes_nothing(bench: Bench) -> None:
    bench.app(status=5)
    action = Action(timeout_action=TimeoutAction(action=run_action(), timeout_ms=60_000))

    assert outcome_of(bench, action).reason == "APP: Exited with status 5"


def test_try_drops_its_childs_error(bench: Bench) -> None:
    bench.app(status=5)

    assert outcome_of(bench, Action(try_action=TryAction(action=run_action()))) == Outcome(failed=False)


def test_emit_progress_tells_begin_and_success_on_its_own_source(bench: Bench) -> None:
    bench.app(status=0)
    action = Action(
        emit_progress_action=EmitProgressAction(
            action=run_action(),
            start_message="begin",
            success_message="done",
            failure_message_prefix="no",
            log_source="PROGRESS",
        )
    )

    outcome_of(bench, action)

    assert bench.said("PROGRESS") == ["begin", "done"]
    assert "Exit status 0" in bench.said("APP")


def test_emit_progress_tells_the_failure_on_stderr(bench: Bench) -> None:
    bench.app(status=1)
    action = Action(
        emit_progress_action=EmitProgressAction(action=run_action(), failure_message_prefix="Failed to build")
    )

    outcome_of(bench, action)

    assert ("APP", "ERR", "Failed to build: APP: Exited with status 1") in bench.sink.lines


def test_log_source_of_a_parallel_action_is_its_childrens_default(bench: Bench) -> None:
    bench.app(status=0)
    action = Action(
        parallel_action=ParallelAction(
            actions=[run_action(), run_action(log_source="OWN")], log_source="GROUP"
        )
    )

    outcome_of(bench, action)

    assert bench.said("GROUP") == ["Exit status 0"]
    assert bench.said("OWN") == ["Exit status 0"]


def test_an_instance_without_a_log_guid_says_nothing(bench: Bench) -> None:
    bench.app(status=0, stdout=b"hello\n")

    outcome_of(bench, run_action(), log=a_request().log.__class__("", 0, "APP"))

    assert bench.sink.lines == []


def test_a_definition_without_an_action_fails_and_says_why(bench: Bench) -> None:
    outcome = outcome_of(bench, Action())

    assert outcome.failed
    assert outcome.reason == "no action to carry out at action"
    assert bench.garden.creates == []


def test_the_setup_runs_before_the_action(bench: Bench) -> None:
    bench.app("/setup", status=0)
    bench.app(status=0)

    outcome_of(bench, run_action(), setup=run_action("/setup"))

    assert bench.garden.runs == ["setup", "action"]


def test_a_failed_setup_is_the_reason_and_the_action_never_runs(bench: Bench) -> None:
    bench.app("/setup", status=9)

    outcome = outcome_of(bench, run_action(), setup=run_action("/setup"))

    assert outcome == Outcome(failed=True, reason="APP: Exited with status 9")
    assert bench.garden.runs == ["setup"]


def test_a_process_sees_where_it_is_reached_after_its_own_variables(bench: Bench) -> None:
    bench.app(status=0, after=0.02)

    async def scene() -> list[str]:
        executor = bench.executor()
        bench.start(executor, a_request(ports=(8080, 8080, 9090)))
        await reached(executor, "guid-1", State.RUNNING)
        return list(bench.garden.life("guid-1", "action").spec["env"])

    assert played(scene) == [
        "CF_INSTANCE_IP=10.0.0.9",
        "CF_INSTANCE_INTERNAL_IP=127.0.0.1",
        "CF_INSTANCE_PORT=61001",
        "CF_INSTANCE_ADDR=10.0.0.9:61001",
        'CF_INSTANCE_PORTS=[{"external":61001,"internal":8080},{"external":61002,"internal":9090}]',
    ]


def test_life_cycle_lines_and_events_come_in_order(bench: Bench) -> None:
    bench.app(status=0, after=0.02)

    async def scene() -> None:
        executor = bench.executor()
        bench.start(executor, a_request())
        await ended(executor, "guid-1")
        await executor.delete("guid-1")
        assert executor.get("guid-1") is None

    played(scene)

    assert [event for event, _ in bench.events] == [Event.RESERVED, Event.RUNNING, Event.COMPLETED]
    assert [text for text in bench.said("APP") if text.startswith("Cell")] == [
        "Cell cell-1 creating container for instance guid-1",
        "Cell cell-1 successfully created container for instance guid-1",
        "Cell cell-1 destroying container for instance guid-1",
        "Cell cell-1 successfully destroyed container for instance guid-1",
    ]
    assert bench.garden.made == {}


def test_an_engine_that_is_replaced_under_a_process_is_attached_to_again(bench: Bench) -> None:
    bench.app()

    async def scene() -> Outcome | None:
        executor = bench.executor()
        bench.start(executor, a_request())
        await reached(executor, "guid-1", State.RUNNING)
        bench.garden.go_away()
        await asyncio.sleep(0.05)
        life = bench.garden.life("guid-1", "action")
        life.unread["out"].append(b"written meanwhile\n")
        life.exit(7)
        bench.garden.come_back()
        return (await ended(executor, "guid-1")).outcome

    assert played(scene) == Outcome(failed=True, reason="APP: Exited with status 7")
    assert bench.garden.runs == ["action"]
    assert "written meanwhile" in bench.said("APP")


def test_a_stop_while_the_engine_is_away_signals_when_it_is_back(bench: Bench) -> None:
    bench.app()

    async def scene() -> None:
        executor = bench.executor()
        bench.start(executor, a_request())
        await reached(executor, "guid-1", State.RUNNING)
        bench.garden.go_away()
        executor.stop("guid-1")
        await asyncio.sleep(0.02)
        bench.garden.come_back()
        await ended(executor, "guid-1")

    played(scene)

    assert bench.garden.life("guid-1", "action").signals[0] == 0


def test_a_creation_waits_for_an_engine_that_is_being_replaced(bench: Bench) -> None:
    bench.app(status=0)

    async def scene() -> Outcome | None:
        executor = bench.executor()
        bench.garden.go_away()
        bench.start(executor, a_request())
        await asyncio.sleep(0.05)
        bench.garden.come_back()
        return (await ended(executor, "guid-1")).outcome

    assert played(scene) == Outcome(failed=False)


def test_a_failed_creation_is_retryable_and_says_why(bench: Bench) -> None:
    from diego.garden.client import GardenError

    bench.garden.create_error = GardenError("privileged container creation is disabled")

    outcome = outcome_of(bench, run_action())

    reason = "failed to create container: privileged container creation is disabled"
    assert outcome == Outcome(failed=True, reason=reason, retryable=True)
    line = "Cell cell-1 failed to create container for instance guid-1: privileged container creation is disabled"
    assert ("APP", "ERR", line) in bench.sink.lines


def test_a_container_stopped_before_it_runs_never_runs(bench: Bench) -> None:
    async def scene() -> Outcome | None:
        executor = bench.executor()
        bench.start(executor, a_request())
        executor.stop("guid-1")
        return (await ended(executor, "guid-1")).outcome

    assert played(scene) == Outcome(failed=True, reason="stopped-before-running")
    assert bench.garden.runs == []


def test_deleting_twice_at_once_destroys_once(bench: Bench) -> None:
    bench.app()

    async def scene() -> None:
        executor = bench.executor()
        bench.start(executor, a_request())
        await reached(executor, "guid-1", State.RUNNING)
        await asyncio.gather(executor.delete("guid-1"), executor.delete("guid-1"))
        assert executor.containers() == []

    played(scene)


def test_a_destroy_that_the_engine_refuses_can_be_repeated(bench: Bench) -> None:
    from diego.garden.client import ConnectionLost

    bench.app(status=0)

    async def scene() -> None:
        executor = bench.executor()
        bench.start(executor, a_request())
        await ended(executor, "guid-1")
        bench.garden.go_away()
        with pytest.raises(ConnectionLost):
            await executor.delete("guid-1")
        assert executor.get("guid-1") is not None
        bench.garden.come_back()
        await executor.delete("guid-1")
        assert executor.get("guid-1") is None

    played(scene)


def test_a_failed_download_says_so_and_shows_no_url(bench: Bench) -> None:
    action = Action(
        download_action=DownloadAction(
            artifact="droplet", to="/home", user="vcap", **{"from": "ftp://user:secret@host/x"}
        )
    )

    outcome = outcome_of(bench, action)

    assert outcome.reason == "Downloading droplet failed"
    assert "Downloading droplet..." in bench.said("APP")
    assert ("APP", "ERR", "Downloading droplet failed") in bench.sink.lines
    assert not any("secret" in text for text in bench.said())


def test_an_upload_of_what_is_not_there_says_so(bench: Bench) -> None:
    action = Action(
        upload_action=UploadAction(artifact="result", to="http://host/x", user="vcap", **{"from": "/nothing"})
    )

    outcome = outcome_of(bench, action)

    assert outcome.reason == "Failed to establish stream from container for result"


def test_many_containers_stop_side_by_side(bench: Bench) -> None:
    bench.app()

    async def scene() -> float:
        executor = bench.executor(memory_mb=4096)
        for number in range(8):
            bench.start(executor, a_request(guid=f"guid-{number}"))
        await until(lambda: all(one.state is State.RUNNING for one in executor.containers()))
        begun = time.monotonic()
        await asyncio.gather(*(executor.delete(one.guid) for one in executor.containers()))
        return time.monotonic() - begun

    assert played(scene) < 2
