"""What the operator says about the SSH proxy; keys and defaults are the original's."""

from dataclasses import dataclass, field
from pathlib import Path

from diego.runtime.config import Duration

CIPHERS = "aes128-gcm@openssh.com,aes256-ctr,aes192-ctr,aes128-ctr"
MACS = "hmac-sha2-256-etm@openssh.com,hmac-sha2-256"
KEY_EXCHANGES = "curve25519-sha256@libssh.org"


@dataclass(frozen=True)
class SshProxyConfig:
    host_key: str = field(default="", repr=False)
    """An RSA key in PEM."""
    host_key_file: Path | None = None
    """Where it is read from, when it does not stand in `host_key`."""
    address: str = field(default="0.0.0.0:2222", metadata={"kind": "address"})
    health_check_address: str = field(default="0.0.0.0:2223", metadata={"kind": "address"})
    disable_health_check_server: bool = False
    debug_address: str = field(default="127.0.0.1:17016", metadata={"kind": "address"})
    allowed_ciphers: str = CIPHERS
    allowed_macs: str = MACS
    allowed_key_exchanges: str = KEY_EXCHANGES
    login_grace: Duration = 30.0
    """For a client to come as far as a login. Ours."""
    max_connections: int = 1000
    """Ours: further ones are closed at once."""
    log_level: str = "info"
    time_format: str = "unix-epoch"

    def check(self) -> list[str]:
        if bool(self.host_key) == (self.host_key_file is not None):
            return ["host_key, host_key_file: exactly one of them must be given"]
        return []
