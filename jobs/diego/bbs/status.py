"""The whole deployment in a few numbers, and one process or task in full: what `diego status` and `explain` ask.

Ours, beyond the original's API: `GET /v1/status` and `GET /v1/status/<guid>`, JSON in cfdot's keys where it has them.
The numbers are lengths of indexes and counters that are kept anyway, so that they cost the same with ten LRPs and with
a hundred thousand. Only what waits for a place, and the tasks that run, are walked, a slice at a time; who asks
meanwhile shares the result.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, TypeVar

import orjson

from diego.bbs.core import restarts
from diego.bbs.memory import Memory
from diego.bbs.outside import Cells
from diego.locket.client import LOCK, LocketClient, LocketError
from diego.models import (
    ActualLRP,
    ActualLRPState,
    BbsError,
    CellPresence,
    DesiredLRP,
    Presence,
    Task,
    TaskState,
)
from diego.models.desired_lrp import hostnames, volume_drivers
from diego.runtime.api import Api
from diego.runtime.exchange import Exchange

T = TypeVar("T")

SLICE = 1_000
"""Records that are counted before others are served: about half a millisecond."""

NAMED = 20
"""Things of a kind that are told one by one; the rest is counted."""

REASONS = 10
EXAMPLES = 3
LOCKET_SECONDS = 5.0
JSON = {"Content-Type": "application/json"}


@dataclass
class Walked:
    """What had to be walked for."""

    unplaced: dict[str, list[ActualLRP]] = field(default_factory=dict)
    """By the placement error."""
    tasks_by_cell: Counter[str] = field(default_factory=Counter)
    lacking: dict[str, None] = field(default_factory=dict)
    """Wanted processes of which not every instance runs."""


class Status:
    """Answers both questions. Everything but the calls to Locket happens in the server's loop."""

    def __init__(
        self,
        memory: Memory,
        cells: Cells,
        locket: LocketClient,
        now: Callable[[], int],
        active: Callable[[], bool],
    ) -> None:
        self._memory = memory
        self._cells = cells
        self._locket = locket
        self._now = now
        self._active = active
        self._under_way: asyncio.Task[bytes] | None = None

    def add_to(self, api: Api) -> None:
        @api.exchange("GET", "/v1/status")
        async def status(exchange: Exchange) -> None:
            if self._active():
                await exchange.reply(200, await self._shared(), JSON)
            else:
                await exchange.reply(503)

        @api.exchange("GET", "/v1/status/<guid>")
        async def one(exchange: Exchange) -> None:
            if self._active():
                await exchange.reply(200, orjson.dumps(await self.one(exchange.params["guid"])), JSON)
            else:
                await exchange.reply(503)

    async def _shared(self) -> bytes:
        """The status; one that is being made already serves whoever asks meanwhile."""
        if self._under_way is None or self._under_way.done():
            self._under_way = asyncio.ensure_future(self._whole())
        return await asyncio.shield(self._under_way)

    async def _whole(self) -> bytes:
        locks, cells, walked = await asyncio.gather(
            asyncio.to_thread(self._locks), asyncio.to_thread(self._present), self._walk()
        )
        told = {"at": self._now(), **locks, **self._told_cells(cells, walked), **self._told(walked)}
        return orjson.dumps(told)

    # ---- asked of Locket, in a thread

    def _locks(self) -> dict[str, Any]:
        try:
            found = self._locket.fetch_all(LOCK, timeout=LOCKET_SECONDS)
        except LocketError as error:
            return {"locks": [], "locket_error": error.text}
        return {"locks": [{"key": lock.key, "owner": lock.owner} for lock in found]}

    def _present(self) -> Sequence[CellPresence] | None:
        """The cells that are there; None when that is not known."""
        try:
            return self._cells.all()
        except BbsError:
            return None

    # ---- walked

    async def _walk(self) -> Walked:
        memory, walked = self._memory, Walked()
        for identities in sliced([*memory.actual.unclaimed, *memory.actual.crashed]):
            for identity in identities:
                row = memory.actual.get(identity)
                if row is not None and row.state is ActualLRPState.UNCLAIMED:
                    walked.unplaced.setdefault(row.placement_error, []).append(row)
                self._note_lacking(identity[0], walked)
            await asyncio.sleep(0)
        for guids in sliced(list(memory.attention.irregular)):
            for guid in guids:
                self._note_lacking(guid, walked)
            await asyncio.sleep(0)
        for guids in sliced(list(memory.tasks.by_state[TaskState.RUNNING])):
            for guid in guids:
                task = memory.tasks.by_guid.get(guid)
                if task is not None and task.cell_id:
                    walked.tasks_by_cell[task.cell_id] += 1
            await asyncio.sleep(0)
        return walked

    def _note_lacking(self, guid: str, walked: Walked) -> None:
        lrp = self._memory.desired.by_guid.get(guid)
        if lrp is not None and guid not in walked.lacking and self._running(lrp) < lrp.instances:
            walked.lacking[guid] = None

    def _running(self, lrp: DesiredLRP) -> int:
        """How many of the wanted indices run, whatever the presence of the record that says so."""
        rows = self._memory.actual.by_process.get(lrp.process_guid, {}).values()
        running = {row.index for row in rows if row.state is ActualLRPState.RUNNING}
        return sum(index < lrp.instances for index in running)

    # ---- told

    def _told_cells(self, present: Sequence[CellPresence] | None, walked: Walked) -> dict[str, Any]:
        lrps = {cell: len(rows) for cell, rows in self._memory.actual.by_cell.by_group.items()}
        tasks = walked.tasks_by_cell
        told: dict[str, Any] = {"cells": [], "missing_cells": []}
        if present is None:
            return told
        for cell in present:
            capacity = {"memory_mb": cell.memory_mb, "disk_mb": cell.disk_mb, "containers": cell.containers}
            told["cells"].append(
                {
                    "cell_id": cell.cell_id,
                    "zone": cell.zone,
                    "rep_url": cell.rep_url or cell.rep_address,
                    "capacity": capacity,
                    "lrps": lrps.get(cell.cell_id, 0),
                    "tasks": tasks.get(cell.cell_id, 0),
                }
            )
        missing = (lrps.keys() | tasks.keys()) - {cell.cell_id for cell in present}
        told["missing_cells"] = [
            {"cell_id": cell, "lrps": lrps.get(cell, 0), "tasks": tasks.get(cell, 0)}
            for cell in sorted(missing)
        ]
        return told

    def _told(self, walked: Walked) -> dict[str, Any]:
        memory, now = self._memory, self._now()
        actual, by_guid = memory.actual, memory.desired.by_guid
        named = [
            *islice(walked.lacking, NAMED),
            *islice((guid for guid in by_guid if guid not in walked.lacking), NAMED),
        ]
        return {
            "lrps": {
                "processes": len(by_guid),
                "lacking_processes": len(walked.lacking),
                "instances": memory.desired.instances,
                **{str(state).lower(): actual.counts[Presence.ORDINARY, state] for state in ActualLRPState},
                "evacuating": len(actual.evacuating),
                "suspect": len(actual.suspect),
            },
            "apps": [self._app(by_guid[guid]) for guid in named[:NAMED] if guid in by_guid],
            "unplaced": _unplaced(walked.unplaced),
            "crashed": [self._row(row, now) for row in self._rows(actual.crashed)],
            "suspects": [self._row(row, now) for row in self._rows(actual.suspect)],
            "tasks": {state.wire_name: number for state, number in memory.tasks.numbers().items() if state},
            "pending_tasks": [
                self._task(task)
                for guid in islice(memory.tasks.by_state[TaskState.PENDING], NAMED)
                if (task := memory.tasks.by_guid.get(guid)) is not None
            ],
            "domains": self._domains(now),
        }

    def _rows(self, identities: Iterable[tuple[str, int, Presence]]) -> list[ActualLRP]:
        found = (self._memory.actual.get(identity) for identity in islice(identities, NAMED))
        return [row for row in found if row is not None]

    def _domains(self, now: int) -> list[dict[str, Any]]:
        known, used = self._memory.domains, self._memory.desired.by_domain.by_group
        return [
            {
                "domain": name,
                "fresh": name in known and known[name].fresh(now=now),
                "desired_lrps": len(used.get(name, ())),
            }
            for name in sorted(known.keys() | used.keys())[:NAMED]
        ]

    def _app(self, lrp: DesiredLRP) -> dict[str, Any]:
        rows = self._memory.actual.by_process.get(lrp.process_guid, {})
        cells = Counter(row.cell_id for row in rows.values() if row.cell_id)
        return {
            "process_guid": lrp.process_guid,
            "domain": lrp.domain,
            "instances": lrp.instances,
            "running": self._running(lrp),
            "cells": dict(cells.most_common(NAMED)),
            "hostnames": hostnames(lrp.message().routes.routes),
        }

    # ---- one of them

    async def one(self, guid: str) -> dict[str, Any]:
        """What is known of a process, a task, or of both if they share their guid; and where the cells answer."""
        memory, now = self._memory, self._now()
        lrp = memory.desired.by_guid.get(guid)
        rows = sorted(memory.actual.by_process.get(guid, {}).values(), key=lambda row: row.identity)
        task = memory.tasks.by_guid.get(guid)
        told: dict[str, Any] = {
            "guid": guid,
            "at": now,
            "desired_lrp": None if lrp is None else _wish(lrp),
            "domain_fresh": False,
            "actual_lrps": [self._row(row, now) for row in rows],
            "task": None if task is None else self._task(task),
            "cells": {},
        }
        domain = lrp.domain if lrp is not None else rows[0].domain if rows else ""
        if domain in memory.domains:
            told["domain_fresh"] = memory.domains[domain].fresh(now=now)
        wanted = {row.cell_id for row in rows if row.cell_id} | (
            {task.cell_id} if task and task.cell_id else set()
        )
        if wanted:
            present = await asyncio.to_thread(self._present)
            urls = {cell.cell_id: cell.rep_url or cell.rep_address for cell in present or ()}
            told["cells"] = {cell: urls.get(cell) for cell in sorted(wanted)}
            told["cells_known"] = present is not None
        if lrp is None and task is None and not rows:
            told["similar"] = self._similar(guid)
            told["instance_of"] = await self._instance(guid)
        return told

    def _similar(self, part: str) -> list[str]:
        """What somebody may have meant: guids that this is a part of."""
        memory = self._memory
        known = chain(memory.desired.by_guid, memory.tasks.by_guid)
        return sorted(islice((guid for guid in known if part in guid), REASONS))

    async def _instance(self, instance_guid: str) -> dict[str, Any] | None:
        """The process and index that an instance guid stands for."""
        for guids in sliced(list(self._memory.actual.by_process)):
            for guid in guids:
                for row in self._memory.actual.by_process.get(guid, {}).values():
                    if row.instance_guid == instance_guid:
                        return {"process_guid": guid, "index": row.index}
            await asyncio.sleep(0)
        return None

    @staticmethod
    def _row(row: ActualLRP, now: int) -> dict[str, Any]:
        """A record in cfdot's keys, and when an instance that crashed starts again."""
        told: dict[str, Any] = {
            "process_guid": row.process_guid,
            "index": row.index,
            "domain": row.domain,
            "instance_guid": row.instance_guid,
            "cell_id": row.cell_id,
            "availability_zone": row.availability_zone,
            "state": str(row.state),
            "presence": row.presence.name,
            "since": row.since,
            "routable": row.routable,
            "crash_count": row.crash_count,
            "crash_reason": row.crash_reason,
            "placement_error": row.placement_error,
        }
        if row.state is ActualLRPState.CRASHED:
            pause = restarts.wait(row.crash_count)
            told["restart_at"] = None if pause is None else max(row.since + pause, now)
        return told

    @staticmethod
    def _task(task: Task) -> dict[str, Any]:
        return {
            "task_guid": task.guid,
            "domain": task.domain,
            "state": task.state.wire_name,
            "cell_id": task.cell_id,
            "created_at": task.created_at,
            "updated_at": task.updated_at,
            "first_completed_at": task.first_completed_at,
            "failed": task.failed,
            "failure_reason": task.failure_reason,
            "rejection_count": task.rejection_count,
            "rejection_reason": task.rejection_reason,
        }


def sliced(keys: Sequence[T]) -> Iterable[Sequence[T]]:
    """The keys, SLICE of them at a time."""
    return (keys[start : start + SLICE] for start in range(0, len(keys), SLICE))


def _unplaced(by_reason: Mapping[str, Sequence[ActualLRP]]) -> list[dict[str, Any]]:
    """Instances without a cell, by the reason: how many, since when, and some of them."""
    most = sorted(by_reason.items(), key=lambda entry: -len(entry[1]))
    return [
        {
            "placement_error": reason,
            "instances": len(rows),
            "since": min(row.since for row in rows),
            "examples": [{"process_guid": row.process_guid, "index": row.index} for row in rows[:EXAMPLES]],
        }
        for reason, rows in most[:REASONS]
    ]


def _wish(lrp: DesiredLRP) -> dict[str, Any]:
    """What placing looks at, in cfdot's keys."""
    message = lrp.message()
    return {
        "process_guid": lrp.process_guid,
        "domain": lrp.domain,
        "instances": lrp.instances,
        "created_at": lrp.created_at,
        "rootfs": message.root_fs,
        "memory_mb": message.memory_mb,
        "disk_mb": message.disk_mb,
        "placement_tags": list(message.PlacementTags),
        "volume_drivers": sorted(set(volume_drivers(message.volume_mounts))),
        "hostnames": hostnames(message.routes.routes),
    }
