"""How the file server is put together."""

from diego.file_server.config import FileServerConfig
from diego.file_server.views import file_api, redirect_api
from diego.runtime.api import Api
from diego.runtime.debug import debug_api
from diego.runtime.job import Job
from diego.runtime.process import Runtime
from diego.runtime.tls import server_context


def compose(config: FileServerConfig, runtime: Runtime) -> list[Api]:
    files = file_api(config.static_directory, runtime.log)
    if config.https_server_enabled and config.cert_file is not None and config.key_file is not None:
        tls = server_context(config.cert_file, config.key_file)
        https = runtime.open_listener(config.https_listen_addr, files, tls)
        runtime.open_listener(config.server_address, redirect_api(https.port))
    else:
        runtime.open_listener(config.server_address, files)
    if not config.static_directory.is_dir():
        runtime.log.error("no-static-directory", path=str(config.static_directory))
    return [debug_api("file_server")]


JOB = Job(
    name="file_server",
    config=FileServerConfig,
    plain=lambda config: [config.debug_address],
    compose=compose,
)
