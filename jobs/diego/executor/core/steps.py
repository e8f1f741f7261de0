"""The process tree of a container, laid out from its definition (contract/executor.md sections 4 and 5).

    serial( setup, long-lived )
    long-lived = the action, or codependent( action, monitor )

Laying out decides everything that needs no engine: the log source each step
writes to, the identity of each step, and what an ended part means to the
others. A step's identity is its place in the tree (`action.0.1`), the same
whenever the same definition is laid out, so a restarted rep finds the processes
and the finished steps of its predecessor by it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from diego.executor.core.requests import RunRequest
from diego.wire.actions_pb2 import Action, RunAction


class Exit(StrEnum):
    """What it means in a codependent group that a part ended without an error."""

    IS_ERROR = "is error"
    """Counts as an error, the others are signalled: the explicit codependent action."""
    MEANS_NOTHING = "means nothing"
    """The others go on: an action beside its monitor, so that daemonising apps stay up."""


CODEPENDENT_EXITED = "Codependent step exited"


@dataclass(frozen=True, slots=True)
class Run:
    """A process in the container. `nofile` None inherits the limit."""

    id: str
    source: str
    path: str
    args: tuple[str, ...] = ()
    dir: str = ""
    env: tuple[tuple[str, str], ...] = ()
    user: str = ""
    nofile: int | None = None
    suppressed: bool = False


@dataclass(frozen=True, slots=True)
class Download:
    id: str
    source: str
    artifact: str
    url: str
    to: str
    user: str
    cache_key: str = ""
    checksum_algorithm: str = ""
    checksum_value: str = ""


@dataclass(frozen=True, slots=True)
class Upload:
    id: str
    source: str
    artifact: str
    path: str
    url: str
    user: str


@dataclass(frozen=True, slots=True)
class Timeout:
    id: str
    child: "Step"
    milliseconds: int


@dataclass(frozen=True, slots=True)
class EmitProgress:
    id: str
    source: str
    child: "Step"
    start: str
    success: str
    failure_prefix: str


@dataclass(frozen=True, slots=True)
class Try:
    id: str
    child: "Step"


@dataclass(frozen=True, slots=True)
class Parallel:
    id: str
    children: tuple["Step", ...]


@dataclass(frozen=True, slots=True)
class Serial:
    id: str
    children: tuple["Step", ...]


@dataclass(frozen=True, slots=True)
class Codependent:
    id: str
    children: tuple["Step", ...]
    on_exit: Exit


Step = Run | Download | Upload | Timeout | EmitProgress | Try | Parallel | Serial | Codependent


class BadAction(ValueError):
    """An action that says nothing that could be carried out."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a container does once it exists. `monitor` is the legacy monitor action, if that one counts."""

    setup: Step | None
    action: Step
    monitor: Step | None


def lay_out(request: RunRequest) -> Plan:
    """The tree of `request`. A check definition wins over the monitor action whenever present.

    Raises:
        BadAction: the definition has no action, or an empty one somewhere.
    """
    source = request.log.source_name
    with_monitor = request.monitor is not None and request.check_definition is None
    return Plan(
        setup=step(request.setup, source, "setup") if request.setup is not None else None,
        action=step(request.action, source, "action"),
        monitor=step(request.monitor, source, "monitor") if with_monitor and request.monitor else None,
    )


def step(action: Action, source: str, at: str) -> Step:
    """Lay out one action and what is below it; `source` is what its messages carry unless it names its own.

    Raises:
        BadAction: it is empty, or something below it is.
    """
    members = action.ListFields()
    match members[0][0].name if members else "":
        case "run_action":
            return _run(action.run_action, source, at)
        case "download_action":
            download = action.download_action
            return Download(
                id=at,
                source=download.log_source or source,
                artifact=download.artifact,
                url=getattr(download, "from"),
                to=download.to,
                user=download.user,
                cache_key=download.cache_key,
                checksum_algorithm=download.checksum_algorithm,
                checksum_value=download.checksum_value,
            )
        case "upload_action":
            upload = action.upload_action
            return Upload(
                id=at,
                source=upload.log_source or source,
                artifact=upload.artifact,
                path=getattr(upload, "from"),
                url=upload.to,
                user=upload.user,
            )
        case "timeout_action":
            timeout = action.timeout_action
            milliseconds = timeout.timeout_ms or timeout.deprecated_timeout_ns // 1_000_000
            return Timeout(at, step(timeout.action, timeout.log_source or source, f"{at}.0"), milliseconds)
        case "emit_progress_action":
            emit = action.emit_progress_action
            return EmitProgress(
                id=at,
                source=emit.log_source or source,
                child=step(emit.action, source, f"{at}.0"),
                start=emit.start_message,
                success=emit.success_message,
                failure_prefix=emit.failure_message_prefix,
            )
        case "try_action":
            return Try(at, step(action.try_action.action, action.try_action.log_source or source, f"{at}.0"))
        case "parallel_action":
            parallel = action.parallel_action
            return Parallel(at, _steps(parallel.actions, parallel.log_source or source, at))
        case "serial_action":
            return Serial(at, _steps(action.serial_action.actions, source, at))
        case "codependent_action":
            codependent = action.codependent_action
            return Codependent(
                at, _steps(codependent.actions, codependent.log_source or source, at), Exit.IS_ERROR
            )
        case _:
            raise BadAction(f"no action to carry out at {at}")


def _run(run: RunAction, source: str, at: str) -> Run:
    limits = run.resource_limits
    return Run(
        id=at,
        source=run.log_source or source,
        path=run.path,
        args=tuple(run.args),
        dir=run.dir,
        env=tuple((variable.name, variable.value) for variable in run.env),
        user=run.user,
        nofile=limits.nofile if limits.HasField("nofile") else None,
        suppressed=run.suppress_log_output,
    )


def _steps(actions: Iterable[Action], source: str, at: str) -> tuple[Step, ...]:
    return tuple(step(action, source, f"{at}.{number}") for number, action in enumerate(actions))


def unsuppressed(tree: Step) -> Step:
    """The same tree with every process's output shown: the monitor action's output is what explains a failure."""
    match tree:
        case Run():
            return replace(tree, suppressed=False)
        case Timeout() | EmitProgress() | Try():
            return replace(tree, child=unsuppressed(tree.child))
        case Parallel() | Serial() | Codependent():
            return replace(tree, children=tuple(unsuppressed(child) for child in tree.children))
        case Download() | Upload():
            return tree
