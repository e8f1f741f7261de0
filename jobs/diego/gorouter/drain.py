"""Sends load balancers elsewhere before this router stops: its drain script.

    python -m diego.gorouter.drain [--config FILE] [--wait SECONDS] [--no-wait] ACTION [HASH [PACKAGE...]]

The protocol is contract/deployment.md section 4, in its static form: from now on the health endpoint says 503, requests
are served as before, and the number of seconds after which whoever called may stop nginx is all of standard output. nginx
itself lets requests end before it stops. A nginx that is not there needs no time.
"""

import argparse
import http.client
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from diego.gorouter.config import GorouterConfig
from diego.runtime import config as configuration

CONFIG = Path("/var/vcap/jobs/gorouter/config/gorouter.json")
ACTIONS = ("job_changed", "job_new", "job_shutdown", "job_check_status")
TIMEOUT = 10.0


class Nginx(http.client.HTTPConnection):
    """nginx on its Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def begin(path: Path) -> bool:
    """Have nginx say that it drains; whether it is there at all. Raises OSError, HTTPException, ValueError."""
    nginx = Nginx(path)
    try:
        nginx.request("POST", "/drain")
        status = nginx.getresponse().status
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    finally:
        nginx.close()
    if status != 204:
        raise ValueError(f"nginx answers {status} to /drain")
    return True


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="drain", description="Send load balancers elsewhere.")
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--wait", type=int, default=20, help="seconds until nginx may be stopped")
    parser.add_argument("--no-wait", action="store_true", help="not looked at: it never waits")
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument(
        "more", nargs="*", help="how the configuration changes, and which packages: not looked at"
    )
    asked = parser.parse_args(words)
    try:
        config = configuration.load(GorouterConfig, asked.config)
        there = begin(config.nginx_socket)
    except (configuration.ConfigError, OSError, http.client.HTTPException, ValueError) as error:
        sys.stderr.write(f"the drain failed: {error}\n")
        return 1
    sys.stderr.write("load balancers are sent elsewhere\n" if there else "nginx is not there\n")
    sys.stdout.write(f"{asked.wait if there else 0}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
