"""Watches over an instance: its startup checks, then its liveness (contract/executor.md section 6).

A monitor is a part of the container's long-lived group beside its action. It
says that the instance is ready once the startup phase has passed, goes on until
it is cancelled, and fails with the crash reason.
"""

import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass

from diego.executor.core.checks import (
    BEGIN,
    HEALTHY,
    NO_ADDRESS,
    UNHEALTHY,
    Check,
    became_unhealthy,
    liveness_failure,
    never_healthy,
    never_passed,
    startup_failure,
    startup_moments,
)
from diego.executor.core.journal import Failure
from diego.executor.core.steps import Step, unsuppressed
from diego.executor.core.texts import MILLISECOND, go_duration, joined
from diego.executor.logs import Stream
from diego.executor.perform import Ready, perform
from diego.executor.probes import Prober
from diego.executor.settling import StepFailed
from diego.executor.stage import Stage


@dataclass(frozen=True, slots=True)
class Pace:
    """How often is looked: seconds between tries before and after an instance is healthy."""

    unhealthy: float
    healthy: float


@dataclass(frozen=True, slots=True)
class CheckMonitor:
    """The checks of a definition. `start_timeout_ms` 0 waits for ever.

    `source` is what the checks' own output carries. With `already_healthy` the
    startup phase is over: a rep before this one had seen it pass.
    """

    checks: Sequence[Check]
    source: str
    start_timeout_ms: int
    already_healthy: bool = False

    async def run(self, stage: Stage, prober: Prober, pace: Pace, ready: Ready) -> None:
        """Watch until cancelled.

        Raises:
            StepFailed: with the crash reason.
        """
        if not self.already_healthy:
            await self._startup(stage, prober, pace)
            stage.log.tell(HEALTHY)
        ready()
        output = await self._first_failure(stage, prober)
        stage.log.tell(output, source=self.source, stream=Stream.ERR)
        stage.log.tell(UNHEALTHY, stream=Stream.ERR)
        raise StepFailed(Failure(became_unhealthy(output)))

    async def _startup(self, stage: Stage, prober: Prober, pace: Pace) -> None:
        stage.log.tell(BEGIN)
        begun = time.monotonic()
        tries = [self._until_passed(check, stage, prober, pace, begun) for check in self.checks]
        failures = [failure for failure in await asyncio.gather(*tries) if failure is not None]
        if not failures:
            return
        for failure in failures:
            stage.log.tell(failure, source=self.source, stream=Stream.ERR)
        elapsed = time.monotonic() - begun
        stage.log.tell(never_passed(elapsed), stream=Stream.ERR)
        raise StepFailed(Failure(never_healthy(elapsed, joined(failures))))

    async def _until_passed(
        self, check: Check, stage: Stage, prober: Prober, pace: Pace, begun: float
    ) -> str | None:
        """What the checker says when the check did not pass in time."""
        deadline = begun + self.start_timeout_ms / 1000 if self.start_timeout_ms else None
        failure = ""
        attempts = 0
        for moment in startup_moments(pace.unhealthy):
            at = begun + moment
            if deadline is not None and at > deadline:
                await asyncio.sleep(max(deadline - time.monotonic(), 0))
                break
            if attempts and at < time.monotonic():
                continue  # a slow try took up this moment
            await asyncio.sleep(max(at - time.monotonic(), 0))
            attempts += 1
            found = await _probe(check, stage, prober)
            if found is None:
                return None
            failure = found
        return startup_failure(go_duration(self.start_timeout_ms * MILLISECOND), attempts, failure)

    async def _first_failure(self, stage: Stage, prober: Prober) -> str:
        watches = [asyncio.ensure_future(_until_failed(check, stage, prober)) for check in self.checks]
        try:
            done, _ = await asyncio.wait(watches, return_when=asyncio.FIRST_COMPLETED)
            return liveness_failure(joined(watch.result() for watch in done))
        finally:
            for watch in watches:
                watch.cancel()


async def _until_failed(check: Check, stage: Stage, prober: Prober) -> str:
    while True:
        failure = await _probe(check, stage, prober)
        if failure is not None:
            return failure
        await asyncio.sleep(check.interval)


async def _probe(check: Check, stage: Stage, prober: Prober) -> str | None:
    if not stage.addresses.internal_ip:
        return NO_ADDRESS
    return await prober.probe(check, stage.addresses.internal_ip)


@dataclass(frozen=True, slots=True)
class ActionMonitor:
    """The legacy monitor: an action that succeeds while the instance is well."""

    step: Step
    start_timeout_ms: int
    already_healthy: bool = False

    async def run(self, stage: Stage, slots: asyncio.Semaphore, pace: Pace, ready: Ready) -> None:
        """Watch until cancelled. The first try comes after the unhealthy interval.

        Raises:
            StepFailed: with the crash reason.
        """
        numbers = itertools.count()
        if not self.already_healthy:
            await self._startup(stage, slots, pace, numbers)
            stage.log.tell(HEALTHY)
        ready()
        while True:
            await asyncio.sleep(pace.healthy)
            failure = await self._try(stage, slots, next(numbers))
            if failure is not None:
                stage.log.tell(UNHEALTHY, stream=Stream.ERR)
                raise StepFailed(Failure(became_unhealthy(failure.message)))

    async def _startup(
        self, stage: Stage, slots: asyncio.Semaphore, pace: Pace, numbers: "itertools.count[int]"
    ) -> None:
        stage.log.tell(BEGIN)
        begun = time.monotonic()
        while True:
            await asyncio.sleep(pace.unhealthy)
            failure = await self._try(stage, slots, next(numbers))
            if failure is None:
                return
            elapsed = time.monotonic() - begun
            if self.start_timeout_ms and elapsed >= self.start_timeout_ms / 1000:
                stage.log.tell(never_passed(elapsed), stream=Stream.ERR)
                raise StepFailed(Failure(never_healthy(elapsed, failure.message)))

    async def _try(self, stage: Stage, slots: asyncio.Semaphore, number: int) -> Failure | None:
        async with slots:
            try:
                await perform(unsuppressed(self.step), stage.for_monitor(str(number)))
            except StepFailed as error:
                if not error.failure.displayable:
                    raise  # the try was signalled, which says nothing about the instance
                return error.failure
        return None
