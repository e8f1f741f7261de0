"""How the SSH proxy is put together."""

from diego.runtime.api import Api
from diego.runtime.debug import debug_api, health_api
from diego.runtime.job import Job
from diego.runtime.process import Runtime
from diego.ssh_proxy.config import SshProxyConfig
from diego.ssh_proxy.server import Proxy


def plain(config: SshProxyConfig) -> list[str]:
    if config.disable_health_check_server:
        return [config.debug_address]
    return [config.debug_address, config.health_check_address]


def compose(config: SshProxyConfig, runtime: Runtime) -> list[Api]:
    proxy = Proxy(config, runtime.log)
    runtime.task("ssh", proxy.run)
    return [debug_api("ssh_proxy"), health_api()][: len(plain(config))]


JOB = Job(name="ssh_proxy", config=SshProxyConfig, plain=plain, compose=compose)
