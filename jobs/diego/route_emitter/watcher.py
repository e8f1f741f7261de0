"""The emitter's side of the BBS: events as they come, and a whole look at start, each minute, and after a break.

Events go into the table at once. Those that come while a whole look is being taken are kept as well and applied to
what the look brings, since it may be older than they are. A look that fails changes nothing.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from diego.bbs.client import BbsClient, Event, EventStream
from diego.models.errors import BbsError
from diego.route_emitter.core.routes import Change, Process, change_of, endpoint_of, process_of, runs
from diego.route_emitter.core.table import NOTHING, Difference, Table, difference
from diego.route_emitter.emitter import Emitter
from diego.runtime import metrics
from diego.runtime.logs import get_logger
from diego.wire.actual_lrp_pb2 import ActualLRP
from diego.wire.events_pb2 import (
    ActualLRPInstanceChangedEvent,
    ActualLRPInstanceCreatedEvent,
    ActualLRPInstanceRemovedEvent,
    DesiredLRPChangedEvent,
    DesiredLRPCreatedEvent,
    DesiredLRPRemovedEvent,
)

T = TypeVar("T")

log = get_logger("route_emitter")

MAX_WAITING = 20_000
"""Events that may wait to be read; when there are more, they are dropped for a whole look."""
RETRY_SECONDS = 1.0

SYNC_DURATION = metrics.gauge(
    metrics.name_of("RouteEmitterSyncDuration", unit=metrics.Unit.NANOS), "Time that the last whole look took"
)
HTTP_ROUTES = metrics.gauge(metrics.name_of("HTTPRouteCount"), "Registrations after the last whole look")
COLLISIONS = metrics.counter(
    metrics.name_of("AddressCollisions"), "Endpoints found to share their address with another"
)


class Watcher:
    """Keeps the table in step with the BBS. Runs on the loop that owns the table; the BBS is asked in threads."""

    def __init__(self, bbs: BbsClient, cell_id: str, table: Table, emitter: Emitter) -> None:
        self._bbs = bbs
        self._cell_id = cell_id
        self._table = table
        self._emitter = emitter
        self._waiting: asyncio.Queue[Event] = asyncio.Queue(MAX_WAITING)
        self._kept: list[Event] | None = None
        self._look_now = asyncio.Event()

    # Events

    def listen(self, loop: asyncio.AbstractEventLoop, stopping: threading.Event) -> None:
        """Read the event stream, in a thread, until told to stop; after each new connection ask for a whole look."""
        while not stopping.is_set():
            try:
                stream = self._bbs.lrp_instance_events(
                    self._cell_id, on_reconnect=lambda: self._in_loop(loop, self._look_now.set)
                )
                self._in_loop(loop, self._look_now.set)
                log.info("subscribed")
                self._read(stream, loop, stopping)
            except BbsError as error:
                log.error("stream-broken", error=str(error))
            stopping.wait(RETRY_SECONDS)

    def _read(self, stream: EventStream, loop: asyncio.AbstractEventLoop, stopping: threading.Event) -> None:
        with stream:
            for event in stream:
                if stopping.is_set():
                    return
                self._in_loop(loop, partial(self._arrived, event))

    @staticmethod
    def _in_loop(loop: asyncio.AbstractEventLoop, act: Callable[[], object]) -> None:
        loop.call_soon_threadsafe(act)

    def _arrived(self, event: Event) -> None:
        try:
            self._waiting.put_nowait(event)
        except asyncio.QueueFull:
            log.error("too-many-events", dropped=self._waiting.qsize())
            while not self._waiting.empty():
                self._waiting.get_nowait()
            self._look_now.set()

    async def follow(self) -> None:
        """Apply events one after the other."""
        while True:
            event = await self._waiting.get()
            if self._kept is not None and len(self._kept) < MAX_WAITING:
                self._kept.append(event)
            await self._emitter.say(self._apply(event))
            await self._fetch_unknown(event)

    def _apply(self, event: Event) -> Difference:
        message = event.message
        if isinstance(message, DesiredLRPCreatedEvent):
            return self._table.set_process(process_of(message.desired_lrp))
        if isinstance(message, DesiredLRPChangedEvent):
            return self._table.set_process(process_of(message.after))
        if isinstance(message, DesiredLRPRemovedEvent):
            return self._table.remove_process(process_of(message.desired_lrp))
        if isinstance(message, ActualLRPInstanceCreatedEvent):
            lrp = message.actual_lrp
            return self._table.add(endpoint_of(lrp)) if runs(lrp) else NOTHING
        if isinstance(message, ActualLRPInstanceRemovedEvent):
            lrp = message.actual_lrp
            return self._table.remove(endpoint_of(lrp)) if lrp.state == "RUNNING" else NOTHING
        if isinstance(message, ActualLRPInstanceChangedEvent):
            return self._changed(change_of(message))
        return NOTHING

    def _changed(self, change: Change) -> Difference:
        if not change.runs:
            return self._table.remove(change.endpoint) if change.ran else NOTHING
        added = self._table.add(change.endpoint)
        if change.endpoint.evacuating and not change.was_evacuating:
            # the same instance, which is evacuating from now on: the routers need not hear of it
            self._table.remove(replace(change.endpoint, evacuating=False))
        return added

    async def _fetch_unknown(self, event: Event) -> None:
        """Ask for the routes of a process of which only an instance is known."""
        guid = _process_with_endpoint(event)
        if not guid or self._table.knows(guid):
            return
        try:
            found = await asyncio.to_thread(self._bbs.desired_lrp_routing_infos, [guid])
        except BbsError as error:
            log.error("routes-not-fetched", process_guid=guid, error=str(error))
            self._look_now.set()
            return
        for desired in found:
            await self._emitter.say(self._table.set_process(process_of(desired)))

    # Whole looks

    async def look(self, interval: float) -> None:
        """Take a whole look at start, when asked for, and every `interval` seconds."""
        failed = False
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._look_now.wait(), RETRY_SECONDS if failed else interval)
            self._look_now.clear()
            failed = not await self._sync()

    async def _sync(self) -> bool:
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._kept = []
        try:
            instances, processes, fresh = await asyncio.to_thread(self._fetch)
        except BbsError as error:
            log.error("sync-failed", error=str(error))
            return False
        finally:
            kept, self._kept = self._kept or [], None
        before = self._table.everything()
        self._table.swap(processes, [endpoint_of(lrp) for lrp in instances if runs(lrp)], fresh)
        for event in kept:
            self._apply(event)
        after = self._table.everything()
        await self._emitter.say(difference(before, after))
        SYNC_DURATION.set(loop.time() - began)
        HTTP_ROUTES.set(len(after))
        COLLISIONS.inc(self._table.collisions())
        log.debug("synced", instances=len(instances), routes=len(after))
        return True

    def _fetch(self) -> tuple[list[ActualLRP], list[Process], list[str]]:
        instances = self._bbs.actual_lrps(cell_id=self._cell_id)
        if self._cell_id:
            guids = sorted({lrp.actual_lrp_key.process_guid for lrp in instances})
            desired = self._bbs.desired_lrp_routing_infos(guids) if guids else []
        else:
            desired = self._bbs.desired_lrp_routing_infos([])
        return instances, [process_of(one) for one in desired], self._bbs.domains()


def _process_with_endpoint(event: Event) -> str:
    message = event.message
    if isinstance(message, ActualLRPInstanceCreatedEvent) and runs(message.actual_lrp):
        return message.actual_lrp.actual_lrp_key.process_guid
    if isinstance(message, ActualLRPInstanceChangedEvent) and message.after.state == "RUNNING":
        return message.actual_lrp_key.process_guid
    return ""
