"""Use-cases of actual LRPs: what cells and the auctioneer report, who asks where things run, evacuation."""

from collections.abc import Callable, Iterable
from operator import attrgetter
from sys import intern

from diego.bbs.commits import UNAVAILABLE
from diego.bbs.core import evacuation, lifecycle, validation
from diego.bbs.core.events import resolved_group
from diego.bbs.core.lifecycle import Change, Instance, Key, Outcome, Rows, Started
from diego.bbs.core.retire import ATTEMPTS, Way, way
from diego.bbs.outside import CallFailed
from diego.bbs.service.context import Context, log
from diego.bbs.wire_answers import error_answer, evacuation_answer
from diego.models import ActualLRP, ActualLRPState, BbsError, ErrorType, Presence
from diego.runtime.api import Answer, Pending
from diego.runtime.logs import trace
from diego.wire import actual_lrp_pb2, actual_lrp_requests_pb2, evacuation_pb2

StartLike = actual_lrp_requests_pb2.StartActualLRPRequest | evacuation_pb2.EvacuateRunningActualLRPRequest


class ActualLRPService:
    """What happens to instances."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._memory = context.memory

    # ---- who asks

    def list(self, asked: actual_lrp_requests_pb2.ActualLRPsRequest) -> Answer:
        """The records that fit all filters that are set; an index of 0 is a filter when it is there."""
        table = self._memory.actual
        index = asked.index if asked.HasField("index") else None
        domain, cell_id = asked.domain, asked.cell_id
        rows: Iterable[ActualLRP] = table.by_identity.values()
        if asked.process_guid:
            rows = table.by_process.get(asked.process_guid, {}).values()
        elif cell_id:
            rows = [table.by_identity[identity] for identity in table.by_cell.of(cell_id)]
        elif domain:
            rows = [table.by_identity[identity] for identity in table.by_domain.of(domain)]
        if domain or cell_id or index is not None:
            rows = [row for row in rows if _fits(row, domain, cell_id, index)]
        return self._context.listed(rows, attrgetter("frame"))

    def list_by_process_guids(self, asked: actual_lrp_requests_pb2.ActualLRPsByProcessGuidsRequest) -> Answer:
        """All records of some processes."""
        if not asked.process_guids:
            raise BbsError.invalid_request("process_guids must not be empty")
        table = self._memory.actual
        found = (
            row
            for guid in dict.fromkeys(asked.process_guids)
            for row in table.by_process.get(guid, {}).values()
        )
        return self._context.listed(found, attrgetter("frame"))

    def groups(self, asked: actual_lrp_requests_pb2.ActualLRPGroupsRequest) -> bytes:
        """The records that fit the filters, in groups: the older form."""
        rows = [row for row in self._memory.actual if _fits(row, asked.domain, asked.cell_id, None)]
        return _groups_answer(rows)

    def groups_by_process_guid(
        self, asked: actual_lrp_requests_pb2.ActualLRPGroupsByProcessGuidRequest
    ) -> bytes:
        validation.refuse([] if asked.process_guid else [validation.field("process_guid")])
        return _groups_answer(self._memory.actual.by_process.get(asked.process_guid, {}).values())

    def group(self, asked: actual_lrp_requests_pb2.ActualLRPGroupByProcessGuidAndIndexRequest) -> bytes:
        findings = [] if asked.process_guid else [validation.field("process_guid")]
        validation.refuse(findings + ([validation.field("index")] if asked.index < 0 else []))
        rows = self._memory.actual.by_process.get(asked.process_guid, {})
        group = resolved_group(
            Rows(*(rows.get((asked.process_guid, asked.index, presence)) for presence in Presence))
        )
        if group is None:
            raise BbsError.not_found()
        return actual_lrp_requests_pb2.ActualLRPGroupResponse(actual_lrp_group=group).SerializeToString()

    # ---- what cells and the auctioneer report

    def claim(self, asked: actual_lrp_requests_pb2.ClaimActualLRPRequest) -> Answer:
        findings = [] if asked.process_guid else [validation.field("process_guid")]
        validation.refuse(findings + validation.request_instance_key(asked))
        rows = self._memory.newest_rows(asked.process_guid, asked.index)
        instance = _instance(asked.actual_lrp_instance_key)
        validation.fits(*instance)
        return self._carry_out(rows, lifecycle.claim(rows, instance, now=self._context.now()))

    def start(self, asked: actual_lrp_requests_pb2.StartActualLRPRequest, *, old: bool = False) -> Answer:
        """A cell tells that an instance runs. `old`: by the older route, which knows no routes and tags."""
        validation.refuse(
            validation.request_lrp_key(asked)
            + validation.request_instance_key(asked)
            + validation.request_net_info(asked)
        )
        told = _started(asked, old=old)
        rows = self._memory.newest_rows(told.key.process_guid, told.key.index)
        outcome = lifecycle.start(rows, told, now=self._context.now(), epoch=self._context.epoch())
        return self._carry_out(rows, outcome)

    def crash(self, asked: actual_lrp_requests_pb2.CrashActualLRPRequest) -> Answer:
        """An instance died. The answer tells when nobody wants its process any more; its crash counts all the same."""
        validation.refuse(validation.request_lrp_key(asked) + validation.request_instance_key(asked))
        key = asked.actual_lrp_key
        rows = self._memory.newest_rows(key.process_guid, key.index)
        instance = _instance(asked.actual_lrp_instance_key)
        outcome = lifecycle.crash(rows, instance, asked.error_message, now=self._context.now())
        answer = b""
        if outcome.auction and self._memory.newest_desired(key.process_guid) is None:
            answer = error_answer(BbsError.not_found())
        return self._carry_out(rows, outcome, answer)

    def fail(self, asked: actual_lrp_requests_pb2.FailActualLRPRequest) -> Answer:
        findings = validation.request_lrp_key(asked)
        validation.refuse(findings + ([] if asked.error_message else [validation.field("error_message")]))
        rows = self._memory.newest_rows(asked.actual_lrp_key.process_guid, asked.actual_lrp_key.index)
        return self._carry_out(rows, lifecycle.fail(rows, asked.error_message, now=self._context.now()))

    def remove(self, asked: actual_lrp_requests_pb2.RemoveActualLRPRequest) -> Answer:
        findings = [] if asked.process_guid else [validation.field("process_guid")]
        validation.refuse(findings + ([validation.field("index")] if asked.index < 0 else []))
        rows = self._memory.newest_rows(asked.process_guid, asked.index)
        key = asked.actual_lrp_instance_key
        instance = _instance(key) if asked.HasField("actual_lrp_instance_key") else None
        return self._carry_out(rows, lifecycle.remove(rows, instance))

    def retire(self, asked: actual_lrp_requests_pb2.RetireActualLRPRequest, *, request_id: str) -> Answer:
        """Somebody wants one instance to end, though as many as before are wanted."""
        validation.refuse(validation.request_lrp_key(asked))
        row = self._memory.newest_rows(asked.actual_lrp_key.process_guid, asked.actual_lrp_key.index).ordinary
        if row is None:
            raise BbsError.not_found()
        pending = Pending()
        self.end(row, pending=pending, request_id=request_id)
        return pending

    def end(self, row: ActualLRP, *, pending: Pending | None = None, request_id: str | None = None) -> None:
        """Have an instance ended: at once where no cell holds it, by its cell otherwise."""
        if way(row) is Way.DELETE:
            self._delete(row, pending, request_id)
        elif not self._context.outside.do(lambda: self._end_on_cell(row, pending, request_id)):
            _settle(pending, UNAVAILABLE)

    def _end_on_cell(self, row: ActualLRP, pending: Pending | None, request_id: str | None) -> None:
        """Look for the cell and stop the instance there. In a thread."""
        why = ""
        for _ in range(ATTEMPTS):
            try:
                cell = self._context.cells.find(row.cell_id)
            except BbsError as error:
                self._resolve(pending, error_answer(error))
                return
            if cell is None:
                self._context.in_loop(lambda: self._delete(row, pending, request_id))
                return
            try:
                self._context.reps.stop(cell, row, request_id)
            except CallFailed as error:
                why = str(error)
                continue
            self._context.in_loop(lambda: self._asked(row, pending, b"", request_id))
            return
        log.error(
            "retire-failed", lrp=row.process_guid, index=row.index, error=why, **trace(request_id or "")
        )
        refused = error_answer(BbsError(ErrorType.UNKNOWN_ERROR, why))
        self._context.in_loop(lambda: self._asked(row, pending, refused, request_id))

    def _asked(self, row: ActualLRP, pending: Pending | None, answer: bytes, request_id: str | None) -> None:
        """Its cell was asked to stop it: listeners hear already that it is gone, whatever the cell said."""
        rows = self._memory.newest_rows(row.process_guid, row.index)
        self._context.announcer.actual(rows, (Change(row, None),), trace_id=request_id or "")
        _settle(pending, answer)

    def _delete(self, row: ActualLRP, pending: Pending | None, request_id: str | None) -> None:
        """Delete the record, if it still stands for the same."""
        rows = self._memory.newest_rows(row.process_guid, row.index)
        now = rows.ordinary
        if now is None or not now.held_by(row.instance_guid, row.cell_id):
            _settle(pending, b"")
            return
        transaction = self._context.committer.begin()
        transaction.actual(rows, (Change(now, None),), trace_id=request_id or "")
        transaction.commit(pending=pending)

    # ---- evacuation

    def remove_evacuating(self, asked: evacuation_pb2.RemoveEvacuatingActualLRPRequest) -> Answer:
        validation.refuse(validation.request_lrp_key(asked) + validation.request_instance_key(asked))
        rows = self._rows_of(asked.actual_lrp_key)
        instance = _instance(asked.actual_lrp_instance_key)
        return self._carry_out(rows, evacuation.remove_evacuating(rows, instance))

    def evacuate_claimed(self, asked: evacuation_pb2.EvacuateClaimedActualLRPRequest) -> Answer:
        findings = validation.request_lrp_key(asked) + validation.request_instance_key(asked)
        instance = _instance(asked.actual_lrp_instance_key)
        return self._evacuate(
            findings,
            asked.actual_lrp_key,
            lambda rows: evacuation.claimed(rows, instance, now=self._context.now()),
            keep_invalid=True,
        )

    def evacuate_crashed(self, asked: evacuation_pb2.EvacuateCrashedActualLRPRequest) -> Answer:
        findings = validation.request_lrp_key(asked) + validation.request_instance_key(asked)
        findings += [] if asked.error_message else [validation.field("error_message")]
        instance = _instance(asked.actual_lrp_instance_key)
        return self._evacuate(
            findings,
            asked.actual_lrp_key,
            lambda rows: evacuation.crashed(rows, instance, asked.error_message, now=self._context.now()),
            keep_invalid=False,
        )

    def evacuate_stopped(self, asked: evacuation_pb2.EvacuateStoppedActualLRPRequest) -> Answer:
        findings = validation.request_lrp_key(asked) + validation.request_instance_key(asked)
        instance = _instance(asked.actual_lrp_instance_key)
        return self._evacuate(
            findings,
            asked.actual_lrp_key,
            lambda rows: evacuation.stopped(rows, instance),
            keep_invalid=False,
        )

    def evacuate_running(
        self, asked: evacuation_pb2.EvacuateRunningActualLRPRequest, *, old: bool = False
    ) -> Answer:
        findings = (
            validation.request_lrp_key(asked)
            + validation.request_instance_key(asked)
            + validation.request_net_info(asked)
        )
        guid = asked.actual_lrp_key.process_guid
        if not findings and guid in self._memory.unreadable_desired:
            return evacuation_answer(keep_container=True, error=BbsError(ErrorType.DESERIALIZE))  # 5
        return self._evacuate(
            findings,
            asked.actual_lrp_key,
            lambda rows: evacuation.still_running(
                rows,
                _started(asked, old=old),
                self._memory.newest_desired(guid),
                running_ordinary=sum(
                    row.state is ActualLRPState.RUNNING and row.presence is Presence.ORDINARY
                    for row in self._memory.newest_rows_of(guid)
                ),
                now=self._context.now(),
                epoch=self._context.epoch(),
            ),
            keep_invalid=True,
        )

    def _evacuate(
        self,
        findings: validation.Findings,
        key: actual_lrp_pb2.ActualLRPKey,
        decide: Callable[[Rows], evacuation.Evacuation],
        *,
        keep_invalid: bool,
    ) -> Answer:
        if findings:
            error = BbsError.invalid_request(", ".join(findings))
            return evacuation_answer(keep_container=keep_invalid, error=error)
        rows = self._rows_of(key)
        try:
            evacuated = decide(rows)
        except BbsError as error:
            keep = error.type is ErrorType.ACTUAL_LRP_CANNOT_BE_UNCLAIMED
            return evacuation_answer(keep_container=keep, error=error)
        answer = evacuation_answer(keep_container=evacuated.keep_container)
        return self._carry_out(rows, evacuated.outcome, answer)

    # ---- shared

    def _rows_of(self, key: actual_lrp_pb2.ActualLRPKey) -> Rows:
        return self._memory.newest_rows(key.process_guid, key.index)

    def _carry_out(self, rows: Rows, outcome: Outcome, answer: bytes = b"") -> Answer:
        """Make an outcome durable, and ask for the auction that it asks for."""
        if not outcome.changes:
            return answer
        transaction = self._context.committer.begin()
        transaction.actual(rows, outcome.changes, outcome.crash)
        if outcome.auction:
            changed = next(change.before or change.after for change in outcome.changes)
            if changed is not None:
                guid, index = changed.process_guid, changed.index
                transaction.then.append(lambda: self._auction(guid, index))
        return transaction.commit(answer)

    def _auction(self, guid: str, index: int) -> None:
        self._context.auction(guid, [index], "")

    def _resolve(self, pending: Pending | None, answer: Answer) -> None:
        if pending is not None:
            self._context.runtime.resolve([(pending, answer)])


def _settle(pending: Pending | None, answer: Answer) -> None:
    if pending is not None:
        pending.settle(answer)


def _fits(row: ActualLRP, domain: str, cell_id: str, index: int | None) -> bool:
    return (
        (not domain or row.domain == domain)
        and (not cell_id or row.cell_id == cell_id)
        and (index is None or row.index == index)
    )


def _groups_answer(rows: Iterable[ActualLRP]) -> bytes:
    by_key: dict[tuple[str, int], dict[Presence, ActualLRP]] = {}
    for row in rows:
        by_key.setdefault((row.process_guid, row.index), {})[row.presence] = row
    groups = [
        resolved_group(Rows(*(members.get(presence) for presence in Presence))) for members in by_key.values()
    ]
    return actual_lrp_requests_pb2.ActualLRPGroupsResponse(
        actual_lrp_groups=[group for group in groups if group is not None]
    ).SerializeToString()


def _instance(key: actual_lrp_pb2.ActualLRPInstanceKey) -> Instance:
    return Instance(key.instance_guid, intern(key.cell_id))


def _started(asked: StartLike, *, old: bool) -> Started:
    """What a cell tells, in our words."""
    key = asked.actual_lrp_key
    instance = _instance(asked.actual_lrp_instance_key)
    process_guid, domain = intern(key.process_guid), intern(key.domain)
    asked.actual_lrp_net_info.DiscardUnknownFields()
    net_info = asked.actual_lrp_net_info.SerializeToString(deterministic=True)
    routes = _routes(asked, old=old)
    tags = {} if old else {intern(name): intern(value) for name, value in asked.metric_tags.items()} or None
    validation.lrp_columns(
        process_guid,
        domain,
        *instance,
        asked.availability_zone,
        net_info=net_info,
        texts=(*(routes or ()), *(tags or {}), *(tags or {}).values()),
    )
    return Started(
        key=Key(process_guid, key.index, domain),
        instance=instance,
        net_info=net_info,
        internal_routes=routes,
        metric_tags=tags,
        routable=asked.Routable if asked.HasField("Routable") else True,
        availability_zone=intern(asked.availability_zone),
    )


def _routes(asked: StartLike, *, old: bool) -> tuple[str, ...] | None:
    if old:
        return ()
    return tuple(route.hostname for route in asked.actual_lrp_internal_routes) or None
