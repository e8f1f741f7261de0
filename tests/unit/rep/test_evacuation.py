"""Emptying a cell (contract/rep.md sections 5.3 and 6): the decisions, what is called, and how the rep ends."""

import asyncio
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diego.bbs.client import BbsClient, EvacuationRefused, Unreachable
from diego.executor.core.containers import Container, Outcome, State
from diego.executor.core.resources import Demand
from diego.executor.service import Executor
from diego.models.errors import BbsError, ErrorType
from diego.rep import evacuation as carrying_out
from diego.rep import operations as module
from diego.rep.core.capacity import CellFacts, lrp_reservation, task_reservation
from diego.rep.core.evacuation import (
    BadEvacuation,
    Evacuation,
    EvacuationCall,
    Phase,
    cleanup_seconds,
    decode,
    encode,
    evacuation_call,
    resumed,
    time_left,
)
from diego.rep.core.reconcile import ContainerOperation, MissingLrpOperation
from diego.rep.core.work import LrpWork, TaskWork, Work
from diego.rep.evacuation import EvacuationFile, Evacuator, Timing
from diego.rep.operations import Identity, Operations
from diego.rep.service import Service, WrongCell
from diego.wire.actions_pb2 import Action, RunAction
from diego.wire.actual_lrp_pb2 import ActualLRP, ActualLRPInstanceKey
from diego.wire.desired_lrp_pb2 import DesiredLRP
from diego.wire.task_pb2 import Task, TaskDefinition
from support.executor_bench import Bench, played, reached, until

STACKS = {"cflinuxfs4": "/stack.tar"}
APP = Action(run_action=RunAction(path="/app"))
BOOT = "this-boot"
TIMEOUT = 600.0


def a_container(state: State, *, stop_wanted: bool = False) -> Container:
    outcome = Outcome(failed=True, reason="why") if state is State.COMPLETED else None
    demand = Demand(64, 64, 0, "preloaded:cflinuxfs4")
    return Container("guid", demand, {}, 0.0, state, outcome=outcome, stop_wanted=stop_wanted)


# What is decided


@pytest.mark.parametrize(
    ("state", "stop_wanted", "call"),
    [
        (State.RESERVED, False, EvacuationCall.CLAIMED),
        (State.INITIALIZING, False, EvacuationCall.CLAIMED),
        (State.CREATED, False, EvacuationCall.CLAIMED),
        (State.CREATED, True, EvacuationCall.CLAIMED),
        (State.RUNNING, False, EvacuationCall.RUNNING),
        (State.RUNNING, True, EvacuationCall.RUNNING),
        (State.COMPLETED, True, EvacuationCall.STOPPED),
        (State.COMPLETED, False, EvacuationCall.CRASHED),
    ],
)
def test_what_the_bbs_is_told_of_an_instance(state: State, stop_wanted: bool, call: EvacuationCall) -> None:
    assert evacuation_call(a_container(state, stop_wanted=stop_wanted)) is call


def test_a_rep_killed_in_the_middle_is_followed_by_one_that_goes_on_in_the_same_time() -> None:
    found = Evacuation(began=1000.0, boot=BOOT)

    assert resumed(found, now=1100.0, boot=BOOT, timeout=TIMEOUT) == found
    assert time_left(found, now=1100.0, timeout=TIMEOUT) == 500.0


def test_one_killed_at_the_end_is_followed_by_one_that_ends() -> None:
    found = Evacuation(began=1000.0, boot=BOOT, phase=Phase.ENDING)

    assert resumed(found, now=9000.0, boot=BOOT, timeout=TIMEOUT) == found
    assert time_left(found, now=1001.0, timeout=TIMEOUT) == 0


@pytest.mark.parametrize(
    "found",
    [
        None,
        Evacuation(began=1000.0, boot=BOOT, phase=Phase.OVER),
        Evacuation(began=1000.0, boot="the boot before"),
        Evacuation(began=1000.0, boot="the boot before", phase=Phase.ENDING),
    ],
)
def test_one_that_ended_by_itself_or_with_its_host_is_followed_by_one_that_takes_work(
    found: Evacuation | None,
) -> None:
    assert resumed(found, now=1100.0, boot=BOOT, timeout=TIMEOUT) is None


def test_time_that_ran_out_while_no_rep_lived_begins_anew() -> None:
    found = Evacuation(began=1000.0, boot=BOOT)

    assert resumed(found, now=1600.0, boot=BOOT, timeout=TIMEOUT) == Evacuation(began=1600.0, boot=BOOT)


@given(
    st.builds(
        Evacuation,
        began=st.floats(0, 4e9),
        boot=st.sampled_from([BOOT, "other"]),
        phase=st.sampled_from(Phase),
        fault=st.text(),
        left=st.lists(st.text()).map(tuple),
        cut_off=st.lists(st.text()).map(tuple),
    ),
    st.floats(0, 4e9),
)
def test_what_is_remembered_is_read_again_and_never_gives_more_than_the_whole_time(
    evacuation: Evacuation, now: float
) -> None:
    assert decode(encode(evacuation)) == evacuation
    assert 0 <= time_left(evacuation, now=now, timeout=TIMEOUT) <= TIMEOUT
    following = resumed(evacuation, now=now, boot=BOOT, timeout=TIMEOUT)
    if following is not None and following.phase is Phase.EVACUATING:
        assert time_left(following, now=now, timeout=TIMEOUT) > 0


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"began": "x"}', b'{"began": 1, "boot": "b"}'])
def test_a_damaged_memory_is_told(text: bytes, tmp_path: Path) -> None:
    with pytest.raises(BadEvacuation):
        decode(text)
    (tmp_path / "evacuation.json").write_bytes(text)

    assert EvacuationFile(tmp_path).load() is None


def test_the_end_takes_as_long_as_the_contract_says() -> None:
    assert cleanup_seconds(10.0, 5.0) == 20.0


# What is called and carried out


class PlayedBbs:
    """Remembers calls, answers what the test says and refuses as often as it says."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.answers: dict[str, list[Any]] = {}
        self.always: dict[str, Any] = {"actual_lrps": [], "tasks": [], "evacuate_running_actual_lrp": True}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            self.calls.append((name, arguments or more))
            answers = self.answers.get(name)
            answer = answers.pop(0) if answers else self.always.get(name)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call

    def names(self) -> list[str]:
        """What was called, each repetition once, without the lists."""
        names = [name for name, _ in self.calls if name not in {"actual_lrps", "tasks"}]
        return [name for name, _ in itertools.groupby(names)]


class Scene:
    """A cell over a fake engine, with everything that an evacuation moves."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.bench = Bench(directory)
        self.bench.app()
        self.bbs = PlayedBbs()
        self.bbs.always["desired_lrp"] = DesiredLRP(
            process_guid="p", root_fs="preloaded:cflinuxfs4", action=APP, log_guid="log", log_source="APP"
        )
        definition = TaskDefinition(root_fs="preloaded:cflinuxfs4", action=APP)
        self.bbs.always["task"] = Task(task_guid="task", cell_id="cell-1", task_definition=definition)
        self.bbs.always["start_task"] = True
        self.happened: list[str] = []
        self.timing = Timing(poll=0.05, timeout=TIMEOUT, grace=0.1, reload=0.0)
        self.executor: Executor
        self.operations: Operations
        self.evacuator: Evacuator

    def begin(self) -> None:
        self.executor = self.bench.executor()
        identity = Identity("cell-1", "z1", prefers_instance_address=False)
        self.operations = Operations(cast(BbsClient, self.bbs), self.executor, identity, STACKS)
        self.evacuator = Evacuator(
            "cell-1",
            self.executor,
            self.operations,
            EvacuationFile(self.directory),
            self.timing,
            announce=lambda: self.happened.append("announced"),
            withdraw=lambda: self.happened.append("withdrawn"),
            finish=self.happened.append,
        )
        self.operations.evacuating = lambda: self.evacuator.under_way
        self.executor.cell.tell = lambda _event, guid: self.operations.push(ContainerOperation(guid))
        self.evacuator.resume()
        self.executor.resume()
        self.loops = [asyncio.ensure_future(self.evacuator.run()), asyncio.ensure_future(self._sync())]

    async def _sync(self) -> None:
        while True:
            await self.operations.sync()
            await self.evacuator.rest(1000)

    async def running(self, guid: str = "instance", **more: Any) -> None:
        desired = self.bbs.always["desired_lrp"]
        desired.ports[:] = more.pop("ports", [])
        self.reserve(guid)
        await reached(self.executor, guid, State.RUNNING)
        await until(lambda: "start_actual_lrp" in self.bbs.names())
        await self.operations.settled()

    def reserve(self, guid: str = "instance") -> None:
        demand, tags = lrp_reservation(LrpWork("p", 0, "d", "preloaded:cflinuxfs4", 64, 64), guid)
        self.executor.allocate(guid, demand, tags)

    def reserve_task(self) -> None:
        demand, tags = task_reservation(TaskWork("task", "d", "preloaded:cflinuxfs4", 64, 64))
        self.executor.allocate("task", demand, tags)

    async def killed(self) -> None:
        """Everything of the rep ends where it is; the engine and its processes live on."""
        self.bench.leaving = True
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        self.bench.leaving = False
        self.bbs.calls.clear()

    async def ended(self) -> None:
        await until(lambda: len(self.happened) > 2)
        assert self.happened[:2] == ["announced", "withdrawn"]

    async def asked(self, name: str, times: int = 1) -> None:
        await until(lambda: [one for one, _ in self.bbs.calls].count(name) >= times)

    def remembered(self) -> Evacuation:
        found = EvacuationFile(self.directory).load()
        assert found is not None
        return found

    def said(self) -> list[str]:
        return [text for text in self.bench.said() if "replacement" in text or "timeout" in text]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_PAUSE", 0.02)
    monkeypatch.setattr(module, "ROUTES_GO_FIRST", 0.02)
    monkeypatch.setattr(carrying_out, "CHECK_PAUSE", 0.02)
    monkeypatch.setattr(carrying_out, "TIME_TO_ATTACH", 0.05)


REQUESTING = "Cell cell-1 requesting replacement for instance instance"
REACHED = "Cell cell-1 reached evacuation timeout for instance instance"


def test_an_instance_is_kept_and_asked_for_again_until_its_replacement_runs(scene: Scene) -> None:
    scene.bbs.answers["evacuate_running_actual_lrp"] = [True, True, False]

    async def play() -> None:
        scene.begin()
        await scene.running()
        await scene.evacuator.begin()
        await scene.asked("evacuate_running_actual_lrp", 2)
        assert scene.executor.get("instance") is not None
        await scene.ended()

    played(play)

    assert scene.bbs.names()[-1] == "evacuate_running_actual_lrp"
    assert scene.said() == [REQUESTING]
    assert scene.happened[2:] == ["evacuated"]
    assert scene.bench.garden.made == {}
    assert scene.remembered().phase is Phase.OVER
    assert scene.remembered().fault == ""


def test_the_bbs_is_told_of_a_running_instance_what_a_start_would_tell(scene: Scene) -> None:
    async def play() -> None:
        scene.begin()
        await scene.running()
        await scene.evacuator.begin()
        await scene.asked("evacuate_running_actual_lrp")

    played(play)

    start = next(arguments[0] for name, arguments in scene.bbs.calls if name == "start_actual_lrp")
    told = next(arguments[0] for name, arguments in scene.bbs.calls if name == "evacuate_running_actual_lrp")
    fields = (*(field.name for field in start.DESCRIPTOR.fields),)
    assert {field: getattr(told, field) for field in fields} == {
        field: getattr(start, field) for field in fields
    }


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        (Unreachable(ErrorType.UNKNOWN_ERROR, "no answer"), True),
        (BbsError(ErrorType.UNKNOWN_ERROR), True),
        (EvacuationRefused(ErrorType.UNKNOWN_ERROR, "no rows", keep_container=True), True),
        (EvacuationRefused(ErrorType.UNKNOWN_ERROR, "no", keep_container=False), False),
    ],
)
def test_without_an_answer_a_running_instance_is_kept(scene: Scene, answer: Exception, kept: bool) -> None:
    scene.bbs.always["evacuate_running_actual_lrp"] = answer

    async def play() -> None:
        scene.begin()
        await scene.running()
        await scene.evacuator.begin()
        if kept:
            await scene.asked("evacuate_running_actual_lrp", 3)
            assert scene.executor.get("instance") is not None
            assert scene.evacuator.progress()["lrps"][0]["said"] == str(answer)
        else:
            await until(lambda: scene.executor.get("instance") is None)

    played(play)


@pytest.mark.parametrize(
    "answer", [False, EvacuationRefused(ErrorType.RESOURCE_NOT_FOUND, "x", keep_container=True)]
)
def test_what_does_not_run_yet_is_given_back_whatever_the_answer(scene: Scene, answer: Any) -> None:
    scene.bbs.always["claim_actual_lrp"] = BbsError(ErrorType.UNKNOWN_ERROR)  # it stays reserved
    scene.bbs.always["evacuate_claimed_actual_lrp"] = answer

    async def play() -> None:
        scene.begin()
        scene.reserve()
        await scene.asked("claim_actual_lrp")
        await scene.operations.settled()
        await scene.evacuator.begin()
        await scene.ended()

    played(play)

    assert scene.bbs.names() == ["claim_actual_lrp", "evacuate_claimed_actual_lrp"]
    assert scene.said() == []


@pytest.mark.parametrize("answer", [False, BbsError.invalid_request()])
def test_a_crash_is_told_with_its_reason_and_the_container_goes(scene: Scene, answer: Any) -> None:
    scene.bench.app(status=3, after=0.2)
    scene.bbs.always["evacuate_crashed_actual_lrp"] = answer

    async def play() -> None:
        scene.begin()
        await scene.running()
        await scene.evacuator.begin()
        await scene.ended()

    played(play)

    crash = next(told for name, told in scene.bbs.calls if name == "evacuate_crashed_actual_lrp")
    assert crash[2] == "APP: Exited with status 3"
    assert "crash_actual_lrp" not in scene.bbs.names()


def test_a_crash_waits_for_a_bbs_that_is_away(scene: Scene) -> None:
    """The original deletes the container, and nobody ever hears of the crash."""
    scene.bench.app(status=3, after=0.2)
    away = Unreachable(ErrorType.UNKNOWN_ERROR, "no answer")
    scene.bbs.answers["evacuate_crashed_actual_lrp"] = [away, away]

    async def play() -> None:
        scene.begin()
        await scene.running()
        await scene.evacuator.begin()
        await scene.asked("evacuate_crashed_actual_lrp", 3)
        await scene.ended()

    played(play)


def test_a_stopped_instance_is_told_as_stopped(scene: Scene) -> None:
    async def play() -> None:
        scene.begin()
        await scene.running()
        await scene.evacuator.begin()
        await scene.asked("evacuate_running_actual_lrp")
        scene.executor.stop("instance")
        await scene.ended()

    played(play)

    assert scene.bbs.names()[-1] == "evacuate_stopped_actual_lrp"


def test_a_task_runs_to_its_end(scene: Scene) -> None:
    scene.bench.app(status=0, after=0.3)

    async def play() -> None:
        scene.begin()
        scene.reserve_task()
        await reached(scene.executor, "task", State.RUNNING)
        await scene.evacuator.begin()
        await scene.ended()

    played(play)

    completed = [told for name, told in scene.bbs.calls if name == "complete_task"]
    assert completed[0][0] == "task"
    assert scene.happened[2:] == ["evacuated"]
    assert scene.said() == []


def test_an_empty_cell_ends_after_one_round(scene: Scene) -> None:
    async def play() -> None:
        scene.begin()
        await scene.evacuator.begin()
        assert "evacuated" not in scene.happened
        await scene.ended()

    played(play)

    assert scene.happened[2:] == ["evacuated"]


def test_when_the_time_is_up_the_rest_is_deleted_with_a_word_in_its_log(scene: Scene) -> None:
    scene.timing = replace(scene.timing, timeout=0.3)

    async def play() -> None:
        scene.begin()
        await scene.running()
        scene.bbs.always["actual_lrps"] = [
            ActualLRP(
                presence=ActualLRP.EVACUATING,
                actual_lrp_instance_key=ActualLRPInstanceKey(instance_guid="instance", cell_id="cell-1"),
            )
        ]
        await scene.evacuator.begin()
        await scene.ended()

    played(play)

    assert scene.said() == [REQUESTING, REACHED]
    assert scene.bench.garden.made == {}
    assert scene.happened[2:] == ["evacuated"]
    assert scene.remembered().cut_off == ("instance",)
    assert scene.bbs.names()[-1] == "remove_evacuating_actual_lrp"
    assert carrying_out._STRANDED._value.get() == 1  # as /metrics would show it


def test_a_container_that_cannot_be_deleted_is_named_and_the_rep_ends_in_time(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diego.rep.core.evacuation.CLEANUP_MARGIN", 0.4)
    scene.timing = replace(scene.timing, timeout=0.2)

    async def hang(_handle: str) -> None:
        await asyncio.sleep(1000)

    async def play() -> None:
        scene.begin()
        await scene.running()
        monkeypatch.setattr(scene.bench.garden, "destroy", hang)
        await scene.evacuator.begin()
        begun = asyncio.get_running_loop().time()
        await scene.ended()
        assert asyncio.get_running_loop().time() - begun < 30

    played(play)

    assert scene.happened[2:] == ["failed-to-cleanup-all-containers"]
    assert scene.remembered().fault == "failed-to-cleanup-all-containers"
    assert scene.remembered().left == ("instance",)


def test_a_killed_rep_goes_on_evacuating_when_it_is_back(scene: Scene) -> None:
    async def play() -> None:
        scene.begin()
        await scene.running()
        await scene.evacuator.begin()
        await scene.asked("evacuate_running_actual_lrp")
        await scene.killed()
        scene.happened.clear()

        scene.begin()
        assert scene.evacuator.under_way
        await scene.asked("evacuate_running_actual_lrp")
        scene.bbs.always["evacuate_running_actual_lrp"] = False
        await scene.ended()

    played(play)

    assert set(scene.bbs.names()) == {"evacuate_running_actual_lrp"}


def test_a_rep_killed_while_it_ended_ends_when_it_is_back(scene: Scene) -> None:
    async def play() -> None:
        scene.begin()
        await scene.running()
        await scene.killed()
        boot = carrying_out._boot()
        EvacuationFile(scene.directory).save(Evacuation(began=1.0, boot=boot, phase=Phase.ENDING))

        scene.begin()
        await scene.ended()

    played(play)

    assert scene.bench.garden.made == {}
    assert REACHED in scene.said()


def test_a_rep_that_is_started_after_the_end_takes_work_again(scene: Scene) -> None:
    async def play() -> None:
        scene.begin()
        await scene.evacuator.begin()
        await scene.ended()
        await scene.killed()

        scene.begin()
        assert not scene.evacuator.under_way
        assert EvacuationFile(scene.directory).load() is None

    played(play)


def test_asked_twice_it_begins_once(scene: Scene) -> None:
    async def play() -> None:
        scene.begin()
        await scene.evacuator.begin()
        before = scene.remembered()
        await scene.evacuator.begin()
        assert scene.remembered() == before

    played(play)


def test_a_disk_that_refuses_the_memory_does_not_stop_the_evacuation(scene: Scene) -> None:
    async def play() -> None:
        scene.begin()
        (scene.directory / "evacuation.new").mkdir()
        await scene.evacuator.begin()
        await scene.ended()

    played(play)


def test_the_replaced_instance_outlives_its_routes(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROUTES_GO_FIRST", 4.0)
    scene.bbs.always["evacuate_running_actual_lrp"] = False

    async def play() -> None:
        scene.begin()
        await scene.running(ports=[8080])
        await scene.evacuator.begin()
        await scene.asked("evacuate_running_actual_lrp")
        await asyncio.sleep(0.2)
        held = scene.executor.get("instance")
        assert held is not None
        assert not held.stop_wanted
        await scene.ended()

    played(play)


def test_progress_tells_what_is_left(scene: Scene) -> None:
    async def play() -> dict[str, Any]:
        scene.begin()
        await scene.running()
        assert scene.evacuator.progress()["evacuating"] is False
        await scene.evacuator.begin()
        await scene.asked("evacuate_running_actual_lrp")
        return scene.evacuator.progress()

    progress = json.loads(json.dumps(played(play)))

    assert progress["phase"] == "evacuating"
    assert 590 < progress["seconds_left"] <= 600
    assert progress["lrps"] == [
        {"instance_guid": "instance", "process_guid": "p", "index": 0, "state": "running", "said": ""}
    ]


def test_an_evacuating_cell_hands_all_work_back_and_says_so(scene: Scene) -> None:
    facts = CellFacts("cell-1", 0, "z1", "https://x", ("cflinuxfs4",), (), (), ())
    lrp = LrpWork("p", 0, "d", "preloaded:cflinuxfs4", 64, 64)
    work = Work((lrp, replace(lrp, memory_mb=10_000)), (TaskWork("t", "d", "", 1, 1),), "cell-1")

    async def play() -> None:
        scene.begin()
        service = Service(facts, scene.executor, STACKS, lambda: True)
        assert service.perform(work) == work
        assert json.loads(service.state()[1])["Evacuating"] is True
        with pytest.raises(WrongCell):
            service.perform(replace(work, cell_id="cell-2"))
        assert scene.executor.containers() == []

    played(play)


def test_both_records_of_a_missing_container_are_removed_though_the_bbs_refuses_one(scene: Scene) -> None:
    scene.bbs.always["remove_actual_lrp"] = BbsError(ErrorType.RESOURCE_NOT_FOUND)

    async def play() -> None:
        scene.begin()
        missing = MissingLrpOperation("gone", "p", 0, "d", "cell-1", remove=True, remove_evacuating=True)
        scene.operations.push(missing)
        await scene.operations.settled()

    played(play)

    assert scene.bbs.names() == ["remove_actual_lrp", "remove_evacuating_actual_lrp"]
