"""What callers see of a commit: durable before it is answered, visible only then, and all of it or nothing."""

import contextlib
import threading

import pytest

from diego.bbs.commits import WRITES_IN_A_BATCH, share
from diego.bbs.store import PutActual, PutDesired
from diego.models import BbsError, ErrorType, Presence
from diego.wire import actual_lrp_requests_pb2, desired_lrp_requests_pb2, task_requests_pb2
from support.active_bbs import ActiveBbs, active_bbs
from support.records import a_definition, a_desired_message, a_start_request
from support.worker import until

Desire = desired_lrp_requests_pb2.DesireLRPRequest
List = actual_lrp_requests_pb2.ActualLRPsRequest


def desire(bbs: ActiveBbs, guid: str = "process", instances: int = 1) -> bytes:
    message = a_desired_message(guid, instances=instances)
    return bbs.ask(lambda: bbs.service.desired_lrps.desire(Desire(desired_lrp=message), request_id="trace"))


def instances(bbs: ActiveBbs) -> int:
    answer = bbs.ask(lambda: bbs.service.actual_lrps.list(List()))
    return len(actual_lrp_requests_pb2.ActualLRPsResponse.FromString(answer).actual_lrps)


def test_what_is_answered_is_in_the_database() -> None:
    with active_bbs() as bbs:
        assert desire(bbs, instances=2) == b""

        kinds = [type(write) for write in bbs.database.puts.values()]

    assert kinds.count(PutDesired) == 1
    assert kinds.count(PutActual) == 2


def test_a_change_and_its_instances_are_one_commit() -> None:
    with active_bbs() as bbs:
        desire(bbs, instances=5)

        assert bbs.database.commits == 1


def test_a_refused_commit_is_not_visible_not_told_and_may_be_tried_again() -> None:
    with active_bbs() as bbs:
        bbs.database.away = True
        message = a_desired_message()
        refused = bbs.refused(
            lambda: bbs.service.desired_lrps.desire(Desire(desired_lrp=message), request_id="")
        )
        bbs.database.away = False

        assert refused
        assert instances(bbs) == 0
        assert (bbs.instances.heard, bbs.auctioneer.lrps) == ([], [])
        assert desire(bbs) == b""
        assert instances(bbs) == 1


def test_what_was_decided_upon_a_refused_commit_falls_with_it() -> None:
    with active_bbs() as bbs:
        bbs.database.away = True
        first, second = a_desired_message("one"), a_desired_message("two")

        def both() -> None:
            for message in (first, second):
                bbs.service.desired_lrps.desire(Desire(desired_lrp=message), request_id="")
            with pytest.raises(BbsError) as error:
                bbs.service.desired_lrps.desire(Desire(desired_lrp=a_desired_message("one")), request_id="")
            assert error.value.type is ErrorType.RESOURCE_EXISTS

        bbs.call(both)
        bbs.settle()
        bbs.database.away = False

        assert bbs.call(lambda: bbs.memory.newest_desired("one")) is None
        assert desire(bbs, "one") == b""


def test_two_calls_that_arrive_together_do_not_both_win() -> None:
    with active_bbs() as bbs:
        bbs.ask(
            lambda: bbs.service.tasks.desire(
                task_requests_pb2.DesireTaskRequest(
                    task_guid="task", domain="domain", task_definition=a_definition()
                )
            )
        )

        def start(cell: str) -> bool:
            answer = bbs.ask(
                lambda: bbs.service.tasks.start(
                    task_requests_pb2.StartTaskRequest(task_guid="task", cell_id=cell)
                )
            )
            return task_requests_pb2.StartTaskResponse.FromString(answer).should_start

        winners: list[str] = []

        def compete(cell: str) -> None:
            with contextlib.suppress(BbsError):
                if start(cell):
                    winners.append(cell)

        threads = [threading.Thread(target=compete, args=(f"cell-{number}",)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len(winners) == 1


def test_a_commit_of_unknown_fate_ends_the_process() -> None:
    ended = threading.Event()
    with active_bbs() as bbs:
        bbs.runtime._leave = lambda _code: ended.set()
        bbs.database.break_commits.append(None)
        message = a_desired_message()

        bbs.call(lambda: bbs.service.desired_lrps.desire(Desire(desired_lrp=message), request_id=""))

        assert ended.wait(5)
        assert instances(bbs) == 0


def test_a_bbs_that_was_taken_over_from_ends_and_tells_nobody_that_it_worked() -> None:
    ended = threading.Event()
    with active_bbs() as bbs:
        bbs.runtime._leave = lambda _code: ended.set()
        bbs.database.epoch += 1
        message = a_desired_message()

        bbs.call(lambda: bbs.service.desired_lrps.desire(Desire(desired_lrp=message), request_id=""))

        assert ended.wait(5)
        assert bbs.database.puts == {}


def test_a_text_too_long_for_its_column_is_refused_before_anything_happens() -> None:
    with active_bbs() as bbs:
        with pytest.raises(BbsError, match="the request received is invalid"):
            desire(bbs, "x" * 256)

        assert bbs.call(lambda: bbs.memory.newest_desired("x" * 256)) is None
        assert bbs.database.commits == 0


def test_a_task_whose_names_are_too_long_is_refused_as_well() -> None:
    too_long = task_requests_pb2.DesireTaskRequest(
        task_guid="task", domain="d" * 256, task_definition=a_definition()
    )
    with active_bbs() as bbs:
        with pytest.raises(BbsError, match="the request received is invalid"):
            bbs.ask(lambda: bbs.service.tasks.desire(too_long))

        assert bbs.database.commits == 0


def test_an_instance_whose_names_are_too_long_is_refused_as_well() -> None:
    with active_bbs() as bbs:
        too_long = a_start_request(availability_zone="z" * 256)

        with pytest.raises(BbsError, match="the request received is invalid"):
            bbs.ask(lambda: bbs.service.actual_lrps.start(too_long))

        assert bbs.database.commits == 0


def test_a_thousand_instances_become_visible_in_turns_and_are_answered_when_all_are_there() -> None:
    with active_bbs() as bbs:
        assert desire(bbs, instances=1000) == b""

        assert instances(bbs) == 1000
        assert bbs.database.commits == 5
        ((request, trace),) = bbs.auctioneer.lrps
        assert (request.indices, trace) == (tuple(range(1000)), "trace")
        assert bbs.instances.heard.count("actual_lrp_instance_created") == 1000
        assert bbs.instances.heard[0] == "desired_lrp_created"


def test_events_come_in_the_order_of_the_commits() -> None:
    with active_bbs() as bbs:
        for number in range(20):
            desire(bbs, f"process-{number}")
        bbs.settle()

        assert bbs.instances.heard == ["desired_lrp_created", "actual_lrp_instance_created"] * 20
        assert bbs.groups.heard == ["desired_lrp_created", "actual_lrp_created"] * 20


def test_many_callers_share_commits() -> None:
    with active_bbs() as bbs:

        def many() -> None:
            for number in range(200):
                message = a_desired_message(f"process-{number}")
                bbs.service.desired_lrps.desire(Desire(desired_lrp=message), request_id="")

        bbs.call(many)
        bbs.settle()
        until(lambda: instances(bbs) == 200)

        assert bbs.database.commits < 50


@pytest.mark.parametrize(
    ("writes", "taken"),
    [
        ([], 0),
        ([2], 1),
        ([2, 2, 2, 2], 4),
        ([2] * 8, 4),
        ([2] * 9, 5),
        ([2] * 32, 16),
        ([2] * 1_000, WRITES_IN_A_BATCH // 2),
        ([WRITES_IN_A_BATCH + 1, 1], 1),
        ([1, WRITES_IN_A_BATCH, 1], 1),
        ([1, WRITES_IN_A_BATCH - 1, 1], 2),
    ],
)
def test_half_of_what_waits_is_the_next_batch_so_that_store_and_loop_both_have_work(
    writes: list[int], taken: int
) -> None:
    assert share(len(writes), iter(writes)) == taken


def test_callers_who_come_back_together_are_served_by_halves() -> None:
    with active_bbs() as bbs:

        def many() -> None:
            for number in range(32):
                message = a_desired_message(f"process-{number}")
                bbs.service.desired_lrps.desire(Desire(desired_lrp=message), request_id="")

        bbs.call(many)
        bbs.settle()

        assert instances(bbs) == 32
        assert bbs.database.commits == 4  # of 16, 8, 4 and 4


def test_records_of_every_presence_are_written() -> None:
    with active_bbs() as bbs:
        desire(bbs)
        bbs.ask(lambda: bbs.service.actual_lrps.start(a_start_request()))
        bbs.cells.names = {"another-cell"}

        bbs.convergence.run_once()

        presences = {
            write.lrp.presence for write in bbs.database.puts.values() if isinstance(write, PutActual)
        }
        assert presences == {Presence.ORDINARY, Presence.SUSPECT}
