"""The BBS's own numbers, for /metrics on the debug listener."""

from diego.bbs.events import Announcer
from diego.bbs.memory import Memory
from diego.locket.client import LockHolder
from diego.models import TaskState
from diego.runtime import metrics


def measure(memory: Memory, announcer: Announcer, holder: LockHolder) -> None:
    """Have the state counted whenever somebody looks."""
    metrics.measured("bbs_lock_held", "Whether this BBS is the active one", lambda: float(holder.held))
    metrics.measured("bbs_domains", "Domains, fresh or not", lambda: len(memory.domains))
    metrics.measured("bbs_desired_lrps", "Desired LRPs", lambda: len(memory.desired.by_guid))
    metrics.measured("bbs_actual_lrps", "Records of actual LRPs", lambda: len(memory.actual.frames.by_key))
    for name, marked in (
        ("unclaimed", memory.actual.unclaimed),
        ("crashed", memory.actual.crashed),
        ("evacuating", memory.actual.evacuating),
        ("suspect", memory.actual.suspect),
    ):
        metrics.measured(f"bbs_actual_lrps_{name}", f"Records that are {name}", marked.__len__)
    for state in (TaskState.PENDING, TaskState.RUNNING, TaskState.COMPLETED, TaskState.RESOLVING):
        metrics.measured(
            f"bbs_tasks_{state.name.lower()}",
            f"Tasks that are {state.wire_name}",
            memory.tasks.by_state[state].__len__,
        )
    metrics.measured(
        "bbs_event_streams", "Open streams", lambda: sum(hub.subscribers for hub in announcer.hubs)
    )
    metrics.measured(
        "bbs_event_streams_dropped",
        "Streams ended because their client was too slow",
        lambda: sum(hub.dropped for hub in announcer.hubs),
    )
