"""The BBS's counts follow its records, and a run of convergence leaves what it found."""

from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from diego.bbs import counts
from diego.bbs.counts import FURTHER_CELLS, TaskTotals
from diego.bbs.memory import Memory
from diego.models import ActualLRPState, Presence, TaskState
from diego.wire import actual_lrp_requests_pb2, desired_lrp_requests_pb2, domain_pb2, task_requests_pb2
from support.active_bbs import ActiveBbs, active_bbs
from support.records import (
    MINUTE,
    SECOND,
    a_definition,
    a_desired_lrp,
    a_desired_message,
    a_task,
    an_actual_lrp,
    an_instance_key,
    an_lrp_key,
)
from support.worker import until

identities = st.tuples(st.sampled_from("ab"), st.integers(0, 2), st.sampled_from(Presence))
changes = st.lists(st.tuples(identities, st.none() | st.sampled_from(ActualLRPState)), max_size=40)


@given(changes)
def test_records_are_counted_by_presence_and_state_whatever_happens(
    history: list[tuple[tuple[str, int, Presence], ActualLRPState | None]],
) -> None:
    memory = Memory()

    for (guid, index, presence), state in history:
        row = (
            None
            if state is None
            else an_actual_lrp(process_guid=guid, index=index, presence=presence, state=state)
        )
        memory.put_actual((guid, index, presence), row)

    found = Counter((row.presence, row.state) for row in memory.actual)
    assert {key: number for key, number in memory.actual.counts.items() if number} == dict(found)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(0, 9)), max_size=30))
def test_wanted_instances_are_counted_whatever_happens(history: list[tuple[str, int | None]]) -> None:
    memory = Memory()

    for guid, instances in history:
        memory.put_desired(guid, None if instances is None else a_desired_lrp(guid, instances=instances))

    assert memory.desired.instances == sum(lrp.instances for lrp in memory.desired.by_guid.values())


class TestTaskTotals:
    def test_a_task_counts_where_it_began_and_where_it_ended(self) -> None:
        memory = Memory()
        pending = a_task()
        runs = a_task(state=TaskState.RUNNING)
        good = a_task(state=TaskState.COMPLETED)

        for task in (pending, runs, good, replace(good, state=TaskState.RESOLVING), good):
            memory.put_task("task", task)

        totals = memory.tasks.totals
        assert (totals.started, totals.succeeded, totals.failed) == ({"cell": 1}, {"cell": 1}, {})

    def test_what_is_loaded_at_a_takeover_does_not_count(self) -> None:
        memory = Memory()

        memory.put_task("task", a_task(state=TaskState.RUNNING))

        assert memory.tasks.totals.started == {}

    def test_a_task_that_fails_before_any_cell_has_it_counts_under_no_cell(self) -> None:
        totals = TaskTotals()

        totals.note(a_task(), a_task(state=TaskState.COMPLETED, failed=True))

        assert totals.failed == {"": 1}

    def test_further_cells_are_counted_together(self) -> None:
        totals = TaskTotals()

        for number in range(counts.CELLS_COUNTED + 2):
            totals.note(a_task(), a_task(state=TaskState.RUNNING, cell_id=f"cell-{number}"))

        assert len(totals.started) == counts.CELLS_COUNTED + 1
        assert totals.started[FURTHER_CELLS] == 2


def desire(bbs: ActiveBbs, guid: str = "process", **fields: Any) -> None:
    request = desired_lrp_requests_pb2.DesireLRPRequest(desired_lrp=a_desired_message(guid, **fields))
    assert bbs.ask(lambda: bbs.service.desired_lrps.desire(request, request_id="")) == b""


def claim(bbs: ActiveBbs, index: int) -> None:
    request = actual_lrp_requests_pb2.ClaimActualLRPRequest(
        process_guid=an_lrp_key().process_guid, index=index, actual_lrp_instance_key=an_instance_key()
    )
    assert bbs.ask(lambda: bbs.service.actual_lrps.claim(request)) == b""


def domain(bbs: ActiveBbs, name: str, ttl: int) -> None:
    request = domain_pb2.UpsertDomainRequest(domain=name, ttl=ttl)
    assert bbs.ask(lambda: bbs.service.registry.upsert_domain(request)) == b""


class TestConvergence:
    def test_before_the_first_run_nothing_is_known(self) -> None:
        with active_bbs() as bbs:
            assert bbs.convergence.findings.lrps is None
            assert bbs.convergence.findings.tasks is None

    def test_a_run_counts_instances_cells_and_fresh_domains(self) -> None:
        with active_bbs() as bbs:
            domain(bbs, "apps", 0)
            domain(bbs, "stale", 1)
            desire(bbs, instances=3)
            claim(bbs, 0)
            bbs.pass_time(2 * SECOND)

            bbs.convergence.run_once()

            found = bbs.convergence.findings.lrps
            assert found is not None
            assert found.fresh_domains == ("apps",)
            assert (found.desired, found.unclaimed, found.claimed, found.running) == (3, 2, 1, 0)
            assert (found.missing, found.extra) == (0, 0)
            assert (found.present_cells, found.suspect_cells) == (1, 0)
            assert bbs.convergence.findings.lrp_runs == 1

    def test_a_crashed_instance_counts_with_its_process(self) -> None:
        with active_bbs() as bbs:
            desire(bbs, instances=2)
            for _ in range(3):
                claim(bbs, 0)
                request = actual_lrp_requests_pb2.CrashActualLRPRequest(
                    actual_lrp_key=an_lrp_key(),
                    actual_lrp_instance_key=an_instance_key(),
                    error_message="exit 1",
                )
                bbs.ask(lambda request=request: bbs.service.actual_lrps.crash(request))  # type: ignore[misc]  # bound

            bbs.convergence.run_once()

            found = bbs.convergence.findings.lrps
            assert found is not None
            assert (found.crashed, found.crashing, found.unclaimed) == (1, 1, 1)

    def test_an_index_without_a_record_is_missing_once(self) -> None:
        with active_bbs() as bbs:
            desire(bbs, instances=2)
            request = actual_lrp_requests_pb2.RemoveActualLRPRequest(process_guid="process", index=1)
            bbs.ask(lambda: bbs.service.actual_lrps.remove(request))

            bbs.convergence.run_once()
            first = bbs.convergence.findings.lrps
            bbs.pass_time(31 * SECOND)  # by now both are auctioned again, but neither is missing
            bbs.convergence.run_once()
            second = bbs.convergence.findings.lrps

            assert first is not None
            assert second is not None
            assert (first.missing, first.unclaimed) == (1, 2)
            assert second.missing == 0

    def test_an_instance_that_nobody_wants_is_extra(self) -> None:
        with active_bbs() as bbs:
            domain(bbs, "domain", 0)
            desire(bbs)
            claim(bbs, 0)
            bbs.reps.failures = 100
            remove = desired_lrp_requests_pb2.RemoveDesiredLRPRequest(process_guid="process")
            bbs.ask(lambda: bbs.service.desired_lrps.remove(remove, request_id=""))

            bbs.convergence.run_once()

            found = bbs.convergence.findings.lrps
            assert found is not None
            assert found.extra == 1

    def test_the_instances_of_a_lost_cell_are_suspect(self) -> None:
        with active_bbs() as bbs:
            desire(bbs)
            claim(bbs, 0)
            bbs.cells.names = {"another"}

            bbs.convergence.run_once()

            found = bbs.convergence.findings.lrps
            assert found is not None
            assert (found.suspect_claimed, found.suspect_running, found.unclaimed) == (1, 0, 1)
            assert (found.present_cells, found.suspect_cells) == (1, 1)

    def test_tasks_are_counted_by_state_and_those_moved_on_or_deleted_add_up(self) -> None:
        with active_bbs() as bbs:
            for guid in ("one", "two"):
                request = task_requests_pb2.DesireTaskRequest(
                    task_guid=guid, domain="domain", task_definition=a_definition()
                )
                bbs.ask(lambda request=request: bbs.service.tasks.desire(request))  # type: ignore[misc]  # bound
            cancel = task_requests_pb2.TaskGuidRequest(task_guid="two")
            bbs.ask(lambda: bbs.service.tasks.cancel(cancel, request_id=""))

            bbs.convergence.run_once()
            tasks = bbs.convergence.findings.tasks
            bbs.pass_time(3 * MINUTE)
            bbs.convergence.run_once()

            findings = bbs.convergence.findings
            assert tasks is not None
            assert (tasks[TaskState.PENDING], tasks[TaskState.COMPLETED]) == (1, 1)
            assert (findings.tasks_pruned, findings.tasks_kicked, findings.task_runs) == (1, 2, 2)


def test_a_change_that_waits_for_the_database_ages() -> None:
    request = domain_pb2.UpsertDomainRequest(domain="apps", ttl=0)
    with active_bbs() as bbs:
        assert bbs.committer.lag() == 0

        with bbs.database.lock:
            bbs.call(lambda: bbs.service.registry.upsert_domain(request))
            first = bbs.committer.lag()
            until(lambda: bbs.committer.lag() > first >= 0)

        until(lambda: bbs.committer.lag() == 0)
