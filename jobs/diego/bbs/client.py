"""How a program calls a BBS, this one or the original: typed calls, retries, and event streams as iterators.

    from diego.bbs.client import BbsClient
    from diego.models.errors import BbsError, ErrorType

    bbs = BbsClient(
        "https://bbs.service.cf.internal:8889",
        ca_file="ca.crt", cert_file="client.crt", key_file="client.key",
    )
    bbs.upsert_domain("my-domain", ttl=120)
    for lrp in bbs.actual_lrps(domain="my-domain"):
        print(lrp.actual_lrp_key.process_guid, lrp.state)
    try:
        bbs.remove_desired_lrp("no-such-guid")
    except BbsError as error:
        assert error.type is ErrorType.RESOURCE_NOT_FOUND

    with bbs.lrp_instance_events() as events:      # subscribed when this returns: list afterwards, and miss nothing
        for event in events:
            print(event.name, event.message)

Arguments and results are the messages of `diego.wire`. What the BBS refuses is raised as a `BbsError` with the
contract's type. What never became an answer is raised as `Unreachable`, which is a `BbsError` too.

A call is tried `attempts` times with `pause` seconds between, on failures of the transport and on answers that are
no protobuf, as the original's client does. So **a call can arrive twice**, and a repeated create then says
`ResourceExists`. An error inside an answer is final. Every address of the name is tried in turn within one attempt
(a standby refuses connections), and the last good one is tried first the next time.

One client serves any number of threads. It follows contract/bbs-api.md, sections 1, 3 and 5.
"""

import base64
import binascii
import contextlib
import json
import logging
import ssl
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlencode

from google.protobuf.message import DecodeError, Message

from diego.models.errors import BbsError, ErrorType
from diego.runtime.http import ConnectionFailed, HttpClient, Response, Stream
from diego.runtime.tls import client_context
from diego.wire.actual_lrp_pb2 import (
    ActualLRP,
    ActualLRPGroup,
    ActualLRPInstanceKey,
    ActualLRPKey,
)
from diego.wire.actual_lrp_requests_pb2 import (
    ActualLRPGroupByProcessGuidAndIndexRequest,
    ActualLRPGroupResponse,
    ActualLRPGroupsByProcessGuidRequest,
    ActualLRPGroupsRequest,
    ActualLRPGroupsResponse,
    ActualLRPLifecycleResponse,
    ActualLRPsByProcessGuidsRequest,
    ActualLRPsByProcessGuidsResponse,
    ActualLRPsRequest,
    ActualLRPsResponse,
    ClaimActualLRPRequest,
    CrashActualLRPRequest,
    FailActualLRPRequest,
    RemoveActualLRPRequest,
    RetireActualLRPRequest,
    StartActualLRPRequest,
)
from diego.wire.cells_pb2 import CellPresence, CellsResponse
from diego.wire.desired_lrp_pb2 import DesiredLRP, DesiredLRPSchedulingInfo, DesiredLRPUpdate
from diego.wire.desired_lrp_requests_pb2 import (
    DesiredLRPByProcessGuidRequest,
    DesiredLRPLifecycleResponse,
    DesiredLRPResponse,
    DesiredLRPSchedulingInfoByProcessGuidResponse,
    DesiredLRPSchedulingInfosResponse,
    DesiredLRPsRequest,
    DesiredLRPsResponse,
    DesireLRPRequest,
    RemoveDesiredLRPRequest,
    UpdateDesiredLRPRequest,
)
from diego.wire.domain_pb2 import DomainsResponse, UpsertDomainRequest, UpsertDomainResponse
from diego.wire.error_pb2 import Error
from diego.wire.evacuation_pb2 import (
    EvacuateClaimedActualLRPRequest,
    EvacuateCrashedActualLRPRequest,
    EvacuateRunningActualLRPRequest,
    EvacuateStoppedActualLRPRequest,
    EvacuationResponse,
    RemoveEvacuatingActualLRPRequest,
    RemoveEvacuatingActualLRPResponse,
)
from diego.wire.events_pb2 import (
    ActualLRPChangedEvent,
    ActualLRPCrashedEvent,
    ActualLRPCreatedEvent,
    ActualLRPInstanceChangedEvent,
    ActualLRPInstanceCreatedEvent,
    ActualLRPInstanceRemovedEvent,
    ActualLRPRemovedEvent,
    DesiredLRPChangedEvent,
    DesiredLRPCreatedEvent,
    DesiredLRPRemovedEvent,
    EventsByCellId,
    TaskChangedEvent,
    TaskCreatedEvent,
    TaskRemovedEvent,
)
from diego.wire.ping_pb2 import PingResponse
from diego.wire.task_pb2 import Task, TaskDefinition
from diego.wire.task_requests_pb2 import (
    CompleteTaskRequest,
    DesireTaskRequest,
    RejectTaskRequest,
    StartTaskRequest,
    StartTaskResponse,
    TaskByGuidRequest,
    TaskGuidRequest,
    TaskLifecycleResponse,
    TaskResponse,
    TasksRequest,
    TasksResponse,
)

PROTOBUF = "application/x-protobuf"
REQUEST_ID_HEADER = "X-Vcap-Request-Id"

EVENT_MESSAGES: dict[str, type[Message]] = {
    "desired_lrp_created": DesiredLRPCreatedEvent,
    "desired_lrp_changed": DesiredLRPChangedEvent,
    "desired_lrp_removed": DesiredLRPRemovedEvent,
    "actual_lrp_created": ActualLRPCreatedEvent,
    "actual_lrp_changed": ActualLRPChangedEvent,
    "actual_lrp_removed": ActualLRPRemovedEvent,
    "actual_lrp_crashed": ActualLRPCrashedEvent,
    "actual_lrp_instance_created": ActualLRPInstanceCreatedEvent,
    "actual_lrp_instance_changed": ActualLRPInstanceChangedEvent,
    "actual_lrp_instance_removed": ActualLRPInstanceRemovedEvent,
    "task_created": TaskCreatedEvent,
    "task_changed": TaskChangedEvent,
    "task_removed": TaskRemovedEvent,
}
"""The message of each event type, contract/messages.md section 5."""

STREAM_CONNECT_ATTEMPTS = 3
STREAM_PAUSE = 1.0
STREAM_STATUSES_TO_RETRY = frozenset({500, 502, 503, 504})
LONGEST_EVENT = 64 << 20
"""Bytes of one event's text; a stream that sends more without an end of line is broken off."""

log = logging.getLogger(__name__)
M = TypeVar("M", bound=Message)


class Unreachable(BbsError):
    """No address of the BBS gave an answer; whether it took the request is not known."""


class EndpointNotFound(BbsError):
    """The server does not know the route: it is older than the client, or it is no BBS."""


class EvacuationRefused(BbsError):
    """An evacuation call failed. `keep_container` says what the BBS wants with the container meanwhile."""

    def __init__(self, error_type: ErrorType, message: str, *, keep_container: bool) -> None:
        super().__init__(error_type, message)
        self.keep_container = keep_container


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream: its type name ("desired_lrp_created") and its message."""

    name: str
    message: Message


class BbsClient:
    """Calls one BBS. Safe for many threads; `close` gives the idle connections back.

    Args:
        tls: instead of the three files; without both the BBS is asked in plain HTTP.
        timeout: seconds for the whole of one request, answer included.
        attempts: how often a call is tried before it is `Unreachable`.
        pause: seconds after a failed attempt.
    """

    def __init__(
        self,
        url: str,
        *,
        ca_file: str | Path = "",
        cert_file: str | Path = "",
        key_file: str | Path = "",
        tls: ssl.SSLContext | None = None,
        timeout: float = 10.0,
        attempts: int = 3,
        pause: float = 0.5,
    ) -> None:
        if tls is None and cert_file:
            tls = client_context(str(cert_file), str(key_file), str(ca_file))
        self.url = url
        self._http = HttpClient(url, tls=tls, timeout=timeout)
        self._attempts = max(1, attempts)
        self._pause = pause

    def close(self) -> None:
        """Close the idle connections. Event streams are closed by themselves."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Ping, domains, cells

    def ping(self, *, request_id: str = "") -> bool:
        """Whether the active BBS says that it is available."""
        return self._ask("/v1/ping", None, PingResponse, request_id).available

    def domains(self, *, request_id: str = "") -> list[str]:
        """The names of the fresh domains."""
        return list(self._call("/v1/domains/list", None, DomainsResponse, request_id).domains)

    def upsert_domain(self, domain: str, ttl: int, *, request_id: str = "") -> None:
        """Make or keep a domain fresh for `ttl` seconds; 0 means for ever."""
        request = UpsertDomainRequest(domain=domain, ttl=ttl)
        self._call("/v1/domains/upsert", request, UpsertDomainResponse, request_id)

    def cells(self, *, request_id: str = "") -> list[CellPresence]:
        """The cells that are present in Locket."""
        return list(self._call("/v1/cells/list.r1", None, CellsResponse, request_id).cells)

    # DesiredLRPs

    def desired_lrps(
        self,
        *,
        domain: str = "",
        process_guids: Iterable[str] = (),
        app_guids: Iterable[str] = (),
        request_id: str = "",
    ) -> list[DesiredLRP]:
        """The DesiredLRPs that meet every filter given; an app guid matches the start of a process guid."""
        request = DesiredLRPsRequest(domain=domain, process_guids=process_guids, app_guids=app_guids)
        return list(
            self._call("/v1/desired_lrps/list.r3", request, DesiredLRPsResponse, request_id).desired_lrps
        )

    def desired_lrp(self, process_guid: str, *, request_id: str = "") -> DesiredLRP:
        """One DesiredLRP. Raises BbsError ResourceNotFound."""
        request = DesiredLRPByProcessGuidRequest(process_guid=process_guid)
        return self._call(
            "/v1/desired_lrps/get_by_process_guid.r3", request, DesiredLRPResponse, request_id
        ).desired_lrp

    def desired_lrp_scheduling_infos(
        self, *, domain: str = "", process_guids: Iterable[str] = (), request_id: str = ""
    ) -> list[DesiredLRPSchedulingInfo]:
        """What placing needs to know of the DesiredLRPs, without what they run."""
        request = DesiredLRPsRequest(domain=domain, process_guids=process_guids)
        path = "/v1/desired_lrp_scheduling_infos/list"
        response = self._call(path, request, DesiredLRPSchedulingInfosResponse, request_id)
        return list(response.desired_lrp_scheduling_infos)

    def desired_lrp_scheduling_info(
        self, process_guid: str, *, request_id: str = ""
    ) -> DesiredLRPSchedulingInfo:
        """The scheduling info of one DesiredLRP. Raises BbsError ResourceNotFound."""
        request = DesiredLRPByProcessGuidRequest(process_guid=process_guid)
        path = "/v1/desired_lrp_scheduling_infos/get_by_process_guid"
        response = self._call(path, request, DesiredLRPSchedulingInfoByProcessGuidResponse, request_id)
        return response.desired_lrp_scheduling_info

    def desired_lrp_routing_infos(
        self, process_guids: Iterable[str] = (), *, request_id: str = ""
    ) -> list[DesiredLRP]:
        """DesiredLRPs with only what routing needs. A BBS too old for it is asked for the whole ones."""
        request = DesiredLRPsRequest(process_guids=process_guids)
        paths = ("/v1/desired_lrp_routing_infos/list", "/v1/desired_lrps/list.r3")
        return list(self._call(paths, request, DesiredLRPsResponse, request_id).desired_lrps)

    def desire_lrp(self, desired_lrp: DesiredLRP, *, request_id: str = "") -> None:
        """Ask for an LRP. Raises BbsError InvalidRequest, ResourceExists."""
        request = DesireLRPRequest(desired_lrp=desired_lrp)
        self._call("/v1/desired_lrp/desire.r2", request, DesiredLRPLifecycleResponse, request_id)

    def update_desired_lrp(
        self, process_guid: str, update: DesiredLRPUpdate, *, request_id: str = ""
    ) -> None:
        """Change what may change. Raises BbsError InvalidRequest, ResourceNotFound."""
        request = UpdateDesiredLRPRequest(process_guid=process_guid, update=update)
        self._call("/v1/desired_lrp/update", request, DesiredLRPLifecycleResponse, request_id)

    def remove_desired_lrp(self, process_guid: str, *, request_id: str = "") -> None:
        """Ask for an LRP no longer; its instances are stopped. Raises BbsError ResourceNotFound."""
        request = RemoveDesiredLRPRequest(process_guid=process_guid)
        self._call("/v1/desired_lrp/remove", request, DesiredLRPLifecycleResponse, request_id)

    # ActualLRPs

    def actual_lrps(
        self,
        *,
        domain: str = "",
        cell_id: str = "",
        process_guid: str = "",
        index: int | None = None,
        request_id: str = "",
    ) -> list[ActualLRP]:
        """The instances, of every presence, that meet each filter given. Index 0 is a filter, None is none."""
        request = ActualLRPsRequest(domain=domain, cell_id=cell_id, process_guid=process_guid)
        if index is not None:
            request.index = index
        return list(self._call("/v1/actual_lrps/list", request, ActualLRPsResponse, request_id).actual_lrps)

    def actual_lrps_by_process_guids(
        self, process_guids: Iterable[str], *, request_id: str = ""
    ) -> list[ActualLRP]:
        """The instances of any of the processes. Raises BbsError InvalidRequest when none is named."""
        request = ActualLRPsByProcessGuidsRequest(process_guids=process_guids)
        path = "/v1/actual_lrps/list_by_process_guids"
        return list(self._call(path, request, ActualLRPsByProcessGuidsResponse, request_id).actual_lrps)

    def actual_lrp_groups(
        self, *, domain: str = "", cell_id: str = "", request_id: str = ""
    ) -> list[ActualLRPGroup]:
        """The deprecated form of `actual_lrps`: the rows of one key side by side."""
        request = ActualLRPGroupsRequest(domain=domain, cell_id=cell_id)
        path = "/v1/actual_lrp_groups/list"
        return list(self._call(path, request, ActualLRPGroupsResponse, request_id).actual_lrp_groups)

    def actual_lrp_groups_by_process_guid(
        self, process_guid: str, *, request_id: str = ""
    ) -> list[ActualLRPGroup]:
        """The groups of one process; deprecated."""
        request = ActualLRPGroupsByProcessGuidRequest(process_guid=process_guid)
        path = "/v1/actual_lrp_groups/list_by_process_guid"
        return list(self._call(path, request, ActualLRPGroupsResponse, request_id).actual_lrp_groups)

    def actual_lrp_group(self, process_guid: str, index: int, *, request_id: str = "") -> ActualLRPGroup:
        """One group; deprecated. Raises BbsError ResourceNotFound."""
        request = ActualLRPGroupByProcessGuidAndIndexRequest(process_guid=process_guid, index=index)
        path = "/v1/actual_lrp_groups/get_by_process_guid_and_index"
        return self._call(path, request, ActualLRPGroupResponse, request_id).actual_lrp_group

    def claim_actual_lrp(
        self, process_guid: str, index: int, instance_key: ActualLRPInstanceKey, *, request_id: str = ""
    ) -> None:
        """A cell has room for an instance. Raises BbsError ResourceNotFound, ActualLRPCannotBeClaimed."""
        request = ClaimActualLRPRequest(
            process_guid=process_guid, index=index, actual_lrp_instance_key=instance_key
        )
        self._call("/v1/actual_lrps/claim", request, ActualLRPLifecycleResponse, request_id)

    def start_actual_lrp(self, request: StartActualLRPRequest, *, request_id: str = "") -> None:
        """An instance runs; also a cell's heartbeat for it. Raises BbsError ActualLRPCannotBeStarted.

        An older BBS is asked in the older way, in which internal routes and metric tags are lost.
        """
        paths = ("/v1/actual_lrps/start.r1", "/v1/actual_lrps/start")
        self._call(paths, request, ActualLRPLifecycleResponse, request_id)

    def crash_actual_lrp(
        self,
        key: ActualLRPKey,
        instance_key: ActualLRPInstanceKey,
        error_message: str,
        *,
        request_id: str = "",
    ) -> None:
        """An instance died. Raises BbsError ResourceNotFound, ActualLRPCannotBeCrashed."""
        request = CrashActualLRPRequest(
            actual_lrp_key=key, actual_lrp_instance_key=instance_key, error_message=error_message
        )
        self._call("/v1/actual_lrps/crash", request, ActualLRPLifecycleResponse, request_id)

    def fail_actual_lrp(self, key: ActualLRPKey, error_message: str, *, request_id: str = "") -> None:
        """An instance could not be placed. Raises BbsError ActualLRPCannotBeFailed."""
        request = FailActualLRPRequest(actual_lrp_key=key, error_message=error_message)
        self._call("/v1/actual_lrps/fail", request, ActualLRPLifecycleResponse, request_id)

    def remove_actual_lrp(
        self,
        process_guid: str,
        index: int,
        instance_key: ActualLRPInstanceKey | None = None,
        *,
        request_id: str = "",
    ) -> None:
        """Forget an instance; only this one when its key is given. Raises BbsError ResourceNotFound."""
        request = RemoveActualLRPRequest(
            process_guid=process_guid, index=index, actual_lrp_instance_key=instance_key
        )
        self._call("/v1/actual_lrps/remove", request, ActualLRPLifecycleResponse, request_id)

    def retire_actual_lrp(self, key: ActualLRPKey, *, request_id: str = "") -> None:
        """Stop one instance; convergence replaces it while it is wanted. Raises BbsError ResourceNotFound."""
        request = RetireActualLRPRequest(actual_lrp_key=key)
        self._call("/v1/actual_lrps/retire", request, ActualLRPLifecycleResponse, request_id)

    # Evacuation: each answer says whether the cell must keep the container

    def evacuate_claimed_actual_lrp(
        self, key: ActualLRPKey, instance_key: ActualLRPInstanceKey, *, request_id: str = ""
    ) -> bool:
        """An instance that had not started leaves its cell. Raises EvacuationRefused."""
        request = EvacuateClaimedActualLRPRequest(actual_lrp_key=key, actual_lrp_instance_key=instance_key)
        return self._evacuate("/v1/actual_lrps/evacuate_claimed", request, request_id)

    def evacuate_crashed_actual_lrp(
        self,
        key: ActualLRPKey,
        instance_key: ActualLRPInstanceKey,
        error_message: str,
        *,
        request_id: str = "",
    ) -> bool:
        """An instance died on a cell that is being emptied. Raises EvacuationRefused."""
        request = EvacuateCrashedActualLRPRequest(
            actual_lrp_key=key, actual_lrp_instance_key=instance_key, error_message=error_message
        )
        return self._evacuate("/v1/actual_lrps/evacuate_crashed", request, request_id)

    def evacuate_stopped_actual_lrp(
        self, key: ActualLRPKey, instance_key: ActualLRPInstanceKey, *, request_id: str = ""
    ) -> bool:
        """An instance was stopped on a cell that is being emptied. Raises EvacuationRefused."""
        request = EvacuateStoppedActualLRPRequest(actual_lrp_key=key, actual_lrp_instance_key=instance_key)
        return self._evacuate("/v1/actual_lrps/evacuate_stopped", request, request_id)

    def evacuate_running_actual_lrp(
        self, request: EvacuateRunningActualLRPRequest, *, request_id: str = ""
    ) -> bool:
        """A running instance waits for its replacement: True while it must go on. Raises EvacuationRefused."""
        paths = ("/v1/actual_lrps/evacuate_running.r1", "/v1/actual_lrps/evacuate_running")
        return self._evacuate(paths, request, request_id)

    def remove_evacuating_actual_lrp(
        self, key: ActualLRPKey, instance_key: ActualLRPInstanceKey, *, request_id: str = ""
    ) -> None:
        """An evacuating instance is gone. Raises BbsError ResourceNotFound."""
        request = RemoveEvacuatingActualLRPRequest(actual_lrp_key=key, actual_lrp_instance_key=instance_key)
        path = "/v1/actual_lrps/remove_evacuating"
        self._call(path, request, RemoveEvacuatingActualLRPResponse, request_id)

    # Tasks

    def tasks(self, *, domain: str = "", cell_id: str = "", request_id: str = "") -> list[Task]:
        """The tasks that meet each filter given."""
        request = TasksRequest(domain=domain, cell_id=cell_id)
        return list(self._call("/v1/tasks/list.r3", request, TasksResponse, request_id).tasks)

    def task(self, task_guid: str, *, request_id: str = "") -> Task:
        """One task. Raises BbsError ResourceNotFound."""
        request = TaskByGuidRequest(task_guid=task_guid)
        return self._call("/v1/tasks/get_by_task_guid.r3", request, TaskResponse, request_id).task

    def desire_task(
        self, task_guid: str, domain: str, definition: TaskDefinition, *, request_id: str = ""
    ) -> None:
        """Ask for a task to run once. Raises BbsError InvalidRequest, ResourceExists."""
        request = DesireTaskRequest(task_guid=task_guid, domain=domain, task_definition=definition)
        self._call("/v1/tasks/desire.r2", request, TaskLifecycleResponse, request_id)

    def start_task(self, task_guid: str, cell_id: str, *, request_id: str = "") -> bool:
        """Whether the cell must run the task now: True for exactly one call.

        Raises BbsError ResourceNotFound, InvalidStateTransition.
        """
        request = StartTaskRequest(task_guid=task_guid, cell_id=cell_id)
        return self._call("/v1/tasks/start", request, StartTaskResponse, request_id).should_start

    def cancel_task(self, task_guid: str, *, request_id: str = "") -> None:
        """End a task as failed. Raises BbsError ResourceNotFound, InvalidStateTransition."""
        request = TaskGuidRequest(task_guid=task_guid)
        self._call("/v1/tasks/cancel", request, TaskLifecycleResponse, request_id)

    def reject_task(self, task_guid: str, reason: str, *, request_id: str = "") -> None:
        """A task could not be run; it is tried again until its rejections are used up."""
        request = RejectTaskRequest(task_guid=task_guid, rejection_reason=reason)
        self._call("/v1/tasks/reject", request, TaskLifecycleResponse, request_id)

    def complete_task(
        self,
        task_guid: str,
        cell_id: str,
        *,
        failed: bool,
        failure_reason: str = "",
        result: str = "",
        request_id: str = "",
    ) -> None:
        """A cell's task is done.

        Raises BbsError ResourceNotFound, RunningOnDifferentCell, InvalidStateTransition.
        """
        request = CompleteTaskRequest(
            task_guid=task_guid,
            cell_id=cell_id,
            failed=failed,
            failure_reason=failure_reason,
            result=result,
        )
        self._call("/v1/tasks/complete", request, TaskLifecycleResponse, request_id)

    def resolving_task(self, task_guid: str, *, request_id: str = "") -> None:
        """Take a completed task's result. Raises BbsError ResourceNotFound, InvalidStateTransition."""
        request = TaskGuidRequest(task_guid=task_guid)
        self._call("/v1/tasks/resolving", request, TaskLifecycleResponse, request_id)

    def delete_task(self, task_guid: str, *, request_id: str = "") -> None:
        """Forget a task that is resolving. Raises BbsError ResourceNotFound, InvalidStateTransition."""
        request = TaskGuidRequest(task_guid=task_guid)
        self._call("/v1/tasks/delete", request, TaskLifecycleResponse, request_id)

    # History: questions of ours, that an original BBS does not know

    def history(
        self,
        guid: str = "",
        *,
        since: int | str | None = None,
        until: int | str | None = None,
        limit: int = 100,
        after: int = 0,
        newest: bool = False,
        events: bool = False,
    ) -> dict[str, Any]:
        """A page of what happened to a process, a task or an instance, or to all.

        `since` and `until` are Unix nanoseconds or RFC 3339. The answer's `entries` are in order; its `next` is the
        `after` of the next page, None at the end. `newest` asks for the last entries instead of the first, `events`
        for what listeners were told as well. Raises BbsError InvalidRequest, EndpointNotFound.
        """
        asked: dict[str, Any] = {"limit": limit, "after": after, "guid": guid, "since": since, "until": until}
        asked |= {name: "true" for name, wanted in (("newest", newest), ("events", events)) if wanted}
        return self._get_json("/v1/history", asked)

    def actual_lrps_at(
        self,
        time: int | str,
        *,
        process_guid: str = "",
        index: int | None = None,
        domain: str = "",
        cell_id: str = "",
    ) -> dict[str, Any]:
        """The instances as they were at a moment, and whether the history goes back that far (`complete`).

        Raises BbsError InvalidRequest, EndpointNotFound.
        """
        asked = {
            "time": time,
            "process_guid": process_guid,
            "index": index,
            "domain": domain,
            "cell_id": cell_id,
        }
        return self._get_json("/v1/actual_lrps_at", asked)

    # Event streams

    def lrp_instance_events(
        self, cell_id: str = "", *, on_reconnect: Callable[[], None] | None = None
    ) -> "EventStream":
        """Events of DesiredLRPs and of instances, of one cell or of all. Subscribed on return."""
        return EventStream(
            self._http, "POST", "/v1/events/lrp_instances.r1", cell_id, on_reconnect=on_reconnect
        )

    def lrp_group_events(
        self, cell_id: str = "", *, on_reconnect: Callable[[], None] | None = None
    ) -> "EventStream":
        """The deprecated stream: events of DesiredLRPs and of groups."""
        return EventStream(self._http, "GET", "/v1/events.r1", cell_id, on_reconnect=on_reconnect)

    def task_events(self, *, on_reconnect: Callable[[], None] | None = None) -> "EventStream":
        """Events of tasks."""
        return EventStream(self._http, "POST", "/v1/events/tasks.r1", "", on_reconnect=on_reconnect)

    # One call

    def _get_json(self, path: str, asked: Mapping[str, object]) -> dict[str, Any]:
        """Ask for JSON, as often as allowed; parameters that are None or empty are left out."""
        query = urlencode({name: value for name, value in asked.items() if value not in (None, "")})
        for attempt in range(1, self._attempts + 1):
            try:
                response = self._http.request("GET", f"{path}?{query}")
            except ConnectionFailed as error:
                failure: BbsError = Unreachable(ErrorType.UNKNOWN_ERROR, f"{self.url}: {error}")
            else:
                if response.status == 200:
                    told: dict[str, Any] = json.loads(response.body)
                    return told
                if response.status == 400:
                    raise BbsError.invalid_request(response.body.decode(errors="replace"))
                if response.status == 404:
                    raise EndpointNotFound(ErrorType.INVALID_RESPONSE, "endpoint not found")
                status = f"Invalid Response with status code: {response.status}"
                failure = BbsError(ErrorType.INVALID_RESPONSE, status)
            if attempt < self._attempts:
                time.sleep(self._pause)
        raise failure

    def _evacuate(self, paths: str | tuple[str, ...], request: Message, request_id: str) -> bool:
        response = self._ask(paths, request, EvacuationResponse, request_id)
        if response.HasField("error"):
            error = response.error
            raise EvacuationRefused(
                error_type(error.type), error.message, keep_container=response.keep_container
            )
        return response.keep_container

    def _call(
        self, paths: str | tuple[str, ...], request: Message | None, answer: type[M], request_id: str
    ) -> M:
        """Ask, and raise the error that the answer carries."""
        response = self._ask(paths, request, answer, request_id)
        if response.HasField("error"):
            error: Error = response.error  # type: ignore[attr-defined]  # every answer but the ping's has it
            raise BbsError(error_type(error.type), error.message)
        return response

    def _ask(
        self, paths: str | tuple[str, ...], request: Message | None, answer: type[M], request_id: str
    ) -> M:
        """Ask the newest of `paths` that the server knows."""
        if isinstance(paths, str):
            return self._try(paths, request, answer, request_id)
        *newer, oldest = paths
        for path in newer:
            try:
                return self._try(path, request, answer, request_id)
            except EndpointNotFound:
                log.info("%s does not know %s, asking an older route", self.url, path)
        return self._try(oldest, request, answer, request_id)

    def _try(self, path: str, request: Message | None, answer: type[M], request_id: str) -> M:
        """Ask as often as allowed until something is an answer.

        Raises:
            EndpointNotFound: at once; asking again would not help.
            Unreachable, BbsError: the last attempt's failure.
        """
        headers = {"Content-Type": PROTOBUF}
        if request_id:
            headers[REQUEST_ID_HEADER] = request_id
        body = b"" if request is None else request.SerializeToString()
        for attempt in range(1, self._attempts + 1):
            try:
                return read_answer(self._http.request("POST", path, body, headers), answer)
            except EndpointNotFound:
                raise
            except ConnectionFailed as error:
                failure: BbsError = Unreachable(ErrorType.UNKNOWN_ERROR, f"{self.url}: {error}")
            except BbsError as error:
                failure = error
            if attempt < self._attempts:
                time.sleep(self._pause)
        raise failure


def error_type(number: int) -> ErrorType:
    """The error type of a number on the wire; numbers of later releases are UnknownError."""
    try:
        return ErrorType(number)
    except ValueError:
        return ErrorType.UNKNOWN_ERROR


def read_answer(response: Response, answer: type[M]) -> M:
    """Judge a response as every client does, contract/bbs-api.md section 1, and decode it.

    Raises:
        BbsError: RouterError from a router between, InvalidResponse, InvalidProtobufMessage.
        EndpointNotFound: the route is unknown there.
    """
    router_error = response.headers.get("X-Cf-Routererror")
    if router_error:
        raise BbsError(ErrorType.ROUTER_ERROR, router_error)
    media_type = (response.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
    if media_type == PROTOBUF:
        try:
            return answer.FromString(response.body)
        except DecodeError as error:
            raise BbsError(ErrorType.INVALID_PROTOBUF_MESSAGE, f"undecodable answer: {error}") from error
    if response.status == 404:
        raise EndpointNotFound(ErrorType.INVALID_RESPONSE, "endpoint not found")
    if response.status > 299:
        raise BbsError(ErrorType.INVALID_RESPONSE, f"Invalid Response with status code: {response.status}")
    return answer()


@dataclass(frozen=True, slots=True)
class RawEvent:
    """An event as it stands in the stream: its id, its type name and its decoded data."""

    id: str
    name: str
    data: bytes


def read_events(pieces: Iterable[bytes]) -> Iterator[RawEvent]:
    """Cut a stream into events, contract/bbs-api.md section 5. Comments are skipped, so is an event cut off by the end.

    Raises:
        BbsError: InvalidResponse, for data that is no base64, for empty data, and for a line without end.
    """
    kept = b""
    number, name, data = "", "", b""
    for piece in pieces:
        kept += piece
        *lines, kept = kept.split(b"\n")
        if len(kept) > LONGEST_EVENT:
            raise BbsError(ErrorType.INVALID_RESPONSE, f"an event longer than {LONGEST_EVENT} bytes")
        for ended in lines:
            line = ended.removesuffix(b"\r")
            if not line:
                if name or data:
                    yield RawEvent(number, name, decoded(data))
                number, name, data = "", "", b""
                continue
            key, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if key == b"id":
                number = value.decode(errors="replace")
            elif key == b"event":
                name = value.decode(errors="replace")
            elif key == b"data":
                data += value


def decoded(data: bytes) -> bytes:
    """An event's payload. Raises BbsError InvalidResponse when it is empty or no base64."""
    try:
        payload = base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise BbsError(ErrorType.INVALID_RESPONSE, f"an event's data is no base64: {error}") from error
    if not payload:
        raise BbsError(ErrorType.INVALID_RESPONSE, "an event without data")
    return payload


class EventStream:
    """The events from the moment it was made, as an iterator; it reconnects by itself.

    There is no replay. What happens between a break and the new connection is lost, so a caller that mirrors
    state gives `on_reconnect`, which is called when the new connection stands and before its first event, and lists
    again. Connecting waits a second after a 500, 502, 503 or 504, for ever; after three failures of the transport, or
    any other status, the iterator raises.

    Event types that this client does not know are skipped and counted in `skipped`.
    """

    def __init__(
        self,
        http: HttpClient,
        method: str,
        path: str,
        cell_id: str,
        *,
        on_reconnect: Callable[[], None] | None = None,
    ) -> None:
        self._http = http
        self._method = method
        self._path = path
        self._body = EventsByCellId(cell_id=cell_id).SerializeToString()
        self._on_reconnect = on_reconnect
        self._closed = threading.Event()
        self._last_id = ""
        self.skipped = 0
        self._stream = self._connect()
        self._events = self._read()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        return next(self._events)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the stream; from any thread. An iteration that waits for the next event ends."""
        self._closed.set()
        self._stream.close()
        with contextlib.suppress(ValueError):  # another thread is in it, and ends it now
            self._events.close()

    def _read(self) -> Generator[Event, None, None]:
        while True:
            try:
                for raw in read_events(self._stream):
                    self._last_id = raw.id
                    event = self._event(raw)
                    if event is not None:
                        yield event
            except ConnectionFailed as error:
                log.info("the event stream %s broke off: %s", self._path, error)
            self._stream.close()
            if self._closed.wait(STREAM_PAUSE):
                return
            try:
                self._stream = self._connect()
            except Closed:
                return
            if self._closed.is_set():
                self._stream.close()
                return
            if self._on_reconnect is not None:
                self._on_reconnect()

    def _event(self, raw: RawEvent) -> Event | None:
        message = EVENT_MESSAGES.get(raw.name)
        if message is None:
            self.skipped += 1
            log.warning("an event of the unknown type %r is skipped", raw.name)
            return None
        try:
            return Event(raw.name, message.FromString(raw.data))
        except DecodeError as error:
            raise BbsError(
                ErrorType.INVALID_PROTOBUF_MESSAGE, f"undecodable event {raw.name}: {error}"
            ) from error

    def _connect(self) -> Stream:
        """Connect as the original's client does.

        Raises:
            Unreachable: the transport failed three times.
            EndpointNotFound: the server has no such stream.
            BbsError: any other status.
            Closed: `close` was called meanwhile.
        """
        failures = 0
        headers = {"Accept": "text/event-stream"}
        if self._last_id:
            headers["Last-Event-ID"] = self._last_id
        while True:
            try:
                stream = self._http.stream(self._method, self._path, self._body, headers)
            except ConnectionFailed as error:
                failures += 1
                if failures >= STREAM_CONNECT_ATTEMPTS:
                    raise Unreachable(ErrorType.UNKNOWN_ERROR, f"{self._path}: {error}") from error
            else:
                if stream.status == 200:
                    return stream
                stream.close()
                if stream.status == 404:
                    raise EndpointNotFound(ErrorType.INVALID_RESPONSE, f"endpoint not found: {self._path}")
                if stream.status not in STREAM_STATUSES_TO_RETRY:
                    raise BbsError(
                        ErrorType.INVALID_RESPONSE,
                        f"Invalid Response with status code: {stream.status} for {self._path}",
                    )
            if self._closed.wait(STREAM_PAUSE):
                raise Closed


class Closed(Exception):
    """The stream was closed while it was connecting."""
