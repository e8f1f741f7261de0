"""Desired LRPs in the oldest form, which the streams without a revision still tell (contract/bbs-api.md section 5).

Their clients know neither image layers nor cached dependencies nor timeouts in milliseconds. A cached
dependency becomes a download without its checksum; an action that only wraps another gives way to it: the
original does both.
"""

from diego.bbs.core.layers import downgrade_desired_lrp
from diego.wire import actions_pb2, desired_lrp_pb2

NANOSECONDS_PER_MS = 10**6
MS_PER_SECOND = 1000
UINT32 = 0xFFFFFFFF
"""A negative timeout turns positive on the way, as in the original."""


def oldest_desired_lrp(lrp: desired_lrp_pb2.DesiredLRP) -> None:
    """Bring the message into the oldest form."""
    downgrade_desired_lrp(lrp)
    for wrapper, present in (
        (lrp.setup, lrp.HasField("setup")),
        (lrp.action, lrp.HasField("action")),
        (lrp.monitor, lrp.HasField("monitor")),
    ):
        if present:
            wrapper.CopyFrom(_with_old_timeouts(wrapper))
    lrp.deprecated_start_timeout_s = (lrp.start_timeout_ms & UINT32) // MS_PER_SECOND
    _dependencies_into_setup(lrp)


def _dependencies_into_setup(lrp: desired_lrp_pb2.DesiredLRP) -> None:
    if not lrp.cached_dependencies:
        return
    downloads = actions_pb2.ParallelAction()
    for dependency in lrp.cached_dependencies:
        download = downloads.actions.add().download_action
        download.artifact = dependency.name
        setattr(download, "from", getattr(dependency, "from"))
        download.to = dependency.to
        download.cache_key = dependency.cache_key
        download.log_source = dependency.log_source
        download.user = lrp.legacy_download_user
    first = actions_pb2.Action(parallel_action=downloads)
    if lrp.HasField("setup"):
        then = actions_pb2.Action()
        then.CopyFrom(lrp.setup)
        first = actions_pb2.Action(serial_action=actions_pb2.SerialAction(actions=[first, then]))
    lrp.setup.CopyFrom(first)
    lrp.ClearField("cached_dependencies")


def _with_old_timeouts(wrapper: actions_pb2.Action) -> actions_pb2.Action:
    after = actions_pb2.Action()
    if wrapper.HasField("timeout_action"):
        after.CopyFrom(wrapper)
        after.timeout_action.deprecated_timeout_ns = wrapper.timeout_action.timeout_ms * NANOSECONDS_PER_MS
    elif wrapper.HasField("emit_progress_action"):
        return _with_old_timeouts(wrapper.emit_progress_action.action)
    elif wrapper.HasField("try_action"):
        return _with_old_timeouts(wrapper.try_action.action)
    elif wrapper.HasField("parallel_action"):
        _each(wrapper.parallel_action, after.parallel_action)
    elif wrapper.HasField("serial_action"):
        _each(wrapper.serial_action, after.serial_action)
    elif wrapper.HasField("codependent_action"):
        _each(wrapper.codependent_action, after.codependent_action)
    else:
        after.CopyFrom(wrapper)
    return after


Several = actions_pb2.ParallelAction | actions_pb2.SerialAction | actions_pb2.CodependentAction


def _each(before: Several, after: Several) -> None:
    after.log_source = before.log_source
    for inner in before.actions:
        after.actions.add().CopyFrom(_with_old_timeouts(inner))
