"""Operations against a BBS that the test plays: what is called, and what becomes of the container."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from diego.bbs.client import BbsClient, Unreachable
from diego.executor.core.containers import Outcome, State
from diego.executor.service import Executor
from diego.models.errors import BbsError, ErrorType
from diego.rep import operations as module
from diego.rep.core.capacity import lrp_reservation, task_reservation
from diego.rep.core.reconcile import ContainerOperation
from diego.rep.core.work import LrpWork, TaskWork
from diego.rep.operations import Identity, Operations
from diego.wire.actions_pb2 import Action, RunAction
from diego.wire.desired_lrp_pb2 import DesiredLRP
from diego.wire.task_pb2 import Task, TaskDefinition
from support.executor_bench import Bench, a_tar, played, reached, until

STACKS = {"cflinuxfs4": "/stack.tar"}


class PlayedBbs:
    """Remembers calls; refuses what the test says, as often as it says."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.refusals: dict[str, list[Exception]] = {}
        self.should_start = True
        self.task_state = Task.Running
        self.definition = TaskDefinition(
            root_fs="preloaded:cflinuxfs4", action=Action(run_action=RunAction(path="/app"))
        )
        self.listing: list[Any] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            self.calls.append((name, more or arguments))
            refusals = self.refusals.get(name)
            if refusals:
                raise refusals.pop(0)
            return self._answer(name)

        return call

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    def _answer(self, name: str) -> Any:
        match name:
            case "desired_lrp":
                return DesiredLRP(
                    process_guid="p",
                    root_fs="preloaded:cflinuxfs4",
                    action=Action(run_action=RunAction(path="/app")),
                )
            case "start_task":
                return self.should_start
            case "task":
                return Task(
                    task_guid="task",
                    cell_id="cell-1",
                    state=self.task_state,
                    task_definition=self.definition,
                )
            case "actual_lrps" | "tasks":
                return self.listing
            case _:
                return None


class Scene:
    """A bench whose events start operations."""

    def __init__(self, directory: Path) -> None:
        self.bench = Bench(directory)
        self.bbs = PlayedBbs()
        self.bench.app()
        self.executor: Executor
        self.operations: Operations

    def begin(self) -> None:
        self.executor = self.bench.executor()
        identity = Identity("cell-1", "z1", prefers_instance_address=False)
        self.operations = Operations(cast(BbsClient, self.bbs), self.executor, identity, STACKS)
        self.executor.cell.tell = lambda _event, guid: self.operations.push(ContainerOperation(guid))

    def reserve_lrp(self) -> None:
        demand, tags = lrp_reservation(LrpWork("p", 0, "d", "preloaded:cflinuxfs4", 64, 64), "instance")
        self.executor.allocate("instance", demand, tags)

    def reserve_task(self) -> None:
        demand, tags = task_reservation(TaskWork("task", "d", "preloaded:cflinuxfs4", 64, 64))
        self.executor.allocate("task", demand, tags)

    async def gone(self, guid: str) -> None:
        await until(lambda: self.executor.get(guid) is None)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_PAUSE", 0.02)


def refused(kind: ErrorType) -> BbsError:
    return BbsError(kind)


def unreachable() -> Unreachable:
    return Unreachable(ErrorType.UNKNOWN_ERROR, "no answer")


def test_a_reservation_is_claimed_fetched_run_and_started(scene: Scene) -> None:
    async def play() -> None:
        scene.begin()
        scene.reserve_lrp()
        await reached(scene.executor, "instance", State.RUNNING)
        await until(lambda: "start_actual_lrp" in scene.bbs.names())
        assert scene.bbs.names() == ["claim_actual_lrp", "desired_lrp", "start_actual_lrp"]

    played(play)


def test_a_crash_is_told_again_until_the_bbs_is_there(scene: Scene) -> None:
    """The original forgets it and lets the next sync remove the record, which loses the crash."""
    scene.bench.app(status=3)
    scene.bbs.refusals["crash_actual_lrp"] = [unreachable(), unreachable()]

    async def play() -> None:
        scene.begin()
        scene.reserve_lrp()
        await scene.gone("instance")

    played(play)

    crashes = [call for call in scene.bbs.calls if call[0] == "crash_actual_lrp"]
    assert len(crashes) == 3
    assert crashes[-1][1][2] == "LOG: Exited with status 3"


def test_a_crash_that_the_bbs_refuses_frees_the_room_all_the_same(scene: Scene) -> None:
    scene.bench.app(status=3)
    scene.bbs.refusals["crash_actual_lrp"] = [refused(ErrorType.RESOURCE_NOT_FOUND)]

    async def play() -> None:
        scene.begin()
        scene.reserve_lrp()
        await scene.gone("instance")
        assert scene.executor.remaining() == scene.executor.total

    played(play)


def test_a_claim_that_another_cell_won_removes_the_container(scene: Scene) -> None:
    scene.bbs.refusals["claim_actual_lrp"] = [refused(ErrorType.ACTUAL_LRP_CANNOT_BE_CLAIMED)]

    async def play() -> None:
        scene.begin()
        scene.reserve_lrp()
        await scene.gone("instance")

    played(play)

    assert scene.bench.garden.creates == []
    assert set(scene.bbs.names()) == {"claim_actual_lrp"}


def test_any_other_refusal_of_a_claim_leaves_the_reservation(scene: Scene) -> None:
    scene.bbs.refusals["claim_actual_lrp"] = [refused(ErrorType.DEADLOCK)]

    async def play() -> None:
        scene.begin()
        scene.reserve_lrp()
        await until(lambda: scene.bbs.names() == ["claim_actual_lrp"])
        await asyncio.sleep(0.05)
        assert scene.executor.get("instance").state is State.RESERVED  # type: ignore[union-attr]  # it is there
        await scene.operations.sync()
        await reached(scene.executor, "instance", State.RUNNING)

    played(play)


def test_an_unwanted_instance_is_stopped_and_its_record_removed(scene: Scene) -> None:
    scene.bbs.refusals["start_actual_lrp"] = [refused(ErrorType.ACTUAL_LRP_CANNOT_BE_STARTED)]

    async def play() -> None:
        scene.begin()
        scene.reserve_lrp()
        await scene.gone("instance")

    played(play)

    assert scene.bbs.names()[-1] == "remove_actual_lrp"
    assert "crash_actual_lrp" not in scene.bbs.names()


def test_every_sync_is_a_heartbeat(scene: Scene) -> None:
    async def play() -> None:
        scene.begin()
        scene.reserve_lrp()
        await until(lambda: "start_actual_lrp" in scene.bbs.names())
        await scene.operations.sync()
        await until(lambda: scene.bbs.names().count("start_actual_lrp") == 2)

    played(play)


def test_a_sync_that_cannot_list_everything_does_nothing(scene: Scene) -> None:
    scene.bbs.refusals["tasks"] = [unreachable()]

    async def play() -> None:
        scene.begin()
        scene.reserve_lrp()
        await until(lambda: "start_actual_lrp" in scene.bbs.names())
        await scene.operations.sync()
        await asyncio.sleep(0.05)
        assert scene.bbs.names().count("start_actual_lrp") == 1

    played(play)


def completed(scene: Scene) -> dict[str, Any]:
    async def play() -> None:
        scene.begin()
        scene.reserve_task()
        await scene.gone("task")

    played(play)
    calls = [more for name, more in scene.bbs.calls if name == "complete_task"]
    return dict(calls[0]) if calls else {}


def test_a_task_runs_once_and_returns_its_result(scene: Scene) -> None:
    scene.bench.app(status=0)
    scene.bbs.definition.result_file = "/result"
    scene.bench.garden.files["/result"] = a_tar({"result": b"done"})

    assert completed(scene) == {"failed": False, "failure_reason": "", "result": "done"}
    assert scene.bench.garden.runs == ["action"]


def test_a_failed_task_keeps_its_own_reason_when_its_result_is_missing(scene: Scene) -> None:
    scene.bench.app(status=5)
    scene.bbs.definition.result_file = "/result"

    told = completed(scene)

    assert told["failure_reason"] == "LOG: Exited with status 5"


def test_a_task_completed_too_late_is_completed_once_more(scene: Scene) -> None:
    scene.bench.app(status=0)
    scene.bbs.refusals["complete_task"] = [refused(ErrorType.INVALID_STATE_TRANSITION)]

    completed(scene)

    told = [more for name, more in scene.bbs.calls if name == "complete_task"]
    assert told[1] == {"failed": True, "failure_reason": "invalid state transition", "result": ""}


def test_a_task_whose_container_cannot_be_made_is_rejected(scene: Scene) -> None:
    from diego.garden.client import GardenError

    scene.bench.garden.create_error = GardenError("no more loop devices")

    completed(scene)

    assert ("reject_task", ("task", "failed to create container: no more loop devices")) in scene.bbs.calls
    assert "complete_task" not in scene.bbs.names()


def test_a_task_that_is_not_ours_is_dropped(scene: Scene) -> None:
    scene.bbs.refusals["start_task"] = [refused(ErrorType.RESOURCE_NOT_FOUND)]

    assert completed(scene) == {}
    assert scene.bench.garden.creates == []


def test_a_task_whose_start_was_answered_in_vain_runs_all_the_same(scene: Scene) -> None:
    """A retry inside the client hears "not changed" when the first answer was lost."""
    scene.bench.app(status=0)
    scene.bbs.should_start = False

    assert completed(scene)["failed"] is False
    assert scene.bench.garden.runs == ["action"]


def test_operations_of_one_container_never_overlap(scene: Scene) -> None:
    overlapping = []
    inside = 0

    def slow_claim(*_: Any) -> None:
        nonlocal inside
        inside += 1
        overlapping.append(inside)
        time.sleep(0.01)
        inside -= 1

    async def play() -> None:
        scene.begin()
        vars(scene.bbs)["claim_actual_lrp"] = slow_claim
        scene.bbs.refusals["desired_lrp"] = [refused(ErrorType.DEADLOCK)] * 50
        scene.reserve_lrp()
        for _ in range(20):
            scene.operations.push(ContainerOperation("instance"))
            await asyncio.sleep(0.003)

    played(play)

    assert overlapping
    assert max(overlapping) == 1


def test_what_the_cell_cannot_do_becomes_the_crash_reason(scene: Scene) -> None:
    async def play() -> None:
        scene.begin()
        scene.bbs.definition.volume_mounts.add(driver="nfs")
        scene.reserve_task()
        await scene.gone("task")

    played(play)

    told = [more for name, more in scene.bbs.calls if name == "complete_task"]
    assert told[0]["failure_reason"] == "Plugin 'nfs' not found in list of known plugins"
    assert Outcome(failed=True, reason=told[0]["failure_reason"]).retryable is False
