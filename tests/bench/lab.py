"""How fast a deployed lab is, seen from outside: from wanted to answering, from killed to answering, a second deploy."""

import http.client
import json
import os
import re
import shlex
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diego.bbs.client import BbsClient
from diego.models.errors import BbsError, ErrorType
from diego.wire.desired_lrp_pb2 import DesiredLRP
from diego.wire.gojson import from_go

ROOT = Path(__file__).resolve().parents[2]
GUID = "bench-app"
ANSWERS_WITHIN = 60.0
KILLS = 2
"""Of one app: its third crash is meant to wait for half a minute."""

SERVER = """
import http.server, os, signal
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/kill":
            os.kill(os.getpid(), signal.SIGKILL)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ["CF_INSTANCE_GUID"].encode())
    def log_message(self, *words):
        pass
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""


def environment(path: Path) -> dict[str, str]:
    """The variables of a lab's `env` file, as a shell would read them."""
    words = shlex.split(path.read_text(), comments=True)
    return dict(word.split("=", 1) for word in words if "=" in word)


@dataclass
class Lab:
    """A lab that is up, and what was measured of it. Seconds throughout."""

    env: dict[str, str]
    say: Callable[[str], None]
    repeats: int = 3
    facts: dict[str, Any] = field(default_factory=dict)

    def run(self) -> None:
        """All measurements; the app of the bench is gone afterwards."""
        with BbsClient(
            self.env["BBS_URL"],
            ca_file=self.env["CA_CERT_FILE"],
            cert_file=self.env["CLIENT_CERT_FILE"],
            key_file=self.env["CLIENT_KEY_FILE"],
        ) as bbs:
            self._apps(bbs)

    def _apps(self, bbs: BbsClient) -> None:
        wanted: list[float] = []
        killed: list[float] = []
        for _ in range(self.repeats):
            self._remove(bbs)
            began = time.monotonic()
            bbs.desire_lrp(self._app())
            guid = self._answer(began, lambda _: True)
            wanted.append(time.monotonic() - began)
            for _ in range(KILLS):
                began = time.monotonic()
                self._ask("/kill")
                before = guid
                guid = self._answer(began, lambda found, before=before: found != before)  # type: ignore[misc]  # a default keeps this round's value
                killed.append(time.monotonic() - began)
        self._remove(bbs)
        self._keep("desired_to_answering_s", wanted)
        self._keep("killed_to_answering_s", killed)

    def _keep(self, name: str, runs: list[float]) -> None:
        self.facts[name] = {"median": statistics.median(runs), "most": max(runs), "runs": len(runs)}
        self.say(f"{name}: median {statistics.median(runs):.2f}, most {max(runs):.2f} of {len(runs)}")

    def second_deploy(self, name: str) -> None:
        """Deploy once more, and count what that changes."""
        began = time.monotonic()
        ran = subprocess.run(
            [ROOT / "scripts/deploy", name],
            env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=1200,
        )
        changed = sum(int(count) for count in re.findall(r"\bchanged=(\d+)", ran.stdout))
        seconds = time.monotonic() - began
        self.facts["second_deploy"] = {"seconds": seconds, "changed": changed, "status": ran.returncode}
        self.say(f"second deploy: {seconds:.0f} s, changed={changed}, status {ran.returncode}")

    def bare_to_url(self) -> None:
        """What the last `make up` noted."""
        times = ROOT / ".lab/times.json"
        if times.exists():
            self.facts["up"] = json.loads(times.read_text())

    @property
    def _host(self) -> str:
        return f"{GUID}.{self.env['APPS_DOMAIN']}"

    def _app(self) -> DesiredLRP:
        return from_go(
            DesiredLRP,
            {
                "process_guid": GUID,
                "domain": "bench",
                "rootfs": "preloaded:cflinuxfs4",
                "instances": 1,
                "memory_mb": 64,
                "disk_mb": 64,
                "ports": [8080],
                "routes": {"cf-router": [{"hostnames": [self._host], "port": 8080}]},
                "log_guid": GUID,
                "metric_tags": {"source_id": {"static": GUID}},
                "action": {"run": {"path": "/usr/bin/python3", "args": ["-c", SERVER], "user": "vcap"}},
                "check_definition": {"checks": [{"tcp_check": {"port": 8080}}]},
            },
            unknown_keys=False,
        )

    def _ask(self, path: str) -> tuple[int, str]:
        """One request through the router; 0 when there is no answer."""
        address, _, port = self.env["ROUTER_ADDRESS"].partition(":")
        connection = http.client.HTTPConnection(address, int(port or 80), timeout=5)
        try:
            connection.request("GET", path, headers={"Host": self._host})
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException):
            return 0, ""
        finally:
            connection.close()

    def _answer(self, began: float, right: Callable[[str], bool]) -> str:
        """Wait for a 200 with the right body, and return it. Raises TimeoutError."""
        while time.monotonic() - began < ANSWERS_WITHIN:
            status, body = self._ask("/")
            if status == 200 and right(body):
                return body
            time.sleep(0.02)
        raise TimeoutError(f"{self._host} does not answer within {ANSWERS_WITHIN:g} s")

    def _remove(self, bbs: BbsClient) -> None:
        try:
            bbs.remove_desired_lrp(GUID)
        except BbsError as error:
            if error.type is not ErrorType.RESOURCE_NOT_FOUND:
                raise
        end = time.monotonic() + ANSWERS_WITHIN
        while bbs.actual_lrps(process_guid=GUID):
            if time.monotonic() > end:
                raise TimeoutError(f"{GUID} does not stop")
            time.sleep(0.1)
