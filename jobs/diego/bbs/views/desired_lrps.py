"""Desired LRPs: lists in all their forms, and what somebody wants."""

from functools import partial

from diego.bbs.service import DesiredLRPService
from diego.bbs.views.routes import Routes
from diego.wire import desired_lrp_requests_pb2 as asked


def add_to(routes: Routes, lrps: DesiredLRPService) -> None:
    routes.add("/v1/desired_lrps/list.r3", asked.DesiredLRPsRequest, lrps.list)
    routes.add("/v1/desired_lrps/list.r2", asked.DesiredLRPsRequest, partial(lrps.list, layers=False))
    routes.add("/v1/desired_lrps/get_by_process_guid.r3", asked.DesiredLRPByProcessGuidRequest, lrps.get)
    routes.add(
        "/v1/desired_lrps/get_by_process_guid.r2",
        asked.DesiredLRPByProcessGuidRequest,
        partial(lrps.get, layers=False),
    )
    routes.add("/v1/desired_lrp_scheduling_infos/list", asked.DesiredLRPsRequest, lrps.scheduling_infos)
    routes.add(
        "/v1/desired_lrp_scheduling_infos/get_by_process_guid",
        asked.DesiredLRPByProcessGuidRequest,
        lrps.scheduling_info,
    )
    routes.add("/v1/desired_lrp_routing_infos/list", asked.DesiredLRPsRequest, lrps.routing_infos)
    routes.add_traced(
        "/v1/desired_lrp/desire.r2",
        asked.DesireLRPRequest,
        lambda message, request_id: lrps.desire(message, request_id=request_id),
    )
    routes.add_traced(
        "/v1/desired_lrp/update",
        asked.UpdateDesiredLRPRequest,
        lambda message, request_id: lrps.update(message, request_id=request_id),
    )
    routes.add_traced(
        "/v1/desired_lrp/remove",
        asked.RemoveDesiredLRPRequest,
        lambda message, request_id: lrps.remove(message, request_id=request_id),
    )
