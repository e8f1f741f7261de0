"""Use-cases of desired LRPs: somebody wants something, wants it otherwise, or no longer."""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import attrgetter

from diego.bbs.commits import UNAVAILABLE
from diego.bbs.core import desired_lrps, validation
from diego.bbs.core.layers import downgrade_desired_lrp
from diego.bbs.core.lifecycle import Change, Key, unclaimed
from diego.bbs.events import Heard
from diego.bbs.service.context import Context
from diego.models import ActualLRP, BbsError, DesiredLRP, ErrorType
from diego.models.desired_lrp import wanted_metric_tags
from diego.models.entries import list_entry
from diego.runtime.api import Answer, Pending
from diego.wire import desired_lrp_requests_pb2

INDICES_AT_ONCE = 200
"""New indices that share a transaction: the loop has others to serve."""

MOST_INSTANCES = 100_000
"""More instances of one process are refused, before their records fill memory and database."""


class DesiredLRPService:
    """What is wanted."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._memory = context.memory

    # ---- who asks

    def list(self, asked: desired_lrp_requests_pb2.DesiredLRPsRequest, *, layers: bool = True) -> Answer:
        """Whole records that fit all filters. Without `layers` in the form for clients that do not know them."""
        lrps = self._fitting(asked.domain, asked.process_guids, asked.app_guids)
        return self._context.listed(lrps, attrgetter("served") if layers else self._downgraded)

    def get(
        self, asked: desired_lrp_requests_pb2.DesiredLRPByProcessGuidRequest, *, layers: bool = True
    ) -> bytes:
        lrp = self._found(asked.process_guid)
        return lrp.served if layers else self._downgraded(lrp)

    def scheduling_infos(self, asked: desired_lrp_requests_pb2.DesiredLRPsRequest) -> Answer:
        lrps = self._fitting(asked.domain, asked.process_guids, ())
        return self._context.listed(lrps, attrgetter("scheduling"))

    def scheduling_info(self, asked: desired_lrp_requests_pb2.DesiredLRPByProcessGuidRequest) -> bytes:
        return self._found(asked.process_guid).scheduling

    def routing_infos(self, asked: desired_lrp_requests_pb2.DesiredLRPsRequest) -> Answer:
        return self._context.listed(self._fitting("", asked.process_guids, ()), attrgetter("routing"))

    # ---- who wants

    def desire(self, asked: desired_lrp_requests_pb2.DesireLRPRequest, *, request_id: str) -> Answer:
        """Something new is wanted: remember it, make a record per instance, and have cells found for them."""
        if not asked.HasField("desired_lrp"):
            raise BbsError.invalid_request(validation.field("desired_lrp"))
        message = asked.desired_lrp
        tags = wanted_metric_tags(message.metric_tags)
        validation.refuse(validation.desired_lrp(message, tags) + _too_many(message.instances))
        guid = message.process_guid
        if self._memory.newest_desired(guid) is not None or guid in self._memory.unreadable_desired:
            raise BbsError.exists()
        lrp = desired_lrps.create(
            message, now=self._context.now(), epoch=self._context.epoch(), metric_tags=tags
        )
        return self._write(
            lrp,
            desired_lrps.missing(self._memory.newest_rows_of(guid), lrp.instances),
            request_id,
            before_rows=lambda announcer: announcer.desired_created(lrp, request_id),
            new=True,
        )

    def update(self, asked: desired_lrp_requests_pb2.UpdateDesiredLRPRequest, *, request_id: str) -> Answer:
        """Something is wanted otherwise: more or fewer of it, other routes, other tags."""
        change = asked.update
        validation.refuse(validation.update(asked.process_guid, change) + _too_many(change.instances))
        validation.refuse([] if asked.HasField("update") else [validation.field("update")])
        before = self._newest(asked.process_guid)
        after = desired_lrps.update(before, change)
        rows = self._memory.newest_rows_of(before.process_guid)
        added: list[int] = []
        down = desired_lrps.ScaleDown((), ())
        if after.instances > before.instances:
            added = desired_lrps.missing(rows, after.instances, start=before.instances)
        elif after.instances < before.instances:
            down = desired_lrps.scale_down(rows, after.instances)
        updates = desired_lrps.rep_updates(before, after, change, rows)

        def act() -> None:
            self._stop(down.stop, request_id)
            for update in updates:
                self._context.update_instance(update, request_id)

        return self._write(
            after,
            added,
            request_id,
            delete=down.delete,
            after_rows=lambda announcer: announcer.desired_changed(before, after, request_id),
            act=act,
        )

    def remove(self, asked: desired_lrp_requests_pb2.RemoveDesiredLRPRequest, *, request_id: str) -> Answer:
        """Something is no longer wanted."""
        validation.refuse([] if asked.process_guid else [validation.field("process_guid")])
        lrp = self._newest(asked.process_guid)
        down = desired_lrps.scale_down(self._memory.newest_rows_of(lrp.process_guid), 0)
        transaction = self._context.committer.begin()
        transaction.desired(lrp.process_guid, None)
        transaction.tell(lambda announcer: announcer.desired_removed(lrp, request_id))
        for row in down.delete:
            rows = self._memory.newest_rows(row.process_guid, row.index)
            transaction.actual(rows, (Change(row, None),), trace_id=request_id)
        transaction.then.append(lambda: self._stop(down.stop, request_id))
        return transaction.commit()

    # ---- shared

    def _write(
        self,
        lrp: DesiredLRP,
        indices: Sequence[int],
        request_id: str,
        *,
        before_rows: Callable[[Heard], None] | None = None,
        after_rows: Callable[[Heard], None] | None = None,
        delete: Iterable[ActualLRP] = (),
        act: Callable[[], None] | None = None,
        new: bool = False,
    ) -> Answer:
        """Make the record durable, with the first of the new indices; the others follow in turns."""
        transaction = self._context.committer.begin()
        transaction.desired(lrp.process_guid, lrp)
        if before_rows is not None:
            transaction.tell(before_rows)
        first, rest = indices[:INDICES_AT_ONCE], indices[INDICES_AT_ONCE:]
        for row in delete:
            rows = self._memory.newest_rows(row.process_guid, row.index)
            transaction.actual(rows, (Change(row, None),), trace_id=request_id)
        self._new_rows(transaction.actual, lrp, first, request_id)
        if after_rows is not None:
            transaction.tell(after_rows)
        if act is not None:
            transaction.then.append(act)
        if not rest:
            if indices:
                transaction.then.append(partial(self._auction, lrp, indices, request_id, new=new))
            return transaction.commit()
        pending = Pending()
        transaction.then.append(
            partial(self._write_rest, lrp, indices, INDICES_AT_ONCE, request_id, pending, new=new)
        )
        transaction.failed = lambda: pending.settle(UNAVAILABLE)
        transaction.commit(pending=Pending())
        return pending

    def _write_rest(
        self,
        lrp: DesiredLRP,
        indices: Sequence[int],
        done: int,
        request_id: str,
        pending: Pending,
        *,
        new: bool,
    ) -> None:
        """The next of the new indices, if they are still wanted."""
        wanted = self._memory.newest_desired(lrp.process_guid)
        if done >= len(indices) or wanted is None or wanted.instances <= indices[done]:
            self._auction(lrp, indices[:done], request_id, new=new)
            pending.settle(b"")
            return
        there = {row.index for row in self._memory.newest_rows_of(lrp.process_guid)}
        some = [index for index in indices[done : done + INDICES_AT_ONCE] if index not in there]
        following = partial(
            self._write_rest, lrp, indices, done + INDICES_AT_ONCE, request_id, pending, new=new
        )
        if not some:
            following()
            return
        transaction = self._context.committer.begin()
        self._new_rows(transaction.actual, lrp, some, request_id)
        transaction.then.append(following)
        transaction.failed = lambda: pending.settle(UNAVAILABLE)
        transaction.commit(pending=Pending())

    def _new_rows(
        self, write: Callable[..., None], lrp: DesiredLRP, indices: Iterable[int], request_id: str
    ) -> None:
        now = self._context.now()
        for index in indices:
            row = unclaimed(Key(lrp.process_guid, index, lrp.domain), now=now, epoch=self._context.epoch())
            rows = self._memory.newest_rows(lrp.process_guid, index)
            write(rows, (Change(None, row),), trace_id=request_id)

    def _auction(self, lrp: DesiredLRP, indices: Sequence[int], request_id: str, *, new: bool) -> None:
        self._context.auctioneer.start_lrps([desired_lrps.start_request(lrp, indices, new=new)], request_id)

    def _stop(self, rows: Iterable[ActualLRP], request_id: str) -> None:
        for row in rows:
            self._context.stop_instance(row, request_id)

    def _newest(self, guid: str) -> DesiredLRP:
        lrp = self._memory.newest_desired(guid)
        if lrp is None:
            raise self._missing(guid)
        return lrp

    def _found(self, guid: str) -> DesiredLRP:
        lrp = self._memory.desired.by_guid.get(guid)
        if lrp is None:
            validation.refuse([] if guid else [validation.field("process_guid")])
            raise self._missing(guid)
        return lrp

    def _missing(self, guid: str) -> BbsError:
        if guid in self._memory.unreadable_desired:
            return BbsError(ErrorType.DESERIALIZE)
        return BbsError.not_found()

    def _fitting(
        self, domain: str, process_guids: Iterable[str], app_guids: Iterable[str]
    ) -> Iterable[DesiredLRP]:
        """The records that fit all filters that are set."""
        table = self._memory.desired
        lrps: Iterable[DesiredLRP] = table.by_guid.values()
        wanted = dict.fromkeys(process_guids)
        if wanted:
            found = map(table.by_guid.get, wanted)
            lrps = [lrp for lrp in found if lrp is not None and (not domain or lrp.domain == domain)]
        elif domain:
            lrps = [table.by_guid[guid] for guid in table.by_domain.of(domain)]
        prefixes = [_like(app_guid) for app_guid in app_guids]
        if prefixes:
            begins = re.compile("|".join(prefixes), re.DOTALL)
            lrps = [lrp for lrp in lrps if begins.match(lrp.process_guid)]
        return lrps

    def _downgraded(self, lrp: DesiredLRP) -> bytes:
        if not lrp.layered:
            return lrp.served
        message = lrp.served_message()
        downgrade_desired_lrp(message)
        return list_entry(message.SerializeToString())


def _like(prefix: str) -> str:
    """A prefix as SQL's LIKE reads it: `%` is anything, `_` any one character."""
    return "".join({"%": ".*", "_": "."}.get(character, re.escape(character)) for character in prefix)


def _too_many(instances: int) -> validation.Findings:
    return [validation.field("instances")] if instances > MOST_INSTANCES else []
