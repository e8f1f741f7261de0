"""Telling the BBS what found no place: side by side, and beside the rounds (contract/auction.md section 7)."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from diego.auctioneer.core.starts import Key, LRPStart, Start, key_of
from diego.bbs.client import BbsClient
from diego.models.errors import BbsError
from diego.runtime.logs import get_logger, trace
from diego.wire.actual_lrp_pb2 import ActualLRPKey

REPORTERS = 16
LONGEST_REASON = 1024
"""Bytes of a placement error that the BBS keeps."""

log = get_logger("auctioneer")


class Reports:
    """Failures on their way to the BBS. The newest reason for a thing replaces one that still waits."""

    def __init__(self, bbs: BbsClient) -> None:
        self._bbs = bbs
        self._lock = threading.Lock()
        self._waiting: dict[Key, tuple[Start, str, str]] = {}
        self._pool = ThreadPoolExecutor(REPORTERS, thread_name_prefix="report")

    def send(self, refused: Sequence[tuple[Start, str]], request_id: str) -> None:
        """Report soon. Returns at once."""
        for start, reason in refused:
            key = key_of(start)
            with self._lock:
                waits = key in self._waiting
                self._waiting[key] = (start, reason, request_id)
            if not waits:
                self._pool.submit(self._report, key)

    def withdraw(self, starts: Sequence[Start]) -> None:
        """These are in a new round: what an older one said of them and is still unsaid stays unsaid."""
        with self._lock:
            for start in starts:
                self._waiting.pop(key_of(start), None)

    def close(self) -> None:
        """Report no more."""
        with self._lock:
            self._waiting.clear()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _report(self, key: Key) -> None:
        with self._lock:
            found = self._waiting.pop(key, None)
        if found is None:
            return
        start, reason, request_id = found
        try:
            if isinstance(start, LRPStart):
                lrp = ActualLRPKey(process_guid=start.process_guid, index=start.index, domain=start.domain)
                self._bbs.fail_actual_lrp(lrp, reason, request_id=request_id)
            else:
                self._bbs.reject_task(start.task_guid, reason, request_id=request_id)
        except BbsError as error:
            log.error(
                "failure-not-reported",
                guid=key.guid,
                index=key.number,
                error=str(error),
                **trace(request_id),
            )
        except Exception:
            log.exception("failure-not-reported", guid=key.guid, index=key.number, **trace(request_id))
