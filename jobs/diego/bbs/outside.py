"""What the BBS asks of others: the auctioneer, the cells, whoever waits for a task (contract/bbs-api.md section 7).

Everything here waits for a network, so it runs in threads of its own, a bounded number of them, with bounded
queues. Nothing of it changes a record: who asked hears the result and decides.
"""

import json
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import responses
from ssl import SSLContext
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import quote, urlsplit

from diego.bbs.core.desired_lrps import RepUpdate, StartRequest
from diego.locket.client import PRESENCE, LocketClient, LocketError
from diego.models import ActualLRP, BbsError, CellPresence, ErrorType, Task
from diego.models.desired_lrp import volume_drivers
from diego.runtime import metrics
from diego.runtime.http import ConnectionFailed, HttpClient
from diego.runtime.logs import get_logger, trace
from diego.wire import cells_pb2

ACCEPTED = 202
NOT_FOUND = 404
OTHERS_THREADS = 32
QUEUE_LIMIT = 20_000
"""Calls that may wait for a thread; convergence makes up for what is dropped."""

AUCTION_PAUSE = 0.05
"""Seconds that requests for auctions gather while others come in close succession."""

AWAY_PAUSE = 1.0
AWAY_SECONDS = 30.0
"""How long requests wait for an auctioneer, one try a second: twice the time to live of its lock. Then convergence,
which runs as often, has asked for the same again."""

STARTS_IN_A_REQUEST = 5_000
REPS_KNOWN = 2_000

T = TypeVar("T")

log = get_logger("bbs")


class CallFailed(Exception):
    """A call to another job was not answered as it must be."""


class Outside:
    """Threads for calls; `do` never waits."""

    def __init__(self, threads: int = OTHERS_THREADS) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="outside")
        self._waiting = 0
        self._lock = threading.Lock()
        self._dropped = metrics.counter("bbs_outside_dropped", "Calls to others that were given up unasked")
        metrics.measured("bbs_outside_waiting", "Calls to others that wait or run", lambda: self._waiting)

    def do(self, call: Callable[[], None]) -> bool:
        """Run it in a thread, when one is free; False when too many wait already."""
        with self._lock:
            if self._waiting >= QUEUE_LIMIT:
                self._dropped.inc()
                return False
            self._waiting += 1
        try:
            self._pool.submit(self._run, call)
        except RuntimeError:  # the pool is shut down: the process is stopping
            self._done()
            return False
        return True

    def close(self) -> None:
        """Take nothing more; what waits is dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:
            log.exception("outside-call-failed")
        finally:
            self._done()

    def _done(self) -> None:
        with self._lock:
            self._waiting -= 1


class Cells:
    """The cells, as Locket knows them. Blocking."""

    def __init__(self, locket: LocketClient, *, timeout: float) -> None:
        self._locket = locket
        self._timeout = timeout
        self._read: dict[str, tuple[str, CellPresence]] = {}
        """What was read of each presence the last time: they rarely change."""

    def all(self) -> list[CellPresence]:
        """Every presence whose value is a cell.

        Raises:
            BbsError: with gRPC's text, when Locket does not answer.
        """
        try:
            resources = self._locket.fetch_all(PRESENCE, timeout=self._timeout)
        except LocketError as error:
            raise _locket_failed(error) from error
        read = self._read
        found: dict[str, tuple[str, CellPresence]] = {}
        for resource in resources:
            known = read.get(resource.key)
            if known is None or known[0] != resource.value:
                try:
                    known = resource.value, CellPresence.parse(resource.value)
                except ValueError as error:
                    log.error("presence-unreadable", key=resource.key, error=str(error))
                    continue
            found[resource.key] = known
        self._read = found
        return [cell for _, cell in found.values()]

    def find(self, cell_id: str) -> CellPresence | None:
        """One cell, or None when it is not there.

        Raises:
            BbsError: Locket does not answer, or what the cell says of itself cannot be read.
        """
        try:
            resource = self._locket.fetch(cell_id, timeout=self._timeout)
        except LocketError as error:
            raise _locket_failed(error) from error
        if resource is None:
            return None
        try:
            return CellPresence.parse(resource.value)
        except ValueError as error:
            raise BbsError(ErrorType.UNKNOWN_ERROR, str(error)) from error


def _locket_failed(error: LocketError) -> BbsError:
    code = "".join(part.capitalize() for part in error.code.split("_"))
    return BbsError(ErrorType.UNKNOWN_ERROR, f"rpc error: code = {code} desc = {error.text}")


def cells_answer(cells: Iterable[CellPresence]) -> bytes:
    """The encoded CellsResponse."""
    return cells_pb2.CellsResponse(cells=[cell.message() for cell in cells]).SerializeToString()


class Auctioneer:
    """Asks for auctions: at once when all is quiet, gathered in short turns when much is asked.

    While no auctioneer is there (a lock changes hands within its time to live) requests wait, for `AWAY_SECONDS`
    at most: the network told that they were not received. One that may have been received is not sent again, since
    convergence asks for what nobody runs.
    """

    def __init__(
        self,
        url: str,
        tls: SSLContext | None,
        *,
        timeout: float,
        require_tls: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clients = [HttpClient(url, tls=tls, timeout=timeout)]
        if url.startswith("https:") and not require_tls:
            self._clients.append(HttpClient(f"http:{url.removeprefix('https:')}", timeout=timeout))
        self._clock = clock
        self._lrps: deque[_Asked[StartRequest]] = deque()
        self._tasks: deque[_Asked[Task]] = deque()
        self._changed = threading.Condition()
        self._away = False
        self._failures = metrics.counter(
            "bbs_auction_requests_failed", "Auction requests that no auctioneer accepted"
        )

    def start_lrps(self, requests: Iterable[StartRequest], request_id: str = "") -> None:
        """Have cells found for instances. From any thread."""
        now = self._clock()
        with self._changed:
            self._lrps.extend(_Asked(request, request_id, now) for request in requests)
            _bound(self._lrps)
            self._changed.notify()

    def start_tasks(self, tasks: Iterable[Task], request_id: str = "") -> None:
        """Have cells found for tasks. From any thread."""
        now = self._clock()
        with self._changed:
            self._tasks.extend(_Asked(task, request_id, now) for task in tasks)
            _bound(self._tasks)
            self._changed.notify()

    def run(self, stopping: threading.Event) -> None:
        """Send what is asked for, until `stopping` is set."""
        while not stopping.is_set():
            with self._changed:
                while not (self._lrps or self._tasks or stopping.is_set()):
                    self._changed.wait(0.5)
            self.turn()
            stopping.wait(AWAY_PAUSE if self._away else AUCTION_PAUSE)

    def turn(self) -> None:
        """Send what waits, as much as fits into a request."""
        self._hand_over(self._lrps, "/v1/lrps", lrp_json)
        self._hand_over(self._tasks, "/v1/tasks", task_json)

    def _hand_over(
        self, waiting: "deque[_Asked[T]]", path: str, form: Callable[[T], dict[str, object]]
    ) -> None:
        with self._changed:
            asked = [waiting.popleft() for _ in range(min(len(waiting), STARTS_IN_A_REQUEST))]
        if not asked or self._post(path, [form(each.what) for each in asked], asked[0].request_id):
            return
        patient = [each for each in asked if self._clock() - each.since < AWAY_SECONDS]
        given_up = len(asked) - len(patient)
        if given_up:
            self._failures.inc()
            log.error(
                "auction-not-requested",
                path=path,
                count=given_up,
                error=f"no auctioneer for {AWAY_SECONDS:g} s",
                **trace(asked[0].request_id),
            )
        with self._changed:
            waiting.extendleft(reversed(patient))
            _bound(waiting)

    def _post(self, path: str, body: Sequence[object], request_id: str) -> bool:
        """Send it. False when it was received by nobody."""
        encoded = json.dumps(body, separators=(",", ":")).encode()
        headers = {"Content-Type": "application/json", "X-Vcap-Request-Id": request_id}
        why = ""
        received = False
        for client in self._clients:
            try:
                answer = client.request("POST", path, encoded, headers)
            except ConnectionFailed as error:
                why, received = str(error), received or error.sent
                continue
            self._is_away(None)
            if answer.status == ACCEPTED:
                return True
            why, received = f"status {answer.status}", True
            break
        if not received:
            self._is_away(why)
            return False
        self._failures.inc()
        log.error("auction-not-requested", path=path, count=len(body), error=why, **trace(request_id))
        return True

    def _is_away(self, why: str | None) -> None:
        """Note whether an auctioneer is there; `why` it is not."""
        if why is not None and not self._away:
            log.error("auctioneer-away", error=why)
        elif why is None and self._away:
            log.info("auctioneer-back")
        self._away = why is not None


class _Asked(NamedTuple, Generic[T]):
    """What is asked of an auctioneer, by which request, and since when."""

    what: T
    request_id: str
    since: float


def _bound(waiting: "deque[_Asked[T]]") -> None:
    while len(waiting) > QUEUE_LIMIT * 10:
        waiting.popleft()


def lrp_json(request: StartRequest) -> dict[str, object]:
    """An auction of instances in the auctioneer's keys."""
    return {
        "process_guid": request.process_guid,
        "domain": request.domain,
        "indices": list(request.indices),
        "PlacementTags": None if request.placement_tags is None else list(request.placement_tags),
        "VolumeDrivers": None if request.volume_drivers is None else list(request.volume_drivers),
        "RootFs": request.root_fs,
        "MemoryMB": request.memory_mb,
        "DiskMB": request.disk_mb,
        "MaxPids": request.max_pids,
    }


def task_json(task: Task) -> dict[str, object]:
    """An auction of a task in the auctioneer's keys, the flat form."""
    definition = task.parsed_definition()
    return {
        "TaskGuid": task.guid,
        "Domain": task.domain,
        "PlacementTags": list(definition.placement_tags) or None,
        "VolumeDrivers": volume_drivers(definition.volume_mounts),
        "RootFs": definition.root_fs,
        "MemoryMB": definition.memory_mb,
        "DiskMB": definition.disk_mb,
        "MaxPids": definition.max_pids,
        "state": "Invalid",
        "failed": False,
    }


class Reps:
    """Calls to the cells. Blocking."""

    def __init__(self, tls: SSLContext | None, *, timeout: float, require_tls: bool) -> None:
        self._tls = tls
        self._timeout = timeout
        self._require_tls = require_tls
        self._clients: OrderedDict[str, HttpClient] = OrderedDict()
        self._lock = threading.Lock()

    def stop(self, cell: CellPresence, lrp: ActualLRP, request_id: str | None) -> None:
        """Have an instance stopped. Raises CallFailed."""
        path = f"/v1/lrps/{quote(lrp.process_guid)}/instances/{quote(lrp.instance_guid)}/stop"
        self._accepted(cell, "POST", path, b"", request_id)

    def cancel_task(self, cell: CellPresence, task_guid: str, request_id: str | None) -> None:
        """Have a task cancelled. Raises CallFailed."""
        self._accepted(cell, "POST", f"/v1/tasks/{quote(task_guid)}/cancel", b"", request_id)

    def update(self, cell: CellPresence, update: RepUpdate, request_id: str | None) -> None:
        """Tell of other routes and tags. A cell that knows only routes is told those. Raises CallFailed."""
        lrp = update.lrp
        path = f"/lrps/{quote(lrp.process_guid)}/instances/{quote(lrp.instance_guid)}"
        body = update_json(update)
        if self._call(cell, "PUT", f"/v2{path}", _encoded(body), request_id) != NOT_FOUND:
            return
        if update.internal_routes:
            self._call(cell, "PUT", f"/v1{path}", _encoded({**body, "metric_tags": None}), request_id)

    def _accepted(
        self, cell: CellPresence, method: str, path: str, body: bytes, request_id: str | None
    ) -> None:
        if self._call(cell, method, path, body, request_id) == NOT_FOUND:
            raise CallFailed(_refused(NOT_FOUND))

    def _call(self, cell: CellPresence, method: str, path: str, body: bytes, request_id: str | None) -> int:
        headers = {"Content-Type": "application/json"}
        if request_id is not None:
            headers["X-Vcap-Request-Id"] = request_id
        try:
            answer = self._client(cell).request(method, path, body, headers)
        except (ConnectionFailed, ValueError) as error:
            raise CallFailed(f"{cell.cell_id}: {error}") from error
        if answer.status not in {ACCEPTED, NOT_FOUND}:
            raise CallFailed(_refused(answer.status))
        return answer.status

    def _client(self, cell: CellPresence) -> HttpClient:
        if self._require_tls and not cell.rep_url.startswith("https:"):
            raise ValueError(f"rep_url is not https: {cell.rep_url!r}")
        with self._lock:
            client = self._clients.get(cell.rep_url)
            if client is None:
                client = HttpClient(cell.rep_url, tls=self._tls, timeout=self._timeout)
                self._clients[cell.rep_url] = client
                if len(self._clients) > REPS_KNOWN:
                    self._clients.popitem(last=False)
            self._clients.move_to_end(cell.rep_url)
            return client


def _refused(status: int) -> str:
    """The original's words for a status that is not the expected one."""
    return f"http error: status code {status} ({responses.get(status, '')})"


def update_json(update: RepUpdate) -> dict[str, object]:
    """What a cell is told of an instance, in its keys; null leaves a part as it is."""
    routes = update.internal_routes
    return {
        "instance_guid": update.lrp.instance_guid,
        "process_guid": update.lrp.process_guid,
        "index": update.lrp.index,
        "domain": update.lrp.domain,
        "internal_routes": [{"hostname": name} for name in routes] if routes else None,
        "metric_tags": update.metric_tags,
    }


def _encoded(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


CALLBACK_ATTEMPTS = 3
TRY_AGAIN = frozenset({503, 504})


class Callbacks:
    """Tells whoever waits for a task how it ended (contract/lifecycle.md section 8, completion callback). Blocking."""

    def __init__(self, tls: SSLContext | None, *, timeout: float) -> None:
        self._tls = tls
        self._timeout = timeout

    def tell(self, task: Task, url: str) -> bool:
        """Whether the other side has heard of it, so that the task may be deleted."""
        body = callback_json(task)
        for attempt in range(CALLBACK_ATTEMPTS):
            try:
                status = self._post(url, body)
            except ConnectionFailed as error:
                log.error("task-callback-failed", task=task.guid, attempt=attempt + 1, error=str(error))
                if not error.sent:
                    return False
                continue
            except ValueError as error:
                log.error("task-callback-impossible", task=task.guid, error=str(error))
                return False
            if status not in TRY_AGAIN:
                return True
            log.error("task-callback-refused", task=task.guid, attempt=attempt + 1, status=status)
        return False

    def _post(self, url: str, body: bytes) -> int:
        parts = urlsplit(url)
        client = HttpClient(f"{parts.scheme}://{parts.netloc}", tls=self._tls, timeout=self._timeout)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            return client.request("POST", path, body, {"Content-Type": "application/json"}).status
        finally:
            client.close()


def callback_json(task: Task) -> bytes:
    """How a task ended, in the keys of TaskCallbackResponse."""
    told: dict[str, object] = {
        "task_guid": task.guid,
        "failed": task.failed,
        "failure_reason": task.failure_reason,
        "result": task.result,
    }
    annotation = task.parsed_definition().annotation
    if annotation:
        told["annotation"] = annotation
    told["created_at"] = task.created_at
    return _encoded(told)
