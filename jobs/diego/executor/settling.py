"""Waiting for steps to end, whatever signals come meanwhile."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from diego.executor.core.failures import CANCELLED
from diego.executor.core.journal import Failure
from diego.runtime.logs import get_logger

T = TypeVar("T")
log = get_logger("rep")


class StepFailed(Exception):
    """A step ended with a failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


async def undisturbed(work: "asyncio.Future[T]", leaving: Callable[[], bool]) -> T:
    """The result of `work`, waited for through any further cancellation of the waiter.

    Only when the rep itself ends is the waiter let go, and `work` with it.
    """
    while not work.done():
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            if leaving():
                work.cancel()
                raise
        except Exception:  # noqa: BLE001, S110  the caller sees it in the result below
            pass
    return work.result()


async def settled(task: "asyncio.Future[Any]", leaving: Callable[[], bool]) -> Failure | None:
    """How a step ended that was told to end: None when without failure."""
    try:
        await undisturbed(task, leaving)
    except StepFailed as error:
        return error.failure
    except asyncio.CancelledError:
        if leaving():
            raise
        return CANCELLED
    except Exception as error:
        log.exception("step.broken")
        return Failure(f"{type(error).__name__}: {error}")
    return None


def cancel_all(tasks: "Iterable[asyncio.Future[Any]]") -> None:
    for task in tasks:
        if not task.done():
            task.cancel()
