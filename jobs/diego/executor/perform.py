"""Carries out the steps of a container: each is a coroutine, a signal is its cancellation (design.md decision 12).

A step ends by returning, or with StepFailed. A cancelled step first brings what
it started to an end (a process gets SIGTERM, after the grace interval SIGKILL)
and then ends with a failure that is not displayed. Only when the rep itself
ends does a step let go at once: the process runs on, and the next rep takes the
step up by its note.

Texts and error rules are those of contract/executor.md section 5.
"""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from diego.executor.core.container_spec import process_spec
from diego.executor.core.failures import (
    CANCELLED,
    DID_NOT_EXIT,
    EXCEEDED_GRACE,
    emitted,
    timed_out,
    together,
)
from diego.executor.core.journal import Failure, Note
from diego.executor.core.steps import (
    CODEPENDENT_EXITED,
    Codependent,
    Download,
    EmitProgress,
    Exit,
    Parallel,
    Run,
    Serial,
    Step,
    Timeout,
    Try,
    Upload,
)
from diego.executor.core.texts import (
    MILLISECOND,
    exit_error,
    exit_line,
    go_duration,
    rounded_duration,
)
from diego.executor.garden import ConnectionLost, GardenError, Signal
from diego.executor.logs import OutputStream, Stream
from diego.executor.process import ExitUnknown, HeldProcess
from diego.executor.settling import StepFailed, cancel_all, settled, undisturbed
from diego.executor.stage import Stage
from diego.executor.transfers import download, upload
from diego.runtime.logs import get_logger

AFTER_KILL = 1.0
"""Seconds that a killed process has to be gone."""
LONGEST_EXPLANATION = 10_000
"""Bytes of a check's output that become its error."""

log = get_logger("rep")

Ready = Callable[[], None]


def not_asked() -> None:
    """For those who do not want to know when a step has started."""


async def perform(step: Step, stage: Stage, ready: Ready = not_asked) -> None:
    """Carry out `step`, and call `ready` once what it starts has started.

    Raises:
        StepFailed: with why.
    """
    match step:
        case Run():
            await _noted(step.id, stage, ready, lambda: _run(step, stage, ready))
        case Download():
            ready()
            await _noted(step.id, stage, ready, lambda: download(step, stage))
        case Upload():
            ready()
            await _noted(step.id, stage, ready, lambda: upload(step, stage))
        case Timeout():
            await _timeout(step, stage, ready)
        case EmitProgress():
            await _emit_progress(step, stage, ready)
        case Try():
            await _try(step, stage, ready)
        case Parallel():
            await _parallel(step, stage.below_group(), ready)
        case Serial():
            await _serial(step, stage, ready)
        case Codependent():
            children = [perform_later(child, stage.below_group()) for child in step.children]
            await group(children, step.on_exit, stage, ready)


Later = Callable[[Ready], "asyncio.Task[None]"]


def perform_later(step: Step, stage: Stage) -> Later:
    """The step as a part of a group."""
    return lambda ready: asyncio.ensure_future(perform(step, stage, ready))


async def _noted(step: str, stage: Stage, ready: Ready, work: Callable[[], Awaitable[None]]) -> None:
    """Carry out a step once: one that is done answers as it did."""
    note = stage.notes.of(step)
    if note is not None and note.done:
        if note.failure is not None:
            raise StepFailed(note.failure)
        ready()
        return
    try:
        await work()
    except StepFailed as error:
        await stage.notes.done(step, error.failure)
        raise
    except asyncio.CancelledError:
        if stage.leaving():
            raise
        await stage.notes.done(step, CANCELLED)
        raise StepFailed(CANCELLED) from None
    await stage.notes.done(step)


async def _run(step: Run, stage: Stage, ready: Ready) -> None:
    explanation = bytearray()
    if step.suppressed:
        stdout, stderr = OutputStream(_discard), OutputStream(_discard)
    elif stage.explaining:
        stdout, stderr = OutputStream(_collector(explanation)), OutputStream(_collector(explanation))
    else:
        stdout = stage.log.output(step.source, Stream.OUT)
        stderr = stage.log.output(step.source, Stream.ERR)
    identity = f"{step.id}-{uuid.uuid4()}" if stage.monitoring else step.id
    spec = process_spec(step, identity, stage.addresses)
    process = HeldProcess(stage, step.id, spec, stdout, stderr)
    life = asyncio.ensure_future(process.run())
    telling = asyncio.ensure_future(_tell_when_started(process, ready))
    try:
        await _ended(step, stage, process, life, explanation)
    finally:
        telling.cancel()
        if stage.leaving():
            life.cancel()


async def _ended(
    step: Run, stage: Stage, process: HeldProcess, life: "asyncio.Future[int]", explanation: bytearray
) -> None:
    """Wait for the process's end, and say what it means."""
    silent = step.suppressed or stage.monitoring
    try:
        status = await asyncio.shield(life)
    except asyncio.CancelledError:
        if stage.leaving():
            raise
        stopping = asyncio.ensure_future(_stop(step, stage, process, life, silent=silent))
        raise StepFailed(await undisturbed(stopping, stage.leaving)) from None
    except ExitUnknown:
        raise StepFailed(Failure(f"{step.source}: Exited with unknown status")) from None
    except GardenError as error:
        if not silent:
            stage.log.note(f"failed-creating-process: {error}", source=step.source)
        raise StepFailed(Failure(str(error))) from None
    out_of_memory = status != 0 and await _ran_out_of_memory(stage)
    if not silent:
        stage.log.note(exit_line(status, out_of_memory=out_of_memory), source=step.source)
    if status != 0:
        told = explanation.decode(errors="replace").strip()
        raise StepFailed(Failure(told or exit_error(step.source, status, out_of_memory=out_of_memory)))


async def _stop(
    step: Run, stage: Stage, process: HeldProcess, life: "asyncio.Future[int]", *, silent: bool
) -> Failure:
    """Ask the process to end, then make it; why the step ended."""
    await _signalled(process, life, Signal.TERM)
    await asyncio.wait({life}, timeout=stage.grace)
    grace = ""
    if not life.done():
        grace = rounded_duration(stage.grace)
        await _signalled(process, life, Signal.KILL)
        await asyncio.wait({life}, timeout=AFTER_KILL)
    if not life.done():
        life.cancel()
        return DID_NOT_EXIT
    try:
        status = life.result()
    except (ExitUnknown, GardenError):
        return CANCELLED  # it ended while nobody could hear its status, or it had never begun
    if not silent:
        out_of_memory = status != 0 and await _ran_out_of_memory(stage)
        stage.log.note(exit_line(status, grace=grace, out_of_memory=out_of_memory), source=step.source)
    return EXCEEDED_GRACE if grace else CANCELLED


async def _signalled(process: HeldProcess, life: "asyncio.Future[int]", signal: Signal) -> None:
    """Signal the process, unless it ends first: an engine that answers no signal must not hold up the next."""
    sending = asyncio.ensure_future(process.signal(signal))
    either: set[asyncio.Future[Any]] = {sending, life}
    await asyncio.wait(either, timeout=AFTER_KILL, return_when=asyncio.FIRST_COMPLETED)
    if not sending.done():
        sending.cancel()
    elif not sending.cancelled() and (error := sending.exception()) is not None:
        log.info("process.signal-failed", error=str(error))


async def _tell_when_started(process: HeldProcess, ready: Ready) -> None:
    await process.started.wait()
    ready()


async def _ran_out_of_memory(stage: Stage) -> bool:
    """Whether the container had an event that says so; unknown while the engine is away."""
    try:
        info = await stage.garden.info(stage.guid)
    except (GardenError, ConnectionLost) as error:
        log.info("container.info-failed", guid=stage.guid, error=str(error))
        return False
    return any(event.lower() == "out of memory" for event in info.get("Events") or ())


def _discard(message: bytes) -> None:
    """Output that nobody is to see."""


def _collector(explanation: bytearray) -> Callable[[bytes], None]:
    def collect(message: bytes) -> None:
        if len(explanation) < LONGEST_EXPLANATION:
            explanation.extend(message + b"\n")

    return collect


async def _timeout(step: Timeout, stage: Stage, ready: Ready) -> None:
    begun = await stage.notes.begun(step.id)
    left = max(step.milliseconds / 1000 - (time.time() - begun.begun_at), 0)
    child = asyncio.ensure_future(perform(step.child, stage, ready))
    try:
        await asyncio.wait({child}, timeout=left)
    except asyncio.CancelledError:
        child.cancel()
        _raise(await settled(child, stage.leaving))
        return
    if child.done():
        _raise(await settled(child, stage.leaving))
        return
    child.cancel()
    failure = await settled(child, stage.leaving)
    raise StepFailed(timed_out(go_duration(step.milliseconds * MILLISECOND), failure))


async def _emit_progress(step: EmitProgress, stage: Stage, ready: Ready) -> None:
    note: Note | None = stage.notes.of(step.id)
    if note is None:
        await stage.notes.begun(step.id)
        stage.log.note(step.start, source=step.source)
    try:
        await perform(step.child, stage, ready)
    except StepFailed as error:
        text = emitted(step.failure_prefix, error.failure) if step.failure_prefix else ""
        stage.log.note(text, source=step.source, stream=Stream.ERR)
        raise
    stage.log.note(step.success, source=step.source)


async def _try(step: Try, stage: Stage, ready: Ready) -> None:
    try:
        await perform(step.child, stage, ready)
    except StepFailed as error:
        log.info("try-step.failed", guid=stage.guid, error=error.failure.message)
        ready()


async def _serial(step: Serial, stage: Stage, ready: Ready) -> None:
    """One after the other; started when the last one has."""
    last = len(step.children) - 1
    for number, child in enumerate(step.children):
        await perform(child, stage, ready if number == last else not_asked)
    if not step.children:
        ready()


async def _parallel(step: Parallel, stage: Stage, ready: Ready) -> None:
    """All of them, to their ends, whatever becomes of the others."""
    all_ready = Countdown(len(step.children), ready)
    tasks = [asyncio.ensure_future(perform(child, stage, all_ready.one())) for child in step.children]
    try:
        if tasks:
            await asyncio.wait(tasks)
    except asyncio.CancelledError:
        cancel_all(tasks)
    failures = [await settled(task, stage.leaving) for task in tasks]
    found = [failure for failure in failures if failure is not None]
    if found:
        raise StepFailed(together(found))


async def group(parts: Sequence[Later], on_exit: Exit, stage: Stage, ready: Ready) -> None:
    """Parts that live together: the first one that fails ends the others.

    Raises:
        StepFailed: with the failures in the order in which the parts ended.
    """
    all_ready = Countdown(len(parts), ready)
    pending = {part(all_ready.one()) for part in parts}
    failures: list[Failure] = []
    signalled = False
    while pending:
        try:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            cancel_all(pending)
            if stage.leaving():
                raise
            signalled = True
            continue
        for task in done:
            failure = await settled(task, stage.leaving)
            if failure is None and on_exit is Exit.IS_ERROR and not signalled:
                failure = Failure(CODEPENDENT_EXITED)
            if failure is not None:
                failures.append(failure)
                signalled = True
        if signalled:
            cancel_all(pending)
    if failures or signalled:
        raise StepFailed(together(failures))


class Countdown:
    """Calls `ready` once each of `count` parts has said that it is."""

    def __init__(self, count: int, ready: Ready) -> None:
        self._left = count
        self._ready = ready
        if count == 0:
            ready()

    def one(self) -> Ready:
        told = False

        def tell() -> None:
            nonlocal told
            if told:
                return
            told = True
            self._left -= 1
            if self._left == 0:
                self._ready()

        return tell


def _raise(failure: Failure | None) -> None:
    if failure is not None:
        raise StepFailed(failure)
