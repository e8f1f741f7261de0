"""What the BBS does beside its records: whom it asks, whom it tells, and what it answers."""

import json
import uuid
from typing import Any

import pytest

from diego.bbs.core.desired_lrps import RepUpdate, start_request
from diego.bbs.main import _delete_unreadable
from diego.bbs.outside import Cells, callback_json, lrp_json, task_json, update_json
from diego.bbs.service import context
from diego.bbs.store import Loaded, PutActual, PutDesired, PutTask, UnreadableDesired
from diego.bbs.store.batch import identity
from diego.locket.client import LocketClient, LocketError
from diego.models import BbsError, ErrorType, TaskState
from diego.runtime.api import Answer
from diego.wire import (
    actual_lrp_pb2,
    actual_lrp_requests_pb2,
    cells_pb2,
    desired_lrp_pb2,
    desired_lrp_requests_pb2,
    domain_pb2,
    evacuation_pb2,
    image_layer_pb2,
    locket_pb2,
    task_requests_pb2,
)
from support.active_bbs import ActiveBbs, active_bbs
from support.records import (
    HERE,
    MINUTE,
    SECOND,
    a_definition,
    a_desired_lrp,
    a_desired_message,
    a_start_request,
    a_task,
    an_instance_key,
    an_lrp_key,
    running,
)
from support.worker import until

asked = actual_lrp_requests_pb2
URL = "https://cc.test/callback"


def desire(bbs: ActiveBbs, **fields: Any) -> None:
    request = desired_lrp_requests_pb2.DesireLRPRequest(desired_lrp=a_desired_message(**fields))
    bbs.ask(lambda: bbs.service.desired_lrps.desire(request, request_id="trace"))
    bbs.auctioneer.lrps.clear()
    bbs.instances.heard.clear()


def start(bbs: ActiveBbs, index: int = 0) -> None:
    bbs.ask(lambda: bbs.service.actual_lrps.start(a_start_request(index)))
    bbs.instances.heard.clear()


def desire_task(bbs: ActiveBbs, url: str = "") -> None:
    request = task_requests_pb2.DesireTaskRequest(
        task_guid="task", domain="domain", task_definition=a_definition(completion_callback_url=url)
    )
    bbs.ask(lambda: bbs.service.tasks.desire(request))
    bbs.auctioneer.tasks.clear()


def start_task(bbs: ActiveBbs) -> None:
    request = task_requests_pb2.StartTaskRequest(task_guid="task", cell_id="cell")
    bbs.ask(lambda: bbs.service.tasks.start(request))


def actual(bbs: ActiveBbs) -> list[tuple[int, str]]:
    answer = bbs.ask(lambda: bbs.service.actual_lrps.list(asked.ActualLRPsRequest()))
    rows = asked.ActualLRPsResponse.FromString(answer).actual_lrps
    return sorted((row.actual_lrp_key.index, row.state) for row in rows)


def retire(bbs: ActiveBbs) -> Any:
    request = asked.RetireActualLRPRequest(actual_lrp_key=an_lrp_key())
    answer = bbs.ask(lambda: bbs.service.actual_lrps.retire(request, request_id="trace"))
    return asked.ActualLRPLifecycleResponse.FromString(answer).error


class TestRetire:
    def test_what_no_cell_holds_is_deleted(self) -> None:
        with active_bbs() as bbs:
            desire(bbs)

            assert not retire(bbs).message

            assert actual(bbs) == []
            assert bbs.instances.heard == ["actual_lrp_instance_removed"]

    def test_what_runs_is_stopped_by_its_cell_and_told_of(self) -> None:
        with active_bbs() as bbs:
            desire(bbs)
            start(bbs)

            assert not retire(bbs).message

            assert bbs.reps.calls == [("stop", "cell", "process", 0, "trace")]
            assert actual(bbs) == [(0, "RUNNING")]
            assert bbs.instances.heard == ["actual_lrp_instance_removed"]

    def test_what_runs_on_a_cell_that_is_gone_is_deleted(self) -> None:
        with active_bbs() as bbs:
            desire(bbs)
            start(bbs)
            bbs.cells.names = set()

            assert not retire(bbs).message

            assert (actual(bbs), bbs.reps.calls) == ([], [])

    def test_a_cell_that_refuses_is_asked_five_times(self) -> None:
        with active_bbs() as bbs:
            desire(bbs)
            start(bbs)
            bbs.reps.failures = 9

            assert retire(bbs).message == "http error: status code 500 (Internal Server Error)"

            assert len(bbs.reps.calls) == 5

    def test_a_cell_that_agrees_at_last_is_enough(self) -> None:
        with active_bbs() as bbs:
            desire(bbs)
            start(bbs)
            bbs.reps.failures = 4

            assert not retire(bbs).message

    def test_a_locket_that_does_not_answer_is_told_at_once(self) -> None:
        with active_bbs() as bbs:
            desire(bbs)
            start(bbs)
            bbs.cells.error = BbsError(ErrorType.UNKNOWN_ERROR, "rpc error: code = Unavailable desc = gone")

            assert retire(bbs).message == "rpc error: code = Unavailable desc = gone"

            assert bbs.reps.calls == []

    def test_an_index_without_record_is_not_found(self) -> None:
        with active_bbs() as bbs, pytest.raises(BbsError) as error:
            retire(bbs)

        assert error.value.type is ErrorType.RESOURCE_NOT_FOUND


class TestCrash:
    def crash(self, bbs: ActiveBbs) -> Any:
        request = asked.CrashActualLRPRequest(
            actual_lrp_key=an_lrp_key(), actual_lrp_instance_key=an_instance_key(), error_message="exit 1"
        )
        answer = bbs.ask(lambda: bbs.service.actual_lrps.crash(request))
        return asked.ActualLRPLifecycleResponse.FromString(answer).error

    def test_a_forgiven_crash_asks_for_an_auction(self) -> None:
        with active_bbs() as bbs:
            desire(bbs)
            start(bbs)

            assert not self.crash(bbs).message

            ((request, _),) = bbs.auctioneer.lrps
            assert request.indices == (0,)

    def test_when_nobody_wants_it_any_more_the_crash_counts_and_the_caller_hears_so(self) -> None:
        with active_bbs() as bbs:
            start(bbs)

            assert self.crash(bbs).type == ErrorType.RESOURCE_NOT_FOUND

            assert actual(bbs) == [(0, "UNCLAIMED")]
            assert bbs.auctioneer.lrps == []


class TestDesire:
    def desire(self, bbs: ActiveBbs, **fields: Any) -> None:
        request = desired_lrp_requests_pb2.DesireLRPRequest(desired_lrp=a_desired_message(**fields))
        bbs.ask(lambda: bbs.service.desired_lrps.desire(request, request_id="trace"))
        bbs.settle()

    def test_it_is_told_of_then_its_instances_and_one_auction_is_asked_for(self) -> None:
        with active_bbs() as bbs:
            self.desire(bbs, instances=2)

            assert bbs.instances.heard == ["desired_lrp_created"] + ["actual_lrp_instance_created"] * 2
            assert actual(bbs) == [(0, "UNCLAIMED"), (1, "UNCLAIMED")]
            ((request, trace),) = bbs.auctioneer.lrps
            assert (request.indices, trace) == ((0, 1), "trace")

    def test_an_index_that_is_there_already_is_left_alone(self) -> None:
        with active_bbs() as bbs:
            start(bbs)

            self.desire(bbs, instances=2)

            assert actual(bbs) == [(0, "RUNNING"), (1, "UNCLAIMED")]
            assert bbs.auctioneer.lrps[0][0].indices == (1,)

    def test_without_instances_there_is_nothing_to_auction(self) -> None:
        with active_bbs() as bbs:
            self.desire(bbs, instances=0)

            assert bbs.instances.heard == ["desired_lrp_created"]
            assert (actual(bbs), bbs.auctioneer.lrps) == ([], [])

    def test_what_is_wanted_already_exists(self) -> None:
        with active_bbs() as bbs:
            self.desire(bbs)

            with pytest.raises(BbsError) as error:
                self.desire(bbs)

            assert error.value.type is ErrorType.RESOURCE_EXISTS

    def test_a_task_that_is_there_already_exists_too(self) -> None:
        with active_bbs() as bbs:
            desire_task(bbs)

            with pytest.raises(BbsError) as error:
                desire_task(bbs)

            assert error.value.type is ErrorType.RESOURCE_EXISTS

    def test_an_epoch_is_a_random_uuid(self) -> None:
        epochs = {context._new_epoch() for _ in range(100)}

        assert len(epochs) == 100
        for epoch in epochs:
            parsed = uuid.UUID(epoch)
            assert (str(parsed), parsed.version, parsed.variant) == (epoch, 4, uuid.RFC_4122)


class TestUnreadable:
    """A desired LRP whose columns nobody can read."""

    GET = desired_lrp_requests_pb2.DesiredLRPByProcessGuidRequest(process_guid="bad")

    def test_who_asks_for_it_hears_so_and_lists_skip_it(self) -> None:
        with active_bbs() as bbs:
            bbs.call(lambda: bbs.memory.unreadable_desired.update(bad="domain"))
            everything = desired_lrp_requests_pb2.DesiredLRPsRequest()

            with pytest.raises(BbsError) as error:
                bbs.ask(lambda: bbs.service.desired_lrps.get(self.GET))

            assert error.value.type is ErrorType.DESERIALIZE
            assert bbs.ask(lambda: bbs.service.desired_lrps.list(everything)) == b""

    def test_row5_its_running_instances_keep_their_containers(self) -> None:
        key = an_lrp_key()
        key.process_guid = "bad"
        request = evacuation_pb2.EvacuateRunningActualLRPRequest(
            actual_lrp_key=key,
            actual_lrp_instance_key=an_instance_key(),
            actual_lrp_net_info=actual_lrp_pb2.ActualLRPNetInfo(address="10.0.0.1"),
        )
        with active_bbs() as bbs:
            bbs.call(lambda: bbs.memory.unreadable_desired.update(bad="domain"))

            answer = bbs.ask(lambda: bbs.service.actual_lrps.evacuate_running(request))

            told = evacuation_pb2.EvacuationResponse.FromString(answer)
            assert (told.keep_container, ErrorType(told.error.type)) == (True, ErrorType.DESERIALIZE)

    def test_without_run_info_it_is_deleted_and_with_other_faults_kept(self) -> None:
        rows = [running(process_guid="lost", index=index) for index in (0, 1)]
        with active_bbs() as bbs:
            bbs.database.puts.update(
                {
                    **{
                        identity(PutDesired(lrp)): PutDesired(lrp)
                        for lrp in map(a_desired_lrp, ("bad", "odd"))
                    },
                    **{identity(PutActual(row)): PutActual(row) for row in rows},
                }
            )
            loaded = Loaded(
                unreadable_desired=[
                    UnreadableDesired("bad", "domain", deletable=True),
                    UnreadableDesired("odd", "domain", deletable=False),
                ],
                unreadable_actual=[rows[1].identity],
            )

            _delete_unreadable(bbs.service.context, loaded)
            bbs.settle()

            left = bbs.database.puts.values()
            assert [write.record.process_guid for write in left if isinstance(write, PutDesired)] == ["odd"]
            assert [write.lrp.index for write in left if isinstance(write, PutActual)] == [0]


class TestDomains:
    def test_only_fresh_ones_are_told(self) -> None:
        with active_bbs() as bbs:
            for name, ttl in (("for-ever", 0), ("long", 120), ("short", 1)):
                upsert = domain_pb2.UpsertDomainRequest(domain=name, ttl=ttl)
                bbs.ask(lambda upsert=upsert: bbs.service.registry.upsert_domain(upsert))  # type: ignore[misc]
            bbs.pass_time(2 * SECOND)

            answer = domain_pb2.DomainsResponse.FromString(bbs.ask(bbs.service.registry.domains))

            assert sorted(answer.domains) == ["for-ever", "long"]


class TestScaling:
    def update(self, bbs: ActiveBbs, **fields: Any) -> None:
        request = desired_lrp_requests_pb2.UpdateDesiredLRPRequest(
            process_guid="process", update=desired_lrp_pb2.DesiredLRPUpdate(**fields)
        )
        bbs.ask(lambda: bbs.service.desired_lrps.update(request, request_id="trace"))
        bbs.settle()

    def test_more_instances_are_made_auctioned_and_told_of_before_the_change(self) -> None:
        with active_bbs() as bbs:
            desire(bbs)

            self.update(bbs, instances=3)

            assert [index for index, _ in actual(bbs)] == [0, 1, 2]
            assert bbs.auctioneer.lrps[0][0].indices == (1, 2)
            assert bbs.instances.heard == ["actual_lrp_instance_created"] * 2 + ["desired_lrp_changed"]

    def test_fewer_instances_delete_what_waits_and_stop_what_runs(self) -> None:
        with active_bbs() as bbs:
            desire(bbs, instances=3)
            start(bbs, 2)

            self.update(bbs, instances=1)

            until(lambda: bbs.reps.calls == [("stop", "cell", "process", 2, "trace")])
            assert actual(bbs) == [(0, "UNCLAIMED"), (2, "RUNNING")]
            assert bbs.instances.heard == ["actual_lrp_instance_removed", "desired_lrp_changed"]

    def test_a_removal_ends_everything(self) -> None:
        with active_bbs() as bbs:
            desire(bbs, instances=2)
            start(bbs, 1)
            request = desired_lrp_requests_pb2.RemoveDesiredLRPRequest(process_guid="process")

            bbs.ask(lambda: bbs.service.desired_lrps.remove(request, request_id="trace"))

            until(lambda: bbs.reps.calls == [("stop", "cell", "process", 1, "trace")])
            assert actual(bbs) == [(1, "RUNNING")]
            assert bbs.instances.heard == ["desired_lrp_removed", "actual_lrp_instance_removed"]
            assert bbs.call(lambda: bbs.memory.newest_desired("process")) is None

    def test_an_instance_on_a_cell_that_is_gone_is_left_to_convergence(self) -> None:
        with active_bbs() as bbs:
            desire(bbs, instances=2)
            start(bbs, 0)
            start(bbs, 1)
            bbs.cells.names = {"other"}

            self.update(bbs, instances=1)
            bbs.cells.names = {"cell"}
            self.update(bbs, instances=0)

            until(lambda: ("stop", "cell", "process", 0, "trace") in bbs.reps.calls)
            assert actual(bbs) == [(0, "RUNNING"), (1, "RUNNING")]

    def test_only_indices_from_the_old_count_on_are_made(self) -> None:
        remove = asked.RemoveActualLRPRequest(process_guid="process", index=0)
        with active_bbs() as bbs:
            desire(bbs, instances=2)
            bbs.ask(lambda: bbs.service.actual_lrps.remove(remove))

            self.update(bbs, instances=3)

            assert [index for index, _ in actual(bbs)] == [1, 2]

    def test_an_index_that_is_there_already_is_not_auctioned_again(self) -> None:
        with active_bbs() as bbs:
            desire(bbs)
            start(bbs, 1)

            self.update(bbs, instances=3)

            assert bbs.auctioneer.lrps[0][0].indices == (2,)

    def test_running_instances_hear_of_other_tags(self) -> None:
        with active_bbs() as bbs:
            desire(bbs)
            start(bbs)

            self.update(bbs, metric_tags={"index": {"dynamic": 1}})

            until(lambda: bbs.reps.calls == [("update", "cell", 0, None, {"index": "0"}, "trace")])

    def test_too_many_instances_are_refused(self) -> None:
        with active_bbs() as bbs, pytest.raises(BbsError, match="Invalid field: instances"):
            desire(bbs, instances=2**31 - 1)


class TestTaskEvents:
    def test_every_step_of_a_task_is_told(self) -> None:
        guid = task_requests_pb2.TaskGuidRequest(task_guid="task")
        reject = task_requests_pb2.RejectTaskRequest(task_guid="task", rejection_reason="no room")
        with active_bbs() as bbs:
            desire_task(bbs)
            bbs.ask(lambda: bbs.service.tasks.reject(reject))
            start_task(bbs)
            start_task(bbs)
            bbs.ask(lambda: bbs.service.tasks.cancel(guid, request_id=""))
            bbs.ask(lambda: bbs.service.tasks.resolving(guid))
            bbs.ask(lambda: bbs.service.tasks.delete(guid))

            assert bbs.tasks.heard == ["task_created", *["task_changed"] * 4, "task_removed"]


class TestTasks:
    def desire(self, bbs: ActiveBbs, url: str = URL) -> None:
        request = task_requests_pb2.DesireTaskRequest(
            task_guid="task", domain="domain", task_definition=a_definition(completion_callback_url=url)
        )
        bbs.ask(lambda: bbs.service.tasks.desire(request))
        start = task_requests_pb2.StartTaskRequest(task_guid="task", cell_id="cell")
        bbs.ask(lambda: bbs.service.tasks.start(start))
        bbs.tasks.heard.clear()

    def complete(self, bbs: ActiveBbs) -> None:
        request = task_requests_pb2.CompleteTaskRequest(task_guid="task", cell_id="cell", result="42")
        bbs.ask(lambda: bbs.service.tasks.complete(request))

    def state(self, bbs: ActiveBbs) -> TaskState | None:
        bbs.settle()
        task = bbs.call(lambda: bbs.memory.newest_task("task"))
        return task.state if task else None

    def test_a_desired_task_is_auctioned(self) -> None:
        with active_bbs() as bbs:
            self.desire(bbs)

            assert bbs.auctioneer.tasks == ["task"]

    def test_a_cell_starts_a_task_once(self) -> None:
        request = task_requests_pb2.StartTaskRequest(task_guid="task", cell_id="cell")
        with active_bbs() as bbs:
            desire_task(bbs)

            answers = [bbs.ask(lambda: bbs.service.tasks.start(request)) for _ in range(2)]

            told = map(task_requests_pb2.StartTaskResponse.FromString, answers)
            assert [each.should_start for each in told] == [True, False]

    def test_a_rejected_task_waits_for_convergence(self) -> None:
        request = task_requests_pb2.RejectTaskRequest(task_guid="task", rejection_reason="no room")
        with active_bbs() as bbs:
            desire_task(bbs)

            bbs.ask(lambda: bbs.service.tasks.reject(request))

            assert self.state(bbs) is TaskState.PENDING
            assert bbs.auctioneer.tasks == []
            bbs.convergence.run_once()
            assert bbs.auctioneer.tasks == ["task"]

    def test_who_waits_is_told_and_the_task_is_deleted(self) -> None:
        with active_bbs() as bbs:
            self.desire(bbs)

            self.complete(bbs)

            until(lambda: "task_removed" in bbs.tasks.heard)
            assert self.state(bbs) is None
            assert bbs.callbacks.told == [("task", URL)]
            assert bbs.tasks.heard == ["task_changed", "task_changed", "task_removed"]
            assert not any(isinstance(write, PutTask) for write in bbs.database.puts.values())

    def test_who_cannot_be_told_is_told_again_by_convergence(self) -> None:
        with active_bbs() as bbs:
            self.desire(bbs)
            bbs.callbacks.heard = False
            self.complete(bbs)
            until(lambda: self.state(bbs) is TaskState.RESOLVING and bbs.callbacks.told)

            bbs.callbacks.heard = True
            bbs.pass_time(31 * SECOND)
            bbs.convergence.run_once()

            until(lambda: self.state(bbs) is None)
            assert len(bbs.callbacks.told) == 2

    def test_without_anybody_waiting_it_stays_completed(self) -> None:
        with active_bbs() as bbs:
            self.desire(bbs, "")

            self.complete(bbs)

            assert self.state(bbs) is TaskState.COMPLETED
            assert bbs.callbacks.told == []

    def test_a_cancelled_task_is_cancelled_on_its_cell(self) -> None:
        with active_bbs() as bbs:
            self.desire(bbs, "")
            request = task_requests_pb2.TaskGuidRequest(task_guid="task")

            bbs.ask(lambda: bbs.service.tasks.cancel(request, request_id="trace"))

            until(lambda: bbs.reps.calls == [("cancel", "cell", "task", "trace")])
            assert self.state(bbs) is TaskState.COMPLETED

    def test_one_that_cannot_be_read_makes_lists_fail_until_convergence_deletes_it(self) -> None:
        with active_bbs() as bbs:
            bbs.call(lambda: bbs.memory.put_task("task", a_task(definition=None)))
            everything = task_requests_pb2.TasksRequest()
            with pytest.raises(BbsError) as error:
                bbs.ask(lambda: bbs.service.tasks.list(everything))
            assert error.value.type is ErrorType.DESERIALIZE

            bbs.convergence.run_once()

            assert bbs.ask(lambda: bbs.service.tasks.list(everything)) == b""


class TestConvergence:
    def test_everything_that_needs_a_cell_is_auctioned_at_once_per_process(self) -> None:
        with active_bbs() as bbs:
            desire(bbs, instances=3)
            bbs.pass_time(31 * SECOND)

            bbs.convergence.run_once()

            ((request, trace),) = bbs.auctioneer.lrps
            assert (sorted(request.indices), request.volume_drivers, trace) == ([0, 1, 2], None, "")

    def test_without_locket_nothing_is_decided(self) -> None:
        with active_bbs() as bbs:
            desire(bbs)
            start(bbs)
            bbs.pass_time(31 * SECOND)
            bbs.cells.error = BbsError(ErrorType.UNKNOWN_ERROR, "no answer")

            bbs.convergence.run_once()

            assert actual(bbs) == [(0, "RUNNING")]

    def test_what_nobody_wants_is_stopped_without_a_request_id(self) -> None:
        with active_bbs() as bbs:
            start(bbs)
            bbs.ask(
                lambda: bbs.service.registry.upsert_domain(domain_pb2.UpsertDomainRequest(domain="domain"))
            )

            bbs.convergence.run_once()

            until(lambda: bbs.reps.calls == [("stop", "cell", "process", 0, None)])

    def test_expired_domains_are_pruned_and_protect_what_they_had(self) -> None:
        with active_bbs() as bbs:
            start(bbs)
            upsert = domain_pb2.UpsertDomainRequest(domain="domain", ttl=1)
            bbs.ask(lambda: bbs.service.registry.upsert_domain(upsert))
            bbs.pass_time(MINUTE)

            bbs.convergence.run_once()

            assert bbs.call(lambda: bbs.memory.domains) == {}
            assert bbs.reps.calls == []

    def test_a_lost_cells_instance_is_replaced(self) -> None:
        with active_bbs() as bbs:
            desire(bbs)
            start(bbs)
            bbs.cells.names = {"other"}

            bbs.convergence.run_once()

            assert actual(bbs) == [(0, "RUNNING"), (0, "UNCLAIMED")]
            assert bbs.auctioneer.lrps[0][0].indices == (0,)
            assert bbs.instances.heard == ["actual_lrp_instance_changed", "actual_lrp_instance_created"]


class TestCellsWatched:
    def test_a_lost_cell_is_acted_upon_without_waiting_for_the_next_run(self) -> None:
        with active_bbs() as bbs:
            desire(bbs)
            start(bbs)
            bbs.cells.names = {"cell", "other"}
            bbs.convergence.watch_cells()
            assert bbs.auctioneer.lrps == []

            bbs.cells.names = {"other"}
            bbs.convergence.watch_cells()

            assert actual(bbs) == [(0, "RUNNING"), (0, "UNCLAIMED")]
            assert bbs.auctioneer.lrps[0][0].indices == (0,)

    def test_a_cell_that_is_back_has_its_instances_back_at_once(self) -> None:
        with active_bbs() as bbs:
            desire(bbs)
            start(bbs)
            for names in ({"cell", "other"}, {"other"}, {"cell", "other"}):
                bbs.cells.names = names
                bbs.convergence.watch_cells()

            assert actual(bbs) == [(0, "RUNNING")]

    def test_a_lost_cells_task_has_failed_at_once(self) -> None:
        with active_bbs() as bbs:
            desire_task(bbs)
            start_task(bbs)
            for names in ({"cell", "other"}, {"other"}):
                bbs.cells.names = names
                bbs.convergence.watch_cells()

            task = bbs.call(lambda: bbs.memory.newest_task("task"))
            assert task is not None
            assert (task.state, task.failed) == (TaskState.COMPLETED, True)

    def test_a_lost_cell_is_no_reason_to_auction_what_waits_anyway(self) -> None:
        with active_bbs() as bbs:
            desire(bbs)
            desire_task(bbs)
            bbs.pass_time(31 * SECOND)
            for names in ({"cell", "other"}, {"other"}):
                bbs.cells.names = names
                bbs.convergence.watch_cells()

            assert (bbs.auctioneer.lrps, bbs.auctioneer.tasks) == ([], [])

    def test_a_replacement_that_waits_is_not_auctioned_again_when_another_cell_is_lost(self) -> None:
        with active_bbs() as bbs:
            desire(bbs)
            start(bbs)
            for names in ({"cell", "other", "third"}, {"other", "third"}):
                bbs.cells.names = names
                bbs.convergence.watch_cells()
            bbs.auctioneer.lrps.clear()
            bbs.pass_time(31 * SECOND)

            bbs.cells.names = {"third"}
            bbs.convergence.watch_cells()

            assert bbs.auctioneer.lrps == []

    def test_a_new_cell_is_no_reason_to_run(self) -> None:
        with active_bbs() as bbs:
            desire(bbs)
            bbs.pass_time(31 * SECOND)
            for names in ({"cell"}, {"cell", "new"}):
                bbs.cells.names = names
                bbs.convergence.watch_cells()

            assert bbs.auctioneer.lrps == []


class OneAnswer(LocketClient):
    """A Locket that always answers the same."""

    def __init__(self, answer: locket_pb2.Resource | LocketError) -> None:
        self._answer = answer

    def fetch(self, key: str, *, timeout: float | None = None) -> locket_pb2.Resource:
        if isinstance(self._answer, LocketError):
            raise self._answer
        return self._answer

    def fetch_all(self, kind: Any, *, timeout: float | None = None) -> list[locket_pb2.Resource]:
        return [self.fetch(str(kind), timeout=timeout)]


class TestLists:
    def guids(self, bbs: ActiveBbs, **filters: Any) -> list[str]:
        request = desired_lrp_requests_pb2.DesiredLRPsRequest(**filters)
        answer = bbs.ask(lambda: bbs.service.desired_lrps.list(request))
        lrps = desired_lrp_requests_pb2.DesiredLRPsResponse.FromString(answer).desired_lrps
        return sorted(lrp.process_guid for lrp in lrps)

    def test_filters_are_all_to_fit(self) -> None:
        with active_bbs() as bbs:
            for guid, domain in (("app1-a", "d1"), ("app1-b", "d2"), ("app2-a", "d1")):
                desire(bbs, process_guid=guid, domain=domain)

            assert self.guids(bbs) == ["app1-a", "app1-b", "app2-a"]
            assert self.guids(bbs, domain="d1") == ["app1-a", "app2-a"]
            assert self.guids(bbs, app_guids=["app1"]) == ["app1-a", "app1-b"]
            assert self.guids(bbs, app_guids=["a%-b"]) == ["app1-b"]
            assert self.guids(bbs, app_guids=["app_-a"]) == ["app1-a", "app2-a"]
            assert self.guids(bbs, domain="d1", process_guids=["app1-a", "app1-b", "none"]) == ["app1-a"]
            assert self.guids(bbs, domain="none") == []

    def test_a_long_list_is_drawn_in_pieces_and_is_whole(self) -> None:
        with active_bbs() as bbs:
            for number in range(120):
                desire(bbs, process_guid=f"guid-{number}", annotation="x" * 5000)

            assert len(self.guids(bbs)) == 120

    def test_a_long_list_gives_others_their_turn_and_is_what_was_there_when_it_was_asked(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(context, "TURN_SECONDS", 0.0)
        with active_bbs() as bbs:
            for number in range(250):
                desire(bbs, process_guid=f"guid-{number}")
            everything = desired_lrp_requests_pb2.DesiredLRPsRequest()

            def ask_and_remove() -> Answer:
                answer = bbs.service.desired_lrps.scheduling_infos(everything)
                for number in range(250):
                    bbs.memory.put_desired(f"guid-{number}", None)
                return answer

            answer = bbs.ask(ask_and_remove)

            infos = desired_lrp_requests_pb2.DesiredLRPSchedulingInfosResponse.FromString(answer)
            assert len(infos.desired_lrp_scheduling_infos) == 250
            assert bbs.ask(lambda: bbs.service.desired_lrps.scheduling_infos(everything)) == b""

    def test_older_clients_see_layers_as_downloads(self) -> None:
        with active_bbs() as bbs:
            layer = image_layer_pb2.ImageLayer(
                name="l",
                url="u",
                destination_path="/x",
                layer_type=image_layer_pb2.ImageLayer.SHARED,
                media_type=image_layer_pb2.ImageLayer.TGZ,
            )
            desire(bbs, image_layers=[layer])
            request = desired_lrp_requests_pb2.DesiredLRPByProcessGuidRequest(process_guid="process")

            answer = bbs.ask(lambda: bbs.service.desired_lrps.get(request, layers=False))

            lrp = desired_lrp_requests_pb2.DesiredLRPResponse.FromString(answer).desired_lrp
            assert not lrp.image_layers
            assert [dependency.to for dependency in lrp.cached_dependencies] == ["/x"]

    def test_a_locket_that_does_not_answer_is_told_in_grpcs_words(self) -> None:
        with pytest.raises(BbsError) as error:
            Cells(OneAnswer(LocketError("DEADLINE_EXCEEDED", "context deadline exceeded")), timeout=1.0).all()

        assert error.value.type is ErrorType.UNKNOWN_ERROR
        assert error.value.message == "rpc error: code = DeadlineExceeded desc = context deadline exceeded"

    def test_a_cell_that_cannot_be_read_is_an_unknown_error(self) -> None:
        with pytest.raises(BbsError) as error:
            Cells(OneAnswer(locket_pb2.Resource(key="cell", value="{")), timeout=1.0).find("cell")

        assert error.value.type is ErrorType.UNKNOWN_ERROR

    def test_cells_are_what_locket_has(self) -> None:
        with active_bbs() as bbs:
            answer = cells_pb2.CellsResponse.FromString(bbs.ask(bbs.service.registry.cells))
            assert [cell.cell_id for cell in answer.cells] == ["cell"]

            bbs.cells.error = BbsError(ErrorType.UNKNOWN_ERROR, "rpc error: code = Unavailable desc = x")
            refused = cells_pb2.CellsResponse.FromString(bbs.ask(bbs.service.registry.cells))
            assert refused.error.message == "rpc error: code = Unavailable desc = x"


class TestWords:
    """What others read of us, in their own keys."""

    def test_an_auction_of_instances(self) -> None:
        assert lrp_json(start_request(a_desired_lrp(), [1])) == {
            "process_guid": "process",
            "domain": "domain",
            "indices": [1],
            "PlacementTags": None,
            "VolumeDrivers": None,
            "RootFs": "preloaded:cflinuxfs4",
            "MemoryMB": 128,
            "DiskMB": 256,
            "MaxPids": 0,
        }

    def test_an_auction_of_a_task(self) -> None:
        assert task_json(a_task()) == {
            "TaskGuid": "task",
            "Domain": "domain",
            "PlacementTags": None,
            "VolumeDrivers": [],
            "RootFs": "preloaded:cflinuxfs4",
            "MemoryMB": 64,
            "DiskMB": 64,
            "MaxPids": 0,
            "state": "Invalid",
            "failed": False,
        }

    def test_an_update_for_a_cell_leaves_out_what_stays(self) -> None:
        assert update_json(RepUpdate(running(), (), None)) == {
            "instance_guid": HERE.instance_guid,
            "process_guid": "process",
            "index": 0,
            "domain": "domain",
            "internal_routes": None,
            "metric_tags": None,
        }
        assert update_json(RepUpdate(running(), ("a",), {"b": "c"}))["internal_routes"] == [{"hostname": "a"}]

    def test_a_result_for_who_waits(self) -> None:
        definition = a_definition(annotation="note").SerializeToString()
        task = a_task(state=TaskState.COMPLETED, definition=definition, result="42")

        assert json.loads(callback_json(task)) == {
            "task_guid": "task",
            "failed": False,
            "failure_reason": "",
            "result": "42",
            "annotation": "note",
            "created_at": task.created_at,
        }
        assert "annotation" not in json.loads(callback_json(a_task()))
