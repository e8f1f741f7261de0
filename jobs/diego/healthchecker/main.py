"""How the healthchecker is put together."""

from functools import partial

from diego.healthchecker.config import Daemon, HealthcheckerConfig
from diego.healthchecker.probes import probe
from diego.healthchecker.views import add_status
from diego.healthchecker.watcher import Restarts, Watcher
from diego.runtime import metrics
from diego.runtime.api import Api
from diego.runtime.debug import debug_api
from diego.runtime.job import Job
from diego.runtime.process import Runtime
from diego.runtime.supervisor import Supervisor


def compose(config: HealthcheckerConfig, runtime: Runtime) -> list[Api]:
    supervisor = Supervisor(config.supervisor_socket)
    watchers = [_watcher(config, daemon, supervisor, runtime) for daemon in config.daemons]
    for watcher in watchers:
        runtime.background(f"watch {watcher.name}", partial(watcher.run, runtime.stopping))
    _measure(watchers)
    api = debug_api("healthchecker")
    add_status(api.app, watchers)
    return [api]


def _watcher(
    config: HealthcheckerConfig, daemon: Daemon, supervisor: Supervisor, runtime: Runtime
) -> Watcher:
    policy = config.policy(daemon)
    return Watcher(
        daemon.component_name,
        daemon.program or daemon.component_name,
        policy,
        Restarts(config.counter_file(daemon)),
        supervisor,
        partial(probe, daemon.healthcheck_endpoint, policy.timeout),
        runtime.log,
    )


def _measure(watchers: list[Watcher]) -> None:
    healthy = metrics.gauge("healthchecker_healthy", "1 when the last probe was good.", ["daemon"])
    counter = metrics.gauge("healthchecker_restarts_in_a_row", "Restarts that did not help yet.", ["daemon"])
    made = metrics.gauge("healthchecker_restarts", "Restarts since the healthchecker began.", ["daemon"])
    for watcher in watchers:
        healthy.labels(watcher.name).set_function(partial(_is_healthy, watcher))
        counter.labels(watcher.name).set_function(partial(_restarts_in_a_row, watcher))
        made.labels(watcher.name).set_function(partial(_restarts_made, watcher))


def _is_healthy(watcher: Watcher) -> float:
    return 1.0 if watcher.watch.healthy else 0.0


def _restarts_in_a_row(watcher: Watcher) -> float:
    return float(watcher.watch.restarts)


def _restarts_made(watcher: Watcher) -> float:
    return float(watcher.made_restarts)


JOB = Job(
    name="healthchecker",
    config=HealthcheckerConfig,
    plain=lambda config: [config.debug_address],
    compose=compose,
)
