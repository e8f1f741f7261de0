"""contract/lifecycle.md section 12: what each request is checked for, and in which order, asked as callers ask."""

from typing import Any

import pytest
from google.protobuf.message import Message

from diego.models import ErrorType
from diego.runtime.api import Api, Call
from diego.wire import (
    actual_lrp_requests_pb2,
    desired_lrp_requests_pb2,
    domain_pb2,
    error_pb2,
    evacuation_pb2,
    task_requests_pb2,
)
from support.active_bbs import ActiveBbs
from support.records import a_definition, a_desired_message, a_start_request, an_instance_key, an_lrp_key

lrps: Any = actual_lrp_requests_pb2
desired: Any = desired_lrp_requests_pb2
leaving: Any = evacuation_pb2
tasks: Any = task_requests_pb2
"""Any: protobuf takes a dict for a message, its stubs do not."""

NO_KEY = {"index": -1}
NO_INSTANCE: dict[str, str] = {}
KEY_FINDINGS = "process_guid, index, domain"
INSTANCE_FINDINGS = "cell_id, instance_guid"


def error_of(bbs: ActiveBbs, api: Api, path: str, request: Message) -> error_pb2.Error:
    """The error in the answer, which is field 1 of every kind of it; empty without one."""
    handler = api.calls[b"POST", f"/v1/{path}".encode()].handler
    answer = bbs.ask(lambda: handler(Call(request.SerializeToString())))
    return leaving.RemoveEvacuatingActualLRPResponse.FromString(answer).error  # type: ignore[no-any-return]


def named(findings: str) -> str:
    return ", ".join(f"Invalid field: {name}" for name in findings.split(", "))


class TestWhatIsRefused:
    def refused(self, bbs: ActiveBbs, api: Api, path: str, request: Message) -> str:
        error = error_of(bbs, api, path, request)
        assert ErrorType(error.type) is ErrorType.INVALID_REQUEST
        return error.message

    def test_upsert_of_a_domain(self, bbs: ActiveBbs, api: Api) -> None:
        assert self.refused(bbs, api, "domains/upsert", domain_pb2.UpsertDomainRequest()) == named("domain")

    @pytest.mark.parametrize(
        ("path", "request_type"),
        [
            ("desired_lrps/get_by_process_guid.r3", desired.DesiredLRPByProcessGuidRequest),
            ("desired_lrp_scheduling_infos/get_by_process_guid", desired.DesiredLRPByProcessGuidRequest),
            ("desired_lrp/remove", desired.RemoveDesiredLRPRequest),
        ],
    )
    def test_a_desired_lrp_by_its_guid(
        self, bbs: ActiveBbs, api: Api, path: str, request_type: type[Message]
    ) -> None:
        assert self.refused(bbs, api, path, request_type()) == named("process_guid")

    @pytest.mark.parametrize(
        ("path", "request_type"),
        [
            ("tasks/get_by_task_guid.r3", tasks.TaskByGuidRequest),
            ("tasks/cancel", tasks.TaskGuidRequest),
            ("tasks/resolving", tasks.TaskGuidRequest),
            ("tasks/delete", tasks.TaskGuidRequest),
        ],
    )
    def test_a_task_by_its_guid(
        self, bbs: ActiveBbs, api: Api, path: str, request_type: type[Message]
    ) -> None:
        assert self.refused(bbs, api, path, request_type()) == named("task_guid")

    def test_instances_of_no_process(self, bbs: ActiveBbs, api: Api) -> None:
        found = self.refused(
            bbs, api, "actual_lrps/list_by_process_guids", lrps.ActualLRPsByProcessGuidsRequest()
        )

        assert found == "process_guids must not be empty"

    def test_claim(self, bbs: ActiveBbs, api: Api) -> None:
        path, request = "actual_lrps/claim", lrps.ClaimActualLRPRequest

        assert self.refused(bbs, api, path, request()) == named("process_guid, actual_lrp_instance_key")
        assert self.refused(bbs, api, path, request(actual_lrp_instance_key=NO_INSTANCE)) == named(
            f"process_guid, {INSTANCE_FINDINGS}"
        )

    @pytest.mark.parametrize(
        ("path", "request_type"),
        [
            ("actual_lrps/start.r1", lrps.StartActualLRPRequest),
            ("actual_lrps/evacuate_running.r1", leaving.EvacuateRunningActualLRPRequest),
        ],
    )
    def test_start_and_evacuate_running(self, bbs: ActiveBbs, api: Api, path: str, request_type: Any) -> None:
        empty = request_type(
            actual_lrp_key=NO_KEY, actual_lrp_instance_key=NO_INSTANCE, actual_lrp_net_info={}
        )

        assert self.refused(bbs, api, path, request_type()) == named(
            "actual_lrp_key, actual_lrp_instance_key, actual_lrp_net_info"
        )
        assert self.refused(bbs, api, path, empty) == named(f"{KEY_FINDINGS}, {INSTANCE_FINDINGS}, address")

    @pytest.mark.parametrize(
        ("path", "request_type"),
        [
            ("actual_lrps/crash", lrps.CrashActualLRPRequest),
            ("actual_lrps/remove_evacuating", leaving.RemoveEvacuatingActualLRPRequest),
            ("actual_lrps/evacuate_claimed", leaving.EvacuateClaimedActualLRPRequest),
            ("actual_lrps/evacuate_stopped", leaving.EvacuateStoppedActualLRPRequest),
        ],
    )
    def test_crash_and_the_other_ends_of_an_instance(
        self, bbs: ActiveBbs, api: Api, path: str, request_type: Any
    ) -> None:
        empty = request_type(actual_lrp_key=NO_KEY, actual_lrp_instance_key=NO_INSTANCE)

        assert self.refused(bbs, api, path, request_type()) == named(
            "actual_lrp_key, actual_lrp_instance_key"
        )
        assert self.refused(bbs, api, path, empty) == named(f"{KEY_FINDINGS}, {INSTANCE_FINDINGS}")

    def test_evacuate_crashed(self, bbs: ActiveBbs, api: Api) -> None:
        path, request = "actual_lrps/evacuate_crashed", leaving.EvacuateCrashedActualLRPRequest

        assert self.refused(bbs, api, path, request()) == named(
            "actual_lrp_key, actual_lrp_instance_key, error_message"
        )

    def test_fail(self, bbs: ActiveBbs, api: Api) -> None:
        path, request = "actual_lrps/fail", lrps.FailActualLRPRequest

        assert self.refused(bbs, api, path, request()) == named("actual_lrp_key, error_message")
        assert self.refused(bbs, api, path, request(actual_lrp_key=NO_KEY)) == named(
            f"{KEY_FINDINGS}, error_message"
        )

    def test_retire(self, bbs: ActiveBbs, api: Api) -> None:
        path, request = "actual_lrps/retire", lrps.RetireActualLRPRequest

        assert self.refused(bbs, api, path, request()) == named("actual_lrp_key")
        assert self.refused(bbs, api, path, request(actual_lrp_key=NO_KEY)) == named(KEY_FINDINGS)

    def test_remove(self, bbs: ActiveBbs, api: Api) -> None:
        found = self.refused(bbs, api, "actual_lrps/remove", lrps.RemoveActualLRPRequest(index=-1))

        assert found == named("process_guid, index")

    def test_desire_of_a_task(self, bbs: ActiveBbs, api: Api) -> None:
        path, request = "tasks/desire.r2", tasks.DesireTaskRequest

        assert self.refused(bbs, api, path, request(task_guid="a b")) == named(
            "task_guid, domain, task_definition"
        )
        assert self.refused(bbs, api, path, request(task_guid="a b", task_definition={})) == (
            f"{named('task_guid, domain, rootfs')}, invalid action type"
        )

    @pytest.mark.parametrize(
        ("path", "request_type", "second"),
        [
            ("tasks/start", tasks.StartTaskRequest, "cell_id"),
            ("tasks/complete", tasks.CompleteTaskRequest, "cell_id"),
            ("tasks/reject", tasks.RejectTaskRequest, "failure_reason"),
            ("tasks/fail", tasks.FailTaskRequest, "failure_reason"),
        ],
    )
    def test_what_becomes_of_a_task(
        self, bbs: ActiveBbs, api: Api, path: str, request_type: Any, second: str
    ) -> None:
        assert self.refused(bbs, api, path, request_type(task_guid="a b")) == named(f"task_guid, {second}")

    def test_desire_of_an_lrp(self, bbs: ActiveBbs, api: Api) -> None:
        path, request = "desired_lrp/desire.r2", desired.DesireLRPRequest

        assert self.refused(bbs, api, path, request()) == named("desired_lrp")
        wrong = request(desired_lrp=a_desired_message(domain="", memory_mb=-1))
        assert self.refused(bbs, api, path, wrong) == named("domain, memory_mb, domain")

    def test_update_of_an_lrp(self, bbs: ActiveBbs, api: Api) -> None:
        wrong = desired.UpdateDesiredLRPRequest(update={"instances": -1})

        assert self.refused(bbs, api, "desired_lrp/update", wrong) == named("process_guid, instances")


class TestWhatIsNotChecked:
    def test_lists_have_nothing_to_check(self, bbs: ActiveBbs, api: Api) -> None:
        for path, request in (
            ("desired_lrps/list.r3", desired.DesiredLRPsRequest()),
            ("tasks/list.r3", tasks.TasksRequest()),
            ("actual_lrps/list", lrps.ActualLRPsRequest()),
        ):
            assert not error_of(bbs, api, path, request).message

    def test_a_claim_does_not_look_at_the_index(self, bbs: ActiveBbs, api: Api) -> None:
        request = lrps.ClaimActualLRPRequest(
            process_guid="process", index=-1, actual_lrp_instance_key=an_instance_key()
        )

        assert (
            ErrorType(error_of(bbs, api, "actual_lrps/claim", request).type) is ErrorType.RESOURCE_NOT_FOUND
        )

    def test_a_crash_needs_no_message(self, bbs: ActiveBbs, api: Api) -> None:
        request = lrps.CrashActualLRPRequest(
            actual_lrp_key=an_lrp_key(), actual_lrp_instance_key=an_instance_key()
        )

        assert (
            ErrorType(error_of(bbs, api, "actual_lrps/crash", request).type) is ErrorType.RESOURCE_NOT_FOUND
        )

    def test_what_is_valid_is_taken(self, bbs: ActiveBbs, api: Api) -> None:
        for path, request in (
            ("domains/upsert", domain_pb2.UpsertDomainRequest(domain="domain")),
            ("desired_lrp/desire.r2", desired.DesireLRPRequest(desired_lrp=a_desired_message("valid"))),
            ("actual_lrps/start.r1", a_start_request()),
            (
                "tasks/desire.r2",
                tasks.DesireTaskRequest(task_guid="t", domain="d", task_definition=a_definition()),
            ),
            ("actual_lrps/remove", lrps.RemoveActualLRPRequest(process_guid="process")),
        ):
            assert not error_of(bbs, api, path, request).message
