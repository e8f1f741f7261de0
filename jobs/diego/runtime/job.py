"""What a job is: a name, a configuration, and how it is put together."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from diego.runtime.api import Api
    from diego.runtime.process import Runtime

C = TypeVar("C")


@dataclass(frozen=True)
class Job(Generic[C]):
    """One of Diego's processes. Every `diego.<name>.main` has one, named `JOB`."""

    name: str
    config: type[C]
    plain: "Callable[[C], list[str]]"
    """Addresses that are open from the start, in plain HTTP: `host:port` or `unix:/path`."""
    compose: "Callable[[C, Runtime], list[Api]]"
    """Builds everything. Returns what the plain listeners answer, in their order."""
