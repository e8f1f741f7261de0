"""What is left of a list of writes when a later write of a record replaces an earlier one."""

from collections.abc import Hashable, Iterable

from diego.bbs import store


def identity(write: "store.Write") -> Hashable:
    """What record a write is about: no two records share it."""
    match write:
        case store.PutDomain(domain) | store.DeleteDomain(domain):
            return "domain", domain
        case store.PutDesired(record):
            return "desired", record.process_guid
        case store.DeleteDesired(process_guid):
            return "desired", process_guid
        case store.PutActual(lrp):
            return "actual", *lrp.identity
        case store.DeleteActual(process_guid, index, presence):
            return "actual", process_guid, index, presence
        case store.PutTask(task):
            return "task", task.guid
        case store.DeleteTask(guid):
            return "task", guid


def latest(writes: "Iterable[store.Write]") -> "list[store.Write]":
    """The last write of each record. They are about different records, so that their order means nothing."""
    return list({identity(write): write for write in writes}.values())
