"""Waits until this cell has joined: the rep's post-start script.

    python -m diego.rep.joined [--config FILE] [--deadline SECONDS]

The admin listener opens after the first presence (ours.md section 1), so that who answers there is a cell that work is
given to. The status is 1 when the time is over.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from diego.rep.config import RepConfig
from diego.runtime import config as configuration
from diego.runtime.config import split_address
from diego.runtime.http import ConnectionFailed, HttpClient
from diego.runtime.tls import TlsError, client_context

CONFIG = Path("/var/vcap/jobs/rep/config/rep.json")
DEADLINE = 600.0
"""Seconds; as long as the container engine may take to be healthy."""
PAUSE = 0.5
TIMEOUT = 10.0


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="post-start", description="Wait until this cell has joined.")
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--deadline", type=float, default=DEADLINE, help="seconds")
    asked = parser.parse_args(words)
    try:
        config = configuration.load(RepConfig, asked.config)
        tls = client_context(config.cert_file, config.key_file, config.ca_cert_file)
    except (configuration.ConfigError, TlsError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    port = split_address(config.listen_addr)[1]
    rep = HttpClient(f"https://127.0.0.1:{port}", tls=tls, timeout=TIMEOUT)
    end = time.monotonic() + asked.deadline
    why = "no time was given"
    while time.monotonic() < end:
        try:
            status = rep.request("GET", "/ping").status
        except ConnectionFailed as error:
            why = str(error)
        else:
            if status == 200:
                return 0
            why = f"it answers {status}"
        time.sleep(PAUSE)
    sys.stderr.write(f"{config.cell_id} has not joined within {asked.deadline:g} s: {why}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
