"""What a container is to be and to run: the rep's conversion of a definition (contract/rep.md section 7)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from diego.wire.actions_pb2 import Action
from diego.wire.cached_dependency_pb2 import CachedDependency
from diego.wire.check_definition_pb2 import CheckDefinition
from diego.wire.security_group_pb2 import SecurityGroupRule

NO_RATE_LIMIT = -1


@dataclass(frozen=True, slots=True)
class LogTarget:
    """Whose log the container's output belongs to. Without a guid nothing is kept."""

    guid: str = ""
    index: int = 0
    source: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def source_name(self) -> str:
        """The source of messages about the container itself."""
        return self.source or "LOG"


@dataclass(frozen=True, slots=True)
class MetricsTarget:
    guid: str = ""
    index: int = 0


@dataclass(frozen=True, slots=True)
class RunRequest:
    """Everything that a reserved container needs to be made and run.

    `start_timeout_ms` 0 waits for ever; `log_bytes_per_second` -1 is no limit.
    `env` is the container's, in its order; `rootfs` is what the engine is asked for.
    """

    guid: str
    rootfs: str
    action: Action
    setup: Action | None = None
    monitor: Action | None = None
    check_definition: CheckDefinition | None = None
    env: tuple[tuple[str, str], ...] = ()
    ports: tuple[int, ...] = ()
    log: LogTarget = field(default_factory=LogTarget)
    metrics: MetricsTarget = field(default_factory=MetricsTarget)
    cpu_weight: int = 0
    privileged: bool = False
    start_timeout_ms: int = 0
    cached_dependencies: tuple[CachedDependency, ...] = ()
    egress_rules: tuple[SecurityGroupRule, ...] = ()
    network_properties: Mapping[str, str] = field(default_factory=dict)
    trusted_certificates_path: str = ""
    image_username: str = ""
    image_password: str = ""
    internal_routes: tuple[str, ...] = ()
    log_bytes_per_second: int = NO_RATE_LIMIT
    result_file: str = ""
