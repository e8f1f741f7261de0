"""Actual LRPs: lists, groups, what cells report, evacuation."""

from functools import partial

from diego.bbs.service import ActualLRPService
from diego.bbs.views.routes import Routes
from diego.bbs.wire_answers import evacuation_answer
from diego.models import BbsError
from diego.wire import actual_lrp_requests_pb2 as asked
from diego.wire import evacuation_pb2 as evacuating


def add_to(routes: Routes, lrps: ActualLRPService) -> None:
    routes.add("/v1/actual_lrps/list", asked.ActualLRPsRequest, lrps.list)
    routes.add(
        "/v1/actual_lrps/list_by_process_guids",
        asked.ActualLRPsByProcessGuidsRequest,
        lrps.list_by_process_guids,
    )
    routes.add("/v1/actual_lrp_groups/list", asked.ActualLRPGroupsRequest, lrps.groups)
    routes.add(
        "/v1/actual_lrp_groups/list_by_process_guid",
        asked.ActualLRPGroupsByProcessGuidRequest,
        lrps.groups_by_process_guid,
    )
    routes.add(
        "/v1/actual_lrp_groups/get_by_process_guid_and_index",
        asked.ActualLRPGroupByProcessGuidAndIndexRequest,
        lrps.group,
    )

    routes.add("/v1/actual_lrps/claim", asked.ClaimActualLRPRequest, lrps.claim)
    routes.add("/v1/actual_lrps/start.r1", asked.StartActualLRPRequest, lrps.start)
    routes.add("/v1/actual_lrps/start", asked.StartActualLRPRequest, partial(lrps.start, old=True))
    routes.add("/v1/actual_lrps/crash", asked.CrashActualLRPRequest, lrps.crash)
    routes.add("/v1/actual_lrps/fail", asked.FailActualLRPRequest, lrps.fail)
    routes.add("/v1/actual_lrps/remove", asked.RemoveActualLRPRequest, lrps.remove)
    routes.add_traced(
        "/v1/actual_lrps/retire",
        asked.RetireActualLRPRequest,
        lambda message, request_id: lrps.retire(message, request_id=request_id),
    )

    routes.add(
        "/v1/actual_lrps/remove_evacuating",
        evacuating.RemoveEvacuatingActualLRPRequest,
        lrps.remove_evacuating,
    )
    routes.add_answering(
        "/v1/actual_lrps/evacuate_claimed",
        evacuating.EvacuateClaimedActualLRPRequest,
        lambda message, _: lrps.evacuate_claimed(message),
        _keep,
    )
    routes.add_answering(
        "/v1/actual_lrps/evacuate_crashed",
        evacuating.EvacuateCrashedActualLRPRequest,
        lambda message, _: lrps.evacuate_crashed(message),
        _drop,
    )
    routes.add_answering(
        "/v1/actual_lrps/evacuate_stopped",
        evacuating.EvacuateStoppedActualLRPRequest,
        lambda message, _: lrps.evacuate_stopped(message),
        _drop,
    )
    for path, old in (("evacuate_running.r1", False), ("evacuate_running", True)):
        routes.add_answering(
            f"/v1/actual_lrps/{path}",
            evacuating.EvacuateRunningActualLRPRequest,
            lambda message, _, old=old: lrps.evacuate_running(message, old=old),  # type: ignore[misc]  # bound
            _keep,
        )


def _keep(error: BbsError) -> bytes:
    """The cell keeps the container when its question cannot be understood."""
    return evacuation_answer(keep_container=True, error=error)


def _drop(error: BbsError) -> bytes:
    """The cell need not keep what does not run."""
    return evacuation_answer(keep_container=False, error=error)
