"""Those whom a rep calls, as one process in the cell's namespace: a Locket that grants everything, and a BBS.

The BBS remembers rows and tasks as far as a rep can tell the difference, and every call. The test sets it up and
reads it over a plain control listener. Also serves files with an ETag, for downloads.

    python -m support.rep_peers PKI LOCKET_PORT BBS_PORT CONTROL_PORT FILES
"""

import hashlib
import json
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from diego.runtime.tls import server_context
from diego.wire import locket_pb2, locket_pb2_grpc
from diego.wire.actual_lrp_pb2 import ActualLRP, ActualLRPInstanceKey, ActualLRPKey
from diego.wire.actual_lrp_requests_pb2 import (
    ActualLRPLifecycleResponse,
    ActualLRPsRequest,
    ActualLRPsResponse,
    ClaimActualLRPRequest,
    CrashActualLRPRequest,
    RemoveActualLRPRequest,
    StartActualLRPRequest,
)
from diego.wire.desired_lrp_pb2 import DesiredLRP
from diego.wire.desired_lrp_requests_pb2 import DesiredLRPByProcessGuidRequest, DesiredLRPResponse
from diego.wire.error_pb2 import Error
from diego.wire.task_pb2 import Task
from diego.wire.task_requests_pb2 import (
    CompleteTaskRequest,
    RejectTaskRequest,
    StartTaskRequest,
    StartTaskResponse,
    TaskByGuidRequest,
    TaskLifecycleResponse,
    TaskResponse,
    TasksRequest,
    TasksResponse,
)


class Bbs:
    """Desired LRPs, rows by instance guid, tasks by guid, and what was called."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.desired: dict[str, DesiredLRP] = {}
        self.rows: dict[str, ActualLRP] = {}
        self.tasks: dict[str, Task] = {}
        self.calls: list[dict[str, Any]] = []
        self.presences: list[dict[str, Any]] = []
        self.refused: dict[str, int] = {}

    def answer(self, path: str, body: bytes) -> Message | None:
        found = ROUTES.get(path)
        if found is None:
            return None
        request = found[0].FromString(body)
        with self.lock:
            self.calls.append(
                {"path": path, "request": MessageToDict(request, preserving_proto_field_name=True)}
            )
            if path in self.refused:
                error = Error(type=self.refused[path], message="refused")  # type: ignore[arg-type]  # a number
                response: Message = found[2](error=error)
                return response
            return found[1](self, request)

    def claim(self, request: ClaimActualLRPRequest) -> Message:
        key = ActualLRPKey(process_guid=request.process_guid, index=request.index, domain="d")
        self._put("CLAIMED", key, request.actual_lrp_instance_key)
        return ActualLRPLifecycleResponse()

    def start(self, request: StartActualLRPRequest) -> Message:
        self._put("RUNNING", request.actual_lrp_key, request.actual_lrp_instance_key)
        return ActualLRPLifecycleResponse()

    def crash(self, request: CrashActualLRPRequest) -> Message:
        self.rows.pop(request.actual_lrp_instance_key.instance_guid, None)
        return ActualLRPLifecycleResponse()

    def remove(self, request: RemoveActualLRPRequest) -> Message:
        self.rows.pop(request.actual_lrp_instance_key.instance_guid, None)
        return ActualLRPLifecycleResponse()

    def list_rows(self, request: ActualLRPsRequest) -> Message:
        return ActualLRPsResponse(actual_lrps=list(self.rows.values()))

    def desired_by_guid(self, request: DesiredLRPByProcessGuidRequest) -> Message:
        return DesiredLRPResponse(desired_lrp=self.desired[request.process_guid])

    def list_tasks(self, request: TasksRequest) -> Message:
        return TasksResponse(tasks=[task for task in self.tasks.values() if task.cell_id == request.cell_id])

    def task(self, request: TaskByGuidRequest) -> Message:
        return TaskResponse(task=self.tasks[request.task_guid])

    def start_task(self, request: StartTaskRequest) -> Message:
        task = self.tasks[request.task_guid]
        should = task.state == Task.Pending
        task.state, task.cell_id = Task.Running, request.cell_id
        return StartTaskResponse(should_start=should)

    def complete_task(self, request: CompleteTaskRequest) -> Message:
        task = self.tasks.get(request.task_guid)
        if task is not None:
            task.state, task.cell_id = Task.Completed, ""
        return TaskLifecycleResponse()

    def reject_task(self, request: RejectTaskRequest) -> Message:
        self.tasks[request.task_guid].state = Task.Pending
        return TaskLifecycleResponse()

    def _put(self, state: str, key: ActualLRPKey, instance: ActualLRPInstanceKey) -> None:
        self.rows[instance.instance_guid] = ActualLRP(
            actual_lrp_key=key, actual_lrp_instance_key=instance, state=state
        )


ROUTES: dict[str, tuple[type[Message], Callable[[Bbs, Any], Message], type[Any]]] = {
    "/v1/actual_lrps/claim": (ClaimActualLRPRequest, Bbs.claim, ActualLRPLifecycleResponse),
    "/v1/actual_lrps/start.r1": (StartActualLRPRequest, Bbs.start, ActualLRPLifecycleResponse),
    "/v1/actual_lrps/crash": (CrashActualLRPRequest, Bbs.crash, ActualLRPLifecycleResponse),
    "/v1/actual_lrps/remove": (RemoveActualLRPRequest, Bbs.remove, ActualLRPLifecycleResponse),
    "/v1/actual_lrps/list": (ActualLRPsRequest, Bbs.list_rows, ActualLRPsResponse),
    "/v1/desired_lrps/get_by_process_guid.r3": (
        DesiredLRPByProcessGuidRequest,
        Bbs.desired_by_guid,
        DesiredLRPResponse,
    ),
    "/v1/tasks/list.r3": (TasksRequest, Bbs.list_tasks, TasksResponse),
    "/v1/tasks/get_by_task_guid.r3": (TaskByGuidRequest, Bbs.task, TaskResponse),
    "/v1/tasks/start": (StartTaskRequest, Bbs.start_task, StartTaskResponse),
    "/v1/tasks/complete": (CompleteTaskRequest, Bbs.complete_task, TaskLifecycleResponse),
    "/v1/tasks/reject": (RejectTaskRequest, Bbs.reject_task, TaskLifecycleResponse),
}


class Locket(locket_pb2_grpc.LocketServicer):
    def __init__(self, bbs: Bbs) -> None:
        self._bbs = bbs

    def Lock(  # noqa: N802  the service's own name
        self, request: locket_pb2.LockRequest, context: grpc.ServicerContext
    ) -> locket_pb2.LockResponse:
        resource = request.resource
        with self._bbs.lock:
            self._bbs.presences.append(
                {
                    "key": resource.key,
                    "owner": resource.owner,
                    "value": resource.value,
                    "ttl": request.ttl_in_seconds,
                }
            )
        return locket_pb2.LockResponse()


class BbsHandler(BaseHTTPRequestHandler):
    bbs: ClassVar[Bbs]
    files: ClassVar[Path]
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        message = self.bbs.answer(self.path, body)
        if message is None:
            self._say(404, b"")
        else:
            self._say(200, message.SerializeToString(), {"Content-Type": "application/x-protobuf"})

    def do_GET(self) -> None:
        path = self.files / self.path.rpartition("/")[2]
        if not path.is_file():
            self._say(404, b"")
            return
        content = path.read_bytes()
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        if self.headers.get("If-None-Match") == etag:
            self._say(304, b"", {"ETag": etag})
        else:
            self._say(200, content, {"ETag": etag})

    def _say(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's name
        """Say nothing."""


class ControlHandler(BbsHandler):
    """The test's own side: what was called, and what there is."""

    def do_GET(self) -> None:
        with self.bbs.lock:
            found = {
                "calls": self.bbs.calls,
                "presences": self.bbs.presences,
                "rows": {guid: row.state for guid, row in self.bbs.rows.items()},
            }
            self._say(200, json.dumps(found).encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.bbs.lock:
            match self.path:
                case "/desired":
                    desired = DesiredLRP.FromString(body)
                    self.bbs.desired[desired.process_guid] = desired
                case "/task":
                    task = Task.FromString(body)
                    self.bbs.tasks[task.task_guid] = task
                case "/row":
                    row = ActualLRP.FromString(body)
                    self.bbs.rows[row.actual_lrp_instance_key.instance_guid] = row
                case "/refuse":
                    self.bbs.refused = json.loads(body)
        self._say(200, b"")


def main(pki: str, locket_port: str, bbs_port: str, control_port: str, files: str) -> None:
    directory = Path(pki)
    bbs = Bbs()
    BbsHandler.bbs, BbsHandler.files = bbs, Path(files)
    server = grpc.server(ThreadPoolExecutor(4))
    locket_pb2_grpc.add_LocketServicer_to_server(Locket(bbs), server)  # type: ignore[no-untyped-call]  # made by grpcio-tools
    pair = tuple((directory / f"diego_locket_server.{kind}").read_bytes() for kind in ("key", "crt"))
    credentials = grpc.ssl_server_credentials(
        [(pair[0], pair[1])],
        (directory / "service_cf_internal_ca.crt").read_bytes(),
        require_client_auth=True,
    )
    server.add_secure_port(f"127.0.0.1:{locket_port}", credentials)
    server.start()
    https = ThreadingHTTPServer(("127.0.0.1", int(bbs_port)), BbsHandler)
    context = server_context(
        directory / "diego_bbs_server.crt",
        directory / "diego_bbs_server.key",
        directory / "service_cf_internal_ca.crt",
    )
    https.socket = context.wrap_socket(https.socket, server_side=True)
    threading.Thread(target=https.serve_forever, daemon=True).start()
    ThreadingHTTPServer(("127.0.0.1", int(control_port)), ControlHandler).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
