"""Whether a record fits its columns, found out before the batch: one that does not would fail them all."""

from collections.abc import Iterator

from diego.bbs import store
from diego.bbs.store.rows import json_list
from diego.models import ActualLRP, DesiredLRP, Task

NAME = 255
"""Characters of most columns."""

REASON = 1024
INT = 2**31 - 1
PLACEMENT_TAGS_BYTES = 65_535
LONG_BYTES = 8 << 20
"""The bytes of one record's long columns together: encrypted and encoded they still fit one packet of the
database (16 MiB by default)."""


def fits(write: "store.Write") -> str | None:
    """The first column that is too small for what the write has for it, or None."""
    match write:
        case store.PutDomain(domain):
            columns: Iterator[tuple[str, int, int]] = iter([("domain", len(domain), NAME)])
        case store.PutDesired(record):
            columns = _desired(record)
        case store.PutActual(lrp):
            columns = _actual(lrp)
        case store.PutTask(task):
            columns = _task(task)
        case _:
            return None
    return next((column for column, size, width in columns if size > width), None)


def _desired(record: DesiredLRP) -> Iterator[tuple[str, int, int]]:
    yield "process_guid", len(record.process_guid), NAME
    yield "domain", len(record.domain), NAME
    yield "modification_tag_epoch", len(record.tag.epoch), NAME
    yield "modification_tag_index", record.tag.index, INT
    yield "run_info", len(record.served), LONG_BYTES
    if len(record.served) > NAME:
        message = record.message()
        yield "log_guid", len(message.log_guid), NAME
        yield "rootfs", len(message.root_fs), REASON
        yield "placement_tags", len(json_list(message.PlacementTags).encode()), PLACEMENT_TAGS_BYTES


def _actual(lrp: ActualLRP) -> Iterator[tuple[str, int, int]]:
    yield "process_guid", len(lrp.process_guid), NAME
    yield "domain", len(lrp.domain), NAME
    yield "instance_guid", len(lrp.instance_guid), NAME
    yield "cell_id", len(lrp.cell_id), NAME
    yield "availability_zone", len(lrp.availability_zone), NAME
    yield "placement_error", len(lrp.placement_error), REASON
    yield "crash_reason", len(lrp.crash_reason), REASON
    yield "modification_tag_epoch", len(lrp.tag.epoch), NAME
    yield "modification_tag_index", lrp.tag.index, INT
    yield "net_info", len(lrp.net_info), LONG_BYTES
    routes = sum(len(hostname) for hostname in lrp.internal_routes or ())
    yield "internal_routes", routes * 2, LONG_BYTES
    tags = sum(len(name) + len(value) for name, value in (lrp.metric_tags or {}).items())
    yield "metric_tags", tags * 2, LONG_BYTES


def _task(task: Task) -> Iterator[tuple[str, int, int]]:
    yield "guid", len(task.guid), NAME
    yield "domain", len(task.domain), NAME
    yield "cell_id", len(task.cell_id), NAME
    yield "failure_reason", len(task.failure_reason), REASON
    yield "rejection_reason", len(task.rejection_reason), REASON
    yield "result", len(task.result.encode()), LONG_BYTES
    yield "task_definition", len(task.definition or b""), LONG_BYTES
