"""What the operator says about the file server; the keys are the original's."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class FileServerConfig:
    static_directory: Path
    server_address: str = field(default="0.0.0.0:8080", metadata={"kind": "address"})
    """Plain HTTP: serves the files, or redirects to HTTPS when that is enabled."""
    https_server_enabled: bool = False
    https_listen_addr: str = field(default="0.0.0.0:8443", metadata={"kind": "address"})
    cert_file: Path | None = None
    key_file: Path | None = None
    debug_address: str = field(default="127.0.0.1:17005", metadata={"kind": "address"})
    log_level: str = "info"
    time_format: str = "unix-epoch"

    def check(self) -> list[str]:
        faults = []
        if self.static_directory == Path():
            faults.append("static_directory: must not be empty")
        if self.https_server_enabled and (self.cert_file is None or self.key_file is None):
            faults.append("cert_file, key_file: needed when https_server_enabled is true")
        return faults
